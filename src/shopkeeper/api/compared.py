"""Models beside each other: the whole report, and paired differences."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shopkeeper.api.errors import plain_errors
from shopkeeper.api.estimator import Estimator
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.pipeline import show, told
from shopkeeper.pipeline.comparing.compared import Compared, compared
from shopkeeper.pipeline.runs import distinct_names

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("value", "low", "high")


class Report:
    """What `evaluate` found, and the folder in which it lies.

    Attributes:
        path: the folder, with `report.html` and the tables behind it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
            self._rows: list[dict[str, Any]] = list(csv.DictReader(file))
        for row in self._rows:
            row.update({k: float(row[k]) if row[k] else None for k in NUMBERS}, n=int(row["n"]) if row["n"] else None)

    def to_pandas(self, intervals: bool = False) -> pd.DataFrame:
        """Figures on test: a row per task and model, best first, a column per metric.

        Args:
            intervals: a row per task, model and metric instead, with `value`, `low`, `high` and `n`.

        Examples:
            >>> report.to_pandas()["ndcg@10"]  # doctest: +SKIP
        """
        columns = {name: [row[name] for row in self._rows] for name in ("task", "model", "metric", *NUMBERS, "n")}
        frame = as_pandas(pa.table(columns))
        if intervals:
            return frame
        wide = frame.pivot(index=["task", "model"], columns="metric", values="value")
        metrics, models = (
            list(dict.fromkeys(frame["metric"])),
            list(dict.fromkeys(zip(frame["task"], frame["model"], strict=True))),
        )
        return wide.reindex(index=models, columns=metrics).reset_index().rename_axis(columns=None)

    def comparisons(self) -> pd.DataFrame:
        """Every pair of models on every metric that was compared: difference, interval, p, and what follows from it."""
        found = [{"task": t, **row} for t, rows in read_json(self.path / "comparisons.json").items() for row in rows]
        return as_pandas(pa.Table.from_pylist(found))

    @property
    def said(self) -> str:
        """The leaderboard and what follows from it, as the terminal shows it."""
        return (self.path / "leaderboard.txt").read_text(encoding="utf-8")

    @property
    def html(self) -> str:
        """The whole page."""
        return (self.path / "report.html").read_text(encoding="utf-8")

    def show(self, height: int = 800) -> Any:
        """The whole page in a cell of a notebook."""
        with plain_errors():
            from IPython.display import HTML
        frame = f'<iframe srcdoc="{escape(self.html)}" width="100%" height="{height}" style="border:0"></iframe>'
        return HTML(frame)

    def __repr__(self) -> str:
        """The leaderboard."""
        return self.said

    def _repr_html_(self) -> str:
        """As a notebook shows it: each task's table, and what can be said of its headline."""
        boards = read_json(self.path / "comparisons.json")
        parts = []
        for task in dict.fromkeys(row["task"] for row in self._rows):
            rows = [row for row in self._rows if row["task"] == task]
            metrics = list(dict.fromkeys(row["metric"] for row in rows))
            headline, shown = metrics[0], metrics[:4]
            value = {(row["model"], row["metric"]): row for row in rows}
            models = list(dict.fromkeys(row["model"] for row in rows))
            lines = [[m, *(show.with_interval(value.get((m, metric))) for metric in shown)] for m in models]
            of_best = [c for c in boards.get(task, []) if c["metric"] == headline and models[0] in (c["a"], c["b"])]
            parts.append(grid(f"{task} on test", ("model", *shown), lines, [c["statement"] for c in of_best]))
        return "".join(parts) + f"<p>the whole page: {escape(str(self.path / 'report.html'))}, or .show()</p>"


class Comparison:
    """Paired differences of models on one metric, judged together.

    Attributes:
        metric: which one.
        pairs: one `evaluation.compare.Comparison` for each pair, with `winner` and `statement`.
    """

    def __init__(self, found: Compared) -> None:
        self._found = found
        self.metric, self.pairs = found.metric, list(found.found)

    @property
    def winner(self) -> str | None:
        """Of two models the better one; None where they cannot be told apart, or there are more of them."""
        return self.pairs[0].winner if len(self.pairs) == 1 else None

    def to_pandas(self) -> pd.DataFrame:
        """A row per pair: `a`, `b`, `difference` (b less a), `low`, `high`, `p_adjusted`, `winner`, `statement`, …"""
        rows = [json.loads(json.dumps(pair.as_dict())) for pair in self.pairs]
        return as_pandas(pa.Table.from_pylist(rows))

    def __repr__(self) -> str:
        """As the terminal shows it."""
        lines = [show.table(self._found.header, self._found.rows), self._found.family, "", *self._found.said]
        return "\n".join(line for n, line in enumerate(lines) if line or n == 2)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return grid(self.metric, self._found.header, self._found.rows, self._found.said)


def evaluate(
    models: Sequence[Estimator | Path | str],
    *,
    out: Path | str | None = None,
    overwrite: bool = True,
    **settings: Any,
) -> Report:
    """Compare fitted models on the requests that all of them answered, beside simple baselines: the verb `evaluate`.

    Args:
        models: fitted estimators, or folders of runs, of one dataset and split.
        out: the report's folder. None: `reports/<dataset>/<split>` of the first model's folder.
        overwrite: replace a report there though it is of other models.
        settings: as `shopkeeper evaluate` takes them: `evaluation={"resamples": 2000}`, `report={"ids": True}`,
            `rerank=["diverse"]`, `placement="cart"`.

    Raises:
        UserError: models of several datasets or splits, or that were asked otherwise.

    Examples:
        >>> import shopkeeper as sk
        >>> data = sk.dataset("demo_shop", simulate={"customers": 60})
        >>> models = [sk.fit(name, data) for name in ("popularity", "recency")]
        >>> report = sk.evaluate(models, report={"shuffle": False}, evaluation={"resamples": 50})
        >>> {"popularity", "recency"} <= set(report.to_pandas()["model"])
        True
    """
    from shopkeeper.api.told import compose
    from shopkeeper.pipeline.evaluate import evaluated

    fitted = _of_one_dataset(_estimators(models))
    first = fitted[0].run.config
    words = {"tracking": "none", **settings}
    rerank = words.pop("rerank", None)
    rerank = [rerank] if isinstance(rerank, str) else rerank
    config = compose("evaluate", words, words=[f"rerank=[{','.join(rerank)}]"] if rerank else [])
    for group in ("dataset", "split", "task", "paths", "timeline"):
        if group in first:
            config[group] = first[group]
    config |= {"runs": [str(m.path) for m in fitted], "overwrite": overwrite}
    config["out"] = None if out is None else str(out)
    with plain_errors():
        return Report(evaluated(told.settings(config, told.Evaluate)))


def compare(
    *models: Estimator | Path | str,
    metric: str | None = None,
    part: str = "test",
    confidence: float = 0.95,
    smallest_effect: float = 0.003,
    test: str = "randomisation",
) -> Comparison:
    """Which of two models is better, by how much, and how sure that is: `shopkeeper compare`.

    Args:
        models: two or more fitted estimators, or folders of runs, that answered the same requests.
        metric: None: the headline of their task.
        part: `test` or `validation`.
        confidence: of the intervals.
        smallest_effect: the smallest difference that matters, in units of the metric.
        test: `randomisation` or `bootstrap`.

    Raises:
        UserError: models that were asked otherwise, a metric that there is not.

    Examples:
        >>> import shopkeeper as sk
        >>> data = sk.dataset("demo_shop", simulate={"customers": 60})
        >>> sk.compare(sk.fit("popularity", data), sk.fit("recency", data)).to_pandas()[["a", "b"]].values.tolist()
        [['popularity', 'recency']]
    """
    options: dict[str, Any] = {"confidence": confidence, "smallest_effect": smallest_effect, "test": test}
    with plain_errors():
        asked = _of_one_dataset(_estimators(models), same_rows=True)
        return Comparison(compared([m.run for m in asked], metric, part, **options))


def _of_one_dataset(models: Sequence[Estimator], same_rows: bool = False) -> Sequence[Estimator]:
    """The models; a `UserError` for the first that answered a task on other data than the one before it.

    Said before anything is looked at: of two datasets in memory neither has a name or folder that tells them apart.
    `same_rows`: other data that ask the same (a column more) will do.
    """
    first: dict[str, tuple[str, str, object]] = {}
    for name, run in zip(distinct_names([m.run for m in models]), (m.run for m in models), strict=True):
        task, data = str(run.config["task"]["name"]), str(run.manifest["dataset_fingerprint"])
        rows = run.manifest.get("target_hash") if same_rows else None
        before, other, theirs = first.setdefault(task, (name, data, rows))
        if other != data and (rows is None or rows != theirs):
            raise UserError(f"'{name}' was trained on other data than '{before}'; train both on one dataset")
    return models


def _estimators(models: Sequence[Estimator | Path | str]) -> list[Estimator]:
    from shopkeeper.api.estimator import load

    if isinstance(models, Estimator | str | Path):
        models = [models]
    if not models:
        raise UserError("no model is given; give fitted ones: evaluate([fit(…), fit(…)])")
    for one in models:
        if not isinstance(one, Estimator | Path | str):
            raise UserError(f"a {type(one).__name__} is no fitted model; give what fit returns, or the folder of a run")
    return [one if isinstance(one, Estimator) else load(one) for one in models]
