"""`tune`: Optuna on validation, driven directly: one process, resumable, sharing its study through any database.

Akiba et al. (2019), "Optuna: A Next-generation Hyperparameter Optimization Framework".
"""

from __future__ import annotations

import copy
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from shopkeeper import tracking
from shopkeeper.errors import UserError, nearest
from shopkeeper.files import write_json, write_text
from shopkeeper.pipeline import context
from shopkeeper.pipeline.train import validate_model

log = logging.getLogger(__name__)
LOST = "its process was killed or lost; it is tried once more as another trial"
_Makers = Mapping[str, Callable[[], Any]]


def tune(config: DictConfig) -> None:
    """The verb: one study per model, each with the same budget; prints the best trial, leaves `best.yaml`."""
    cfg = context.plain(config)
    models = cfg["tuning"]["models"]
    for name in models or [cfg["model"]["name"]]:
        tune_model(_of_model(cfg, name) if models else cfg)


def tune_model(cfg: Mapping[str, Any]) -> Path:
    """Run (or go on with) the study of one model; returns its folder `studies/<dataset>-<split>-<model>/`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    settings, space = cfg["tuning"], cfg["tuning"].get("space")
    if not space:
        raise UserError(
            f"there is nothing to search for model={cfg['model']['name']}: write conf/tuning/space/"
            f"{cfg['model']['name']}.yaml (setting: {{type: float, low: …, high: …, log: true}})"
        )
    _check_space(cfg["model"], space)
    name = settings["name"] or f"{cfg['dataset']['name']}-{cfg['split']['name']}-{cfg['model']['name']}"
    folder = Path(cfg["paths"]["studies"]) / name
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(cfg, name, folder)
    done = _finished(study)
    log.info("study %s: %s of %s trials done", name, done, settings["trials"])
    with tracking.start(cfg["tracking"], f"tune-{name}", context.tracked(cfg)) as parent:
        parent.tags({"study": name, "kind": "tuning"})
        if done < settings["trials"]:
            with _bar(cfg, name, done) as show:
                study.optimize(
                    _objective(cfg, space, parent.run_id),
                    timeout=settings["hours"] and settings["hours"] * 3600,
                    catch=(Exception,),
                    callbacks=[_stop_at(settings["trials"]), _say, show],
                )
        _write_results(study, cfg, folder, parent)
    return folder


def _objective(cfg: Mapping[str, Any], space: Mapping[str, Any], parent: str | None) -> Callable[[Any], float]:
    def objective(trial: Any) -> float:
        import optuna

        settings = cfg["tuning"]
        chosen = {key: _suggest(trial, key, spec) for key, spec in space.items()}
        values = []
        began = time.monotonic()
        with tracking.start(cfg["tracking"], f"trial-{trial.number}", chosen, parent) as child:
            try:
                for seed in settings["seeds"]:
                    trial_cfg = with_settings(cfg, chosen) | {"seed": seed}
                    watch = _watch(trial, cfg, began, first=seed == settings["seeds"][0])
                    values.append(validate_model(trial_cfg, watch))
            except optuna.TrialPruned:
                child.tags({"state": "pruned"})
                raise
            except Exception as e:
                trial.set_user_attr("error", f"{type(e).__name__}: {e}")
                trial.set_user_attr("traceback", traceback.format_exc()[-4000:])
                child.tags({"state": "failed", "error": str(e)})
                raise
            value = sum(values) / len(values)
            trial.set_user_attr("seeds", dict(zip(map(str, settings["seeds"]), values, strict=True)))
            trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
            child.metrics({f"validation_{cfg['task']['headline']}": value})
        return value

    return objective


def _watch(trial: Any, cfg: Mapping[str, Any], began: float, first: bool) -> Callable[[Mapping[str, float], int], None]:
    """Called once per epoch: reports to the pruner (for the first seed) and keeps the trial's time limit."""
    import optuna

    headline, limit = cfg["task"]["headline"], cfg["tuning"]["trial_hours"]
    last = cfg["trainer"]["max_epochs"] or cfg["model"].get("epochs")  # after it there is nothing left to save

    def watch(metrics: Mapping[str, float], step: int) -> None:
        if limit and time.monotonic() - began > limit * 3600:
            raise TimeoutError(f"the trial ran longer than tuning.trial_hours={limit}")
        value = next((v for k, v in metrics.items() if k.endswith(headline)), None)
        if first and value is not None:
            trial.report(value, step)
            if step != last and trial.should_prune():
                raise optuna.TrialPruned

    return watch


def with_settings(cfg: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The config with settings changed; a bare name is one of the model's: `width` is `model.width`."""
    changed = copy.deepcopy(dict(cfg))
    for key, value in chosen.items():
        node: Any = changed
        *path, leaf = key.split(".") if "." in key else ["model", key]
        for part in path:
            node = node[part]
        node[leaf] = value
    return changed


def _suggest(trial: Any, key: str, spec: Mapping[str, Any]) -> Any:
    kind = spec.get("type")
    if kind == "categorical":
        return trial.suggest_categorical(key, list(spec["choices"]))
    if kind == "int":
        return trial.suggest_int(key, spec["low"], spec["high"], step=spec.get("step", 1), log=spec.get("log", False))
    return trial.suggest_float(key, spec["low"], spec["high"], step=spec.get("step"), log=spec.get("log", False))


def _check_space(model: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    for key, spec in space.items():
        if "." not in key and key not in model:
            raise UserError(f"tuning space: model {model['name']} has no setting '{key}'.{nearest(key, model)}")
        kind = spec.get("type")
        if kind not in ("float", "int", "categorical"):
            raise UserError(
                f"tuning space: '{key}' has type '{kind}'.{nearest(str(kind), ['float', 'int', 'categorical'])}"
            )
        needed = ("choices",) if kind == "categorical" else ("low", "high")
        if missing := [n for n in needed if n not in spec]:
            raise UserError(f"tuning space: '{key}' ({kind}) lacks {', '.join(missing)}")


def _open_study(cfg: Mapping[str, Any], name: str, folder: Path) -> Any:
    import optuna
    from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

    settings = cfg["tuning"]
    url = settings["storage"] or f"sqlite:///{folder / 'study.db'}"
    startup = int(settings["startup_trials"])
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=settings["seed"], n_startup_trials=startup, multivariate=True),
        "random": lambda: optuna.samplers.RandomSampler(seed=settings["seed"]),
        "gp": lambda: optuna.samplers.GPSampler(seed=settings["seed"], n_startup_trials=startup),
    }
    pruners = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=2),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(),
        "none": lambda: optuna.pruners.NopPruner(),
    }
    for option, table in (("sampler", samplers), ("pruner", pruners)):
        if settings[option] not in table:
            raise UserError(f"there is no tuning.{option}={settings[option]}.{nearest(str(settings[option]), table)}")
    first_try = None
    for _ in range(5):  # two processes that make the tables of a new database at once get in each other's way
        try:
            return _create(url, name, settings, cfg["task"].get("direction", "maximize"), samplers, pruners)
        except (SQLAlchemyError, ImportError) as e:
            first_try = first_try or e
            if not isinstance(e, IntegrityError | ProgrammingError):
                break
            time.sleep(0.5)
    place = url.rpartition("@")[2]  # without user and password
    raise UserError(f"cannot open the study at {place}: {str(first_try).splitlines()[0]}")


def _create(
    url: str, name: str, settings: Mapping[str, Any], direction: str, samplers: _Makers, pruners: _Makers
) -> Any:
    import optuna

    heartbeat = int(settings["heartbeat_seconds"])
    # A trial whose process was killed is found by its missing heartbeat and tried once more.
    storage = optuna.storages.RDBStorage(
        url,
        heartbeat_interval=heartbeat,
        grace_period=3 * heartbeat,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=1),
    )
    return optuna.create_study(
        storage=storage,
        study_name=name,
        load_if_exists=True,
        direction=direction,
        sampler=samplers[settings["sampler"]](),
        pruner=pruners[settings["pruner"]](),
    )


def _finished(study: Any) -> int:
    return sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))


def _stop_at(limit: int) -> Callable[[Any, Any], None]:
    """Stop when the study, over all its processes, has enough finished trials."""

    def stop(study: Any, trial: Any) -> None:
        if _finished(study) >= limit:
            study.stop()

    return stop


@contextmanager
def _bar(cfg: Mapping[str, Any], name: str, done: int) -> Iterator[Callable[[Any, Any], None]]:
    """On a terminal: finished trials over all processes, the best value, the time left; the training's bar below it."""
    from tqdm.auto import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    silent = not (cfg["progress"] and sys.stderr.isatty())
    bar = tqdm(desc=name, total=cfg["tuning"]["trials"], initial=done, unit="trial", dynamic_ncols=True, disable=silent)

    def show(study: Any, trial: Any) -> None:
        if _completed(study):
            bar.set_postfix({f"best {cfg['task']['headline']}": f"{study.best_value:.5f}"}, refresh=False)
        bar.update(_finished(study) - bar.n)

    with bar, nullcontext() if silent else logging_redirect_tqdm():
        yield show


def _say(study: Any, trial: Any) -> None:
    value = "" if trial.value is None else f" {trial.value:.5f}"
    error = trial.user_attrs.get("error", "")
    best = f"; best {study.best_value:.5f} (trial {study.best_trial.number})" if _completed(study) else ""
    state = trial.state.name.lower() + value + (f" ({error})" if error else "")
    log.info("trial %s %s%s %s", trial.number, state, best, trial.params)


def _completed(study: Any) -> list[Any]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def _write_results(study: Any, cfg: Mapping[str, Any], folder: Path, parent: tracking.Run) -> None:
    """`trials.json`, plots, and `best.yaml`, which copied to `conf/experiment/tuned/` is an experiment."""
    trials = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value, "params": t.params,
         "epochs": t.intermediate_values, **({"error": LOST} if t.state.name == "FAIL" else {}), **t.user_attrs}
        for t in study.get_trials(deepcopy=False)
    ]  # fmt: skip
    write_json(folder / "trials.json", trials)
    if not _completed(study):
        raise UserError(f"no trial of study {study.study_name} finished; {folder / 'trials.json'} has the errors")
    write_text(folder / "best.yaml", best_yaml(cfg, study))
    plots = _plots(study, folder)
    for file in [folder / "trials.json", folder / "best.yaml", *plots]:
        parent.file(file)
    parent.metrics({f"validation_{cfg['task']['headline']}": study.best_value})
    log.info("best %s = %.5f; %s", cfg["task"]["headline"], study.best_value, folder / "best.yaml")


def best_yaml(cfg: Mapping[str, Any], study: Any) -> str:
    """The best trial as a Hydra experiment."""
    chosen: dict[str, Any] = {}
    for key, value in study.best_params.items():
        *path, leaf = key.split(".") if "." in key else ["model", key]
        node = chosen
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    overrides = [{f"override /{group}": cfg[group]["name"]} for group in ("dataset", "split", "model")]
    head = (
        f"# @package _global_\n# Study {study.study_name}: {_finished(study)} trials; best {cfg['task']['headline']} "
        f"on validation {study.best_value:.5f} (trial {study.best_trial.number}, seeds {cfg['tuning']['seeds']}).\n"
    )
    return head + yaml.safe_dump({"defaults": overrides, **chosen}, sort_keys=False)


def _plots(study: Any, folder: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as draw
    from matplotlib import pyplot, ticker

    made = []
    plots = {
        "history": draw.plot_optimization_history,
        "importance": draw.plot_param_importances,
        "slice": draw.plot_slice,
    }
    if any(t.intermediate_values for t in study.get_trials(deepcopy=False)):
        plots["curves"] = draw.plot_intermediate_values
    for name, plot in plots.items():
        try:
            plot(study)
        except (ValueError, RuntimeError) as e:  # e.g. importance needs two different finished trials
            log.info("no plot '%s': %s", name, e)
            continue
        path, figure = folder / f"{name}.png", pyplot.gcf()
        for axis in figure.axes:
            axis.xaxis.set_minor_formatter(ticker.NullFormatter())  # on a narrow logarithmic axis they overlap
            if name == "curves" and (legend := axis.get_legend()):
                legend.remove()  # a line for each trial
        figure.set_size_inches(2 * max(len(figure.axes), 5), 6)
        figure.savefig(path, dpi=110, bbox_inches="tight")
        pyplot.close("all")
        made.append(path)
    return made


def _of_model(cfg: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The same command's config for another model, composed anew."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig

    words = [w for w in HydraConfig.get().overrides.task if not w.startswith(("model=", "tuning.models="))]
    return context.plain(compose("tune", [*words, f"model={model}"]))  # Hydra is at work already: its search path
