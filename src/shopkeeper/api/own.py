"""A recommender of one's own, in a cell of a notebook: two methods over DataFrames, asked as every other one is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.api.frames import as_pandas
from shopkeeper.api.state import read_state, write_state
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events, Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError, nearest
from shopkeeper.models.about import COLUMNS, About
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import NOT_PARAMETERS
from shopkeeper.models.targets import hand_over
from shopkeeper.schema import EVENT_TYPES
from shopkeeper.tasks.base import REQUESTS

if TYPE_CHECKING:
    import pandas as pd

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Histories:
    """What n customers had done before the moment at which each is asked.

    Attributes:
        frame: a row per event, oldest first within a customer: `request` (place of the customer, from 0), `item` (place
            among the model's `items_`, -1 of an item that may not be recommended), `item_id`, `event_type` and, where
            the log has them, `timestamp`, `price`, `quantity`.
        users: the customers' ids; "" of somebody who is not in the log.
    """

    frame: pd.DataFrame
    users: Sequence[str]

    def __len__(self) -> int:
        """How many customers are asked about."""
        return len(self.users)


class Model:
    """Base of a recommender of one's own: write `fit` and `score`, and put it beside the package's.

    As in scikit-learn, `__init__` takes settings as keyword arguments and keeps each under its own name; `fit` learns,
    keeps what it has learned in attributes that end in `_`, and returns `self`. What is kept there is written with the
    run, so it must be data: numbers, text, lists, dicts, NumPy arrays, pandas frames or series.

    Before `fit` is called the model is told `items_`: the ids of the items that may be recommended, in the order of
    the columns of `score`.

    Examples:
        >>> import numpy as np, shopkeeper as sk
        >>> class MostTaken(sk.Model):
        ...     def __init__(self, power: float = 1.0) -> None:
        ...         self.power = power
        ...     def fit(self, events):
        ...         known = events["item"][events["item"] >= 0]
        ...         self.count_ = np.bincount(known, minlength=len(self.items_)) ** self.power
        ...         return self
        ...     def score(self, histories):
        ...         return np.tile(self.count_, (len(histories), 1))
        >>> MostTaken(power=2.0).get_params()
        {'power': 2.0}
    """

    items_: np.ndarray
    reads: ClassVar[tuple[str, ...]] = COLUMNS  # of a history, beside its items; another column changes no answer

    def fit(self, events: pd.DataFrame) -> Self:
        """Learn from the events before the cutoff.

        Args:
            events: a row per event, by customer and time: `user_id`, `item_id`, `item` (place among `items_`),
                `event_type` and, where the log has them, `timestamp` (UTC), `price`, `quantity`.

        Returns:
            The model itself.
        """
        raise NotImplementedError(f"{type(self).__name__} has no fit(events)")

    def score(self, histories: Histories) -> np.ndarray:
        """Scores of all items for each customer, (n customers, n items), higher is better; all finite.

        Also of a customer who has done nothing yet.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score(histories)")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings of `__init__`, as scikit-learn has it."""
        return {name: vars(self).get(name) for name in _settings(type(self))}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; returns the model itself. A `UserError` for a name that `__init__` does not take."""
        known = _settings(type(self))
        for name, value in settings.items():
            if name not in known:
                raise UserError(f"{type(self).__name__} has no setting '{name}'.{nearest(name, known)}")
            setattr(self, name, value)
        return self


def _settings(cls: type) -> list[str]:
    taken = list(inspect.signature(cls).parameters.values())
    if wrong := [p.name for p in taken if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]:
        raise UserError(f"{cls.__name__}.__init__ takes *{wrong[0]}; name each setting, so that a run can say it")
    return [p.name for p in taken]


def settings_of(model: Any) -> dict[str, Any]:
    """The block `model` of a configuration, for a model of one's own: a class or one of it.

    Raises:
        UserError: a setting that is no plain value.
    """
    cls = model if isinstance(model, type) else type(model)
    if issubclass(cls, Model):
        parameters = {} if isinstance(model, type) else model.get_params()
        for name, value in parameters.items():
            if name in NOT_PARAMETERS:
                raise UserError(f"{cls.__name__} has a setting '{name}', which means something else here; rename it")
            if not _is_plain(value):
                raise UserError(
                    f"{cls.__name__}.{name} is a {type(value).__name__}, and settings are written into the run; give "
                    f"numbers, text, lists or dicts, and learn everything else in fit"
                )
        made: Any = adapted(cls)
    else:
        if not isinstance(model, type):
            raise UserError(
                f"a {cls.__name__} is no model; give a name such as 'sasrec', a shopkeeper.Model, or the class of a "
                f"recommender with the package's own contract (shopkeeper/recommenders/base.py)"
            )
        parameters, made = {}, cls
    target = f"{cls.__module__}.{cls.__qualname__}"
    hand_over(target, made)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
    return {"name": name, "task": "next_item", "tasks": REQUESTS, "target": target, **parameters}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return isinstance(value, PLAIN)


def adapted(cls: type[Model]) -> type[Adapted]:
    """The class of a model of one's own as the pipeline makes it: same settings, the package's contract."""

    def make(self: Adapted, **settings: Any) -> None:
        Adapted.__init__(self, cls(**settings))

    signature = inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in _settings(cls)])
    return type(cls.__name__, (Adapted,), {"__init__": make, "__signature__": signature, "__doc__": cls.__doc__})


class Adapted:
    """A `Model` behind the contract of a recommender (`recommenders.base.Recommender`)."""

    def __init__(self, own: Model) -> None:
        self.own = own

    @property
    def about(self) -> About:
        """Scores, of what its class says that it reads."""
        reason = "it is a program of your own, which no bundle holds"
        return About(reads=tuple(self.own.reads), not_exported=reason)

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Hand over the training rows as a DataFrame."""
        self._bind(prepared, split)
        offsets, rows = split.training_rows()
        user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        users = prepared.users["user_id"].combine_chunks().take(pa.array(user))
        frame = self._frame(prepared.events, rows, {"user_id": users})
        found = self.own.fit(frame)
        if found is not self.own:
            raise UserError(f"{type(self.own).__name__}.fit returns {found!r:.60}; return self, as scikit-learn does")

    def score(self, requests: Requests) -> np.ndarray:
        """Ask the model; its columns are the catalogue's items: float32 (B, V)."""
        offsets, rows = requests.flat()
        request = np.repeat(np.arange(len(requests)), np.diff(offsets))
        frame = self._frame(requests.events, rows, {"request": pa.array(request)})
        user = np.zeros(len(requests), np.int64) if requests.user is None else requests.user
        histories = Histories(frame, [self.user_ids[u] for u in user.tolist()])
        answer = self.own.score(histories)
        try:
            said = np.asarray(answer, np.float64)
        except (TypeError, ValueError) as e:
            raise UserError(
                f"{type(self.own).__name__}.score gives a {type(answer).__name__}, which is no array of numbers ({e}); "
                f"give one row for each customer and one column for each item of items_"
            ) from e
        if said.shape != (len(requests), len(self.catalogue)):
            raise UserError(
                f"{type(self.own).__name__}.score gives an array of shape {said.shape}; give one row for each of the "
                f"{len(requests):,} customers and one column for each of the {len(self.catalogue):,} items of items_"
            )
        score_BV = np.zeros((len(requests), self.place_V.size), np.float32)
        score_BV[:, self.catalogue] = said
        return score_BV

    def save(self, folder: Path) -> None:
        """Write what it has learned as data."""
        learned = {k: v for k, v in vars(self.own).items() if k.endswith("_") and k[0] != "_" and k != "items_"}
        write_state(folder, learned, type(self.own).__name__)
        ids = {"items": self.item_ids, "users": self.user_ids, "catalogue": self.catalogue}
        arrays: dict[str, Any] = {name: np.asarray(values) for name, values in ids.items()}
        np.savez(folder / "ids.npz", **arrays)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        with np.load(folder / "ids.npz", allow_pickle=False) as found:
            self._know(found["items"].tolist(), found["users"].tolist(), found["catalogue"])
        for name, value in read_state(folder).items():
            setattr(self.own, name, value)

    def _bind(self, prepared: Prepared, split: Split) -> None:
        items, users = (prepared.items["item_id"], prepared.users["user_id"])
        self._know(["", *items.to_pylist()], ["", *users.to_pylist()], np.asarray(split.catalogue))

    def _know(self, item_ids: list[str], user_ids: list[str], catalogue: np.ndarray) -> None:
        self.item_ids, self.user_ids, self.catalogue = item_ids, user_ids, catalogue
        self.place_V = np.full(len(item_ids), -1, np.int64)
        self.place_V[catalogue] = np.arange(len(catalogue))
        self.own.items_ = np.array(item_ids, dtype=str)[catalogue]

    @cached_property
    def _item_texts(self) -> pa.Array:
        return pa.array(self.item_ids, pa.string())

    def _frame(self, events: Events, rows: np.ndarray, first: Mapping[str, pa.Array]) -> pd.DataFrame:
        item = events.item[rows]
        kinds = pa.array(("", *EVENT_TYPES))
        columns: dict[str, Any] = dict(first)
        columns |= {"item": pa.array(self.place_V[item]), "item_id": self._item_texts.take(pa.array(item))}
        columns["event_type"] = kinds.take(pa.array(events.event_type[rows].astype(np.int64)))
        if events.timestamp is not None:
            columns["timestamp"] = pa.array(events.timestamp[rows], pa.timestamp("us", tz="UTC"))
        for name in ("price", "quantity"):
            if (values := vars(events)[name]) is not None:
                columns[name] = pc.if_else(pc.is_nan(found := pa.array(values[rows])), None, found)
        return as_pandas(pa.table(columns))
