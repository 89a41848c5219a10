"""An Optuna study in its database: opened or gone on with, shared by processes, its budget counted.

Akiba et al. (2019), "Optuna: A Next-generation Hyperparameter Optimization Framework".
"""

from __future__ import annotations

import copy
import logging
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial as Trial
from optuna.trial import TrialState as State
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from shopkeeper.errors import UserError, without_secrets
from shopkeeper.files import FULL, sha256_json
from shopkeeper.hashing import SEAL
from shopkeeper.locks import alone, silent
from shopkeeper.tuning.settings import Tuning

log = logging.getLogger(__name__)
TrialPruned = optuna.TrialPruned
INTERRUPTED = "interrupted"
WAITS_IN = "waits_in"  # of a trial that waits: the name of the folder with its checkpoints
THIRD = 3  # of halving
ALIKE = 5  # trials that fail alike before anything has worked end a search
_again = optuna.storages.RetryHeartbeatStaleTrialCallback  # makes a waiting trial with the settings of a lost one


def open_study(name: str, folder: Path, settings: Tuning, direction: str, asks: Mapping[str, Any]) -> Study:
    """The study `<name>-<hash of asks>`, made when it is new: other data or settings begin another one.

    Trials that a person interrupted wait in it to be tried again.

    `asks` says what a trial's value depends on besides the trial's own settings. In `settings.storage`, any SQLAlchemy
    URL, or in SQLite in `folder`.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial is told in one line by ourselves
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.storage:
        file = folder / "study.db"
        try:
            with alone(file, silent):  # two processes that make the tables of a new database get in each other's way
                return _open(f"sqlite:///{file}", name, settings, direction, asks)
        except SQLAlchemyError as e:
            reason = str(e).splitlines()[0]
            hint = "free some space, or set paths.studies" if FULL.search(reason) else "look at its rights"
            hint = "another program holds the file: end it, or wait" if "locked" in reason else hint
            raise UserError(f"cannot open the study {file}: {reason}; {hint}") from None
    first, url = None, settings.storage
    for _ in range(5):  # a server's tables cannot be held: whoever comes second tries again
        try:
            return _open(url, name, settings, direction, asks)
        except (SQLAlchemyError, ImportError) as e:
            first = first or e
            if not isinstance(e, IntegrityError | ProgrammingError) and "already exists" not in str(e):
                break
            time.sleep(0.5)
    place = without_secrets(url.rpartition("@")[2])  # without user and password
    reason = without_secrets(str(first).splitlines()[0])
    raise UserError(f"cannot open the study at {place}: {reason}; check tuning.storage and whether the server runs")


def _open(url: str, name: str, settings: Tuning, direction: str, asks: Mapping[str, Any]) -> Study:
    beat = settings.heartbeat_seconds
    # A trial whose process was killed is found by its missing heartbeat and tried once more.
    storage = optuna.storages.RDBStorage(
        url,
        heartbeat_interval=beat,
        grace_period=3 * beat,
        heartbeat_stale_trial_callback=lambda study, trial: _try_again(study, trial, 1 + _waited(study, trial)),
    )
    full = f"{name}-{sha256_json(asks)[:8]}"
    earlier = [s for s in optuna.get_all_study_names(storage) if s.startswith(f"{name}-")]
    study = optuna.create_study(
        storage=storage,
        study_name=full,
        load_if_exists=True,
        direction=direction,
        sampler=Reseeded(settings),
        pruner=_pruner(settings),
    )
    for trial in completed(study):
        if SEAL in trial.user_attrs and trial.user_attrs[SEAL] != seal_of(trial.params, trial.value):
            raise UserError(
                f"trial {trial.number} of the study {full} was changed after it finished (its seal differs); "
                f"delete its database, or set tuning.name to another one"
            )
    if full not in earlier:
        study.set_user_attr("asks", asks)
        if others := [s for s in earlier if re.fullmatch(r"[0-9a-f]{8}", s[len(name) + 1 :])]:
            other = optuna.load_study(study_name=others[-1], storage=storage).user_attrs.get("asks") or {}
            log.info("a new search: %s", _differences(other, asks))
    for trial in study.get_trials(deepcopy=False, states=(State.FAIL,)):
        if trial.user_attrs.get("error") == INTERRUPTED and trial.number not in _tried_again(study):
            _try_again(study, trial)
    return study


def seal_of(params: Mapping[str, Any], value: float | None) -> str:
    """What a finished trial's settings and value hash to, kept with it: all that a search that goes on reads of it."""
    return sha256_json({"params": dict(params), "value": value})


def _try_again(study: Study, trial: Trial, most: int | None = None) -> None:
    """Have a lost trial wait for another try; one that had only some of its settings draws all of them anew."""
    if not set((study.user_attrs.get("asks") or {}).get("space") or ()) <= set(trial.params):
        trial = copy.deepcopy(trial)
        trial.params, trial.distributions = {}, {}
    _again(max_retry=most, inherit_intermediate_values=True)(study, trial)


def _waited(study: Study, trial: Trial) -> int:
    """How many tries of a trial ended because it was to wait, and not with their process."""
    earlier = _again.retry_history(trial)
    return sum(t.state == State.PRUNED and t.number in earlier for t in study.get_trials(deepcopy=False))


def _first_of(trial: Trial) -> int:
    first = _again.retried_trial_number(trial)
    return trial.number if first is None else first


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which settings are others than in a search before, in words."""
    a, b = _flat(old), _flat(new)
    said = [f"{k} was {a.get(k)}, now {b.get(k)}" for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
    return "; ".join(said[:5]) + (f" (and {len(said) - 5} more)" if len(said) > 5 else "")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {prefix[:-1]: value}
    return {k: v for key, entry in value.items() for k, v in _flat(entry, f"{prefix}{key}.").items()}


class Reseeded(BaseSampler):
    """Optuna's sampler, made anew for each trial with a seed of `tuning.seed` and the trial's number.

    A trial that is tried again has the number of its first try, and those after it are not moved on by it.

    So a search that goes on draws what it would have drawn without the break, and processes that share a study draw
    different settings. With `tuning.seed=null` every search draws others.
    """

    def __init__(self, settings: Tuning):
        self._settings = settings
        self._sampler = self._made(settings.seed)

    def _made(self, seed: int | None) -> BaseSampler:
        kind, startup = self._settings.sampler, self._settings.startup_trials
        if kind == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if kind == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)

    def before_trial(self, study: Study, trial: Trial) -> None:
        """Called by Optuna before the first setting is drawn."""
        if (seed := self._settings.seed) is not None:
            self._sampler = self._made(int(np.random.SeedSequence([seed, _turn(study, trial)]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: Trial) -> dict[str, Any]:
        """Which settings are drawn together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: Trial, search_space: dict[str, Any]) -> dict[str, Any]:
        """Settings drawn together."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: Trial, param_name: str, param_distribution: Any) -> Any:
        """One setting drawn alone."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: Trial, state: State, values: Any) -> None:
        """Called by Optuna with the outcome."""
        self._sampler.after_trial(study, trial, state, values)


def _turn(study: Study, trial: Trial) -> int:
    """How many trials began before the first try of this one, each counted once however often it was tried."""
    first = _first_of(trial)
    tries = study.get_trials(deepcopy=False)
    return sum(t.number < first and _again.retried_trial_number(t) is None for t in tries)


def _pruner(settings: Tuning) -> optuna.pruners.BasePruner:
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=2)
    if settings.pruner == "halving":
        return Halving()
    return optuna.pruners.HyperbandPruner() if settings.pruner == "hyperband" else optuna.pruners.NopPruner()


class Halving(optuna.pruners.BasePruner):
    """Asynchronous successive halving: after 1, 3, 9, … validations only the best third goes on at once.

    The others wait. When more have come and one of those that wait is in the best third by now, it goes on where it was
    (`go_on`). L. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
    """

    def prune(self, study: Study, trial: Trial) -> bool:
        """Whether it waits; asked after each validation."""
        return _is_rung(trial.last_step) and not _leads(study, trial)


def go_on(study: Study, trial: Trial) -> None:
    """A callback: one trial that waits and is in the best third by now is the next to run, the furthest one first."""
    again = _tried_again(study)
    waiting = [t for t in study.get_trials(deepcopy=False) if t.state == State.PRUNED and t.number not in again]
    for t in sorted(waiting, key=lambda t: -(t.last_step or 0)):
        if _is_rung(t.last_step) and _leads(study, t):
            _try_again(study, t)
            return


def waiting_places(study: Study) -> list[str]:
    """Names of the folders in which trials have waited."""
    told = (t.user_attrs.get(WAITS_IN, "") for t in study.get_trials(deepcopy=False))
    return sorted({name for name in told if name and Path(name).name == name})


def _is_rung(step: int | None) -> bool:
    while step and step % THIRD == 0:
        step //= THIRD
    return step == 1


def _leads(study: Study, trial: Trial) -> bool:
    """Whether it is in the best third of all that came as far, each counted once; of equal ones the earlier is."""
    rung, sign = trial.last_step, -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    place: dict[int, tuple[float, int]] = {}
    for t in (*study.get_trials(deepcopy=False), trial):
        if rung in t.intermediate_values:
            first, value = _first_of(t), sign * t.intermediate_values[rung]
            place[first] = (math.inf if math.isnan(value) else value, first)
    ahead = sum(p < place[_first_of(trial)] for p in place.values())
    return ahead < max(len(place) // THIRD, 1)


def completed(study: Study) -> list[Trial]:
    """Trials with a value."""
    return study.get_trials(deepcopy=False, states=(State.COMPLETE,))


def spent(study: Study) -> int:
    """How much of a budget in trials is used, over all processes.

    Complete, pruned and failed trials count; one that was killed or interrupted and is tried again does not, nor one
    that has waited and goes on. While
    every trial has failed, none counts: the cause was none of their settings.
    """
    again = _tried_again(study)
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.number not in again]
    return 0 if all(t.state == State.FAIL for t in ended) else len(ended)


def first_try(study: Study, number: int) -> int:
    """The number of the trial that a trial repeats after a kill or an interruption, or goes on with, else its own."""
    return _first_of(next(t for t in study.get_trials(deepcopy=False) if t.number == number))


def _tried_again(study: Study) -> set[int]:
    return {n for t in study.get_trials(deepcopy=False) for n in _again.retry_history(t)}


def stop_at(limit: int | None) -> Callable[[Study, Trial], None]:
    """A callback that stops the search at its budget, and when nothing works: all trials fail, the last ones alike."""
    errors: list[str] = []

    def stop(study: Study, trial: Trial) -> None:
        if trial.state == State.FAIL:
            errors.append(re.sub(r"\d+", "", str(trial.user_attrs.get("error"))))
        used, most = spent(study), math.inf if limit is None else limit
        alike = len(errors) >= ALIKE and len(set(errors[-ALIKE:])) == 1
        if used >= most or (not used and (alike or len(errors) >= most)):
            study.stop()

    return stop


def database_error(error: BaseException | None) -> str | None:
    """The first line of what the database said, where that is behind an error."""
    while error is not None:
        if isinstance(error, SQLAlchemyError):
            return str(without_secrets(str(error).splitlines()[0]))
        error = error.__cause__ or error.__context__
    return None
