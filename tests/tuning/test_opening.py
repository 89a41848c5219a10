"""A study that several processes open at once: each gets it, and what holds it is said as it is."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from shopkeeper.errors import UserError
from shopkeeper.tuning import study
from shopkeeper.tuning.settings import Tuning

SETTINGS = Tuning(sampler="random", pruner="none", trials=1, startup_trials=1, heartbeat_seconds=60)


def test_processes_that_make_a_new_study_at_once_all_get_it(tmp_path: Path):
    children = []
    ready, go = os.pipe()
    for _ in range(4):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                os.close(go)
                os.read(ready, 1)  # all begin together
                study.open_study("search", tmp_path, SETTINGS, "maximize", {"data": "a"})
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(pid)
    os.close(go)
    os.close(ready)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert len(optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study.db'}")) == 1


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("database is locked", "another program holds the file: end it, or wait"),
        ("database or disk is full", "free some space, or set paths.studies"),
        ("unable to open database file", "look at its rights"),
    ],
)
def test_a_study_that_cannot_be_opened_says_what_helps_and_is_not_called_a_server_that_is_down(
    said: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def held(*_: object) -> None:
        raise OperationalError("BEGIN", None, Exception(said))

    monkeypatch.setattr(study, "_open", held)
    with pytest.raises(UserError, match=rf"study\.db: .*{said}.*; {hint}$") as e:
        study.open_study("search", tmp_path, SETTINGS, "maximize", {})
    assert "server" not in str(e.value)
