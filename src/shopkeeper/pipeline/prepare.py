"""`prepare`: raw events -> prepared dataset -> split and its audit. What is there already is not made again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_file, sha256_json
from shopkeeper.pipeline import context
from shopkeeper.sequences.prepared import Prepared, Split
from shopkeeper.timeline.spec import TIMED

log = logging.getLogger(__name__)


def prepare(config: DictConfig) -> None:
    """The verb: prepare the dataset and the split of a config, print what was kept, rejected and found."""
    cfg = context.plain(config)
    prepared = prepare_data(cfg)
    check_files(prepared.path, hashes=True)
    manifest = prepared.manifest
    log.info("%s: %s events, %s users, %s items in %s", prepared.name, f"{manifest['n_events']:,}",
             f"{prepared.n_users:,}", f"{prepared.n_items:,}", prepared.path)  # fmt: skip
    for row in manifest.get("filters") or []:
        log.info("  %s", ", ".join(f"{k} {v}" for k, v in row.items()))
    rejected = manifest.get("rejected") or {}
    for reason, count in rejected.items() if isinstance(rejected, Mapping) else []:
        log.info("  rejected %s: %s (see rejected.parquet)", count, reason)
    for rule, done in (manifest.get("changes") or {}).items():
        log.info("  %s: %s", rule, done)
    if cfg["task"]["name"] == "next_item":
        split = prepare_split(cfg, prepared)
        counts = split.timeline.get("n_requests", {})
        log.info("%s (%s): %s requests; target hash %s", split.name, split.protocol, counts, split.target_hash()[:12])


def prepare_data(config: Mapping[str, Any]) -> Prepared:
    """Open the prepared dataset of a config, making it when it is missing or was made from another config."""
    folder, spec = context.prepared_folder(config), context.dataset_spec(config)
    if not _up_to_date(folder, spec):
        _make(config, spec, folder)
    check_files(folder)
    return Prepared.open(folder)


def _make(config: Mapping[str, Any], spec: Mapping[str, Any], folder: Path) -> None:
    """Prepare from the raw files, or, with `extend=<prepared folder>`, read only the files that are new."""
    from shopkeeper.events.consent_rules import customer_rules
    from shopkeeper.events.extend import extend_dataset
    from shopkeeper.events.prepare import prepare_dataset

    raw, progress = Path(config["paths"]["raw"]), bool(config.get("progress", True))
    if config.get("extend"):
        log.info("extending %s", config["extend"])
        extend_dataset(Path(config["extend"]), spec, raw, folder, progress=progress)
        return
    log.info("preparing %s", spec["name"])
    change = customer_rules(spec, raw)
    prepare_dataset(spec, raw, folder, progress=progress, change=change, engine=config.get("engine"))


def check_files(folder: Path, hashes: bool = False) -> None:
    """Every file that the manifest of a prepared folder lists is there and, with `hashes`, has its bytes of then."""
    listed = read_json(folder / "manifest.json").get("files") or {}
    for name, digest in listed.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; delete {folder} and run `python prepare.py` again")
        if hashes and sha256_file(folder / name) != digest:
            raise UserError(
                f"{folder / name} was changed or damaged after it was prepared (SHA-256 differs); "
                f"delete {folder} and run `python prepare.py` again"
            )


def prepare_split(config: Mapping[str, Any], prepared: Prepared) -> Split:
    """Write (or find) the split of a config and audit it."""
    from shopkeeper.events.splits import write_split

    kind = config["split"].get("kind") or config["split"]["name"]
    if kind in TIMED and prepared.events.timestamp is None:
        raise UserError(
            f"split={config['split']['name']} needs time stamps and dataset={prepared.name} has only an order; "
            f"use split=leave_one_out or split=held_out_users"
        )
    path = write_split(prepared, context.split_spec(config))
    split = Split.open(prepared, path)
    if config.get("audit") == "full":
        from shopkeeper.events.audit import audit_by_perturbation

        log.info("audit=full: %s", audit_by_perturbation(prepared, split, features_at_training_cutoff(split)))
    return split


def _up_to_date(folder: Path, spec: Mapping[str, Any]) -> bool:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    found = read_json(manifest)
    if not isinstance(found, dict) or found.get("kind") != "prepared":
        raise UserError(f"{folder} holds something else than a prepared dataset; move it away or set paths.prepared")
    return bool(sha256_json(found.get("config")) == sha256_json(spec))


def features_at_training_cutoff(split: Split) -> dict[str, Callable[[Prepared], np.ndarray]]:
    """What the full audit perturbs the future of, besides rows and catalogue: the customers' features at the cutoff."""
    cutoffs = split.timeline.get("cutoffs") or {}
    if "validation" not in cutoffs:
        return {}
    from shopkeeper.customers.cohorts import build_cohort

    cutoff = int(cutoffs["validation"]["us"])

    def features(prepared: Prepared) -> np.ndarray:
        return build_cohort(prepared, cutoff, horizon_days=1, active_days=None, labels=False).features

    return {"customer features": features}
