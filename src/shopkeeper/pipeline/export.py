"""`export`: a finished run -> the bundle that a serving team receives, proven against the trained model."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.placements import Place
from shopkeeper.bundles.write.seal import another
from shopkeeper.configuration import added_folder, main_folder
from shopkeeper.customers.window import ALIVE
from shopkeeper.errors import UserError, nearest
from shopkeeper.folders import check_target
from shopkeeper.pipeline import context, places
from shopkeeper.pipeline.comparing.choose import leaders
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.handed.register import register
from shopkeeper.pipeline.runs import RunFolder, open_run, say_contradictions
from shopkeeper.pipeline.told import CALIBRATION_GATE, Export, settings
from shopkeeper.reranking.settings import Placement
from shopkeeper.shapes import Yaml
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.tracking.settings import Tracking

log = logging.getLogger(__name__)


def export(config: DictConfig) -> None:
    """The verb: write `exports/<name>/` from `run=…` (default: the run trained last) and verify it.

    With `run=best` the run that leads on validation, of every task or of the one that `task=…` names:
    `exports/<name>/<task>/`. One that may not be exported is held back alone, and the command ends with why.
    """
    from shopkeeper.bundles.answer.verify import verify
    from shopkeeper.pipeline.comparing.judged import judged

    cfg = settings(config, Export)
    named, exports = context.named_targets(), cfg.paths.exports
    options: dict[str, Any] = {
        "k": cfg.k,
        "golden": cfg.golden,
        "overwrite": cfg.overwrite,
        "calibration_gate": cfg.calibration_gate,
        "places": named_places(cfg.placement, cfg.placements),
    }
    if str(cfg.run) == context.BEST:
        best = leaders(cfg, named)
        say_contradictions(cfg.plain, [chosen.run for chosen in best])
        made, held_back = list[Path](), dict[str, str]()
        for chosen in best:
            name = cfg.name or f"{chosen.run.metrics['dataset']}-{context.BEST}"
            out = exports / bundle_name(f"{name}/{chosen.run.task}", chosen.run)
            known = judged(chosen.run, cfg.paths.reports)
            try:
                context.say_if_raw_changed(chosen.run.manifest, cfg.paths.raw)
                out = export_run(chosen.run, out, chosen=chosen.facts, judged=known, **options)
            except UserError as e:  # of this task; the others' models are as good as without it
                stays = f"; {context.relative(out)} is the bundle of before" if out.is_dir() else ""
                held_back[chosen.run.task] = f"{e}{stays}"
                continue
            log.info("%s", chosen.said)
            log.info("%s", verify(out))
            register(tracking_of(cfg, chosen.run), chosen.run, out)
            made.append(out)
        _say_next(made)
        _raise_held_back(held_back, len(best))
        return
    root = cfg.paths.runs
    place = places.meant(cfg.run, root, cfg.plain)
    run = open_run(place, named)
    say_contradictions(cfg.plain, [run])
    context.say_if_raw_changed(run.manifest, cfg.paths.raw)
    out = export_run(run, exports / bundle_name(cfg.name, run), judged=judged(run, cfg.paths.reports), **options)
    log.info("%s", verify(out))
    register(tracking_of(cfg, run), run, out)
    _say_next([out])


def tracking_of(cfg: Export, run: RunFolder) -> Tracking:
    """The store with the experiment that a run without one there belongs to.

    The settings name it after their own dataset and task, by default; the run may be of others.
    """
    usual = f"{cfg.dataset.name}-{'task' if cfg.task is None else cfg.task.name}"
    if cfg.tracking.experiment != usual:  # somebody's own name
        return cfg.tracking
    return replace(cfg.tracking, experiment=f"{run.metrics['dataset']}-{run.task}")


def _raise_held_back(held_back: Mapping[str, str], of: int) -> None:
    """A `UserError` where a task's leader was not exported: of each why, the others are there."""
    if held_back:
        message = "; ".join(held_back.values() if of == 1 else (f"{task}: {why}" for task, why in held_back.items()))
        if of == 1:
            raise UserError(message)
        raise UserError(f"{of - len(held_back)} of {of} tasks are exported, not these: {message}")


def _say_next(bundles: Sequence[Path]) -> None:
    if not bundles:
        return
    words = [f"shopkeeper verify {shlex.quote(context.relative(bundle))}" for bundle in bundles]
    log.info("next: %s", " && ".join(words))


def bundle_name(name: Any, run: RunFolder) -> str:
    """The folder below `exports/`: as told, else after the dataset and the model of the run."""
    if name is None:
        return f"{run.metrics['dataset']}-{run.metrics['model']}"
    if not re.fullmatch(r"\w[\w .+-]*(/\w[\w .+-]*)*", str(name)):
        raise UserError(
            f"name='{name}' names no folder below paths.exports; give a plain name such as name=shop-sasrec"
        )
    return str(name)


def export_run(
    run: RunFolder,
    out: Path,
    *,
    k: int = 10,
    golden: int = 100,
    overwrite: bool = False,
    calibration_gate: float | None = CALIBRATION_GATE,
    places: Sequence[Placement] = (),
    chosen: Yaml | None = None,
    judged: Yaml | None = None,
) -> Path:
    """Write the bundle of a run, whichever its task.

    `chosen`: how it was found among others; `judged`: how it did beside the strongest baseline.
    """
    from shopkeeper.bundles.write import export_bundle

    if thin := run.manifest.get("too_thin"):
        raise UserError(f"{run.path} has no scores to export: {thin}; train it on more data")
    check_calibration(run, calibration_gate)
    facts = made_from(run, chosen, judged)
    unlike = None if overwrite else another(facts, str(run.metrics["dataset"]))
    out = check_target(out, "bundle", unlike)
    prepared = context.prepared_of(run.manifest)
    asked = form_of(run.about, run.told.dataset).asked_of(run, prepared)
    model = run.model()
    if run.about.asks != REQUESTS:
        places = ()  # of the best of each task, which recommends nothing
    placed = {place.name: Place(place, run.placed(model, place)) for place in places}
    return export_bundle(model, prepared, asked, facts, out, k=k, golden=golden, overwrite=overwrite, places=placed)


def check_calibration(run: RunFolder, gate: float | None) -> None:
    """A `UserError` where a run's probabilities are significantly worse calibrated than the gate.

    Who is still a customer is left alone: no log shows who has left, and orders, which those figures are of, are
    another question.
    """
    truth = run.about.truth
    ece = (run.metrics.get("test") or {}).get("ece")
    if gate is None or ece is None or ece["low"] is None or truth is None or truth.of == ALIVE:
        return
    if ece["low"] > gate:
        raise UserError(
            f"{run.path} is not exported: what it promises and what came are {ece['value']:.3f} apart in the mean (ECE "
            f"on test, {ece['low']:.3f} to {ece['high']:.3f}), surely more than calibration_gate={gate:g}; export "
            f"another model, have a later cohort calibrate it (evaluation.refit=false), or set calibration_gate=null"
        )


def named_places(placement: Placement | None, names: Sequence[str]) -> list[Placement]:
    """The placement with what the command line says of it, and the others as `conf/placement/` has them."""
    from shopkeeper.pipeline.comparing.placements import check_placement
    from shopkeeper.pipeline.stages.compose import composed

    found = [] if placement is None else [placement]
    folders = [folder / "placement" for folder in (main_folder(), added_folder()) if folder is not None]
    there = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    for name in names:
        if name not in there:
            raise UserError(f"there is no placement '{name}'.{nearest(name, there)}")
        if name not in [place.name for place in found]:
            place = settings(composed("export", [f"placement={name}"]), Export).placement
            assert place is not None
            found.append(place)
    for place in found:
        check_placement(place)
    return found


def made_from(run: RunFolder, chosen: Yaml | None = None, judged: Yaml | None = None) -> MadeFrom:
    """What the bundle's manifest says about the run it was made from."""
    manifest, metrics = run.manifest, run.metrics
    return MadeFrom(
        model=str(metrics["model"]),
        task=run.task,
        seed=metrics["seed"],
        filter_seen=bool(metrics["filter_seen"]),
        commit=manifest.get("commit"),
        split=manifest.get("split"),
        protocol=manifest.get("protocol"),
        target_hash=manifest.get("target_hash"),
        metrics=metrics,
        chosen=chosen,
        judged=judged,
        cutoff=manifest.get("trained_until"),
        windows=manifest.get("windows"),
        currency=(run.config.get("dataset") or {}).get("currency"),
        refit=bool(manifest.get("refit")),
    )
