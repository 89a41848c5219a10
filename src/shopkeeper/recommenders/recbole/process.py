"""RecBole's process as this side sees it: started with a folder of files, asked in lines, ended with its folder.

The folder is a temporary one. The process has one end of a pipe whose other end only this process holds: however this
one ends, a kill included, the other then removes the folder and ends, too.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.recommenders.recbole.installed import Installed

SCRIPT = Path(__file__).with_name("runner.py")
PREFIX = "shopkeeper-recbole-"
WORDS = "words.txt"  # what RecBole and its libraries print


class Process:
    """One model of RecBole, being trained or answering."""

    def __init__(self, found: Installed, job: Mapping[str, Any], files: Mapping[str, str | Mapping[str, np.ndarray]]):
        """Start it. `files`: text, or arrays of an `.npz`, by name."""
        self.name, self.memory_gib = str(job["model"]), job["memory_gib"]
        self.place = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.asked, self.rest = 0, b""
        lifeline, ours = os.pipe()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        if job["threads"]:
            environment["OMP_NUM_THREADS"] = str(job["threads"])
        try:
            for name, content in {**files, "job.json": json.dumps(job)}.items():
                (self.place / name).parent.mkdir(exist_ok=True)
                if isinstance(content, str):
                    (self.place / name).write_text(content, encoding="utf-8")
                else:
                    np.savez(self.place / name, **content)  # type: ignore[arg-type]
            with open(self.place / WORDS, "wb") as words:
                self.child = subprocess.Popen(
                    [str(found.python), "-I", str(SCRIPT), str(self.place), str(lifeline)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, env=environment, cwd=self.place,
                    pass_fds=[lifeline], start_new_session=True,
                )  # fmt: skip
        except BaseException:
            os.close(ours)
            shutil.rmtree(self.place, ignore_errors=True)
            raise
        finally:
            os.close(lifeline)
        self.end = weakref.finalize(self, _end, self.child, ours, self.place)

    def say(self, **words: Any) -> None:
        """One line to it; that it is gone is told by what is heard next."""
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):
            self.child.stdin.write(json.dumps(words).encode() + b"\n")
            self.child.stdin.flush()

    def hear(self, until: float | None = None, limit: str = "") -> dict[str, Any]:
        """Its next line.

        Args:
            until: of `time.monotonic()`: it is ended then.
            limit: which setting says so, and its value.

        Raises:
            UserError: it failed, ended, or took too long; with its last words.
        """
        assert self.child.stdout is not None
        handle = self.child.stdout.fileno()
        while b"\n" not in self.rest:
            left = None if until is None else until - time.monotonic()
            if left is not None and (left <= 0 or not select.select([handle], [], [], left)[0]):
                raise self._failed(f"took longer than {limit}")
            more = os.read(handle, 1 << 16)
            if not more:
                raise self._failed(self._last_words())
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        heard: dict[str, Any] = json.loads(line)
        if "failed" in heard:
            raise self._failed("out of memory" if heard["memory"] else heard["failed"], bool(heard["memory"]))
        return heard

    def answer(self, user_B: np.ndarray, item_BL: np.ndarray) -> np.ndarray:
        """Scores float32 (B, V), mapped from the file that it wrote; valid until the next question."""
        self.asked += 1
        np.savez(self.place / "ask.npz", user=user_B.astype(np.int64), item=item_BL.astype(np.int64))
        to = f"scores-{self.asked % 2}.npy"
        (self.place / to).unlink(missing_ok=True)  # who still reads the one before keeps it
        self.say(do="answer", asked="ask.npz", to=to)
        self.hear()
        found: np.ndarray = np.load(self.place / to, mmap_mode="r", allow_pickle=False)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """What the model has learned, by name."""
        self.say(do="save", to="learned.npz")
        self.hear()
        with np.load(self.place / "learned.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def _failed(self, why: str, memory: bool = False) -> UserError:
        self.end()
        allowed = "" if self.memory_gib is None else f" ({self.memory_gib:.3g} GiB were allowed)"
        way_out = (
            "fewer items or a smaller model.parameters.train_batch_size, or model.memory_gib"
            if memory
            else ("look at model.parameters, or take another model.name")
        )
        return UserError(f"RecBole's {self.name} {'ran ' if memory else ''}{why}{allowed if memory else ''}; {way_out}")

    def _last_words(self) -> str:
        try:
            code = self.child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        words = (self.place / WORDS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if code == -signal.SIGKILL:
            how += ", as the system does where memory runs out"
        return f"{how}, its last words: {words[-1][:300]}" if words else how


def _end(child: subprocess.Popen[bytes], lifeline: int, place: Path) -> None:
    """Close the lifeline, and see that both are gone."""
    os.close(lifeline)
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    shutil.rmtree(place, ignore_errors=True)
