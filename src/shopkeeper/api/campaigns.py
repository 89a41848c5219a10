"""Whom a randomised campaign moves: the verb `uplift`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import as_arrow, as_pandas
from shopkeeper.api.html import grid
from shopkeeper.api.places import Room
from shopkeeper.api.told import compose
from shopkeeper.files import atomic_file, read_json

if TYPE_CHECKING:
    import pandas as pd

NAMED = ("value", "low", "high")


class Uplift:
    """What `uplift` found, and the folder in which it lies.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, room: Room) -> None:
        self.path, self._room = path, room  # a temporary room goes with whoever holds it last
        self._found: dict[str, Any] = read_json(path / "uplift.json")

    def to_pandas(self) -> pd.DataFrame:
        """A row per arm, outcome and learner, best Qini first, with intervals.

        `effect` is what the campaign does on average, whoever orders the customers; `first` what it does among the 30 %
        that a learner puts first; `qini` and `auuc` are areas as `uplift.json` defines them.
        """
        rows = []
        for trial in self._found["trials"]:
            best_first = sorted(trial["learners"].items(), key=lambda one: -one[1]["qini"]["value"])
            for learner, figures in best_first:
                row = {"arm": trial["arm"], "outcome": trial["outcome"], "learner": learner}
                for name, figure in (("effect", trial["effect"]), *figures.items()):
                    row |= {name if part == "value" else f"{name}_{part}": figure[part] for part in NAMED}
                rows.append(row)
        return as_pandas(pa.Table.from_pylist(rows))

    def customers(self) -> pd.DataFrame:
        """A row per customer: `user_id`, `arm`, and a column `<arm>/<outcome>/<learner>` of what they would gain."""
        return as_pandas(pq.read_table(self.path / "customers.parquet"))

    def curves(self) -> pd.DataFrame:
        """Points of the curve of every learner: what treating so many of those put first would bring."""
        return as_pandas(pyarrow.csv.read_csv(self.path / "curves.csv"))

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        frame = self.to_pandas()
        rows = [[v if isinstance(v, str) else f"{v:.4f}" for v in row] for row in frame.itertuples(index=False)]
        return grid(f"uplift of {self._found['campaign']['name']}", list(map(str, frame.columns)), rows)


def uplift(
    frame: Any,
    *,
    treatment: str,
    control: Any,
    outcomes: str | Sequence[str],
    features: Sequence[str],
    customer: str | None = None,
    probability: float | str | None = None,
    name: str = "campaign",
    folder: Path | str | None = None,
    overwrite: bool = True,
    **settings: Any,
) -> Uplift:
    """Learn from a campaign that was randomised whom it moves, judged on customers not seen: the verb `uplift`.

    Args:
        frame: a row per customer of the campaign: pandas, Polars, Arrow.
        treatment: column that says what each customer got.
        control: its value of those who got nothing.
        outcomes: columns of what came of it, 0 and 1 or amounts.
        features: columns of what was known before.
        customer: column, or level of the index, of the customer's id. None: a row is a customer.
        probability: chance of an arm among its customers and the control group, or the column that has it. None: as
            many as there are.
        name: what the campaign is called.
        folder: where its files lie. None: in a temporary folder, gone when Python ends.
        overwrite: replace what is there of another campaign.
        settings: of the verb: `learners=["t", "x"]`, `folds=5`, `trees={"trees": 50}`, `seed=1`.

    Raises:
        UserError: a campaign that was not randomised, a column that is missing, an outcome that is no number.

    Examples:
        >>> import numpy as np, pandas as pd, shopkeeper as sk
        >>> rng = np.random.default_rng(0)
        >>> sent = pd.DataFrame({"mail": rng.integers(0, 2, 400), "age": rng.normal(40, 9, 400)})
        >>> sent["bought"] = (rng.random(400) < 0.2 + 0.2 * sent["mail"]).astype(int)
        >>> found = sk.uplift(sent, treatment="mail", control=0, outcomes="bought", features=["age"],
        ...                   learners=["t"], trees={"trees": 10}, evaluation={"resamples": 50})
        >>> found.to_pandas()[["arm", "outcome", "learner"]].values.tolist()
        [['1', 'bought', 't']]
    """
    from shopkeeper.pipeline import told
    from shopkeeper.pipeline.uplift import uplifted

    room = Room(folder)
    outcomes, features = ([one] if isinstance(one, str) else list(one) for one in (outcomes, features))
    more = [one for one in (customer, probability) if isinstance(one, str)]
    with plain_errors():
        table = as_arrow(frame, list(dict.fromkeys([treatment, *outcomes, *features, *more])))
        campaign = {"name": name, "file": f"{name}.parquet", "treatment": treatment, "control": control,
                    "outcomes": outcomes, "features": features, "probability": probability,
                    "customer": customer}  # fmt: skip
        out = room.path / "outputs" / "uplift" / name
        asked = {**settings, "overwrite": overwrite, "out": str(out)}
        config = compose("uplift", asked, whole={"campaign": campaign})
        cfg = told.settings({**config, "paths": {**config["paths"], **room.paths(room.raw)}}, told.Uplift)
        file = room.raw / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as tmp:
            pq.write_table(table, tmp)
        return Uplift(uplifted(cfg)[0], room)
