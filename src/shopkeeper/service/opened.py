"""The bundle that a service answers with; a newer one in its place takes over once its golden requests pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.integrity import SEAL
from shopkeeper.bundles.answer.verify import wrong_answers
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.errors import UserError
from shopkeeper.service.figures import Figures

log = logging.getLogger("shopkeeper.service")
GONE = "no bundle is in its folder any more; in a container mount the folder above it, in which a newer one appears"


class Opened:
    """A folder and what was loaded from it last."""

    def __init__(self, path: Path, threads: int = 1, approximate: bool = False):
        self.path, self.threads, self.approximate = Path(path), threads, approximate
        self.seal, self.bundle = self._load()
        self.missed = 0  # looks in a row at which no bundle was there
        self.refused: object = None  # the seal of a bundle that was looked at and not taken, and its files as they were

    def answer(self, said: Sequence[Any]) -> list[dict[str, Any]]:
        """By one and the same bundle, whatever becomes of it meanwhile."""
        return answered(self.bundle, said)

    def look(self, figures: Figures) -> bool:
        """Take over a newer bundle where one is there and right; whether that was so. The old one answers until then.

        What is wrong with a newer one is logged once, and it is looked at again once a file of it has changed: who
        copies a bundle over another may have copied its seal before its graph.
        """
        try:
            now = self._sealed(), sorted((one.name, *_as_it_is(one)) for one in self.path.iterdir())
        except OSError:  # being replaced, or gone: the one in memory answers on
            self.missed += 1
            if self.missed == 2:
                log.warning("reload", extra={"told": {"outcome": "gone", "reason": GONE}})
            return False
        self.missed = 0
        if now[0] == self.seal or now == self.refused:
            return False
        try:
            seal, bundle = self._load()
            same = ("kind", "task")
            if differs := [key for key in same if bundle.manifest.get(key) != self.bundle.manifest.get(key)]:
                raise UserError(f"its {differs[0]} is another; start a service of its own")
        except UserError as e:
            self.refused = now
            figures.reloads["refused"] += 1
            log.error("reload", extra={"told": {"outcome": "refused", "reason": str(e)}})
            return False
        figures.seen += self.bundle.seen
        figures.reloads["done"] += 1
        self.seal, self.bundle = seal, bundle
        log.info("reload", extra={"told": {"outcome": "done", "bundle": seal[:12]}})
        return True

    def _sealed(self) -> str:
        return (self.path / SEAL).read_text(encoding="utf-8").split()[0]

    def _load(self) -> tuple[str, Bundle]:
        """The bundle with its seal, its golden requests answered right; a `UserError` otherwise."""
        bundle = Bundle.load(self.path, threads=self.threads, approximate=self.approximate)
        if wrong := wrong_answers(bundle):
            raise UserError(f"{self.path}: {wrong[0]}; export it again")
        bundle.seen.clear()
        return bundle.seal, bundle


def _as_it_is(file: Path) -> tuple[int, int]:
    """What a file that is written anew has otherwise: its size and when it was changed."""
    told = file.stat()
    return told.st_size, told.st_mtime_ns
