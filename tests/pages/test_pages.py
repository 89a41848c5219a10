"""Each command of each written page, typed as it stands: each chain of pages in a fresh folder, with a wheel alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.typed import SITE, Step, commands, steps, typed, unsaid, written_pages

START = "start.md"
IN_A_CLONE = ("guides/stages.md", "guides/several-machines.md")  # typed behind the README, see test_readme.py
CHAINS = {  # pages that go on from one another, in a folder of their own
    "own data": ["guides/own-data.md"],
    "erasure": [START, "guides/erase-a-customer.md"],
    "demo shop": ["guides/go-live.md", "guides/campaign-list.md", "guides/read-an-ab-test.md", "guides/gpu.md"],
    "models": ["guides/compare.md", "guides/shops.md", "guides/customers.md", "guides/tune.md"],
}  # fmt: skip
# Needs what no test has, or much time. What comes instead, if anything, is tried in its place.
ELSEWHERE = {
    'pip install "shopkeeper[prepare,train,tabular,track,serving]"': "",  # an index of packages; the wheel is there
    "shopkeeper train dataset=telco_churn model=logistic": (  # the table of customers
        "shopkeeper train dataset=telco_churn model=logistic --cfg job"
    ),
    "shopkeeper train model=gru task.together=[orders,spend]": (  # some minutes
        "shopkeeper train model=gru task.together=[orders,spend] trainer.max_epochs=1"
    ),
    "shopkeeper uplift campaign=hillstrom": "shopkeeper uplift campaign=hillstrom --cfg job",  # the campaign's table
    "shopkeeper tune model=auto tuning.hours=2": "shopkeeper tune model=auto tuning.hours=2 --cfg job",
}


def type_in(place: Path, pages: list[str], installed: Path) -> None:
    failed: dict[str, str] = {}
    for page in pages:
        failed |= {f"{page}: {step}": said for step, said in typed(SITE / page, place, ELSEWHERE, installed).items()}
    assert not failed, "\n\n".join(f"{step}\n{said}" for step, said in failed.items())


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_every_command_does_what_its_page_says(chain: str, tmp_path: Path, installed: Path):
    type_in(tmp_path, CHAINS[chain], installed)


def test_every_page_with_a_command_is_typed_somewhere():
    with_commands = {p.relative_to(SITE).as_posix() for p in written_pages() if commands(p)}
    languages = {f"{language}/start.md" for language in ("ru", "uk")}
    typed_ones = {page for chain in CHAINS.values() for page in chain} | set(IN_A_CLONE)
    assert with_commands == typed_ones | languages
    every = {command for page in typed_ones for command in commands(SITE / page)}
    assert set(ELSEWHERE) <= every


@pytest.mark.parametrize("language", ["ru", "uk"])
def test_the_start_page_has_the_same_commands_files_and_answers_in_every_language(language: str):
    assert steps(SITE / language / "start.md") == steps(SITE / START)


def test_a_page_is_read_as_it_is_meant(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n```text\nno command yet\n```\n```sh\necho one \\\n  two\n# a comment\nfalse\n```\n"
        '```yaml title="conf/a.yaml"\na: 1\n```\n    ```text\n    one …\n    three\n    ```\n```json\n{}\n```\n'
    )
    assert steps(page) == [
        Step("command", "echo one two"),
        Step("command", "false"),
        Step("file", "a: 1\n", "conf/a.yaml"),
        Step("said", "one …\nthree\n"),
    ]
    failed = typed(page, tmp_path, {})
    assert (tmp_path / "conf/a.yaml").read_text() == "a: 1\n"
    assert set(failed) == {"false", "after false"}
    assert "three" in failed["after false"]
    assert typed(page, tmp_path, {"false": "echo three"}) == {}
    assert unsaid("a  b\n\nc … e", "x\na b\nc d e\n") == ""
