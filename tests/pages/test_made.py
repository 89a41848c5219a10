"""Pages that are made from the code: all that there is stands on its page, and a comment is read as it was meant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from made import benchmarks, commands, disclosure, elsewhere, errors, included, metrics, models, settings, sources
from made.markdown import docstring
from made.pages import with_parts

from shopkeeper.cli.main import command_parser
from shopkeeper.evaluation.rows.kinds import LABELS, TOTALS
from shopkeeper.ingest.steps.settings import STEPS
from shopkeeper.metrics.ranking import metric_names
from shopkeeper.pipeline.shell.verbs import VERBS
from shopkeeper.pipeline.shell.yaml_comments import Setting, apart, read

ROOT = Path(__file__).parents[2]


def headings(page: str, level: int) -> set[str]:
    return set(re.findall(rf"^{'#' * level} (.*)$", page, flags=re.MULTILINE))


def test_comments_of_a_yaml_go_with_their_settings(tmp_path: Path):
    path = tmp_path / "some.yaml"
    path.write_text(
        "# @package _global_\n# What it is,\n# in two lines.\ndefaults:\n  - other\n"
        "  - tone: warm # or\n  # cold\n  - override hydra/x: y\nname: some\n"
        "rate: 0.5 # a share,\n# and of what\nblock: # together\n"
        '  match: "a # b" # in quotes\n  list:\n    - {x: 1}\nlast: null\n'
    )
    said = read(path)
    assert said.about == "What it is, in two lines."
    assert said.settings == (
        Setting("name", "some", ""),
        Setting("rate", "0.5", "a share, and of what"),
        Setting("block", "", "together"),
        Setting("block.match", '"a # b"', "in quotes"),
        Setting("block.list", "", ""),
        Setting("last", "null", ""),
    )
    assert said.groups == (Setting("tone", "warm", "or cold"),)
    assert apart("x: it's # so") == ("x: it's", "so")


def test_every_setting_of_the_base_configuration_is_read_as_yaml_reads_it():
    import yaml

    def names(block: dict, before: str = "") -> set[str]:
        found = set()
        for key, value in block.items():
            found |= names(value, f"{before}{key}.") if isinstance(value, dict) and value else {f"{before}{key}"}
        return found

    path = ROOT / "conf" / "config.yaml"
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = names({key: value for key, value in told.items() if key not in ("defaults", "hydra")})
    assert wanted == {one.name for one in read(path).settings if one.value}


def test_every_source_has_a_head_and_what_a_person_writes():
    page = sources.page()
    names = {path.stem for path in (ROOT / "conf" / "source").glob("*.yaml")}
    assert headings(page, 2) == names | {"Steps"}
    assert page.count("/source@_here_: shopify_orders\n") == 1
    assert page.count("```") % 2 == 0
    assert set(re.findall(r"^- \*\*`(\w+)`\*\*: \w", page, flags=re.MULTILINE)) == set(STEPS)


def test_every_model_setting_and_dataset_has_its_place():
    page = models.page()
    assert headings(page, 3) == {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert set(settings.GROUPS) == groups - {"model", "dataset", "source", "experiment", "loss"} | {"loss"}
    assert set(VERBS) | set(settings.GROUPS) <= headings(settings.page(), 2)
    listed = re.findall(r"^\| `(\w+)` \|", settings.datasets_page(), flags=re.MULTILINE)
    assert set(listed) == {path.stem for path in (ROOT / "conf" / "dataset").glob("*.yaml")}


def test_every_metric_that_a_table_may_hold_is_described():
    described = headings(metrics.page(), 3)
    names = {"map": "average_precision"}
    for name in metric_names([10]):
        bare = name.partition("@")[0]
        assert names.get(bare, bare) in described
    of_customers = {"auroc", "log_loss", "brier", "ece", "rmse", "mae", "normalised_gini", "spearman", "concordance"}
    assert of_customers <= described
    assert {"auroc", "ece"} <= set(LABELS.aggregates)
    assert "rmse" in TOTALS.aggregates


def test_every_command_is_described_with_its_options():
    page = commands.page()
    assert set(command_parser()[1]) <= headings(page, 3)
    assert set(VERBS) <= headings(page, 3)
    assert all(f"[Its settings](settings.md#{verb})" in page for verb in VERBS)
    assert "| `shopkeeper train task=spend model=lightgbm` | how much customers will spend |" in page
    assert "| `--smallest-effect` | smallest difference that matters | `0.003` |" in page


def test_messages_are_found_with_what_is_filled_in_left_out():
    found = errors.messages()
    assert sum(map(len, found.values())) > 500
    assert "there is no task=….… One of your own needs conf/task/….yaml with its target" in found["tasks"]


def test_a_formula_a_table_and_an_example_of_a_docstring_become_markdown():
    text = (
        "A share.\n\n.. math:: a =\n   \\frac{1}{2}\n\nWith :math:`k`, see [One]_:\n\n    x  y\n    z\n\n>>> 1 + 1\n2"
    )
    made = docstring(text)
    assert "<mfrac>" in made
    assert ".. math" not in made
    assert ":math:" not in made
    assert "```text\nx  y\nz\n```" in made
    assert made.endswith("```pycon\n>>> 1 + 1\n2\n```")
    assert "see [One]:" in made


def test_links_of_a_file_of_the_repository_lead_to_pages_or_are_words():
    text = "[d](docs/design.md#rooms) [c](conf/config.yaml) [e](https://example.org) [s](docs/site/start.md)"
    assert included.linked(text, "CONTRIBUTING.md") == (
        "[d](design.md#rooms) c [e](https://example.org) [s](../start.md)"
    )


def test_claims_that_fall_short_come_first():
    lines = [line for line in benchmarks.page().splitlines() if re.match(r"\| (\*\*falls|holds|aim)", line)]
    short = [line.startswith("| **falls short**") for line in lines]
    assert short == sorted(short, reverse=True)
    claims = [
        c for path in (ROOT / "benchmarks/results").glob("*.json") for c in json.loads(path.read_text())["claims"]
    ]
    assert len(lines) == len(claims)
    with pytest.raises(ValueError, match="unpack"):
        benchmarks.figure("sentences", "a claim that is not there")


def test_other_libraries_figures_stand_beside_ours_and_what_differs_is_bold():
    table = elsewhere.tables().split("### ")[1].splitlines()
    rows = {line.split(" | ")[0].strip("| "): line for line in table if line.startswith("| ")}
    assert rows["shopkeeper"].split(" | ")[1:4] == ["1.000", "0.631", "0.613"]  # 1, 1/log2(3), 1/(1 + 1/log2(3))
    assert "**" not in rows["shopkeeper"]
    assert "**0.469**" in rows["rectools"]
    assert "**1.000**" in rows["lenskit"].split(" | ")[2]
    assert {"replay", "recbole", "implicit", "ranx", "ir_measures"} <= set(rows)


def test_a_page_with_a_part_that_is_not_made_is_an_error():
    assert with_parts("a <!-- figure: sentences | families with a false sentence, models-3, --> b") == "a .0445 b"
    with pytest.raises(KeyError):
        with_parts("<!-- made: nothing of the kind -->")


def test_what_customers_may_be_told_is_what_bundles_say_in_three_languages():
    page = disclosure.page()
    assert {"English", "Русский", "Українська"} <= headings(page, 3)
    for said in ("that you buy nothing within the next 90 days", "вы ничего не купите", "ви нічого не купите"):
        assert said in page
