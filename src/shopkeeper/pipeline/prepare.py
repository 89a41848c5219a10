"""`prepare`: raw events -> prepared dataset -> split and its audit. What is there already is not made again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from omegaconf import DictConfig

from shopkeeper import configuration
from shopkeeper.data.prepared import HASHED_RAW, Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, sha256_json
from shopkeeper.folders import check_target
from shopkeeper.ingest.matches import as_line, doubtful, matches_of
from shopkeeper.ingest.raw import raw_changes
from shopkeeper.locks import alone
from shopkeeper.pipeline import context
from shopkeeper.pipeline.told import Data, Prepare, TaskSettings, settings
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.timeline import DAY, SplitSpec, customer_windows, iso
from shopkeeper.timeline.observation import head_line, tail_line
from shopkeeper.timeline.spec import TIMED

log = logging.getLogger(__name__)
LOPSIDED = 10  # times more requests in one part than in the other are worth a word
WORTH_A_WORD = 0.05  # share of requests without a history because of ties


def prepare(config: DictConfig) -> None:
    """The verb: prepare the dataset and the split of a config, print what was kept, rejected and found."""
    cfg = settings(config, Prepare)
    prepared = prepare_data(cfg)
    manifest = prepared.manifest
    log.info("%s: %s events, %s users, %s items in %s", prepared.name, f"{manifest['n_events']:,}",
             f"{prepared.n_users:,}", f"{prepared.n_items:,}", prepared.path)  # fmt: skip
    from shopkeeper.arrange.filters import as_lines

    for line in as_lines(manifest.get("filters") or []):
        log.info("  %s", line)
    rejected = manifest.get("rejected") or {}
    for reason, count in rejected.items() if isinstance(rejected, Mapping) else []:
        log.info("  rejected %s: %s (see rejected.parquet)", count, reason)
    for doubt in manifest.get("id_doubts") or []:
        log.info("  %s", doubt)
    if (again := manifest.get("sent_again")) and not (manifest["config"].get("filters") or {}).get("repeats"):
        log.info("  %s lines repeat a line of their order (item, quantity and price are equal) and are counted; where "
                 "pages were loaded again, `filters: {repeats: {seconds: 3600}}` drops them", f"{again:,}")  # fmt: skip
    for rule, done in (manifest.get("changes") or {}).items():
        log.info("  %s: %s", rule, {k: v for k, v in done.items() if k != "match"})
    for match in matches_of(manifest):
        if not doubtful(match):
            log.info("  %s", as_line(match))
    if context.known_per_cutoff(cfg):
        _prepare_cutoffs(cfg, prepared)
    from shopkeeper.pipeline.forms import form_of, task_of

    form_of(task_of(cfg)).prepare(cfg, prepared)


def _prepare_cutoffs(config: Data, prepared: Prepared) -> None:
    """The dataset as it was known at each cutoff that a split or a customer model of this config asks about."""
    from shopkeeper.pipeline.forms import task_of

    instants = set()
    if prepared.events.timestamp is not None or task_of(config).asks == REQUESTS:
        instants.add(training_cutoff(config, prepared))
    for task in configuration.names("task"):
        if prepared.events.timestamp is not None and config.dataset.get(task):
            spec = context.customer_spec(replace(config, task=TaskSettings(task)))
            instants |= {t for cutoffs in customer_windows(spec, *prepared.span).parts.values() for t in cutoffs}
    for instant in sorted(instants):
        found = prepare_data(config, instant)
        done = found.manifest["changes"]["identity"]
        log.info("  as of %s: %s links known, %s users -> %s", iso(instant), done["links_known"], done["users_before"],
                 done["users_after"])  # fmt: skip


def prepare_data(config: Data, as_of: int | None = None) -> Prepared:
    """Open the prepared dataset of a config, making it when it is missing or was made from another config.

    Where customers' keys are joined as of each cutoff, `as_of` (µs) gives the dataset as it was known then, in
    `as_of/<instant>/` below the other; without it every key is a customer of its own.
    """
    folder = context.prepared_folder(config)
    if as_of is None:
        spec, span = context.dataset_spec(config), None
    else:
        spec, span = context.dataset_spec(config, as_of), prepare_data(config).span
        folder = folder / "as_of" / iso(as_of).replace(":", "")
    raw = config.paths.raw
    if _stale(folder, spec, raw, span):
        folder = check_target(folder, "prepared")  # before the log is read
        with alone(folder, lambda: log.info("another process is preparing %s; waiting for it", folder)):
            reason = _stale(folder, spec, raw, span)  # whoever was first has done it
            if reason:
                log.info("%s: %s", folder, reason)
                _make(config, spec, folder, span)
    elif (extend := _extends(config)) and as_of is None:
        log.info("extend=%s adds nothing: %s holds all its files already", extend, folder)
    prepared = Prepared.open(folder)
    for match in matches_of(prepared.manifest):
        if doubtful(match):
            _warn_once(as_line(match))
    return prepared


@cache
def _warn_once(line: str) -> None:
    """A command opens a dataset several times."""
    log.warning("%s", line)


def prepare_to_train(config: Data) -> tuple[Prepared, Split]:
    """The dataset as a recommender may know it at the training cutoff of its split, and that split."""
    prepared = prepare_data(config)
    if context.known_per_cutoff(config):
        prepared = prepare_data(config, training_cutoff(config, prepared))
    return prepared, prepare_split(config, prepared)


def training_cutoff(config: Data, prepared: Prepared) -> int:
    """When training data ends, µs: the validation cutoff, or the end of the log where the split is not by time."""
    _check_times(config, prepared)
    if prepared.events.timestamp is None:
        raise UserError(
            f"dataset={prepared.name} has only an order, so its keys cannot be joined as of a cutoff; "
            f"set dataset.identity.as_of to a date"
        )
    spec = SplitSpec.from_config(context.split_spec(config))
    return prepared.cutoffs(spec).validation if spec.timed else prepared.span[1] + 1


def _make(config: Data, spec: Mapping[str, Any], folder: Path, log_span: tuple[int, int] | None = None) -> None:
    """Prepare from the raw files, or, with `extend=<prepared folder>`, read only the files that are new."""
    from shopkeeper.arrange.extend import extend_dataset
    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.people.rules import customer_rules

    raw, progress = config.paths.raw, config.progress
    if (extend := _extends(config)) and log_span is None:
        log.info("extending %s", extend)
        extend_dataset(extend, spec, raw, folder, progress=progress)
        return
    log.info("preparing %s%s", spec["name"], "" if log_span is None else f" as of {spec['identity']['as_of']}")
    change = customer_rules(spec, raw)
    engine = config.engine
    prepare_dataset(spec, raw, folder, progress=progress, change=change, engine=engine, log_span=log_span)


def _extends(config: Data) -> Path | None:
    """The prepared folder that this command adds to: only `prepare` knows such a thing."""
    return config.extend if isinstance(config, Prepare) else None


def prepare_split(config: Data, prepared: Prepared) -> Split:
    """Write (or find) the split of a config and audit it."""
    from shopkeeper.splits.write import write_split

    _check_times(config, prepared)
    path = write_split(prepared, context.split_spec(config), real_users(config, prepared))
    split = Split.open(prepared, path)
    _say_windows(config, prepared, split)
    _say_ties(prepared, split)
    if config.audit == "full":
        from shopkeeper.splits.audit import audit_by_perturbation

        log.info("audit=full: %s", audit_by_perturbation(prepared, split, features_at_training_cutoff(split)))
    return split


def say_ends(config: Data, prepared: Prepared, customers: bool, end: int | None = None) -> None:
    """Warn where a few events far from all others decide where windows lie, unless their `end` is set (µs)."""
    tail, head = (prepared.observation.get(key) for key in ("tail", "head"))
    if tail and end is None:
        _warn_once(tail_line(prepared.name, tail, tail["border"] - (DAY if customers else 0), prepared.zone))
    if head and customers and not context.customer_spec(config).observed_from:
        _warn_once(head_line(prepared.name, head, prepared.zone))


def _say_windows(config: Data, prepared: Prepared, split: Split) -> None:
    """Where windows end that do not end with the last event, and parts of very different size."""
    spec = SplitSpec.from_config(context.split_spec(config))
    if not spec.timed:
        return
    say_ends(config, prepared, customers=False, end=spec.end)
    cutoffs, n = prepared.cutoffs(spec), split.timeline["n_requests"]
    if cutoffs.end == prepared.observation.get("sliver"):
        log.info("%s: the last day is not whole, windows end at its midnight, %s", prepared.name, iso(cutoffs.end))
    if LOPSIDED * min(n.values()) < max(n.values()):
        _warn_once(
            f"split={spec.name}: {n['test']:,} requests for test from {iso(cutoffs.test)} on, {n['validation']:,} for "
            f"validation from {iso(cutoffs.validation)} on; if that is not meant, set split.test_days, "
            f"split.validation_days or split.end"
        )


def _say_ties(prepared: Prepared, split: Split) -> None:
    """Requests that no model can answer, because their whole history shares the target's instant."""
    share = max((split.timeline.get("emptied_by_ties_share") or {}).values(), default=0.0)
    if share >= WORTH_A_WORD:
        _warn_once(
            f"split={split.name}: {share:.0%} of the requests have an empty history, because all that came before "
            f"shares its instant with the target; give the times of {prepared.name} a time of day "
            f"(columns.timestamp: [date, time]), or take split=leave_one_out, which goes by the order of the file"
        )


def _check_times(config: Data, prepared: Prepared) -> None:
    kind = config.split.get("kind") or config.split["name"]
    if kind in TIMED and prepared.events.timestamp is None:
        raise UserError(
            f"split={config.split['name']} needs time stamps and dataset={prepared.name} has only an order; "
            f"use split=leave_one_out or split=held_out_users"
        )


def real_users(config: Data, prepared: Prepared) -> Callable[[], pa.Array] | None:
    """What gives the external ids behind a dataset's pseudonyms, from the raw log: the target hash is over these."""
    changes = prepared.manifest.get("changes") or {}
    if "pseudonyms" not in changes:
        return None

    def read() -> pa.Array:
        from shopkeeper.people.real_users import real_user_ids

        return real_user_ids(prepared, config.paths.raw)

    return read


def _stale(folder: Path, spec: Mapping[str, Any], raw: Path, log_span: tuple[int, int] | None = None) -> str | None:
    """Why a folder has to be prepared (anew): nothing there, another config, other raw files; None where it has not."""
    if not (folder / "manifest.json").is_file():
        return "nothing prepared there yet"
    found = read_json(folder / "manifest.json")
    if not isinstance(found, dict) or found.get("kind") != "prepared":
        raise UserError(f"{folder} holds something else than a prepared dataset; move it away or set paths.prepared")
    span = None if log_span is None else {"first": log_span[0], "last": log_span[1]}
    if sha256_json(found.get("config")) != sha256_json(spec) or found.get("log_span") != span:
        return "prepared from another config before"
    if found.get("format_version", 1) < HASHED_RAW:
        return "prepared by an older version before"
    return raw_changes(found, raw)


def features_at_training_cutoff(split: Split) -> dict[str, Callable[[Prepared], np.ndarray]]:
    """What the full audit perturbs the future of, besides rows and catalogue: the customers' features at the cutoff."""
    cutoffs = split.timeline.get("cutoffs") or {}
    if "validation" not in cutoffs:
        return {}
    from shopkeeper.customers.build_cohort import build_cohort

    cutoff = int(cutoffs["validation"]["us"])

    def features(prepared: Prepared) -> np.ndarray:
        return build_cohort(prepared, cutoff, horizon_days=1, active_days=None, labels=False).features

    return {"customer features": features}
