"""`train`: one model on one split; evaluated on validation while training, on test once at the end."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.files import alone, atomic_folder, check_target, read_json, sha256_json, write_json
from shopkeeper.pipeline import context, show
from shopkeeper.pipeline.prepare import prepare_to_train
from shopkeeper.pipeline.runs import RunFolder, remove_checkpoints, write_run
from shopkeeper.pipeline.warm_start import check_start, trained_until

log = logging.getLogger(__name__)
NOT_TOLD = ("files", "format_version", "kind", "mlflow_run", "checkpoint")  # of a manifest, to the tracker
Log = Callable[[Mapping[str, float], int], None]
NOT_DECIDING = (
    "name",
    "max_epochs",
    "resume",
    "checkpoint_epochs",
    "checkpoint_minutes",
    "memory_gib",
    "micro_batch",
    "resident",
    "profiler",
)  # settings of the trainer that a training may change when it goes on; the rest is its execution plan


def train(config: DictConfig) -> None:
    """The verb: train the model of a config, print its metrics, leave a run folder."""
    from hydra.core.hydra_config import HydraConfig

    cfg = context.plain(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    run = train_model(cfg, folder)
    with show.only_shown("the table of metrics"):
        print(show.metrics_table(run.metrics))
    log.info("run folder: %s", context.relative(folder))


def train_model(cfg: Mapping[str, Any], folder: Path, parent: tracking.Run | None = None) -> RunFolder:
    """Train what the config asks for into `folder`, whatever its task; log it to the tracker."""
    context.check_task(cfg)
    folder = check_target(folder, "run")
    name = f"{cfg['model']['name']}-{cfg['task']['name']}-{cfg['seed']}"
    with tracking.start(cfg["tracking"], name, context.tracked(cfg), parent) as tracked, ExitStack() as held:
        history: list[Mapping[str, float]] = []

        def log_epoch(values: Mapping[str, float], epoch: int) -> None:
            history.append({"epoch": epoch, **values})
            tracked.metrics({f"training/{name}": value for name, value in values.items()}, epoch)

        if cfg["task"]["name"] == "next_item":
            model, facts, metrics, tables = train_recommender(cfg, ("validation", "test"), log_epoch, held)
        else:
            from shopkeeper.pipeline.train_customers import train_customer_model

            check_start(cfg, starts_warm=False)
            model, facts, metrics, tables = train_customer_model(cfg, ("validation", "test"))
        place = checkpoint_folder(cfg, facts)
        facts = {**facts, "mlflow_run": tracked.run_id}
        run = write_run(folder, _with_plan(cfg, model), model, metrics, tables, facts, place)
        _remember(place, folder, cfg)
        trained = getattr(model, "trained", None)  # of a resumed one, this process has seen only the later epochs
        with show.only_shown("the tracker's page"):
            _track(tracked, run, cfg["task"]["headline"], tables, history if trained is None else trained.history)
    return run


def _track(
    tracked: tracking.Run,
    run: RunFolder,
    headline: str,
    tables: Mapping[str, pa.Table],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Tell the tracker of a run that is written."""
    facts = {k: v for k, v in run.manifest.items() if k not in NOT_TOLD}
    about = {"run_folder": context.relative(run.path), "mlflow.runColor": show.colour(facts["model"])}
    tracked.tags({**facts, **about})
    tracked.results(run.metrics)
    tracked.dataset(facts["dataset"], facts["dataset_fingerprint"], facts["split"])
    tracked.describe(show.note(run.metrics, headline))
    for file in ("metrics.json", "config.yaml"):
        tracked.file(run.path / file)
    if tracked.run_id is not None:
        from shopkeeper.pipeline.figures import run_figures

        for file, figure in run_figures(run.metrics, tables, history, headline).items():
            tracked.figure(figure, f"figures/{file}")


def validate_model(cfg: Mapping[str, Any], log_epoch: Log) -> float:
    """Train and return the task's headline metric on validation; test is not looked at. For tuning."""
    context.check_task(cfg)
    if cfg["task"]["name"] == "next_item":
        with ExitStack() as held:
            _, facts, metrics, _ = train_recommender(cfg, ("validation",), log_epoch, held)
            remove_checkpoints(checkpoint_folder(cfg, facts))
    else:
        from shopkeeper.pipeline.train_customers import train_customer_model

        check_start(cfg, starts_warm=False)
        _, _, metrics, _ = train_customer_model(cfg, ("validation",))
    return show.find_metric(metrics, "validation", cfg["task"]["headline"])


def train_recommender(
    cfg: Mapping[str, Any], parts: Sequence[str], log_epoch: Log, held: ExitStack
) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, pa.Table]]:
    """Fit a recommender and answer every request of the parts: model, facts, `metrics.json`, per-request tables.

    Until `held` is closed, the checkpoints are this process' alone.
    """
    from shopkeeper.evaluation.oracle_alarm import alarm_of_recommender
    from shopkeeper.evaluation.table import evaluate_requests, summarise
    from shopkeeper.pipeline.audit import audit_recommender, say
    from shopkeeper.recommenders.base import Fit, make

    prepared, split = prepare_to_train(cfg)
    later = split.until_test() if cfg["evaluation"].get("refit") and "test" in parts else None  # said before hours pass
    model = make(cfg["model"])
    start = check_start(cfg, getattr(model, "starts_warm", False), split)
    bar = bool(cfg["progress"]) and sys.stderr.isatty()  # in a log file, a line per epoch reads better
    facts = _facts(cfg, prepared, split) | {"uses_instant": bool(model.uses_instant), "init_from": start}
    if start and not start["checked"]:
        facts["trained_until"] = None
    place = checkpoint_folder(cfg, facts)
    if getattr(model, "resumes", False):
        held.enter_context(alone(place))
        held.push(_says_how_to_go_on(place))
    fit = Fit(
        seed=int(cfg["seed"]),
        folder=place,
        trainer=cfg["trainer"],
        target_events=tuple(split.timeline["spec"]["target_events"]),
        filter_seen=bool(cfg["dataset"]["filter_seen"]),
        k=int(cfg["evaluation"]["k"][0]),
        init_from=Path(cfg["init_from"]) if cfg.get("init_from") else None,
        log=log_epoch if bar else _and_say(log_epoch),
        progress=bar,
    )
    _recall(place, cfg)
    try:
        model.fit(prepared, split, fit)
    except Exception:
        if "test" not in parts:  # a pruned or failed trial of a search: nobody goes on with it
            remove_checkpoints(place)
        raise
    audit_recommender(cfg, model, split, fit, parts)
    e = cfg["evaluation"]

    def table(part: str, **told: Any) -> pa.Table:
        return evaluate_requests(
            model,
            split,
            part,
            k=tuple(e["k"]),
            filter_seen=fit.filter_seen,
            batch_size=e["batch_size"],
            ties=e["ties"],
            top_k=int(e["top_k"]),
            metadata={"model": facts["model"], "seed": fit.seed, **told},
        )

    tables = {part: table(part) for part in parts if part != "test" or later is None}
    if later is not None:
        split = later
        facts |= {"refit": True, "trained_until": trained_until(split)}
        again = replace(fit, steps=model_steps(model), init_from=None)
        model = _refitted(cfg, model, split, fit, held)
        audit_recommender(cfg, model, split, again, ("test",))
        tables["test"] = table("test", refit=True)
    metrics: dict[str, Any] = {
        "dataset": prepared.name,
        "split": cfg["split"]["name"],
        "protocol": split.protocol,
        "task": "next_item",
        "model": facts["model"],
        "seed": fit.seed,
        "filter_seen": fit.filter_seen,
        "confidence": float(e["confidence"]),
        "target_hash": split.target_hash(),
    }
    if later is not None:
        metrics["refit"] = True
    if start:
        metrics["init_from"] = start
    if "test" in tables:
        options = {"k": tuple(e["k"]), "filter_seen": fit.filter_seen, "ties": e["ties"]}
        headline = cfg["task"]["headline"]
        facts |= say(alarm_of_recommender(facts["model"], tables["test"], split, headline, **options))
    for part, table in tables.items():
        metrics[part] = summarise(table, resamples=int(e["resamples"]), confidence=float(e["confidence"]))
    return model, facts, metrics, tables


def _says_how_to_go_on(place: Path) -> Callable[..., bool]:
    """For an `ExitStack`: an interruption is told which checkpoint the same command goes on from."""

    def tell(kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, KeyboardInterrupt) and (found := sorted(place.rglob("step-*"))):
            error.add_note(f"the same command goes on from {context.relative(found[-1])}")
        return False

    return tell


def model_steps(model: Any) -> int | None:
    """Epochs or trees that validation chose for a trained model; None for one without steps."""
    steps: int | None = getattr(model, "steps", None)
    return steps


def _refitted(cfg: Mapping[str, Any], chosen: Any, split: Split, fit: Any, held: ExitStack) -> Any:
    """A new model trained on all until the test cutoff, for as many steps as validation chose."""
    from shopkeeper.recommenders.base import make

    model, steps = make(cfg["model"]), model_steps(chosen)
    log.info("training anew on all until the test cutoff%s", f", {steps} steps" if steps else "")
    place = fit.folder.with_name(f"{fit.folder.name}-refit")
    if getattr(model, "resumes", False):
        held.enter_context(alone(place))
    trainer = {**fit.trainer, "devices": 1}  # further processes would read the split from disk
    model.fit(split.prepared, split, replace(fit, folder=place, steps=steps, trainer=trainer, init_from=None))
    remove_checkpoints(place)
    return model


def _and_say(log_epoch: Log) -> Log:
    def both(metrics: Mapping[str, float], step: int) -> None:
        log.info("epoch %s: %s", step, ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
        log_epoch(metrics, step)

    return both


def checkpoint_folder(cfg: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
    """Where resumable state lies while training: keyed by what decides the weights, outside of any stage's output.

    A killed training is found again by the same command, also when that one is to train for longer or with less memory;
    DVC deletes a stage's outputs before it runs.
    """
    limits = {"model": ("epochs", "patience"), "trainer": NOT_DECIDING}
    decides = {group: {k: v for k, v in cfg[group].items() if k not in limits[group]} for group in limits}
    decides |= {"seed": cfg["seed"], "init_from": cfg["init_from"]}
    if (k := cfg["evaluation"]["k"][0]) != 10:  # which epoch is the best
        decides["k"] = k
    if "trial" in cfg:  # of a search: another one may have the same settings at the same time
        decides["trial"] = cfg["trial"]
    key = sha256_json(decides | {k: facts[k] for k in ("dataset_fingerprint", "split")})
    return Path(cfg["paths"]["checkpoints"]) / f"{cfg['model']['name']}-{key[:16]}"


def _epochs(cfg: Mapping[str, Any]) -> int:
    return int(cfg["trainer"].get("max_epochs") or cfg["model"].get("epochs") or 0)


def _remember(place: Path, run: Path, cfg: Mapping[str, Any]) -> None:
    """Note beside the checkpoints which finished run took them, so that a longer one can go on from there."""
    if (run / "checkpoint").is_dir():
        write_json(place.with_suffix(".json"), {"run": str(run.resolve()), "epochs": _epochs(cfg)})


def _recall(place: Path, cfg: Mapping[str, Any]) -> None:
    """Bring back the checkpoint of a finished run of the same training that was to end earlier."""
    note = place.with_suffix(".json")
    if place.is_dir() or not note.is_file() or not cfg["trainer"].get("resume", True):
        return
    done = read_json(note)
    run = Path(done["run"])
    if _epochs(cfg) <= done["epochs"] or not (run / "manifest.json").is_file():
        return
    if read_json(run / "manifest.json").get("checkpoint") != place.name:
        log.info("%s holds another training by now: this one starts afresh", context.relative(run))
        return
    log.info("going on from %s epochs of %s", done["epochs"], context.relative(run))
    for step in sorted((run / "checkpoint").rglob("step-*")):
        with atomic_folder(place / step.relative_to(run / "checkpoint"), "checkpoint") as folder:
            shutil.copytree(step, folder, dirs_exist_ok=True)


def _with_plan(cfg: Mapping[str, Any], model: Any) -> Mapping[str, Any]:
    """The config with the execution plan that was chosen, where the model has one: what makes the run again."""
    trained = getattr(model, "trained", None)
    if trained is None:
        return cfg
    return {**cfg, "trainer": {**cfg["trainer"], "plan": trained.plan.to_json()}}


def _facts(cfg: Mapping[str, Any], prepared: Prepared, split: Split) -> dict[str, Any]:
    """What a run's manifest and its tracker say about where it comes from."""
    return {
        "task": "next_item",
        "model": cfg["model"]["name"],
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "prepared": context.relative(prepared.path),
        "split": split.name,
        "protocol": split.protocol,
        "target_hash": split.target_hash(),
        "erasure_list": prepared.erasure_list,
        "trained_until": trained_until(split),
    }
