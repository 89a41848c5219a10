"""A training's figures while it runs, where DVC looks for them: `dvc exp show` and `dvc plots show` have them live.

    outputs/live/metrics/<dataset>/<task>/<split>/<run>.json     the last epoch's figures
    outputs/live/curves/<dataset>/<task>/<split>/<run>/<figure>.tsv   a line per epoch

Such files are what DVC's own logger writes, which would bring a tracker of its own along. They are gone when the run is
written: it holds them, and the report draws them. Of a training that was ended they stay until it goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.files import remove_made, write_error, write_json, write_text
from shopkeeper.folders import KINDS

log = logging.getLogger(__name__)
LIVE = "live"  # below paths.outputs
TRIES = 5  # another training that ends takes empty folders along, that of this one among them
OF_THE_MACHINE = ("seconds", "validation_seconds", "events_per_s")  # figures that have no curve


class Live:
    """The live files of one training; without a DVC project (a folder `.dvc`) there are none."""

    def __init__(self, outputs: Path, run: Path) -> None:
        """`run`: what the training is called, `<dataset>/<task>/<split>/<run>`."""
        self.root = outputs / LIVE
        self.metrics = self.root / "metrics" / run.parent / f"{run.name}.json"
        self.curves = self.root / "curves" / run
        self.lines: dict[str, list[str]] = {}
        self.off = not Path(".dvc").is_dir()

    def tell(self, values: Mapping[str, float], epoch: int) -> None:
        """Write what an epoch has come to; no training ends where that fails."""
        if self.off:
            return
        for name, value in values.items():
            if name not in OF_THE_MACHINE:
                self.lines.setdefault(name, [f"epoch\t{name}"]).append(f"{epoch}\t{value}")
        for left in range(TRIES, 0, -1):
            try:
                self._write({"epoch": epoch, **values})
                return
            except (OSError, UserError) as e:
                if left == 1 or write_error(e):
                    self.off = True
                    log.warning("no live figures for DVC (%s); the training goes on", write_error(e) or e)
                    return

    def _write(self, metrics: Mapping[str, float]) -> None:
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        if not (mark := self.root / KINDS["live"].mark).exists():
            write_json(mark, {"kind": "live"})  # so that `clean` knows what is left of a training that was killed
        self.curves.mkdir(parents=True, exist_ok=True)
        for name, lines in self.lines.items():
            write_text(self.curves / f"{name.replace('/', '-')}.tsv", "\n".join(lines) + "\n")
        write_json(self.metrics, metrics)

    def end(self) -> None:
        """Remove them, and folders that are empty by then."""
        if not self.root.is_dir():
            return
        remove_made(self.metrics.parent, self.metrics.name)
        remove_made(self.curves, "*.tsv")
        for folder in (*self.metrics.parents, *self.curves.parents):
            if folder != self.root and folder.is_relative_to(self.root):
                with suppress(OSError):  # others are in it
                    folder.rmdir()
        with suppress(FileNotFoundError):  # another training that ended has been here
            if not any(path.is_dir() for path in self.root.iterdir()):
                remove_made(self.root, KINDS["live"].mark)
