"""`segments`: in which segments every customer is as of today, or as of an instant that is told, and how many moved."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper.campaigns.segments.segment import Segments, segments_of
from shopkeeper.campaigns.segments.settings import SEGMENTATIONS
from shopkeeper.campaigns.sheets import write_sheet
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, sha256_tree, write_json
from shopkeeper.folders import Unlike, check_target
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context, show, told
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.shell.which_dataset import with_dataset
from shopkeeper.timeline import floor_day, instant, iso
from shopkeeper.timeline.zones import clock

log = logging.getLogger(__name__)
KIND = "segments"  # of the folder


def segments(config: DictConfig) -> None:
    """The verb: write the folder, and print how many customers each segment has."""
    cfg = told.settings(with_dataset(config, "segments"), told.Segments)
    cfg.segmentation.check()
    prepared = prepare_data(cfg)
    if prepared.events.timestamp is None and not cfg.needed:
        _write_none(cfg, prepared)
        return
    at = instant_asked(cfg, prepared)
    name = cfg.dataset.name if cfg.at is None else f"{cfg.dataset.name}-{clock(at, prepared.zone):%Y-%m-%d}"
    out = cfg.out or cfg.paths.segments / name
    unlike = None if cfg.overwrite else _unlike(prepared.name, None if cfg.at is None else iso(at))
    out = check_target(out, KIND, unlike)
    found = segments_of(lambda t: prepare_data(cfg, t if context.known_per_cutoff(cfg) else None), at, cfg.segmentation)
    _write(cfg, prepared, found, out, unlike)
    _say(found, out)


def instant_asked(cfg: told.Segments | told.Audience, prepared: Prepared) -> int:
    """What is asked about: the setting, or where the log ends."""
    if prepared.events.timestamp is None:
        raise UserError(f"this needs time stamps and dataset={prepared.name} has only an order; choose another one")
    until = context.watched(cfg).get("observed_until")
    end = (
        floor_day(prepared.span[1], prepared.zone) if until is None else instant(until, "observed_until", prepared.zone)
    )
    at = end if cfg.at is None else instant(cfg.at, "at", prepared.zone)
    if at > end:
        raise UserError(
            f"at={iso(at)} lies after the end of the log ({iso(end)}): what happened until then is not known; choose "
            f"an earlier instant, or prepare the newer log"
        )
    return at


def _unlike(dataset: str, at: str | None) -> Unlike:
    """What another folder is of: another dataset or, where an instant is told, another one."""

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        theirs, when = manifest.get("dataset"), manifest.get("as_of")
        if theirs != dataset:
            return f"dataset={theirs}, not {dataset}"
        return None if at in (None, when) else f"at={when}, not {at}"

    return unlike


def _write(cfg: told.Segments, prepared: Prepared, found: Segments, out: Path, unlike: Unlike | None) -> None:
    with atomic_folder(out, KIND, unlike) as folder:
        pq.write_table(found.table, folder / "segments.parquet")
        write_sheet(found.table, folder / "segments.csv")
        write_sheet(found.movement, folder / "movement.csv")
        write_json(folder / "segments.json", {**found.about, "rules": asdict(cfg.segmentation)})
        _sign(prepared, found.about["as_of"], folder)


def _write_none(cfg: told.Segments, prepared: Prepared) -> None:
    """A folder that says that there are none: a pipeline waits for it, and what reads segments goes on without."""
    out = check_target(cfg.out or cfg.paths.segments / cfg.dataset.name, KIND, _unlike(prepared.name, None))
    with atomic_folder(out, KIND, _unlike(prepared.name, None)) as folder:
        _sign(prepared, None, folder)
    log.warning("no segments: they are as of an instant, and dataset=%s has no times", prepared.name)


def _sign(prepared: Prepared, as_of: str | None, folder: Path) -> None:
    about = {
        "format_version": 1,
        "kind": KIND,
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "as_of": as_of,
        "erasure_list": prepared.erasure_list,
        "commit": context.git_commit(),
        "files": sha256_tree(folder),
    }
    write_json(folder / "manifest.json", sealed(about))


def _say(found: Segments, out: Path) -> None:
    rows = []
    before: Counter[tuple[str, str]] = Counter()
    for row in found.movement.to_pylist():
        before[row["segmentation"], row["before"]] += row["customers"]
    for name in SEGMENTATIONS:
        for profile in found.about["profiles"].get(name, []):
            who = profile["who"]
            money = who.get("money_share")
            rows.append([name.replace("_", " "), profile["segment"], f"{who['customers']:,}", f"{who['share']:.1%}",
                         "" if money is None else f"{money:.1%}", f"{before[name, profile['segment']]:,}"])  # fmt: skip
    since = found.about["movement_since"][:10]
    print(show.table(["segmentation", "segment", "customers", "of all", "of the money", f"on {since}"], rows))
    clusters = found.about["clusters"]
    if not clusters["number"]:
        log.warning("no groups of customers who are alike: %s", clusters["reason"])
    elif not clusters["stable"]:
        best = clusters["stability"][str(clusters["number"])]["stability"]
        log.warning(
            "clusters: other customers, or those of then, give other groups (%s of them have an adjusted Rand index of "
            "%.2f): take them for a picture, not for facts",
            clusters["number"],
            best,
        )
    log.info("as of %s; segments: %s", found.about["as_of"], context.relative(out))
