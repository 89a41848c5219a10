"""What a search leaves in its folder: `trials.json`, `best.yaml` and plots.

None of these is read back, but from the database anew (`study.py`, where each finished trial has a seal); `best.yaml`
is handed to a person, who may edit it like any experiment, so it has none.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shopkeeper.files import write_json, write_text
from shopkeeper.hashing import SEAL
from shopkeeper.shapes import Yaml
from shopkeeper.tuning.space import path_of, with_settings
from shopkeeper.tuning.study import WAITS_IN, State, Study, spent

log = logging.getLogger(__name__)
LOST = "its process was killed or lost"
# What of the trainer decides what is learned; the rest belongs to the machine.
LEARNS = ("max_epochs", "max_batches", "overfit_batches", "validation_requests")
KEPT = ("dataset", "split", "task", "features", "timeline", "loss", "model", "trainer", "init_from", "seed",
        "evaluation")  # fmt: skip


def write_trials(study: Study, folder: Path) -> Path:
    """`trials.json`: every trial with its state, value, settings, epochs and, where it failed, its error."""
    trials = []
    for t in study.get_trials(deepcopy=False):
        about = {k: v for k, v in t.user_attrs.items() if k not in ("error", "traceback", SEAL, WAITS_IN)}
        if t.state == State.FAIL:
            about |= {"error": LOST} | t.user_attrs
        trials.append({"number": t.number, "state": t.state.name.lower(), "value": t.value, "params": t.params,
                       "epochs": t.intermediate_values, **about})  # fmt: skip
    write_json(folder / "trials.json", trials)
    return folder / "trials.json"


def write_best(study: Study, cfg: Yaml, choices: Mapping[str, str], shipped: Mapping[str, Any], folder: Path) -> Path:
    """`best.yaml`, a Hydra experiment: with it, `train` composes what the best trial was trained with.

    `choices`: the config groups that it begins with; `shipped`: what `train` composes of them alone. What the search
    was told differently is written down, beside the settings that it found.
    """
    best = with_settings(cfg, study.best_params) | {"seed": cfg["tuning"]["seeds"][0]}
    default = {k: shipped[k] for k in KEPT if k in shipped}
    for config in (best, default):
        config["trainer"] = {k: config["trainer"][k] for k in LEARNS}
        config["evaluation"] = {k: config["evaluation"][k] for k in ("k", "ties")}  # by which the best one was chosen
    values = {k: _nested(best[k], default[k]) for k in default if k in best and best[k] != default[k]}
    if best["task"]["headline"] == f"ndcg@{best['evaluation']['k'][0]}":
        values.get("task", {}).pop("headline", None)  # it follows from evaluation.k
        values = {k: v for k, v in values.items() if v != {}}
    if "loss" not in choices:
        values.pop("loss", None)
    elif best["model"]["loss"] == best["loss"]:
        values.get("model", {}).pop("loss", None)  # it is ${loss}
    for key, value in study.best_params.items():  # those that are the default, too
        node = values
        *path, leaf = path_of(key)
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    overrides = [{f"override /{group}": name} for group, name in choices.items()]
    head = (
        f"# @package _global_\n# Study {study.study_name}: {spent(study)} trials; best {cfg['task']['headline']} on "
        f"validation {study.best_value:.5f} (trial {study.best_trial.number}, seeds {cfg['tuning']['seeds']}).\n"
    )
    write_text(folder / "best.yaml", head + yaml.safe_dump({"defaults": overrides, **values}, sort_keys=False))
    return folder / "best.yaml"


def _nested(value: Any, default: Any) -> Any:
    """What of `value` differs from `default`, nested alike."""
    if not isinstance(value, Mapping) or not isinstance(default, Mapping):
        return value
    return {k: _nested(v, default.get(k)) for k, v in value.items() if k not in default or v != default[k]}


def write_plots(study: Study, folder: Path) -> list[Path]:
    """PNGs of history, importance, slices and curves of the epochs; without one that has too little to show."""
    import matplotlib

    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as draw
    from matplotlib import pyplot

    plots = {
        "history": draw.plot_optimization_history,
        "importance": draw.plot_param_importances,
        "slice": draw.plot_slice,
    }
    if any(t.intermediate_values for t in study.get_trials(deepcopy=False)):
        plots["curves"] = draw.plot_intermediate_values
    logging.getLogger("matplotlib.category").setLevel(logging.WARNING)  # on choices that look like numbers
    made = []
    for name, plot in plots.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. a single trial's limits
            try:
                plot(study)
            except (ValueError, RuntimeError) as e:  # e.g. importance needs two different finished trials
                log.info("no plot '%s': %s", name, e)
                continue
            made.append(_save(pyplot.gcf(), folder / f"{name}.png", legend=name != "curves"))
        pyplot.close("all")
    return made


def _save(figure: Any, path: Path, legend: bool) -> Path:
    from matplotlib import ticker

    for axis in figure.axes:
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())  # on a narrow logarithmic axis they overlap
        if not legend and (shown := axis.get_legend()):
            shown.remove()  # a line for each trial
    figure.set_size_inches(2 * max(len(figure.axes), 5), 6)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    return path
