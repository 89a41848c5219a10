"""`train`: one model on one split; evaluated on validation while training, on test once at the end."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError
from shopkeeper.folders import Unlike, check_target
from shopkeeper.models.about import parts_in_words
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.comparing.commands import evaluate_next
from shopkeeper.pipeline.forms.checkpoints import checkpoint_folder, remember
from shopkeeper.pipeline.forms.fitting import TellEpoch
from shopkeeper.pipeline.forms.item_vectors import pinned
from shopkeeper.pipeline.forms.learn import Result, learn
from shopkeeper.pipeline.runs import RunFolder, remove_checkpoints, write_run
from shopkeeper.pipeline.shell.terminal import columns
from shopkeeper.pipeline.told import Train, but, settings
from shopkeeper.timeline import iso
from shopkeeper.tracking import Run
from shopkeeper.tracking.headings import over_seeds, parent_of
from shopkeeper.tracking.live import Live

log = logging.getLogger(__name__)
NOT_TOLD = (
    "files",
    "format_version",
    "kind",
    "mlflow_run",
    "mlflow_experiment",
    "checkpoint",
)  # of a manifest, to the tracker


def train(config: DictConfig) -> RunFolder:
    """The verb: train the model of a config, print its metrics, leave a run folder."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    cfg, hydra = settings(config, Train), HydraConfig.get()
    if cfg.init_from is not None:
        cfg = but(cfg, init_from=str(places.find(cfg.init_from, cfg.paths.runs)))
    cfg = pinned(cfg)
    told = Path(hydra.runtime.output_dir)
    said = any(word.startswith("hydra.run.dir=") for word in hydra.overrides.hydra)  # `.` is refused as any other place
    if (told == Path.cwd() and not said) or told == Path(hydra.sweep.dir).absolute():
        if cfg.name is not None and hydra.mode == RunMode.MULTIRUN:
            raise UserError(f"name={cfg.name} is one folder, and this sweep has several runs; leave name out")
        told = places.run_folder(cfg)
    heading, note = _sweep(cfg)
    run = train_model(cfg, told, heading)
    if heading is not None and note is not None:
        of = {"validation/": run.metrics.get("validation"), "test_": run.metrics.get("test")}
        values = {
            at + cfg.task.headline: (part or {}).get(cfg.task.headline, {}).get("value") for at, part in of.items()
        }
        figures = {name: float(value) for name, value in values.items() if value is not None}
        over_seeds(cfg.tracking, heading, note, cfg.seed, figures)
    with show.only_shown("the table of metrics"):
        print(show.metrics_table(run.metrics, columns()))
    log.info("run: %s", context.relative(run.path))
    if hydra.mode != RunMode.MULTIRUN:  # a sweep says so at its end
        log.info("next: %s", shlex.join(evaluate_next()))
    return run


def _sweep(cfg: Train) -> tuple[Run | None, Path | None]:
    """The tracker's heading of the sweep that this training belongs to, None where there is none; where seeds are tried
    the heading of those of these settings, and the note of headings, to keep their mean with it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None, None
    note = Path(hydra.sweep.dir) / "mlflow.json"
    heading = parent_of(cfg.tracking, f"sweep-{note.parent.name}", note)
    typed = OverridesParser.create().parse_overrides([w for w in sys.argv[1:] if "=" in w and not w.startswith("-")])
    swept = {one.key_or_group for one in typed if one.is_sweep_override()}
    if heading is None or "seed" not in swept:
        return heading, None
    job = [str(word).lstrip("+") for word in hydra.overrides.task]
    others = [word for word in job if word.partition("=")[0] in swept - {"seed"}]
    return parent_of(cfg.tracking, f"{', '.join(others)}, seeds", note, heading) if others else heading, note


def train_model(cfg: Train, folder: Path, parent: Run | None = None) -> RunFolder:
    """Train what the config asks for into `folder`, whatever its task; log it to the tracker."""
    context.check_task(cfg)
    cfg = pinned(cfg)
    folder = check_target(folder, "run", None if cfg.overwrite else _unlike(cfg))
    name = f"{cfg.model.name}-{cfg.task.name}-{cfg.seed}"
    with tracking.start(cfg.tracking, name, context.tracked(cfg), parent) as tracked, ExitStack() as held:
        history: list[Mapping[str, float]] = []
        live = Live(cfg.paths.outputs, Path(cfg.dataset.name, cfg.task.name, cfg.split.name, folder.name))

        def log_epoch(values: Mapping[str, float], epoch: int) -> None:
            history.append({"epoch": epoch, **values})
            live.tell(values, epoch)
            tracked.metrics({f"training/{name}": value for name, value in values.items()}, epoch)

        done = learn(cfg, ("validation", "test"), log_epoch, held)
        place = checkpoint_folder(cfg, done.facts)
        facts = {
            **done.facts,
            "mlflow_run": tracked.run_id,
            "mlflow_experiment": tracked.experiment_id,
            "trained_at": iso(time.time_ns() // 1000),
        }
        run = write_run(folder, _with_plan(cfg, done), done.model, done.metrics, done.tables, facts, place)
        remember(place, folder, cfg)
        live.end()
        for line in show.why_blank(done.tables["test"]):
            log.warning("no score on test, %s", line)
        with show.only_shown("the tracker's page"):
            _track(tracked, run, cfg.task.headline, done.tables, done.learned.history or history)
    return run


def _unlike(cfg: Train) -> Unlike:
    """What `folders.check_target` asks of a run that is in the way: is it of this dataset, task and model?"""
    ours = {"dataset": cfg.dataset.name, "task": cfg.task.name, "model": cfg.model.name}

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        said = [f"{k}={manifest[k]}, not {own}" for k, own in ours.items() if manifest.get(k) not in (None, own)]
        return "; ".join(said) or None

    return unlike


def _track(
    tracked: tracking.Run,
    run: RunFolder,
    headline: str,
    tables: Mapping[str, pa.Table],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Tell the tracker of a run that is written."""
    if tracked.run_id is None:
        return
    facts = {k: v for k, v in run.manifest.items() if k not in NOT_TOLD}
    about = {"run_folder": context.relative(run.path), "mlflow.runColor": show.colour(facts["model"], facts["oracle"])}
    about |= {"auto": parts_in_words(auto)} if (auto := run.metrics.get("auto")) else {}
    tracked.tags({**facts, **about})
    tracked.results(run.metrics)
    tracked.dataset(facts["dataset"], facts["dataset_fingerprint"], facts["split"])
    tracked.describe(show.note(run.metrics, headline))
    for file in ("metrics.json", "config.yaml"):
        tracked.file(run.path / file)
    from shopkeeper.pipeline.pictures.figures import run_figures

    for file, figure in run_figures(run.metrics, tables, history, headline).items():
        tracked.figure(figure, f"figures/{file}")


def validate_model(cfg: Train, log_epoch: TellEpoch) -> float:
    """Train and return the task's headline metric on validation; test is not looked at. For tuning."""
    context.check_task(cfg)
    with ExitStack() as held:
        done = learn(cfg, ("validation",), log_epoch, held)
        remove_checkpoints(checkpoint_folder(cfg, done.facts))
    return show.find_metric(done.metrics, "validation", cfg.task.headline)


def _with_plan(cfg: Train, done: Result) -> Mapping[str, Any]:
    """The config with the execution plan that was chosen, where the model has one: what makes the run again."""
    if done.learned.plan is None:
        return cfg.plain
    return {**cfg.plain, "trainer": {**cfg.trainer.plain, "plan": dict(done.learned.plan)}}
