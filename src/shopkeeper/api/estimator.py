"""A model to be fitted, asked and handed over: `fit`, `Estimator`, `load`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from shopkeeper import configuration
from shopkeeper.api.dataset import Dataset
from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.api.own import Model, settings_of
from shopkeeper.api.told import divided
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.identifiers import normal_id
from shopkeeper.pipeline import context, places, show, told
from shopkeeper.pipeline.recommend import best, read_lines, told_times
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.tasks.base import REQUESTS

if TYPE_CHECKING:
    import pandas as pd

    from shopkeeper.bundles.answer import Bundle

OF_VERB = {f.name for f in fields(told.Train)} - {
    "dataset", "split", "task", "model", "paths", "plain", "prepared_folder", "trial",
}  # fmt: skip
OF_TRAINING = ("loss", "trainer", "evaluation", "timeline", "init_from")  # of them: what a run learned by, but its seed


class Estimator:
    """A model and its settings, fitted or not; as in scikit-learn, `fit` returns the estimator itself.

    Args:
        model: the name of one of the package's models (`shopkeeper.choices("model")`), a `Model` of your own, or the
            class of a recommender with the package's own contract.
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
        found = compose("train", {"model": model} if isinstance(model, str) else {}, whole=whole)["model"]
        self.name = str(found["name"])
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
        """Change settings; what was fitted stays as it was until `fit` is called again."""
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

        if not isinstance(data, Dataset):
            raise UserError(
                f"data is a {type(data).__name__}; make a dataset of it first: Dataset.from_pandas(frame, user=…, "
                f"item=…, time=…), or shopkeeper.dataset(name)"
            )
        own, others = divided(self.settings, self._usual, OF_VERB, f"model={self.name}")
        group: Any = {"name": self.name, **own} if isinstance(self.model, str) else None
        asked = {**others, "split": split, "task": task}
        with plain_errors():
            if group is None:
                config = data.compose("train", {**asked, "task": task or "next_item"})
                config["model"] = {**settings_of(self.model), **own}
            else:
                config = data.compose("train", {**asked, "model": {"name": self.model, **own}})
            if group is None and config.get("name") is None:  # the same settings, and perhaps another program by now
                config["name"] = f"{self.name}-{uuid.uuid4().hex[:8]}"
            cfg = told.settings(config, told.Train)
            self._run = train_model(cfg, places.run_folder(cfg) if folder is None else Path(folder))
        self.data = data
        return self

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
        history: Sequence[Sequence[Any]] | Mapping[Any, Sequence[Any]] | None = None,
        filter_seen: bool | None = None,
    ) -> pd.DataFrame:
        """The best items for customers as of the end of the log, or for histories of people who are not in it.

        Args:
            users: ids of customers: one, a list, a column. None: everybody, unless histories are given.
            k: length of the lists.
            history: in place of users: what each person did, oldest first, as item ids, `(id, event type, time)` or
                mappings with `item_id`; a list, or a dict by a name of one's own. Times may be left out, unless the
                model reads them. Items that are not in the data are left out.
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
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UserError(f"k={k!r:.40} must be a whole number of at least 1")
        prepared = context.prepared_of(run.manifest)
        split = context.split_of(prepared, run.manifest)
        model = run.model()
        time = prepared.events.timestamp
        instant = None if time is None else int(time.max()) + 1  # asked right after what the log knows
        if history is not None:
            if users is not None:
                raise UserError("users and history are given; give one of them")
            names = list(history) if isinstance(history, Mapping) else list(range(len(history)))
            lists = list(history.values()) if isinstance(history, Mapping) else list(history)
            events = [[_event(one) for one in _of_one_person(lines)] for lines in lists]
            items, types, times = read_lines(events, model, split, "history")
            at_once = None if instant is None else [instant] * len(lists)
            requests = Requests.from_histories(items, types, told_times(times), at_once)
            who = pa.array(names if all(isinstance(n, int) for n in names) else [str(n) for n in names])
        else:
            user = _numbers(users, prepared.users["user_id"], prepared.name)
            offsets = prepared.offsets
            at = None if instant is None else np.full(len(user), instant, np.int64)
            requests = Requests(prepared.events, offsets[user - 1], offsets[user], at, user.astype(np.int32))
            who = prepared.users["user_id"].combine_chunks().take(pa.array(user - 1))
        if "nightly" in model.about.needs:
            requests = replace(requests, nightly=split.nightly)
        seen = bool(run.metrics["filter_seen"]) if filter_seen is None else filter_seen
        placed = run.config.get("placement") is not None
        item_BK, score_BK = best(model, split, requests, k, seen, placed=placed)
        listed = item_BK > 0
        of, place = np.nonzero(listed)
        item = pa.array(item_BK[listed].astype(np.int64) - 1)
        table = {"user_id": who.take(pa.array(of)), "rank": pa.array(place + 1),
                 "item_id": prepared.items["item_id"].combine_chunks().take(item),
                 "score": pa.array(score_BK[listed])}  # fmt: skip
        for name in prepared.items.column_names:
            if name not in ("item", *table):
                table[name] = prepared.items[name].combine_chunks().take(item)
        found = pa.table(table)
        return as_pandas(found if self.data is None else self.data.given_ids(found))

    def export(
        self, to: Path | str | None = None, *, k: int = 10, golden: int = 100, overwrite: bool = False
    ) -> Bundle:
        """Write the bundle that a serving team receives, verified, and open it: the verb `export`.

        Args:
            to: the folder. None: `exports/<dataset>-<model>` of the dataset's folder.
            k: length of the lists that it can give.
            golden: requests with known answers that are kept in it.
            overwrite: replace a bundle of another model or dataset.

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
        from shopkeeper.pipeline.export import bundle_name, export_run

        paths = told.of_run(self.run.config).paths
        out = paths.exports / bundle_name(None, self.run) if to is None else Path(to)
        with plain_errors():
            known = judged(self.run, paths.reports)
            out = export_run(self.run, out, k=k, golden=golden, overwrite=overwrite, judged=known)
            verify(out)
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
    found.model = found.name if own is None or model is None else model
    found._usual = {key: value for key, value in settings.items() if key not in ("name", "task", "tasks", "target")}
    ours = configuration.find("model", found.name) is not None
    usual = compose("train", {"model": found.name}) if ours else compose("train", {}, whole={"model": settings})
    told_of = {key: run.config[key] for key in OF_TRAINING if run.config.get(key, usual[key]) != usual[key]}
    found.settings = {**found._usual, "seed": run.config["seed"], **told_of}
    found.data, found._run = None, run
    return found


def _of_one_person(lines: Any) -> Iterable[Any]:
    """What one person did; a `UserError` for an item in place of a list of them."""
    if isinstance(lines, str | bytes | Mapping) or not isinstance(lines, Iterable):
        raise UserError(
            f"history has {lines!r:.60} in place of a list of what one person did; give a list of lists: "
            f"history=[[…], […]]"
        )
    return lines


def _event(one: Any) -> Any:
    """An event of a history, with its item's id as text."""
    if isinstance(one, Mapping):
        return {key: str(value) if key == "item_id" else value for key, value in one.items()}
    return [str(one[0]), *one[1:]] if isinstance(one, list | tuple) and one else one


def _numbers(users: Any, ids: pa.ChunkedArray, dataset: str) -> np.ndarray:
    """Internal ids of customers, int64 (n,); a `UserError` for one that is not in the log."""
    if users is None:
        return np.arange(1, len(ids) + 1)
    wanted = [users] if isinstance(users, str | int | np.integer) else list(users)
    place = {name: n for n, name in enumerate(ids.to_pylist(), start=1)}
    found = []
    for one in wanted:
        if (name := normal_id(one)) not in place:
            raise UserError(
                f"customer {one!r:.60} is not in {dataset}; for somebody who is not in the log give history=[[…]] with "
                f"what they did"
            )
        found.append(place[name])
    return np.array(found, np.int64)
