"""Where what the API makes lies: below a folder that is named, else in a temporary one that goes with the process."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file, sha256_file, write_text
from shopkeeper.pipeline.told import Paths

if TYPE_CHECKING:
    import pyarrow as pa

WRITTEN = "# Written by shopkeeper.Dataset; `shopkeeper train dataset={name}` in this folder takes it, too.\n"


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


def write_dataset(
    room: Room, spec: Mapping[str, Any], split: str, tables: Mapping[str, pa.Table], overwrite: bool
) -> None:
    """Tables as files below `data/raw/<name>`, and the YAML that reads them, which the verbs take, too.

    Raises:
        UserError: there is another dataset of that name, and `overwrite` was not said.
    """
    import pyarrow.parquet as pq
    import yaml

    name = str(spec["name"])
    place, file = room.raw / name, room.conf / "dataset" / f"{name}.yaml"
    text = WRITTEN.format(name=name) + yaml.safe_dump(
        {"defaults": [{"override /split@_global_.split": split}], **spec}, sort_keys=False, allow_unicode=True
    )
    if file.is_file() and not overwrite and file.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{file} is there already and says something else; give another name or folder, or overwrite=True"
        )
    for of, table in tables.items():
        path = place / f"{of}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as tmp:
            pq.write_table(table, tmp)
            if path.is_file() and not overwrite and sha256_file(tmp) != sha256_file(path):
                raise UserError(
                    f"{path} is there already and holds other rows; give another name or folder, or overwrite=True"
                )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)
