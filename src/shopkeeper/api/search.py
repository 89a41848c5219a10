"""A search of a model's settings on validation: the verb `tune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shopkeeper.api.dataset import Dataset, check_data
from shopkeeper.api.errors import plain_errors
from shopkeeper.api.estimator import Estimator
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.api.own import Model
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.pipeline import told

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  # trials in a notebook


class Search:
    """What `tune` found, and the folder in which it lies.

    Attributes:
        path: the folder, with every trial, plots and, where dataset and model have files of configuration, `best.yaml`,
            which `shopkeeper train experiment=…` takes. Of `"auto"`: with what each model reached; their trials lie in
            folders beside it.
        headline: the metric on validation that was searched for.
    """

    def __init__(
        self, path: Path, cfg: told.Tune, models: Mapping[Path, str | Model | type], settings: Mapping[str, Any]
    ) -> None:
        self.path, self.headline = path, cfg.task.headline
        self._lower = cfg.task.direction == "minimize"
        self._settings, self._seed = dict(settings), cfg.tuning.seeds[0]
        self._several = len(models) > 1
        self._trials: list[dict[str, Any]] = [
            {"model": model, **trial} for study, model in models.items() for trial in read_json(study / "trials.json")
        ]

    def _best(self) -> dict[str, Any]:
        done = [trial for trial in self._trials if trial["state"] == "complete"]
        return (min if self._lower else max)(done, key=lambda trial: trial["value"])

    @property
    def best_value(self) -> float:
        """The headline of the best trial, on validation."""
        return float(self._best()["value"])

    @property
    def best_params(self) -> dict[str, Any]:
        """The settings that were searched, as the best trial had them."""
        return dict(self._best()["params"])

    @property
    def best_model(self) -> str | Model | type:
        """The model of the best trial: what was searched, of `"auto"` the one that came out best."""
        found: str | Model | type = self._best()["model"]
        return found

    def best(self) -> Estimator:
        """An estimator with the best settings, to be fitted: `search.best().fit(data)`."""
        from shopkeeper.tuning.space import path_of

        settings: dict[str, Any] = {"seed": self._seed, **self._settings}
        for key, value in self.best_params.items():
            *groups, leaf = path_of(key)
            node = settings
            for group in groups[groups[0] == "model" :]:
                inner = node.get(group)
                node[group] = dict(inner) if isinstance(inner, Mapping) else {} if inner is None else {"name": inner}
                node = node[group]
            node[leaf] = value
        return Estimator(self.best_model, **settings)

    def to_pandas(self) -> pd.DataFrame:
        """A row per trial, best first: `number`, `state`, `value`, `seconds`, and a column per setting.

        Of `"auto"` with the `model` in front.
        """
        worst = float("inf")

        def place(trial: Mapping[str, Any]) -> float:
            value = trial["value"] if trial["state"] == "complete" else None
            return worst if value is None else float(value if self._lower else -value)

        trials = sorted(self._trials, key=place)
        names = dict.fromkeys(name for trial in trials for name in trial["params"])
        own = (*(("model",) if self._several else ()), "number", "state", "value", "seconds")
        columns: dict[str, Any] = {key: [trial.get(key) for trial in trials] for key in own}
        for name in names:
            values = [trial["params"].get(name) for trial in trials]
            kinds = {type(value) for value in values if value is not None}
            columns[name] = values if kinds <= {int, float} or len(kinds) < 2 else [str(value) for value in values]
        return as_pandas(pa.table(columns))

    def __repr__(self) -> str:
        """The best trial."""
        found = ", ".join(f"{key}={value!r}" for key, value in self.best_params.items())
        found = f"{self.best_model} with {found}" if self._several else found
        return f"{len(self._trials)} trials; best validation {self.headline} {self.best_value:.5f}: {found}"

    def _repr_html_(self) -> str:
        """As a notebook shows it: the best trials."""
        frame = self.to_pandas().head(SHOWN)
        rows = [[str(value) for value in row] for row in frame.itertuples(index=False)]
        caption = f"{len(self._trials)} trials, validation {self.headline}"
        return grid(caption, list(map(str, frame.columns)), rows)


def tune(
    model: str | Model | type,
    data: Dataset,
    *,
    trials: int | None = 20,
    hours: float | None = None,
    space: Mapping[str, Any] | None = None,
    split: str | Mapping[str, Any] | None = None,
    task: str | Mapping[str, Any] | None = None,
    tuning: str | Mapping[str, Any] = "tpe",
    **settings: Any,
) -> Search:
    """Search a model's settings on validation; test is not looked at: the verb `tune`.

    The same call goes on with the same search where the dataset has a `folder`.

    Args:
        model: as of `fit`. `"auto"` searches each of its candidates, shipped settings first, and takes the best.
        data: the dataset.
        trials: how many settings are tried, pruned and failed ones among them. None: `hours` alone end it.
        hours: and no longer than this; of `"auto"` for all together, while `trials` are each model's.
        space: what is searched: `{"neighbours": {"type": "int", "low": 10, "high": 200, "log": True}}`; of loss and
            trainer with a dot, `"loss.negatives"`. None: as `conf/tuning/space/<model>.yaml` has it.
        split: how the data is divided. None: as data says.
        task: what is asked. None: as the model says.
        tuning: how it is searched (`shopkeeper.choices("tuning")`): a name, or settings such as `{"seeds": [1, 2]}`.
        settings: of the model or of training, the same in every trial.

    Raises:
        UserError: a space that makes no sense, no trial that has finished.

    Examples:
        >>> import shopkeeper as sk
        >>> data = sk.dataset("demo_shop", simulate={"customers": 60})
        >>> near = {"neighbours": {"type": "int", "low": 2, "high": 20}}
        >>> search = sk.tune("item_knn", data, trials=3, space=near, tuning="random")
        >>> len(search.to_pandas()), search.best().get_params()["neighbours"] == search.best_params["neighbours"]
        (3, True)
    """
    from shopkeeper.pipeline.tune import AUTO, candidates, tune_all, tune_model

    check_data(data)
    named = {"name": tuning} if isinstance(tuning, str) else {"name": "tpe", **tuning}
    budget = {**named, "trials": trials, "hours": hours}
    added = data.room.conf if data.room.conf.is_dir() else None

    def of(name: str | Model | type, **more: Any) -> told.Tune:
        config = Estimator(name, **more).told("tune", data, split, task, tuning=budget)
        if space is not None or not isinstance(name, str):
            config["tuning"] = {**config["tuning"], "space": {} if space is None else dict(space)}
        return told.settings(config, told.Tune)

    with plain_errors():
        cfg = of(model, **settings)
        if cfg.model.target != AUTO:
            path = tune_model(cfg, added)
            return Search(path, cfg, {path: model}, settings)
        if space is not None:
            raise UserError("space is of one model, and 'auto' searches several, each its own; leave space out")
        others = {key: value for key, value in settings.items() if key != "candidates"}
        configs = [of(name, **others) for name in candidates(cfg)]
        if (stem := cfg.tuning.name) is not None:
            configs = [
                told.but(one, tuning={**one.plain["tuning"], "name": f"{stem}-{one.model.name}"}) for one in configs
            ]
        path = tune_all(cfg, configs, added)
        board = read_json(path / "board.json")["models"]
        return Search(path, cfg, {path.parent / row["study"]: row["model"] for row in board}, others)
