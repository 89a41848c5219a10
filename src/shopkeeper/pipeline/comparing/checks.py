"""What belongs beside recommenders' figures: does order matter, how far apart splits and seeds are. `sanity.json`."""

from __future__ import annotations

import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, nearest
from shopkeeper.features.customer.declared import USUAL
from shopkeeper.files import sha256_json
from shopkeeper.pipeline import places
from shopkeeper.pipeline.comparing.commands import train_also
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import Evaluate, Train

log = logging.getLogger(__name__)


def sanity_of(
    cfg: Evaluate,
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    headline: str,
    split: Split,
    boards: Mapping[str, Any],
) -> dict[str, Any]:
    """All checks of a board as JSON; the report has them as a section."""
    from shopkeeper.evaluation.alarms.sanity import missing_baselines
    from shopkeeper.evaluation.table import oracle_of

    task = next(iter(runs.values())).task
    models = [(board["uses_instant"], model) for board in boards["boards"] for model in board["models"]]
    options: dict[str, Any] = {k: getattr(cfg.evaluation, k) for k in ("confidence", "resamples", "smallest_effect")}
    rivals = {name: run for name, run in runs.items() if not oracle_of(tables[name])}
    again = _to_retrain(cfg.report.retrain, runs)
    asked = rivals if cfg.report.shuffle else {}
    shuffled = _orders_worth(asked, tables, headline, split, options, retrain=False)
    retrained = _orders_worth({name: runs[name] for name in again}, tables, headline, split, options, retrain=True)
    return {
        "missing_baselines": missing_baselines(list(runs), lambda model: shlex.join(train_also(cfg, task, model))),
        "notes": boards["notes"],
        "checks": boards["sanity"],
        "uses_instant": [model["name"] for uses_instant, model in models if uses_instant],
        "like_the_best": [model["name"] for _, model in models if model["like_the_best"]],
        "coverage_curves": {model["name"]: model["coverage_curve"] for _, model in models if model["coverage_curve"]},
        "shuffled": shuffled,
        "retrained": retrained,
        "split_gap": _split_gap(cfg, rivals, tables, headline),
        "seeds": over_seeds_of(runs, tables, headline, float(options["confidence"])),
    }


def _to_retrain(wanted: Sequence[str], runs: Mapping[str, RunFolder]) -> list[str]:
    """Names of runs, from names of runs or of models; a model with several seeds is trained again with its first."""
    found = []
    for name in wanted:
        own = [run for run in runs if run == name] or [n for n, run in runs.items() if run.metrics["model"] == name]
        if not own:
            raise UserError(f"report.retrain: there is no run '{name}'.{nearest(name, list(runs))}")
        found.append(min(own, key=lambda n: int(runs[n].metrics["seed"])))
    return list(dict.fromkeys(found))


def _orders_worth(
    runs: Mapping[str, RunFolder],
    tables: Mapping[str, pa.Table],
    metric: str,
    split: Split,
    options: Mapping[str, Any],
    *,
    retrain: bool,
) -> dict[str, dict[str, Any]]:
    """What models lose when the items of each history are shuffled: comparisons of one family, or `{"not_run": why}`.

    A positive `difference` is what the order was worth.
    """
    from shopkeeper.evaluation.alarms.sanity import asked_without_order, orders_worth

    mixed, not_run = {}, {}
    for name, run in runs.items():
        try:
            model = _trained_without_order(run, split) if retrain else run.model()
            mixed[name] = asked_without_order(model, tables[name], split, metric)
        except UserError as e:
            not_run[name] = {"not_run": str(e)}
    found = {name: c.as_dict() for name, c in orders_worth(mixed, tables, metric, **options).items()}
    return {name: found.get(name) or not_run[name] for name in runs}


def _trained_without_order(run: RunFolder, split: Split) -> Any:
    """The run's model, trained again with its own settings on training rows in random order; nothing of it is kept."""
    from shopkeeper.evaluation.alarms.sanity import shuffled_training

    if start := run.config.get("init_from"):
        raise UserError(
            f"it started from the weights of {start}, which have seen the order; train it without init_from"
        )
    log.info("training %s again on shuffled histories", run.metrics["model"])
    mixed = shuffled_training(split, int(run.config["seed"]))
    with tempfile.TemporaryDirectory() as folder:
        model = run.untrained()
        model.fit(mixed.prepared, mixed, fit_of(run.told, split, Path(folder)))
    return model


def fit_of(told: Train, split: Split, folder: Path) -> Any:
    """How a run was told that a model is trained; what can be resumed lies in `folder`.

    In one process: others would read the split from disk, not the one that is in memory. With a plan of its own: that
    of the config was made for the run's machine.
    """
    from shopkeeper.models.fit import Fit
    from shopkeeper.training.config import PlanByHand

    return Fit(
        seed=told.seed,
        folder=folder,
        trainer=replace(told.trainer, devices=1, plan=PlanByHand()),
        target_events=tuple(split.timeline["spec"].get("target_events") or Fit.target_events),
        filter_seen=bool(told.dataset.filter_seen),
        progress=False,
    )


def _split_gap(
    cfg: Evaluate, runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], metric: str
) -> dict[str, Any] | None:
    """Leave-one-out against temporal where models have runs on both, else how to make them; None: no such pair.

    Of a model with several runs the one with the lowest seed is taken, of those on the other split trained last; runs
    of other data (another fingerprint) are none.
    """
    from shopkeeper.evaluation.alarms.sanity import split_gap

    if not runs or cfg.placement is not None:
        return None
    some = next(iter(runs.values()))
    pair = ("leave_one_out", "temporal")
    if some.metrics["split"] not in pair:
        return None
    other = pair[1 - pair.index(some.metrics["split"])]
    of = {"dataset": cfg.dataset.name, "split": other, "task": some.task}
    where = f"below {cfg.paths.runs} of {', '.join(f'{key}={value}' for key, value in of.items())}"
    options: dict[str, Any] = {k: getattr(cfg.evaluation, k) for k in ("confidence", "resamples")}
    try:
        same = some.manifest["dataset_fingerprint"]
        siblings = [open_run(run.path, some.named) for run in places.to_compare(cfg.paths.runs, of)]
        ours = {str(r.path): r for r in siblings if r.manifest["dataset_fingerprint"] == same}
        there = _one_per_model(ours)
        here = {model: tables[name] for model, name in _one_per_model(runs).items() if model in there}
        if here:
            others = {model: ours[there[model]].table("test") for model in here}
            return split_gap(*((here, others) if other == "temporal" else (others, here)), metric, **options)
        if siblings and not there:
            return {"not_run": f"the runs {where} were trained on other data (fingerprints differ); train again"}
    except UserError as e:  # a damaged run of the other split is no reason to go without a report of this one
        return {"not_run": str(e)}
    model = some.metrics["model"]
    command = shlex.join(train_also(cfg, some.task, model, other))
    return {"not_run": f"no model has a run on {other}; `{command}` makes one"}


def _one_per_model(runs: Mapping[str, RunFolder]) -> dict[str, str]:
    """Model -> name of its run with the lowest seed."""
    found: dict[str, str] = {}
    for name in sorted(runs, key=lambda n: int(runs[n].metrics["seed"])):
        found.setdefault(str(runs[name].metrics["model"]), name)
    return found


def _has_values(table: pa.Table, metric: str) -> bool:
    from shopkeeper.evaluation.table import values_of

    return metric in table.column_names and not bool(np.isnan(values_of(table, metric)).all())


def over_seeds_of(
    runs: Mapping[str, RunFolder], tables: Mapping[str, pa.Table], metric: str, confidence: float = 0.95
) -> dict[str, Any]:
    """Mean and spread of each model that is there with several seeds and otherwise the same settings.

    By model; where it is there with several settings, by the name of the first run of each. `runs`: their names by
    seed. `ahead_of`: by other such model, the difference to it, with an interval for new users and new seeds of both;
    the intervals of all pairs of such models hold together. `too_few`: what a reader must know where there are few
    seeds, else None.
    """
    from shopkeeper.evaluation.seeds import difference_over_seeds, over_seeds, too_few

    alike: dict[str, dict[int, str]] = {}
    for name, run in runs.items():
        trainer = {k: v for k, v in run.config.get("trainer", {}).items() if k != "plan"}  # rounding alone
        of_run = {"trainer": trainer, "features": run.manifest.get("features", USUAL.hash)}
        settings = sha256_json({k: run.config.get(k) for k in ("model", "init_from")} | of_run)
        alike.setdefault(f"{run.metrics['model']}\n{settings}", {})[int(run.metrics["seed"])] = name
    groups = [
        (key.partition("\n")[0], dict(sorted(of_seed.items())))
        for key, of_seed in alike.items()
        if len(of_seed) > 1
        and all(_has_values(tables[n], metric) for n in of_seed.values())  # AUROC is no mean over rows
    ]
    models = [model for model, _ in groups]
    several = {
        model if models.count(model) == 1 else next(iter(by_seed.values())): by_seed for model, by_seed in groups
    }
    found, family = {}, max(1, len(several) * (len(several) - 1) // 2)
    for model, by_seed in several.items():
        own = [tables[name] for name in by_seed.values()]
        ahead = {
            other: difference_over_seeds(
                [tables[n] for n in theirs.values()], own, metric, confidence, family
            ).as_dict()
            for other, theirs in several.items()
            if other != model
        }
        found[model] = over_seeds(own, metric, confidence).as_dict() | {
            "seeds": [str(seed) for seed in by_seed],
            "runs": list(by_seed.values()),
            "confidence": confidence,
            "too_few": too_few(len(by_seed)),
            "ahead_of": ahead,
        }
    return found
