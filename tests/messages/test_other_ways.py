"""Settings typed in another program's way end in one line that says how they are typed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopkeeper.cli.main import main
from shopkeeper.pipeline.shell.verbs import run_verb


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("train", ["--model", "sasrec"], "without dashes, and with =: model=sasrec"),
        ("train", ["--model=sasrec"], "without dashes, and with =: model=sasrec"),
        ("train", ["--init-from", "dataset=demo_shop"], "without dashes, and with =: init_from=…"),
        ("train", ["sasrec"], "'sasrec' is no setting; settings are typed as name=value: model=sasrec "),
        ("prepare", ["online_retail"], "typed as name=value: dataset=online_retail "),
        ("export", ["sasrec"], "typed as name=value: run=sasrec "),
        ("evaluate", ["item_knn-3f"], "typed as name=value: runs=[item_knn-3f] "),
        ("train", ["-m", "--cfg", "job"], "Only one of --run, --multirun, --cfg, --info and --shell-completion can be"),
    ],
)
def test_a_verb_says_how_its_settings_are_typed(
    verb: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", [f"{verb}.py", *words])
    with pytest.raises(SystemExit) as stopped:
        run_verb(verb, words)
    told = capsys.readouterr()
    assert stopped.value.code == 1
    assert said in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new-dataset", "name=bc", "orders.csv"], "this command wants --name bc"),
        (["new-dataset", "orders.csv", "name=bc"], "this command wants --name bc"),
        (["verify", "bundle=exports/x"], "this command wants exports/x"),
        (["answer", "exports/x", "filter_seen=true"], "this command wants --filter-seen"),
        (["answer", "exports/x", "filter_seen=false"], "this command wants --no-filter-seen"),
        (["clean", "dry_run=true"], "this command wants --dry-run"),
        (["clean", "dry_run=false"], "this command wants no --dry-run"),
        (["serve", "exports/x", "--run", "sasrec"], "shopkeeper serve: error: unrecognized arguments: --run sasrec"),
    ],
)
def test_a_command_says_how_its_options_are_typed(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_file_may_be_called_like_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "name=bc").write_text("customer,product,time\nc1,p1,2025-01-01 10:00\n")
    main(["new-dataset", "name=bc"])
    assert "shopkeeper prepare dataset=name_bc" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["help", "train"], ["--help", "train"], ["train", "--help"]])
def test_help_is_asked_for_before_or_after_a_verb(words: list[str], capsys: pytest.CaptureFixture[str]):
    main(words)
    assert "shopkeeper train: train one model" in capsys.readouterr().out
