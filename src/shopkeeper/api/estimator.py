"""A model to be fitted, asked and handed over: `fit`, `Estimator`, `load`."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from shopkeeper import configuration
from shopkeeper.api.dataset import Dataset, check_data
from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.api.lists import People, lists_for
from shopkeeper.api.own import Model, settings_of
from shopkeeper.api.told import divided
from shopkeeper.api.words import of_a_frame, say_rejected
from shopkeeper.errors import UserError, nearest
from shopkeeper.models.targets import class_of
from shopkeeper.pipeline import context, places, show, told
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import CALIBRATION_GATE
from shopkeeper.tasks.base import REQUESTS

if TYPE_CHECKING:
    import pandas as pd

    from shopkeeper.bundles.answer import Bundle

OF_VERB = {f.name for f in fields(told.Train)} - {
    "dataset", "split", "task", "model", "paths", "plain", "prepared_folder", "trial",
}  # fmt: skip
# Of them: what a run learned by, but its seed.
OF_TRAINING = ("features", "loss", "trainer", "evaluation", "timeline", "init_from")


class Estimator:
    """A model and its settings, fitted or not; as in scikit-learn, `fit` returns the estimator itself.

    Args:
        model: the name of one of the package's models (`shopkeeper.choices("model")`; of those that stand for several
            with theirs, `"recbole:LightGCN"`), a `Model` of your own, or the class of a recommender with the package's
            own contract.
        settings: of the model (`epochs=3`), or of training (`trainer="cpu"`, `loss="bce"`, `evaluation={"k": [5]}`,
            `seed=3`): what `shopkeeper train` takes, by the same names. A group takes the name of one of its files,
            settings, or both.

    Raises:
        UserError: no such model or setting, with the nearest name.

    Examples:
        >>> import shopkeeper as sk
        >>> model = sk.Estimator("item_knn", neighbours=20)
        >>> model.set_params(shrinkage=5.0).get_params()["shrinkage"]
        5.0
    """

    def __init__(self, model: str | Model | type, **settings: Any) -> None:
        from shopkeeper.api.told import compose

        self.model = model
        own = None if isinstance(model, str) else settings_of(model)
        whole = {} if own is None else {"model": own}
        file, _, of = model.partition(":") if isinstance(model, str) else ("", "", "")
        found = compose("train", {"model": file} if file else {}, whole=whole)["model"]
        self.name = of or str(found["name"])
        if of and "name" not in inspect.signature(class_of(str(found["target"]), f"model={file}")).parameters:
            raise UserError(f"model={file} stands for one model alone; leave ':{of}' out")
        self._usual = {key: value for key, value in found.items() if key not in ("name", "task", "tasks", "target")}
        divided(settings, self._usual, OF_VERB, f"model={self.name}")
        self.settings = dict(settings)
        self.data: Dataset | None = None
        self._run: RunFolder | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The model, and all its settings with the values that they have.

        Examples:
            >>> import shopkeeper as sk
            >>> sk.Estimator("popularity").get_params()["half_life_days"]
            30
        """
        return {"model": self.model, **self._usual, **self.settings}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; what was fitted stays as it was until `fit` is called again.

        Raises:
            UserError: no such setting, or another model than this one's.
        """
        if settings.pop("model", self.model) != self.model:
            raise UserError(f"this is an estimator of {self.name}; of another model make another: Estimator('…')")
        divided(settings, self._usual, OF_VERB, f"model={self.name}")
        self.settings |= settings
        return self

    def fit(
        self,
        data: Dataset,
        *,
        split: str | Mapping[str, Any] | None = None,
        task: str | Mapping[str, Any] | None = None,
        folder: Path | str | None = None,
    ) -> Self:
        """Train on a dataset, and ask the model what validation and test ask: the verb `train`.

        Args:
            data: the dataset.
            split: how it is divided; None: as the dataset says.
            task: what is asked; None: as the model says (recommenders: `next_item`).
            folder: the run's folder. None: `runs/<dataset>/<task>/<split>/<model>-<id>` below the dataset's, where the
                same settings have the same id.

        Returns:
            The estimator, fitted.

        Raises:
            UserError: a model that does not fit the task, data that do not fit the split, a model that looks ahead.
        """
        from shopkeeper.pipeline.train import train_model

        check_data(data)
        with of_a_frame(data.made_by):
            config = self.told("train", data, split, task)
            if not isinstance(self.model, str) and config.get("name") is None:  # perhaps another program by now
                config["name"] = f"{self.name}-{uuid.uuid4().hex[:8]}"
            cfg = told.settings(config, told.Train)
            self._run = train_model(cfg, places.run_folder(cfg) if folder is None else Path(folder))
        if data.made_by:
            say_rejected(context.prepared_of(self._run.manifest))
        self.data = data
        return self

    def told(
        self,
        verb: str,
        data: Dataset,
        split: str | Mapping[str, Any] | None,
        task: str | Mapping[str, Any] | None,
        **more: Any,
    ) -> dict[str, Any]:
        """What a verb that trains is told of this model, as plain settings; `more`: blocks of the verb's own."""
        own, others = divided(self.settings, self._usual, OF_VERB, f"model={self.name}")
        asked = {**others, **more, "split": split, "task": task}
        if not isinstance(self.model, str):
            config = data.compose(verb, {**asked, "task": task or "next_item"})
            return {**config, "model": {**settings_of(self.model), **own}}
        file, several, of = self.model.partition(":")
        config = data.compose(verb, {**asked, "model": {"name": file, **own}})
        return {**config, "model": {**config["model"], "name": of}} if several else config

    @property
    def run(self) -> RunFolder:
        """The finished run, as every other part of the package reads it."""
        if self._run is None:
            raise UserError(f"{self.name} is not fitted; call fit(data) first")
        return self._run

    @property
    def path(self) -> Path:
        """The run's folder, which the verbs take: `shopkeeper evaluate runs=[…]`."""
        return self.run.path

    @property
    def task(self) -> str:
        """What it was trained for."""
        return self.run.task

    def metrics(self, part: str = "test") -> pd.DataFrame:
        """Its figures on a part, `test` or `validation`: a row per metric with `value`, `low`, `high` and `n`.

        Examples:
            >>> import shopkeeper as sk
            >>> model = sk.fit("popularity", sk.dataset("demo_shop", simulate={"customers": 60}))
            >>> list(model.metrics().columns)
            ['value', 'low', 'high', 'n']
        """
        found = self.run.metrics.get(part)
        if found is None:
            raise UserError(f"there are no figures on '{part}'.{nearest(part, ('test', 'validation'))}")
        columns = ("value", "low", "high", "n")
        rows = {"metric": list(found), **{c: [entry.get(c) for entry in found.values()] for c in columns}}
        return as_pandas(pa.table(rows)).set_index("metric")

    def rows(self, part: str = "test") -> pd.DataFrame:
        """What every figure comes from: a row per question of a part, with ids as in the prepared dataset."""
        return as_pandas(self.run.table(part))

    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        *,
        history: People | None = None,
        basket: People | None = None,
        placement: str | Mapping[str, Any] | None = None,
        category: str | None = None,
        filter_seen: bool | None = None,
    ) -> pd.DataFrame:
        """The best items for customers as of the end of the log, or for histories of people who are not in it.

        Args:
            users: ids of customers: one, a list, a column. None: everybody, unless histories are given.
            k: length of the lists.
            history: in place of users: what each person did, oldest first, as item ids, `(id, event type, time)` or
                mappings with `item_id`; a list, or by names of one's own a dict or a series. Times may be left out,
                unless the model reads them. Items that are not in the data are left out.
            basket: with history, the order so far of each person: what goes with it, and is not in it?
            placement: as a place of the shop answers, with its filter, order and fallback
                (`shopkeeper.choices("placement")`): its name, settings, or both.
            category: with `placement="category"`, whose page it is.
            filter_seen: leave out what they have had. None: as the model was evaluated.

        Returns:
            A row per customer and place: `user_id`, `rank`, `item_id`, `score`, and what is known of the item.

        Raises:
            UserError: an id that is not in the log, a model about customers.

        Examples:
            >>> import shopkeeper as sk
            >>> model = sk.fit("popularity", sk.dataset("demo_shop", simulate={"customers": 60}))
            >>> len(model.recommend(history=[[], ["sku-0001"]], k=3))
            6
        """
        run = self.run
        if run.about.asks != REQUESTS:
            raise UserError(f"{self.name} is a {run.task} model, which does not recommend items; use shopkeeper.score")
        found = lists_for(run, users, k, history, basket, placement, category, filter_seen)
        return as_pandas(found if self.data is None else self.data.given_ids(found))

    def export(
        self,
        to: Path | str | None = None,
        *,
        k: int = 10,
        golden: int = 100,
        placements: Sequence[str] = (),
        overwrite: bool = False,
        calibration_gate: float | None = CALIBRATION_GATE,
    ) -> Bundle:
        """Write the bundle that a serving team receives, verified, and open it: the verb `export`.

        Where the run was tracked (`tracking="mlflow"`), MLflow's registry has it as challenger, see `promote`.

        Args:
            to: the folder. None: `exports/<dataset>-<model>` of the dataset's folder.
            k: length of the lists that it can give.
            golden: requests with known answers that are kept in it.
            placements: places of the shop that it answers at, too, by name.
            overwrite: replace a bundle of another model or dataset.
            calibration_gate: of probabilities the ECE on test above which surely none are exported; None: any.

        Raises:
            UserError: a model that is not exported, a folder that is taken.

        Examples:
            >>> import shopkeeper as sk
            >>> model = sk.fit("popularity", sk.dataset("demo_shop", simulate={"customers": 60}))
            >>> len(model.export(golden=5).recommend([["sku-0001"]], k=3)[0])
            3
        """
        from shopkeeper.bundles.answer import Bundle
        from shopkeeper.bundles.answer.verify import verify
        from shopkeeper.pipeline.comparing.judged import judged
        from shopkeeper.pipeline.export import bundle_name, export_run, named_places
        from shopkeeper.pipeline.handed.register import register

        of_run = told.of_run(self.run.config)
        paths, names = of_run.paths, [placements] if isinstance(placements, str) else list(placements)
        out = paths.exports / bundle_name(None, self.run) if to is None else Path(to)
        with plain_errors():
            known, places_too = judged(self.run, paths.reports), named_places(None, names)
            options: dict[str, Any] = {"k": k, "golden": golden, "overwrite": overwrite, "places": places_too}
            out = export_run(self.run, out, judged=known, calibration_gate=calibration_gate, **options)
            verify(out)
            register(of_run.tracking, self.run, out)
            return Bundle.load(out)

    def __repr__(self) -> str:
        """As it was called."""
        told_of = "".join(f", {key}={value!r}" for key, value in self.settings.items())
        model = repr(self.model) if isinstance(self.model, str) else self.name
        return f"Estimator({model}{told_of})"

    def _repr_html_(self) -> str:
        """As a notebook shows it: its figures on validation and test."""
        if self._run is None:
            return grid(f"{self.name}, not fitted", ("setting", "value"),
                        [[k, str(v)] for k, v in self.get_params().items()])  # fmt: skip
        metrics = self.run.metrics
        parts = ("validation", "test")
        names = dict.fromkeys(name for part in parts for name in metrics.get(part, {}))
        rows = [[n, *(show.with_interval(metrics.get(p, {}).get(n)) for p in parts)] for n in names]
        caption = f"{self.name} on {metrics['dataset']}, task {self.task}, split {metrics['split']}"
        return grid(caption, ("metric", *parts), rows, [f"intervals of {show.level(metrics)}"])


def fit(
    model: str | Model | type,
    data: Dataset,
    *,
    split: str | Mapping[str, Any] | None = None,
    task: str | Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    **settings: Any,
) -> Estimator:
    """Train a model on a dataset, and evaluate it on validation and test: `Estimator(model, **settings).fit(data, …)`.

    Args:
        model: a name (`shopkeeper.choices("model")`), or a model of your own.
        data: the dataset.
        split: how it is divided: a name, or settings, `{"name": "temporal", "test_days": 14}`. None: as data says.
        task: what is asked. None: as the model says.
        folder: the run's folder. None: below the dataset's.
        settings: of the model, or of training, as of `Estimator`.

    Examples:
        >>> import shopkeeper as sk
        >>> data = sk.dataset("demo_shop", simulate={"customers": 60})
        >>> sk.fit("item_knn", data, neighbours=20).recommend(k=2).columns.tolist()[:4]
        ['user_id', 'rank', 'item_id', 'score']
    """
    return Estimator(model, **settings).fit(data, split=split, task=task, folder=folder)


def load(path: Path | str, model: Model | type | None = None) -> Estimator:
    """A finished run, of this package's API or of its verbs, as an estimator; `fit` trains its settings anew.

    Args:
        path: the run's folder.
        model: of a model of your own, its class: a run does not choose what is executed.

    Raises:
        UserError: no run, a changed one, a model of somebody's own that was not given.

    Examples:
        >>> import shopkeeper as sk
        >>> model = sk.fit("popularity", sk.dataset("demo_shop", simulate={"customers": 60}))
        >>> sk.load(model.path).name
        'popularity'
    """
    from shopkeeper.api.told import compose

    own = None if model is None else settings_of(model)
    run = open_run(path)
    found = Estimator.__new__(Estimator)
    settings = dict(run.config["model"])
    found.name = str(settings["name"])
    found.model = _named(settings) if own is None or model is None else model
    found._usual = {key: value for key, value in settings.items() if key not in ("name", "task", "tasks", "target")}
    file = str(found.model).partition(":")[0]
    ours = model is None and configuration.find("model", file) is not None
    usual = compose("train", {"model": file}) if ours else compose("train", {}, whole={"model": settings})
    told_of = {key: run.config[key] for key in OF_TRAINING if run.config.get(key, usual[key]) != usual[key]}
    found.settings = {**found._usual, "seed": run.config["seed"], **told_of}
    found.data, found._run = None, run
    return found


def _named(settings: Mapping[str, Any]) -> str:
    """How a run's model is called: by its file in `conf/model/`, of one that stands for several with its own name."""
    import yaml

    name = str(settings["name"])
    if configuration.find("model", name) is not None:
        return name
    for file in configuration.names("model"):
        path = configuration.find("model", file)
        said = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8"))
        if said.get("target") == settings.get("target") and said.get("name") == file:
            return f"{file}:{name}"
    return name
