"""A dataset for Python: a frame, a file or a `conf/dataset/*.yaml`, prepared when it is first needed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import as_given, as_pandas, kinds_of, without_codes
from shopkeeper.api.html import facts
from shopkeeper.api.logs import Columns, describe
from shopkeeper.api.places import Room, write_dataset
from shopkeeper.api.told import as_written, compose
from shopkeeper.api.words import check_settings, of_a_frame, say_rejected
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_shape import check_dataset

if TYPE_CHECKING:
    import pandas as pd

    from shopkeeper.data.prepared import Prepared

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A shop's log, which models learn from and are asked about.

    Made by `Dataset.from_pandas`, `Dataset.from_file` or `shopkeeper.dataset`, of a plain table of customers by
    `Dataset.from_customers`. It is prepared (checked, filtered,
    numbered) when it is first needed, by the code of the verb `prepare`.

    Attributes:
        name: what it is called in results.
        room: where its files lie.
        spec: what a `conf/dataset/*.yaml` of it says; empty where it is one that is configured, by its name.
        split: the split that it is divided by unless another one is told.

    Examples:
        >>> import pyarrow as pa, shopkeeper as sk
        >>> when = ["2024-01-01", "2024-01-02", "2024-01-09"]
        >>> log = pa.table({"who": [7, 7, 8], "what": ["tea", "pot", "tea"], "at": when})
        >>> data = sk.Dataset.from_pandas(log, user="who", item="what", time="at")
        >>> data.n_users, data.n_items, data.n_events
        (2, 2, 3)
    """

    name: str
    room: Room = field(repr=False)
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)
    split: str | None = None
    raw: Path | None = field(default=None, repr=False)  # folder of its files; None: as configured
    made_by: str = field(default="", repr=False)  # what made it of a frame; "": it lies in files

    @classmethod
    def from_pandas(
        cls,
        frame: Any,
        *,
        user: str,
        item: str,
        time: str | None = None,
        type: str | None = None,
        types: Mapping[str, str] | None = None,
        event: str | None = None,
        price: str | None = None,
        quantity: str | None = None,
        order: str | None = None,
        session: str | None = None,
        channel: str | None = None,
        time_zone: str = "UTC",
        items: Any = None,
        users: Any = None,
        item_columns: str | tuple[str, ...] | list[str] = (),
        user_columns: str | tuple[str, ...] | list[str] = (),
        target: str | tuple[str, ...] | None = None,
        filter_seen: bool | None = None,
        name: str = "shop",
        folder: Path | str | None = None,
        overwrite: bool = False,
        **settings: Any,
    ) -> Dataset:
        """A dataset from a table in memory: pandas, Polars, Arrow, or anything that gives Arrow.

        Args:
            frame: the log, a row per event. Columns may be categories or nullable; the index may be one of them, by
                its name. Ids are text or whole numbers, and come back as they were.
            user: column of the customer's id.
            item: column of the item's id.
            time: column of the time: datetimes with or without a zone, dates, ISO text, or seconds, milliseconds, …
                since 1970, told apart by their size. None: the order of the rows is all that is known.
            type: column of the kind of event. None: every row is an `event`.
            types: kinds of event as the column has them -> as they are called here (`view`, `search`, `add_to_cart`,
                `remove_from_cart`, `purchase`, `return`, `rating`, `favourite`, `exposure`).
            event: the kind of every row, where no column says it. None: `purchase`, or `view` where there are sessions
                and neither orders nor amounts, as `from_file` guesses, too.
            price: column of the price per unit (`price_is="total"`: of the whole line).
            quantity: column of the units.
            order: column of the order's number: lines of one order happen at once.
            session: column of the session.
            channel: column of the channel.
            time_zone: of times that name none; days and hours are the shop's.
            items: a table of items with the column `item` (or `item_id`) and what is known of them.
            users: the same of customers.
            item_columns: columns of the log that say something of the item, such as its title.
            user_columns: columns of the log that say something of the customer.
            target: the kind of event that is predicted. None: purchases where there are any, else every kind.
            filter_seen: whether what a customer has had is not recommended again. None: as the log has it: true
                where nobody ever takes an item twice.
            name: what the dataset is called.
            folder: where its files lie, laid out as a project folder. None: in a temporary one, gone when Python ends.
            overwrite: replace another dataset of that name in the folder.
            settings: further settings of `conf/dataset/*.yaml`, such as `temporal={"test_days": 14}`,
                `churn={"horizon_days": 60, "active_days": 90}`, `filters={"k_core": 5}`, `price_is="total"`.

        Raises:
            UserError: a column that is missing or there twice, values that are none of its kind, an unknown setting.

        Examples:
            >>> import pandas as pd, shopkeeper as sk
            >>> when = pd.to_datetime(["2024-01-01", "2024-02-01"])
            >>> log = pd.DataFrame({"who": ["a", "b"], "what": [1, 2], "when": when})
            >>> sk.Dataset.from_pandas(log, user="who", item="what", time="when").n_events
            2
        """
        columns = Columns(user, item, time, type, price, quantity, order, session, channel)
        check_settings(cls.from_pandas, settings)
        with plain_errors():
            made = describe(
                frame, columns, types=types, event=event, time_zone=time_zone, items=items, users=users,
                item_columns=item_columns, user_columns=user_columns, target=target, filter_seen=filter_seen,
                name=name, settings=settings,
            )  # fmt: skip
            check_dataset(spec := as_written(made.spec), "Dataset.from_pandas")
        room = Room(folder)
        write_dataset(room, spec, made.split, made.tables, overwrite)
        return cls(name, room, spec, made.split, room.raw, "Dataset.from_pandas")

    @classmethod
    def from_customers(
        cls,
        frame: Any,
        *,
        label: str,
        customer: str | None = None,
        positive: Any = None,
        task: str = "churn",
        features: Sequence[str] | None = None,
        name: str = "customers",
        folder: Path | str | None = None,
        overwrite: bool = False,
        **settings: Any,
    ) -> Dataset:
        """A dataset from a plain table of customers, one row each, with what is to be foretold: no log, no times.

        Args:
            frame: pandas, Polars, Arrow, or anything that gives Arrow. Numbers are features as they are; texts, truth
                values and categories are names; columns of times are left out, which is said.
            label: column of what came true: of a probability two values, of counts and amounts numbers. Blank: not
                known; such a customer is scored, and never learnt from.
            customer: column, or level of the index, of the customer's id. None: rows are numbered.
            positive: the value that is label 1. None: 1, true or yes, where the column holds two values.
            task: what the label means (`shopkeeper.choices("task")`): `churn`, `propensity`, `spend`, …
            features: the columns that tell of a customer. None: all others.
            name: what the dataset is called.
            folder: where its files lie, laid out as a project folder. None: in a temporary one, gone when Python ends.
            overwrite: replace another dataset of that name in the folder.
            settings: further settings of `conf/dataset/*.yaml`, such as `table={"missing": ["?"]}`.

        Raises:
            UserError: a column that is missing or there twice, a label of other values, several rows of one customer.

        Examples:
            >>> import pandas as pd, shopkeeper as sk
            >>> known = pd.DataFrame({"who": ["a", "b", "c"], "months": [3, 40, 7], "left": ["yes", "no", "no"]})
            >>> sk.Dataset.from_customers(known, customer="who", label="left").n_users
            3
        """
        from shopkeeper.api.tables import SPLIT, describe_customers

        check_settings(cls.from_customers, settings)
        with plain_errors():
            spec, tables = describe_customers(
                frame, label=label, customer=customer, positive=positive, task=task, features=features, name=name,
                settings=settings,
            )  # fmt: skip
            check_dataset(spec := as_written(spec), "Dataset.from_customers")
        room = Room(folder)
        write_dataset(room, spec, SPLIT, tables, overwrite)
        return cls(name, room, spec, SPLIT, room.raw, "Dataset.from_customers")

    @classmethod
    def from_file(
        cls,
        path: Path | str,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        type: str | None = None,
        price: str | None = None,
        quantity: str | None = None,
        order: str | None = None,
        session: str | None = None,
        channel: str | None = None,
        name: str | None = None,
        folder: Path | str | None = None,
        **settings: Any,
    ) -> Dataset:
        """A dataset from files: CSV (also compressed), Parquet, JSON lines, Excel and what else `new-dataset` reads.

        What is not told is guessed as `shopkeeper new-dataset` does, which knows the exports of some shop systems by
        their columns; what is doubtful about it is logged as a warning. Files stay where they are.

        Args:
            path: a file, a folder of files, or a pattern (`exports/orders*.csv`).
            user: column of the customer's id.
            item: column of the item's id.
            time: column of the time.
            type: column of the kind of event.
            price: column of the price per unit.
            quantity: column of the units.
            order: column of the order's number.
            session: column of the session.
            channel: column of the channel.
            name: what the dataset is called. None: after the file.
            folder: where what is made of it lies. None: in a temporary folder, gone when Python ends.
            settings: further settings of `conf/dataset/*.yaml`, which go before what is guessed.

        Raises:
            UserError: a file that is no table, or a column that it has not.

        Examples:
            >>> import shopkeeper as sk
            >>> data = sk.Dataset.from_file("orders.csv", user="Customer ID", item="StockCode")  # doctest: +SKIP
        """
        from shopkeeper.api.logs import guessed

        columns = Columns(user, item, time, type, price, quantity, order, session, channel)
        path = Path(path).expanduser()
        check_settings(cls.from_file, settings)
        with plain_errors():
            found = guessed(path, columns, name, settings)
            check_dataset(spec := as_written(found.spec), "Dataset.from_file")
        for doubt in found.doubts:
            log.warning("%s: %s", path.name, doubt)
        return cls(str(spec["name"]), Room(folder), spec, found.split, found.raw)

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared dataset, as every other part of the package reads it; made when it is first asked for."""
        from shopkeeper.pipeline.preparing.data import prepare_data
        from shopkeeper.pipeline.told import Prepare, settings

        with of_a_frame(self.made_by):
            found = prepare_data(settings(self.compose("prepare", {}), Prepare))
        if self.made_by:
            say_rejected(found)
        return found

    @property
    def n_events(self) -> int:
        """Events that were kept."""
        return int(self.prepared.manifest["n_events"])

    @property
    def n_users(self) -> int:
        """Customers with an event."""
        return self.prepared.n_users

    @property
    def n_items(self) -> int:
        """Items with an event."""
        return self.prepared.n_items

    def to_pandas(self) -> pd.DataFrame:
        """The events that were kept, by customer and time: `user_id`, `item_id`, `event_type`, `timestamp`, …

        Examples:
            >>> import shopkeeper as sk
            >>> sk.dataset("demo_shop").to_pandas().head()  # doctest: +SKIP
        """
        table = self.prepared.table("events.parquet")
        plain = pa.table({name: without_codes(table[name]) for name in table.column_names})
        return as_pandas(self.given_ids(plain))

    def rejected(self) -> pd.DataFrame:
        """The rows that were not, each with its file, row, column and reason."""
        return as_pandas(self.prepared.table("rejected.parquet"))

    def items(self) -> pd.DataFrame:
        """What is known of items: `item_id` and attributes."""
        table = self.prepared.items
        return as_pandas(self.given_ids(table.drop_columns(["item"])))

    def users(self) -> pd.DataFrame:
        """What is known of customers: `user_id` and attributes."""
        table = self.prepared.users
        return as_pandas(self.given_ids(table.drop_columns(["user"])))

    @cached_property
    def kinds(self) -> dict[str, bool]:
        """Of `user_id` and `item_id`, whether they were given as whole numbers."""
        config = self.prepared.manifest.get("config") or {}
        raw, columns = config.get("raw") or {}, config.get("columns") or {}
        files = raw.get("files") or []
        place = self.compose("prepare", {})["paths"]["raw"]
        return kinds_of(columns, Path(place) / str(raw.get("folder") or "") / str(files[0])) if files else {}

    def given_ids(self, table: pa.Table) -> pa.Table:
        """A table with ids as they were given."""
        for column, whole in self.kinds.items():
            if whole and column in table.column_names:
                at = table.column_names.index(column)
                table = table.set_column(at, column, as_given(table[column], True))
        return table

    def compose(self, verb: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """What a verb would be told about this dataset, as plain settings; `told` as of `api.told.compose`."""
        usual: dict[str, Any] = {"tracking": "none", "split": self.split, "dataset": self.name}
        whole = {"dataset": self.spec} if self.spec else {}
        given = {key: value for key, value in told.items() if value is not None}
        split = given.get("split")
        if isinstance(split, Mapping) and "name" not in split and self.split is not None:
            given["split"] = {"name": self.split, **split}
        config = compose(verb, {**usual, **given}, self.room.conf if self.room.conf.is_dir() else None, whole)
        return {**config, "paths": {**config["paths"], **self.room.paths(self.raw)}}

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        manifest = self.prepared.manifest
        rows = {
            "customers": f"{self.n_users:,}",
            "items": f"{self.n_items:,}",
            "events": f"{self.n_events:,}",
            "rejected rows": f"{manifest.get('n_rejected', 0):,}",
        }
        if self.prepared.events.timestamp is not None:
            from shopkeeper.timeline import iso

            rows["from, to"] = " – ".join(iso(t)[:10] for t in self.prepared.span)
        rows["split"] = str(self.split)
        return facts(self.name, rows)


def check_data(data: Any) -> None:
    """A `UserError` for what is no dataset, a frame for one."""
    if not isinstance(data, Dataset):
        raise UserError(
            f"data is a {type(data).__name__}; make a dataset of it first: Dataset.from_pandas(frame, user=…, item=…, "
            f"time=…), or shopkeeper.dataset(name)"
        )


def dataset(name: str, folder: Path | str | None = None, **settings: Any) -> Dataset:
    """A dataset by the name of its `conf/dataset/<name>.yaml`, the package's or one's own.

    Args:
        name: `demo_shop`, `online_retail`, … (`shopkeeper.choices("dataset")`).
        folder: where what is made of it lies, laid out as a project folder (`"."`: where the verbs have it). None: in a
            temporary folder, gone when Python ends.
        settings: of the dataset, in place of what its YAML says.

    Raises:
        UserError: there is no such dataset, with the nearest name.

    Examples:
        >>> import shopkeeper as sk
        >>> sk.dataset("demo_shop", simulate={"customers": 50}).n_users
        50
    """
    room = Room(folder)
    found = compose("prepare", {"dataset": {"name": name, **settings}}, room.conf if room.conf.is_dir() else None)
    own = (room.conf / "dataset" / f"{name}.yaml").is_file()
    spec = dict(found["dataset"]) if settings else {}
    if spec:
        check_dataset(spec)
    return Dataset(name, room, spec, str(found["split"]["name"]), room.raw if own else None)
