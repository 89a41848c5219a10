"""Whether a composed config is as `compose` wrote it: what is edited there is lost when `conf/` is composed again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shopkeeper.files import read_json
from shopkeeper.folders import MANIFEST

COMPOSED = "composed"  # `kind` of the folder's manifest
WAY_OUT = "edit conf/ and run `python -m shopkeeper compose` again"


def check_composed(folder: Path, names: Iterable[str]) -> None:
    """A `UserError` where one of the named files of a folder that `compose` wrote was edited since.

    Nothing is said of other folders, nor of files that `compose` did not write.
    """
    said = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    if not isinstance(said, dict) or said.get("kind") != COMPOSED:
        return
    from shopkeeper.hashing import check_hashes, check_seal

    check_seal(said, folder / MANIFEST, WAY_OUT, needed=False)
    listed = said.get("files") or {}
    check_hashes(folder, {name: listed[name] for name in names if name in listed}, WAY_OUT)


def check_chosen() -> None:
    """The same of the file that the command line chose with `--config-dir … --config-name …`."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    for source in hydra.runtime.config_sources:
        if source.schema == "file":
            check_composed(Path(source.path), [f"{hydra.job.config_name}.yaml"])
