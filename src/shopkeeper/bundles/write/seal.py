"""Writes a bundle's manifest last, over everything else that lies in the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.integrity import FORMAT_VERSION, MANIFEST, SEAL
from shopkeeper.files import sha256_tree, write_json
from shopkeeper.folders import Unlike


def another(run: Mapping[str, Any], dataset: str) -> Unlike:
    """What `folders.check_target` asks of a bundle that is in the way: is it of this dataset, task and model?

    Of one that was chosen among others any model of its task may be in the way.
    """
    ours = {"dataset": dataset, "task": run.get("task"), "model": run.get("model")}
    if run.get("chosen") is not None:
        del ours["model"]

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        theirs = {**manifest, "dataset": (manifest.get("data") or {}).get("dataset")}
        said = [f"{key}={theirs.get(key)}, not {own}" for key, own in ours.items() if theirs.get(key) != own]
        return "; ".join(said) or None

    return unlike


def seal(folder: Path, manifest: Mapping[str, Any], version: int = FORMAT_VERSION) -> None:
    """Write `manifest.json` (with format version and the SHA-256 of every file) and the hash of the manifest."""
    files = sha256_tree(folder, skip=frozenset({MANIFEST, SEAL}))
    write_json(folder / MANIFEST, {**manifest, "format_version": version, "files": files})
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    (folder / SEAL).write_text(f"{digest}  {MANIFEST}\n", encoding="utf-8")
