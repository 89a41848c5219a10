"""What segments, audiences and their messages, and uplift say, for the report's pages about them: no customer."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shopkeeper.campaigns.audience.layout import KIND as AUDIENCE
from shopkeeper.campaigns.audience.reading import read_folder
from shopkeeper.campaigns.uplift.layout import KIND as UPLIFT
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.pipeline import context
from shopkeeper.pipeline.told import Evaluate, Paths

log = logging.getLogger(__name__)
SEGMENTS = "segments"
AGAIN = "make it again, or remove it"


def campaigns_of(cfg: Evaluate, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Segments, audiences and uplift of a report's dataset, where there are such."""
    prepared = next(iter(sections.values()))["prepared"]
    if not cfg.report.campaigns:
        return {"segments": None, "audiences": [], "uplifts": []}
    return {
        "segments": segments_of(cfg.paths, prepared),
        "audiences": audiences_of(cfg.paths, prepared, 1 - cfg.evaluation.confidence),
        "uplifts": uplifts_of(cfg.paths, prepared),
    }


def segments_of(paths: Paths, prepared: Prepared) -> dict[str, Any] | None:
    """The newest folder of a dataset's segments: `segments.json` with `movement` and where it lies; None: none yet."""
    found = []
    for folder, manifest in _folders(paths.segments, SEGMENTS, prepared.name):
        if manifest["as_of"] is None:  # data without times have none
            continue
        stale = manifest.get("dataset_fingerprint") != prepared.fingerprint
        found.append((str(manifest["as_of"]), not stale, folder))
    if not found:
        return None
    as_of, fresh, folder = max(found, key=lambda one: (one[1], one[0]))
    with open(folder / "movement.csv", newline="", encoding="utf-8") as f:
        movement = [{**row, "customers": int(row["customers"])} for row in csv.DictReader(f)]
    return {
        **read_json(folder / "segments.json"),
        "movement": movement, "as_of": as_of, "fresh": fresh, "folder": context.relative(folder),
    }  # fmt: skip


def audiences_of(paths: Paths, prepared: Prepared, level: float) -> list[dict[str, Any]]:
    """Every audience of a dataset, the newest first: its card, and what its message did or why that is not known."""
    found = []
    for folder, manifest in _folders(paths.audiences / prepared.name, AUDIENCE, prepared.name):
        one = {"card": read_json(folder / "card.json"), "folder": context.relative(folder), "read": None, "unread": ""}
        one |= {key: manifest[key] for key in ("audience", "as_of")}
        try:
            one["read"] = read_folder(folder, prepared.path, level=level)
        except UserError as e:
            one["unread"] = str(e)
        found.append(one)
    return sorted(found, key=lambda one: (one["as_of"], one["audience"]), reverse=True)


def uplifts_of(paths: Paths, prepared: Prepared) -> list[dict[str, Any]]:
    """What was learned from each randomised campaign that names a dataset as its own: `uplift.json`, where it lies."""
    return [
        {**read_json(folder / "uplift.json"), "folder": context.relative(folder)}
        for folder, _ in _folders(paths.outputs / UPLIFT, UPLIFT, prepared.name)
    ]


def _folders(root: Path, kind: str, dataset: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Finished and unedited folders of a kind and dataset; others are named in the log."""
    for path in sorted(root.glob("*/manifest.json")) if root.is_dir() else []:
        try:
            manifest = read_json(path)
            if not isinstance(manifest, dict) or (manifest.get("kind"), manifest.get("dataset")) != (kind, dataset):
                continue
            check_seal(manifest, path, AGAIN, needed=True)
            check_hashes(path.parent, manifest.get("files") or {}, AGAIN)
        except UserError as e:
            log.warning("not in the report: %s", e)
            continue
        yield path.parent, manifest
