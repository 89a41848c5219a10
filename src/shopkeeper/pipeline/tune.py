"""`tune`: search a model's settings on validation, one Optuna study per model; test is not looked at."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from shopkeeper import configuration, tracking
from shopkeeper.closure import code_of
from shopkeeper.errors import UserError, without_secrets
from shopkeeper.files import read_json, write_json, write_text
from shopkeeper.folders import MANIFEST, check_target
from shopkeeper.hashing import SEAL
from shopkeeper.models.targets import today
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.comparing.commands import train_tuned
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.forms.fitting import PausedError
from shopkeeper.pipeline.forms.form import task_of
from shopkeeper.pipeline.runs import remove_checkpoints
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Data, Tune, but, plain, settings
from shopkeeper.pipeline.train import validate_model
from shopkeeper.tasks.find import module_of
from shopkeeper.tuning.limits import time_limit

if TYPE_CHECKING:
    from shopkeeper.tuning.study import Study, Trial

log = logging.getLogger(__name__)
CANDIDATES = ("model.candidates", "~model.candidates")  # words about `model=auto`, which no other model knows
AUTO = "shopkeeper.recommenders.combined.auto.Auto"


def tune(config: DictConfig) -> None:
    """The verb: one study per model, each with the same budget; prints the best trial, leaves `best.yaml`.

    With `model=auto`, a study for each of its candidates, `tuning.hours` for all together, and which one to hand over.
    """
    cfg = settings(config, Tune)
    if cfg.init_from is not None:
        cfg = but(cfg, init_from=str(places.find(cfg.init_from, cfg.paths.runs)))
    auto = cfg.model.target == AUTO and not cfg.tuning.models
    models = candidates(cfg) if auto else cfg.tuning.models
    configs = [_of_model(name) for name in models] if models else [cfg]
    for each in configs:  # before the first of them takes hours
        check(each)
    found = {"auto": tune_all(cfg, configs)} if auto else {each.model.name: tune_model(each) for each in configs}
    for name, folder in found.items():
        if (folder / "best.yaml").is_file():  # of a dataset or a model without a file there is none
            log.info("next: %s", train_tuned(Path(context.relative(folder / "best.yaml")), name))


def tune_all(cfg: Tune, configs: Sequence[Tune], added: Path | None = None) -> Path:
    """A study per model within one budget, shipped settings first, and a board of what each reached on validation.

    `tuning.hours` are shared: what a model leaves of its part, the others have. A model whose trials all fail is said
    and left out. Gives `studies/<dataset>-<split>-auto/`, with the winner's `best.yaml`, where it has one.

    `added`: a folder with configuration beside those that are looked up.

    Raises:
        UserError: no trial of any model has finished.
    """
    name = cfg.tuning.name or f"{cfg.dataset.name}-{cfg.split.name}"
    folder = check_target(cfg.paths.studies / f"{name}-auto", "study")
    end = None if cfg.tuning.hours is None else time.monotonic() + cfg.tuning.hours * 3600
    board: list[dict[str, Any]] = []
    for n, each in enumerate(configs):
        hours = None if end is None else max((end - time.monotonic()) / 3600 / (len(configs) - n), 1e-6)
        own = but(each, tuning={**each.plain["tuning"], "hours": hours, "shipped_first": True})
        try:
            study = tune_model(own, added)
        except NoTrialError as e:
            log.warning("%s is left out: %s", own.model.name, e)
            continue
        values = [t["value"] for t in read_json(study / "trials.json") if t["state"] == "complete"]
        best = (min if cfg.task.direction == "minimize" else max)(values)
        board.append({"model": own.model.name, "value": best, "trials": len(values), "study": study.name})
    if not board:
        raise UserError("no trial of any model has finished; look at what was said of each above")
    board.sort(key=lambda row: row["value"], reverse=cfg.task.direction != "minimize")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, {"kind": "study", "study": folder.name})
    write_json(folder / "board.json", {"headline": cfg.task.headline, "models": board})
    shown = [[row["model"], f"{row['value']:.5f}", str(row["trials"]), row["study"]] for row in board]
    print(show.table(["model", f"validation {cfg.task.headline}", "trials", "study"], shown))
    (folder / "best.yaml").unlink(missing_ok=True)  # an earlier search's, which another model has won
    winner = folder.parent / board[0]["study"] / "best.yaml"
    if winner.is_file():
        write_text(folder / "best.yaml", winner.read_text(encoding="utf-8"))
        log.info("hand over %s: %s is what `shopkeeper train experiment=…` takes",
                 board[0]["model"], folder / "best.yaml")  # fmt: skip
    return folder


def candidates(cfg: Tune) -> list[str]:
    """Names of the models that `model=auto` chooses among."""
    return [str(model["name"]) for model in cfg.model.plain["candidates"].values() if model]


class NoTrialError(UserError):
    """No trial of a study has finished."""


def check(cfg: Tune) -> None:
    """A `UserError` for a search that cannot work."""
    try:
        from shopkeeper.tuning.space import read_space
        from shopkeeper.tuning.study import Study  # noqa: F401
    except ImportError as e:
        raise UserError(f'tune needs {e.name}, which is not installed: `pip install "shopkeeper[tune]"`') from None
    context.check_task(cfg)
    read_space(cfg.plain)


def tune_model(cfg: Tune, added: Path | None = None) -> Path:
    """Run (or go on with) the study of one model; returns its folder `studies/<dataset>-<split>-<model>/`.

    `added`: a folder with configuration beside those that are looked up.
    """
    check(cfg)
    from shopkeeper.tuning.study import database_error, go_on, open_study, spent, stop_at, waiting_places

    name = cfg.tuning.name or f"{cfg.dataset.name}-{cfg.split.name}-{cfg.model.name}"
    folder = check_target(cfg.paths.studies / name, "study")
    asks = _asks(cfg, data_of(cfg))  # what is wrong with the data is found here, not in every trial
    study = open_study(name, folder, cfg.tuning, cfg.task.direction, asks)
    write_json(folder / MANIFEST, {"kind": "study", "study": study.study_name})
    limit, done = cfg.tuning.trials, spent(study)
    log.info("study %s: %s%s trials done", name, done, "" if limit is None else f" of {limit}")
    with tracking.start(cfg.tracking, f"tune-{name}", context.tracked(cfg)) as parent:
        parent.tags({"study": study.study_name, "kind": "tuning"})
        try:
            if cfg.tuning.shipped_first and not done:
                study.enqueue_trial(_shipped(cfg), skip_if_exists=True)
            if limit is None or done < limit:
                with _bar(cfg, name, done) as (show, tick):
                    study.optimize(
                        _objective(study, cfg, parent, tick),
                        timeout=cfg.tuning.hours and cfg.tuning.hours * 3600,
                        catch=(Exception,),
                        callbacks=[*([go_on] if cfg.tuning.pruner == "halving" else []), stop_at(limit), _say, show],
                    )
            if limit is not None and spent(study) >= limit:
                for place in waiting_places(study):  # of those that went on, too: they have none by now
                    remove_checkpoints(cfg.paths.checkpoints / place)
            _write_results(study, cfg, folder, parent, added)
        except Exception as e:
            if (said := database_error(e)) is None:
                raise
            raise UserError(f"the study's database stopped answering ({said}); run the same command again") from e
    return folder


def _shipped(cfg: Tune) -> dict[str, Any]:
    """The shipped settings of what is searched, as far as the space reaches to them."""
    from shopkeeper.tuning.space import as_held, holds, path_of, read_space

    found = {}
    for key, spec in read_space(cfg.plain).items():
        value: Any = cfg.plain
        for part in path_of(key):
            value = value[part]
        if holds(spec, value):
            found[key] = as_held(spec, value)
    return found


def data_of(cfg: Data) -> dict[str, Any]:
    """The data that a study's trials are trained and judged on, prepared where that was not done yet."""
    found: dict[str, Any] = form_of(task_of(cfg), cfg.dataset).data_of(cfg)
    return found


def _asks(cfg: Tune, data: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial's value depends on, besides its own settings: a study of anything else is another study."""
    from shopkeeper.tuning.results import LEARNS
    from shopkeeper.tuning.space import read_space

    space = read_space(cfg.plain)
    fixed = {k: v for k, v in cfg.model.plain.items() if k not in space}
    return {
        "data": dict(data),
        "task": cfg.task.plain,
        "timeline": cfg.plain["timeline"],
        "model": fixed,
        "trainer": {k: getattr(cfg.trainer, k) for k in LEARNS},
        "init_from": None if cfg.init_from is None else str(cfg.init_from),
        "evaluation": {"k": list(cfg.evaluation.k), "ties": cfg.evaluation.ties},
        "seeds": list(cfg.tuning.seeds),
        "code": code_of(today(cfg.model.target).rpartition(".")[0], module_of(cfg.task.plain)),  # labels, too
        "space": {k: dict(v) for k, v in space.items()},
    }


def _objective(study: Study, cfg: Tune, parent: tracking.Run, tick: Callable[[], None]) -> Callable[[Any], float]:
    from shopkeeper.tuning.space import read_space, suggest, with_settings
    from shopkeeper.tuning.study import INTERRUPTED, WAITS_IN, TrialPruned, first_try, seal_of

    space, told = read_space(cfg.plain), cfg.tuning

    def run(trial: Any) -> float:
        chosen = suggest(trial, space)
        trying = f"{study.study_name}/{first_try(study, trial.number)}"
        changed = but(cfg, **with_settings(cfg.plain, chosen), trial=trying)
        began, values, pruned = time.monotonic(), [], False
        with tracking.start(cfg.tracking, f"trial-{trial.number}", chosen, parent) as child:
            try:
                with time_limit(told.trial_hours):
                    for seed in told.seeds:
                        first = seed == told.seeds[0]
                        watch = _watch(trial, changed, child, first, tick)
                        values.append(validate_model(but(changed, seed=seed), watch))
            except (TrialPruned, PausedError) as e:
                pruned = True
                if isinstance(e, PausedError) and e.folder is not None:
                    trial.set_user_attr(WAITS_IN, e.folder.name)
            except BaseException as e:
                child.tags({"state": "failed", "error": f"{type(e).__name__}: {e}"})
                raise
            if not pruned:
                child.metrics({f"validation_{cfg.task.headline}": sum(values) / len(values)})
            child.tags({"state": "pruned" if pruned else "complete"})
        trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
        trial.set_user_attr("commit", context.git_commit())
        if pruned:
            raise TrialPruned
        trial.set_user_attr("seeds", dict(zip(map(str, told.seeds), values, strict=True)))
        value = float(sum(values) / len(values))
        trial.set_user_attr(SEAL, seal_of(trial.params, value))
        return value

    def objective(trial: Any) -> float:
        try:
            return run(trial)
        except TrialPruned:
            raise
        except BaseException as e:  # an interruption, too
            trial.set_user_attr(
                "error",
                INTERRUPTED if isinstance(e, KeyboardInterrupt) else without_secrets(f"{type(e).__name__}: {e}"),
            )
            trial.set_user_attr("traceback", without_secrets(traceback.format_exc())[-4000:])
            raise

    return objective


def _watch(
    trial: Any, cfg: Tune, child: tracking.Run, first: bool, tick: Callable[[], None]
) -> Callable[[Mapping[str, float], int], None]:
    """Called once per epoch: tells the tracker and, of the first seed, the pruner."""
    from shopkeeper.tuning.study import TrialPruned

    headline = cfg.task.headline
    last = cfg.trainer.max_epochs or cfg.model.parameters.get("epochs")  # after it there is nothing left to save

    def watch(metrics: Mapping[str, float], step: int) -> None:
        tick()
        value = next((v for k, v in metrics.items() if k.endswith(headline)), None)
        if first:
            child.metrics({f"training/{name}": value for name, value in metrics.items()}, step)
        if first and value is not None:
            trial.report(value, step)
            if step != last and trial.should_prune():
                raise PausedError if cfg.tuning.pruner == "halving" else TrialPruned

    return watch


@contextmanager
def _bar(cfg: Tune, name: str, done: int) -> Iterator[tuple[Callable[[Study, Trial], None], Callable[[], None]]]:
    """On a terminal: finished trials over all processes, the best value, the time left; the training's bar below it.

    Gives what is to be called after each trial, and now and then within one.
    """
    from tqdm.auto import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from shopkeeper.tuning.study import completed, spent

    silent = not (cfg.progress and sys.stderr.isatty())
    bar = tqdm(desc=name, total=cfg.tuning.trials, initial=done, unit="trial", dynamic_ncols=True, disable=silent)

    def show(study: Study, trial: Trial) -> None:
        if completed(study):
            bar.set_postfix({f"best {cfg.task.headline}": f"{study.best_value:.5f}"}, refresh=False)
        bar.update(spent(study) - bar.n)

    with bar, nullcontext() if silent else logging_redirect_tqdm():
        yield show, bar.refresh


def _say(study: Study, trial: Trial) -> None:
    from shopkeeper.tuning.study import completed

    value = "" if trial.value is None else f" {trial.value:.5f}"
    error = trial.user_attrs.get("error", "") if trial.state.name == "FAIL" else ""
    best = f"; best {study.best_value:.5f} (trial {study.best_trial.number})" if completed(study) else ""
    state = trial.state.name.lower() + value + (f" ({error})" if error else "")
    log.info("trial %s %s%s %s", trial.number, state, best, trial.params)


def _write_results(study: Study, cfg: Tune, folder: Path, parent: tracking.Run, added: Path | None) -> None:
    from shopkeeper.tuning.results import write_best, write_plots, write_trials
    from shopkeeper.tuning.study import completed

    trials = write_trials(study, folder)
    for stale in (folder / "best.yaml", *folder.glob("*.png")):  # of another study in this folder, on other data
        stale.unlink(missing_ok=True)
    if not completed(study):
        errors = [t.user_attrs["error"] for t in study.get_trials(deepcopy=False) if "error" in t.user_attrs]
        why = f" ({errors[-1]})" if errors else ""
        raise NoTrialError(f"no trial of study {study.study_name} has finished{why}; look at {trials}")
    groups = ["dataset", "split", "model", *(["loss"] if "loss" in cfg.model.parameters else [])]
    choices = {group: str(cfg.plain[group]["name"]) for group in groups}
    best: list[Path] = []
    if all(_is_file(group, name, added) for group, name in choices.items()):  # else no experiment can choose them
        shipped = composed("train", [f"{group}={name}" for group, name in choices.items()], added)
        best = [write_best(study, cfg.plain, choices, plain(shipped), folder)]
    for file in [trials, *best, *write_plots(study, folder)]:
        parent.file(file)
    parent.metrics({f"validation_{cfg.task.headline}": study.best_value})
    log.info("best %s = %.5f; %s", cfg.task.headline, study.best_value, best[0] if best else trials)


def _is_file(group: str, name: str, added: Path | None) -> bool:
    """Whether a choice of a group has a file."""
    own = added is not None and (added / group / f"{name}.yaml").is_file()
    return own or configuration.find(group, name) is not None


def _of_model(model: str) -> Tune:
    """The same command's config for another model, composed anew; a name that was given is the stem of all."""
    from hydra.core.hydra_config import HydraConfig

    words = [w for w in HydraConfig.get().overrides.task if not w.startswith(("model=", "tuning.models=", *CANDIDATES))]
    found = settings(composed("tune", [*words, f"model={model}"]), Tune)
    if name := found.tuning.name:
        found = but(found, tuning={**found.plain["tuning"], "name": f"{name}-{model}"})
    return found
