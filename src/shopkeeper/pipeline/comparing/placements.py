"""Runs as a place of the shop uses them (`placement=…`): asked its requests, with its filter, order and fallback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, nearest
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.baselines import answered, like_run, missing_baselines
from shopkeeper.pipeline.comparing.order_audit import audit_steps
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.told import Evaluate
from shopkeeper.reranking.settings import Placement
from shopkeeper.reranking.steps import steps_of
from shopkeeper.timeline import SplitSpec
from shopkeeper.timeline.spec import KINDS

log = logging.getLogger(__name__)


def check_placement(place: Placement) -> None:
    """A `UserError` for a step, a model or a setting of the split that a placement cannot have."""
    for name, steps in (("filter", place.filter), ("rerank", place.rerank)):
        steps_of(steps, f"placement.{name}")
    known = KINDS["temporal"]
    for key in place.split.plain:
        if key not in known:
            raise UserError(f"placement.split has no setting '{key}'.{nearest(key, known)}")
    SplitSpec.from_config({"name": "temporal", "target_events": ["purchase"], **place.split.given})
    context.check_recommenders(place.fallback, "placement.fallback")
    context.check_recommenders(place.baselines, "placement.baselines")


def placed_runs(cfg: Evaluate, runs: Sequence[RunFolder], folder: Path) -> list[RunFolder]:
    """Runs in `folder` of the recommenders and of the baselines, each asked as at the config's placement.

    They bear the model's name; where the place has an order of its own (`rerank`), `<model>+<place>` answers in it, so
    that their difference is what it costs; baselines that were added for the table do not.

    Raises:
        UserError: the split has no such requests, the place names a model of which there is no run.
    """
    place = cfg.placement
    assert place is not None
    check_placement(place)
    if cfg.rerank:
        raise UserError(f"placement={place.name} has an order of its own; set placement.rerank, and leave rerank out")
    report = replace(cfg.report, baselines={**cfg.report.baselines, **place.baselines})
    baselines = {m.name for m in (*report.baselines.values(), *report.shop_baselines.values())}
    have = [str(run.metrics["model"]) for run in runs]
    if missing := [name for name in place.models or () if name not in {*have, *baselines}]:
        raise UserError(
            f"placement={place.name} is for {missing[0]}, of which there is no run; train it, or set placement.models."
            f"{nearest(missing[0], have)}"
        )
    there = [*runs, *missing_baselines(replace(cfg, report=report), runs, folder / "trained")]
    wanted = {*place.models, *baselines} if place.models else None
    how = ", ".join(f"split.{key}={value}" for key, value in place.split.given.items()) or "as in training"
    log.info("placement=%s asks with %s", place.name, how)
    made = []
    for number, run in enumerate(r for r in there if wanted is None or r.metrics["model"] in wanted):
        split = _asked(cfg, run, place)
        said = {"split": split.name, "target_hash": split.target_hash()}
        asked = replace(
            run, metrics={**run.metrics, **said, "split": run.metrics["split"]}, manifest=run.manifest | said
        )
        in_order = bool(place.rerank) and run.metrics["model"] in (place.models or have)  # not those of the table alone
        for order in ((), place.rerank) if in_order else ((),):
            name = f"{run.metrics['model']}+{place.name}" if order else str(run.metrics["model"])
            config = {**run.config, "placement": _settings(place) | {"rerank": list(order)}}
            model = replace(asked, config=config).model()
            audit_steps(model.first, name, split)
            tables: dict[str, pa.Table] = {}
            if run.metrics["model"] in baselines and len(split.part("validation")[0]):
                tables["validation"] = answered(cfg, asked, split, model, name, "validation")
            tables["test"] = answered(cfg, asked, split, model, name, "test")
            made.append(like_run(cfg, asked, model, name, config, tables, folder / f"{number}-{name}"))
    return made


def _settings(place: Placement) -> dict[str, Any]:
    """What a run's config keeps of a placement: all that its answers follow from."""
    kept = ("name", "candidates", "filter", "fallback")
    return {key: value for key, value in place.plain.items() if key in kept}


def _asked(cfg: Evaluate, run: RunFolder, place: Placement) -> Split:
    """The requests of a placement: the run's split, with the same training rows, asked otherwise."""
    from shopkeeper.splits.write import write_split

    prepared = context.prepared_of(run.manifest)
    split = Split.named(prepared, str(run.manifest["split"]))
    spec: Mapping[str, Any] = split.timeline["spec"]
    if strange := [key for key in place.split.given if key not in KINDS[spec["kind"]]]:
        raise UserError(
            f"placement={place.name} asks with split.{strange[0]}={place.split.given[strange[0]]}, which a split of "
            f"{spec['kind']} has not; train with split=temporal"
        )
    if place.split.given:
        asked = SplitSpec.from_config({**spec, **place.split.given})
        split = Split.open(prepared, write_split(prepared, asked, _real_users(cfg, prepared)))
    return split.until_test() if run.manifest.get("refit") else split


def _real_users(cfg: Evaluate, prepared: Prepared) -> Callable[[], pa.Array] | None:
    """As `preparing.split.real_users`: the target hash is over ids before pseudonyms."""
    if "pseudonyms" not in (prepared.manifest.get("changes") or {}):
        return None

    def read() -> pa.Array:
        from shopkeeper.people.real_users import real_user_ids

        return real_user_ids(prepared, cfg.paths.raw)

    return read
