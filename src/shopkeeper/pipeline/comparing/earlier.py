"""The figures that an earlier report decided by, so that the next one says what has moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.hashing import check_hashes, check_seal

FILE = "decisions.json"


def decided(folder: Path, dataset: str, split: str, needed: bool = False) -> dict[str, Any] | None:
    """`decisions.json` of a report of a dataset and split; None where there is none, or one of an older version.

    Raises:
        UserError: `needed`, and there is none, it was edited, or it is of other data: what moved would mean nothing.
    """
    try:
        manifest = read_json(folder / "manifest.json")
        check_seal(manifest, folder / "manifest.json", "make that report again", needed=True)
        check_hashes(folder, {FILE: manifest["files"][FILE]}, "make that report again")
        found = read_json(folder / FILE)
    except (OSError, UserError, KeyError, TypeError) as e:
        if needed:
            raise UserError(
                f"report.since={folder} holds no figures of a report; give the folder of one (`shopkeeper evaluate`)"
            ) from e
        return None
    if (of := (manifest.get("dataset"), manifest.get("split_name"))) != (dataset, split):
        if needed:
            raise UserError(
                f"report.since={folder} is a report of dataset={of[0]}, split={of[1]}, and this one is of "
                f"dataset={dataset}, split={split}; give one of the same"
            )
        return None
    return found if isinstance(found, dict) and isinstance(found.get("figures"), dict) else None
