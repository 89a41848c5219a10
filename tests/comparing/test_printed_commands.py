"""What a comparison prints runs as printed, from the shell too; no customer is on its page unless asked for."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from omegaconf import open_dict
from small_runs import Data, evaluated, trained

from shopkeeper.cli.main import main
from shopkeeper.errors import UserError
from shopkeeper.pipeline.evaluate import evaluate
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.stages.compose import composed


def printed(page: Path) -> list[str]:
    """The commands on a page, as a reader copies them."""
    text = html.unescape(re.sub(r"<br>", "\n", page.read_text(encoding="utf-8")))
    return sorted(set(re.findall(r"<code>((?:python|shopkeeper) [^<]*)</code>", text)))


def test_runs_are_compared_from_the_shell_and_their_seeds_put_together(
    data: Data, runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = trained(data, tmp_path / "again", "item_knn", seed=2)
    words = ["compare", *(str(run.path) for run in (*runs, again)), "--confidence", "0.9", "--test", "bootstrap"]
    main(words)
    said = capsys.readouterr().out
    assert "difference (90 %)" in said
    assert "item_knn#1 is better than popularity by" in said
    assert "item_knn over seeds 1, 2: mean ndcg@10" in said
    with pytest.raises(SystemExit):
        main([*words[:-3], "1.5"])


def test_runs_of_another_split_are_not_compared_from_the_shell(
    data: Data, runs: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trained(data, tmp_path / "other", "item_knn", told={"split": "temporal-0"})
    with pytest.raises(SystemExit):
        main(["compare", str(runs[0].path), str(other.path)])
    assert "cannot be compared: split is" in capsys.readouterr().err


def test_weights_of_another_version_are_one_line(data: Data, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "old", "item_knn")

    class Newer:
        def load(self, folder: Path) -> None:
            raise KeyError("item_keys")

    changed = replace(run, config={**run.config, "model": {**run.config["model"], "name": "newer"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shopkeeper.models.make.make", lambda config: Newer())
        with pytest.raises(UserError, match=r"do not fit this version's model .*train again"):
            changed.model()


def test_no_customers_id_is_on_the_page_or_in_the_tables_beside_it_unless_asked_for(
    runs: list[RunFolder], data: Data, tmp_path: Path
) -> None:
    ids = set(data[0].users["user_id"].to_pylist())

    def shown(out: Path) -> tuple[set[str], set[str], str]:
        text = (out / "report.html").read_text(encoding="utf-8")
        table = pq.read_table(out / "requests.parquet")
        footer = text[text.index("<footer>") : text.index("</footer>")]
        return ids & set(re.findall(r"\bu\d+\b", text)), ids & set(table["user_id"].to_pylist()), footer

    evaluated(runs, tmp_path / "plain", customers=12)
    page, table, footer = shown(tmp_path / "plain")
    assert (page, table) == (set(), set())
    assert re.search("personal data.*12 customers.*under numbers instead of their ids", footer)
    whole = pq.read_table(tmp_path / "plain" / "requests.parquet")
    assert len(set(whole["user_id"].to_pylist())) == len(set(runs[0].table("test")["user_id"].to_pylist()))
    evaluated(runs, tmp_path / "chosen", customers=3, chosen=["u7"])
    page, table, footer = shown(tmp_path / "chosen")
    assert (page, table) == ({"u7"}, set())
    assert "1 of them under their ids" in footer
    evaluated(runs, tmp_path / "asked", customers=12, ids=True)
    page, table, footer = shown(tmp_path / "asked")
    assert len(page) == 12
    assert table == ids
    evaluated(runs, tmp_path / "nobody", customers=0)
    assert "No single customer is on this page" in shown(tmp_path / "nobody")[2]


def test_commands_of_the_page_typed_as_printed_do_what_the_page_says_for_that_page(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    words = [f"runs=[{','.join(str(r.path) for r in runs)}]"]
    words += ["report.shuffle=false", "tracking=none", f"out={tmp_path / 'page'}", f"paths.runs={tmp_path / 'm'}"]
    subprocess.run([sys.executable, "evaluate.py", *words], check=True, capture_output=True)
    page = tmp_path / "page" / "report.html"
    commands = printed(page)
    (again,) = [c for c in commands if "report.shuffle=true" in c]
    assert again in page.read_text(encoding="utf-8"), "what stands in the file is what is typed"
    assert "report.shuffle=false" not in again
    done = subprocess.run(again.replace("python ", f"{sys.executable} ", 1), shell=True, executable="/bin/bash",
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "page" / "sanity.json").read_text())["next_item"]["shuffled"]
    after = printed(page)
    assert again not in after
    others = set(commands + after) - {again}
    assert any("report.retrain=[item_knn]" in c for c in others), others
    for command in others:  # those cost a training: here it is seen that they are about this page's data and folders
        program, file, *rest = shlex.split(command)
        here = [
            w.replace("=tiny", "=demo_shop") for w in rest if not w.startswith("hydra.")
        ]  # no conf/dataset/tiny.yaml
        composed(file.removesuffix(".py"), here)
        assert (program, (Path(file).is_file())) == ("python", True)
        assert f"out={tmp_path / 'page'}" in rest or f"paths.runs={tmp_path / 'm'}" in rest
        assert "dataset=" in command or file == "evaluate.py"


def test_a_stage_without_runs_says_what_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cfg = composed("evaluate", ["dataset=demo_shop", "tracking=none"])
    with open_dict(cfg):
        del cfg["task"]  # as in the pipeline's composed files
    with pytest.raises(
        UserError, match="no finished run of dataset=demo_shop split=temporal below runs; `dvc repro` makes"
    ):
        evaluate(cfg)
