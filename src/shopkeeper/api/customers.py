"""What is said of customers as of today: scores, segments, and whom to write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from shopkeeper.api.dataset import Dataset, check_data
from shopkeeper.api.errors import plain_errors
from shopkeeper.api.estimator import Estimator, load
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.errors import UserError, nearest
from shopkeeper.files import read_json
from shopkeeper.tasks.base import REQUESTS

if TYPE_CHECKING:
    import pandas as pd


def score(model: Estimator | Path | str, at: Any = None) -> pd.DataFrame:
    """What a model about customers says of each of them as of today: the verb `score`.

    Args:
        model: a fitted estimator, or the folder of a run, of a task about customers (`task="churn"`, …).
        at: the instant that is asked about, e.g. "2025-06-01". None: the end of the log.

    Returns:
        A row per customer: `user_id`, `probability` or `expected` (blank where nothing can be said), what else the
        model says, and `blank_reason`.

    Raises:
        UserError: a model that recommends items, an instant beyond the log.

    Examples:
        >>> import shopkeeper as sk
        >>> leaving = sk.fit("base_rate", sk.dataset("demo_shop", simulate={"customers": 60}))
        >>> sk.score(leaving).columns.tolist()
        ['user_id', 'probability', 'blank_reason']
    """
    from shopkeeper.pipeline.score import scores_of

    model = model if isinstance(model, Estimator) else load(model)
    if model.run.about.asks == REQUESTS:
        raise UserError(f"{model.name} recommends items and says nothing about customers; use model.recommend(…)")
    with plain_errors():
        table, _ = scores_of(model.run, at)
    return as_pandas(table if model.data is None else model.data.given_ids(table))


class Written:
    """A folder that a verb about customers has written, and its main table.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, table: str, data: Dataset) -> None:
        self.path, self._table, self._data = path, table, data

    def to_pandas(self) -> pd.DataFrame:
        """The table, a row per customer."""
        return as_pandas(self._data.given_ids(pq.read_table(self.path / f"{self._table}.parquet")))

    def about(self) -> dict[str, Any]:
        """What is said of it as a whole: of segments their profiles, of an audience its card."""
        name = "card.json" if (self.path / "card.json").is_file() else f"{self._table}.json"
        return dict(read_json(self.path / name))

    def _repr_html_(self) -> str:
        """As a notebook shows it: its first rows."""
        frame = self.to_pandas()
        rows = [[str(v) for v in row] for row in frame.head(10).itertuples(index=False)]
        return grid(f"{len(frame):,} customers in {self.path.name}", list(map(str, frame.columns)), rows)


def segments(
    data: Dataset, at: Any = None, *, out: Path | str | None = None, overwrite: bool = True, **segmentation: Any
) -> Written:
    """In which segments every customer is as of today (lifecycle, value, groups who are alike): the verb `segments`.

    Args:
        data: the dataset.
        at: the instant. None: the end of the log.
        out: the folder. None: `segments/<dataset>` of the dataset's folder.
        overwrite: replace segments of another dataset or instant there.
        segmentation: rules, such as `smallest=20`, `clusters={"most": 5}`.

    Examples:
        >>> import shopkeeper as sk
        >>> who = sk.segments(sk.dataset("demo_shop"))  # doctest: +SKIP
        >>> who.to_pandas()["lifecycle"].value_counts()  # doctest: +SKIP
    """
    from shopkeeper.pipeline.segments import segments as verb

    check_data(data)
    place = data.room.path / "segments" / data.name if out is None else Path(out)
    told = {"at": at, "segmentation": segmentation or None, "out": str(place), "overwrite": overwrite}
    with plain_errors():
        verb(data.compose("segments", told))  # type: ignore[arg-type]
    return Written(place, "segments", data)


def audience(
    name: str,
    data: Dataset,
    *,
    scores: Estimator | Path | str | None = None,
    recommender: Estimator | Path | str | None = None,
    segments: Written | Path | str | None = None,
    waits: Estimator | Path | str | None = None,
    at: Any = None,
    out: Path | str | None = None,
    overwrite: bool = True,
    **settings: Any,
) -> Written:
    """Whom to write to as of today, with what and why, and who is left alone to see the effect: the verb `audience`.

    Args:
        name: which kind (`shopkeeper.choices("audience")`): `win_back`, `cart_reminder`, …
        data: the dataset.
        scores: a model about customers, whose scores choose and order.
        recommender: a model that recommends items, for messages that show some.
        segments: what `segments` gave, or its folder.
        waits: a model that says when the next order comes.
        at: the instant. None: the end of the log.
        out: the folder. None: `audiences/<dataset>/<name>` of the dataset's folder.
        overwrite: replace another audience there.
        settings: of the audience (`most=500`, `control={"share": 0.2}`, `needs_consent=False`), or of the verb
            (`consents="consents.csv"`, `placement="email"`).

    Returns:
        Its folder; `to_pandas()` has a row per customer with `arm` (treatment or control), reasons and items.

    Examples:
        >>> import shopkeeper as sk
        >>> lost = sk.audience("win_back", data, scores=leaving, recommender=model)  # doctest: +SKIP
    """
    from shopkeeper.pipeline.audience import audience as verb

    check_data(data)
    place = data.room.path / "audiences" / data.name / name if out is None else Path(out)
    of_verb = ("consents", "sent", "stock", "placement", "chunk", "evaluation")
    told: dict[str, Any] = {key: settings.pop(key) for key in of_verb if key in settings}
    told |= {"at": at, "out": str(place), "overwrite": overwrite}
    told["audience"] = {"name": name, **settings} if settings else name
    told["segments"] = str(segments.path) if isinstance(segments, Written) else _path(segments)
    told |= {"scores": _path(scores), "recommender": _path(recommender), "waits": _path(waits)}
    with plain_errors():
        verb(data.compose("audience", told))  # type: ignore[arg-type]
    return Written(place, "audience" if (place / "audience.parquet").is_file() else "sessions", data)


def _path(model: Estimator | Path | str | None) -> str | None:
    if model is None:
        return None
    return str(model.path if isinstance(model, Estimator) else model)


def upload(
    listed: Written | Path | str,
    contacts: Path | str,
    tool: str,
    to: Path | str,
    *,
    where: Mapping[str, Any] | None = None,
    traits: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """A list of customers as a file that a tool for mail or advertising takes: `shopkeeper upload-file`.

    Args:
        listed: what `segments` or `audience` gave, or a table of customers as CSV or Parquet. Who is in a control group
            is left out.
        contacts: the table of contact keys, CSV or Parquet: `user_id`, `consent`, `email`, … It stays where it is.
        tool: `klaviyo`, `mailchimp`, `brevo`, `omnisend`, `meta`, `google`, `braze`, `segment` or `csv`.
        to: the file to write.
        where: only customers of whom these columns hold these values.
        traits: columns of the list that go into the file. None: all.
        overwrite: replace an earlier file.

    Returns:
        The file.

    Examples:
        >>> import shopkeeper as sk
        >>> sk.upload(lost, "contacts.csv", "klaviyo", "win_back.csv", traits=[])  # doctest: +SKIP
    """
    from shopkeeper.campaigns.upload.tools import TOOLS
    from shopkeeper.pipeline.upload import write_upload_file

    if tool not in TOOLS:
        raise UserError(f"there is no tool '{tool}'.{nearest(tool, TOOLS)}")
    people = listed.path if isinstance(listed, Written) else Path(listed)
    chosen = [f"{column}={value}" for column, value in (where or {}).items()]
    with plain_errors():
        write_upload_file(people, Path(contacts), tool, Path(to), chosen, traits, overwrite)
    return Path(to)
