"""The tab key: what `shopkeeper completion` prints completes verbs, settings, choices and runs, in bash and in zsh."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shopkeeper.cli.completion import completed, script
from shopkeeper.cli.main import command_parser
from shopkeeper.pipeline.shell.verbs import VERBS


def words(line: str) -> list[str]:
    return completed(line, command_parser()[1])


def test_the_first_word_is_a_verb_or_a_command():
    assert words("shopkeeper tr") == ["train "]
    assert {f"{verb} " for verb in VERBS} < set(words("shopkeeper "))
    assert {"runs ", "compare ", "completion "} < set(words("shopkeeper "))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("train split=rol", ["split=rolling "]),
        ("train model=item_k", ["model=item_knn "]),
        ("train model=popularity,item_k", ["model=popularity,item_knn "]),
        ("train model=item_knn model.neigh", ["model.neighbours="]),
        ("train ++model=item_k", ["++model=item_knn "]),
        ("train trainer.devic", ["trainer.devices="]),
        ("tune tuning.sampler=t", ["tuning.sampler=tpe "]),
        ("tune tuning=random tuning.trial_", ["tuning.trial_hours="]),
        ("evaluate overwri", ["overwrite="]),
        ("evaluate overwrite=", ["overwrite=true ", "overwrite=false "]),
        ("export placement=ca", ["placement=cart ", "placement=category "]),
        ("audience audience=win", ["audience=win_back "]),
        ("compare --confi", ["--confidence "]),
        ("compare a b --part ", ["test ", "validation "]),
        ("target in", ["int8 "]),
        ("read-test --ro", ["--rows "]),
        ("doctor --help-me", []),
        ("evaluate nothing.of.the.kind=", []),
        ("train =", []),
        ("nothing ", []),
    ],
)
def test_settings_choices_and_options_are_completed(line: str, found: list[str]):
    assert words(f"shopkeeper {line}") == found


def test_runs_are_completed_by_name_where_a_setting_names_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for place in ("next_item/temporal/sasrec-0000000a", "churn/temporal/logistic"):
        folder = tmp_path / "runs/shop" / place
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    assert words("shopkeeper export run=s") == ["run=sasrec-0000000a "]
    assert words("shopkeeper evaluate runs=[lo") == ["runs=[logistic"]
    assert words("shopkeeper evaluate runs=[logistic,sas") == ["runs=[logistic,sasrec-0000000a"]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("shopkeeper evalua", ["evaluate "]),
        ("shopkeeper train split=rol", ["rolling "]),  # bash puts it behind the `=`, which ends a word there
        ("shopkeeper train split=", ["customers ", "held_out_users "]),
        ("shopkeeper train split=rol dataset=x", ["rolling "]),  # the cursor stands behind `rol`
    ],
)
def test_bash_completes_what_is_typed(line: str, reply: list[str], tmp_path: Path):
    at = len(line.partition(" dataset")[0])
    (tmp_path / "complete.sh").write_text(
        f'{script("bash")}\nCOMP_LINE="{line}" COMP_POINT={at}\n_shopkeeper\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
        "complete -p shopkeeper\n"
    )
    place = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "--noprofile", "--norc", "-eu", "complete.sh"], cwd=tmp_path, env=place,
                           capture_output=True, text=True)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    *found, registered = shown.stdout.split("\n")[:-1]
    assert found[: len(reply)] == reply
    assert registered.endswith(" -F _shopkeeper shopkeeper")


def test_zsh_completes_what_is_typed(tmp_path: Path):
    """A terminal in which somebody types and presses the tab key."""
    if shutil.which("zsh") is None:
        reason = "zsh is not installed (apt-get install zsh)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    place = os.environ | {"PATH": path, "TERM": "dumb", "HOME": str(tmp_path), "PS1": "> "}
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(["zsh", "-f", "-i"], cwd=tmp_path, env=place, stdin=theirs, stdout=theirs, stderr=theirs,
                             start_new_session=True)  # fmt: skip
    try:
        os.write(ours, b'eval "$(shopkeeper completion zsh)"; echo rea""dy\n')
        said(ours, "ready")
        for line, becomes in (("shopkeeper evalua", "te "), ("shopkeeper train split=rol", "ling ")):
            os.write(ours, f"{line}\t".encode())
            assert "unrecognized" not in said(ours, line + becomes)
            os.write(ours, b"\x15")  # rubs the line out
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def said(terminal: int, words: str, seconds: float = 60) -> str:
    """What a terminal shows until some words stand in it."""
    shown, end = "", time.monotonic() + seconds
    while words not in shown:
        assert time.monotonic() < end, f"'{words}' is not shown, but: {shown}"
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 1 << 16).decode("utf-8", "replace")
    return shown
