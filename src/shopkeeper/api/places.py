"""Where what the API makes lies: below a folder that is named, else in a temporary one that goes with the process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import fields
from pathlib import Path

from shopkeeper.pipeline.told import Paths


class Room:
    """A folder for prepared data, runs, reports and bundles, laid out as a project folder is.

    `folder=None` makes a temporary one, which is removed when Python ends. A folder that is named stays,
    and the verbs go on in it: `cd folder; shopkeeper train dataset=…`.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.temporary = folder is None
        if folder is None:
            self.path = Path(tempfile.mkdtemp(prefix="shopkeeper-")).resolve()
            atexit.register(_remove, self.path, os.getpid())
        else:
            self.path = Path(folder).expanduser().resolve()

    @property
    def conf(self) -> Path:
        """Configuration of one's own, beside the package's."""
        return self.path / "conf"

    @property
    def raw(self) -> Path:
        """Raw files of datasets that were made from frames."""
        return self.path / "data" / "raw"

    def paths(self, raw: Path | None) -> dict[str, str]:
        """The block `paths` of a configuration: the usual places, below this folder. `raw`: None, as configured."""
        found = {f.name: str(self.path / Path(str(f.default))) for f in fields(Paths) if f.name != "raw"}
        return found if raw is None else {**found, "raw": str(raw)}


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # not by a child that ends
        shutil.rmtree(path, ignore_errors=True)
