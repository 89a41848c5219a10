"""A folder in which commands run, each in a process of its own that can be killed at a moment of one's choice."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "sqlite3.connect")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    said: str
    out: str
    seconds: float
    changes: int


class Moment(NamedTuple):
    """When a command is killed, and by what: after some seconds, or before one of its changes on disk."""

    sent: signal.Signals
    seconds: float | None
    change: int | None


class House:
    """The folder in which all commands run, one after the other, and the modules that they import."""

    def __init__(self, top: Path):
        self.top, self.place = top, top / "shop"

    def run(self, words: list[str], moment: Moment | None = None, learn: bool = False) -> Ended:
        """A command, killed or to its end; what it imports is imported here, too, with `learn`."""
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self._child(words, moment)
        with suppress(OSError):
            os.setpgid(pid, pid)
        if moment is not None and moment.seconds is not None:
            time.sleep(moment.seconds)
            os.killpg(pid, moment.sent)  # with all that it started, as a terminal or a scheduler does
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(ProcessLookupError):
            while True:  # a program that DVC started may end a little later
                os.killpg(pid, 0)
                time.sleep(0.02)
        ended = time.monotonic() - began
        told = self.top / "told.json"
        facts: dict[str, Any] = json.loads(told.read_text()) if told.exists() else {"modules": [], "changes": 0}
        told.unlink(missing_ok=True)
        for name in facts["modules"] if learn else []:
            if name not in sys.modules and not name.startswith("__"):
                with suppress(Exception):
                    importlib.import_module(name)
        out, said = ((self.top / name).read_text(errors="replace") for name in ("out", "err"))
        return Ended(code, said, out, ended, facts["changes"])

    def _child(self, words: list[str], moment: Moment | None) -> None:
        code = 1
        try:
            os.setpgid(0, 0)
            os.chdir(self.place)
            for ends in SIGNALS[:2]:  # whoever started this program may have had them ignored
                signal.signal(ends, signal.SIG_DFL if ends == signal.SIGTERM else signal.default_int_handler)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(self.top / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            if words[0] == "dvc":
                os.execvp(sys.executable, [sys.executable, "-m", *words])
            from shopkeeper.pipeline.shell.verbs import run_verb

            count = _count_changes(moment, self.top / "told.json")
            try:
                run_verb(words[0], words[1:])
                code = 0
            except SystemExit as e:
                code = e.code if isinstance(e.code, int) else int(e.code is not None)
            count["ended"] = 1
            sys.stdout.flush()
            if moment is None:
                facts = {"modules": list(sys.modules), "changes": count["changes"]}
                (self.top / "told.json").write_text(json.dumps(facts))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)


def _count_changes(moment: Moment | None, told: Path) -> dict[str, int]:
    """Count this process' changes on disk from now on, and kill it before the one that the moment says."""
    count, here = {"changes": 0, "ended": 0}, os.getcwd()

    def heard(event: str, facts: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(facts[2], int) or not facts[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in CHANGES:
            return
        if count["ended"] or not os.path.abspath(str(facts[0])).startswith(here):
            return
        count["changes"] += 1
        if moment is not None and count["changes"] == moment.change:
            count["ended"] = 1  # what it writes on its way out is not counted
            told.write_text(json.dumps({"modules": [], "changes": moment.change}))
            os.kill(os.getpid(), moment.sent)

    sys.addaudithook(heard)
    return count
