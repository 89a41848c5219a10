"""Writes a bundle's manifest last, over everything else that lies in the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.integrity import FORMAT_VERSION, MANIFEST, SEAL
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.files import sha256_tree, write_json
from shopkeeper.folders import Unlike


def another(run: MadeFrom, dataset: str) -> Unlike:
    """What `folders.check_target` asks of a bundle that is in the way: is it of this dataset, split, task and model?

    Of one that was chosen among others any model of its task may be in the way. A split is meant by its name: with
    other days it is the same one, of another time.
    """
    split = (run.metrics or {}).get("split")
    ours = {"dataset": dataset, "split": split, "task": run.task, "model": run.model}
    if run.chosen is not None:
        del ours["model"]

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        metrics = manifest.get("metrics") or {}
        theirs = {**manifest, "dataset": (manifest.get("data") or {}).get("dataset"), "split": metrics.get("split")}
        untold = {"split"} if None in (split, theirs["split"]) else set()
        said = [f"{key}={theirs.get(key)}, not {own}" for key, own in ours.items()
                if theirs.get(key) != own and key not in untold]  # fmt: skip
        return "; ".join(said) or None

    return unlike


def seal(folder: Path, manifest: Mapping[str, Any], version: int = FORMAT_VERSION) -> None:
    """Write `manifest.json` (with format version and the SHA-256 of every file) and the hash of the manifest."""
    files = sha256_tree(folder, skip=frozenset({MANIFEST, SEAL}))
    write_json(folder / MANIFEST, {**manifest, "format_version": version, "files": files})
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    (folder / SEAL).write_text(f"{digest}  {MANIFEST}\n", encoding="utf-8")
