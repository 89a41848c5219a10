"""A project folder in a few lines: datasets that a test writes, and the verbs called as a command line calls them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from shopkeeper import configuration
from shopkeeper.pipeline.evaluate import evaluate
from shopkeeper.pipeline.export import export
from shopkeeper.pipeline.recommend import recommend
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.told import VERBS, settings
from shopkeeper.pipeline.train import train_model

Row = tuple[str, str, str, str]  # customer, item, time, price
COLUMNS = ("customer", "item", "time", "price")
ALWAYS = ("tracking=none", "progress=false", "evaluation.resamples=50", "trainer=cpu", "paths.raw=raw")


class House:
    """The working folder; every path of a verb is below it."""

    def __init__(self, place: Path):
        self.place = place

    def dataset(
        self, name: str, rows: Iterable[Sequence[str]], header: Sequence[str] = COLUMNS, **settings: Any
    ) -> None:
        """Write `raw/<name>.csv` and `conf/dataset/<name>.yaml`."""
        (self.place / "conf/dataset").mkdir(parents=True, exist_ok=True)
        (self.place / "raw").mkdir(exist_ok=True)
        with open(self.place / f"raw/{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        spec = {
            "defaults": [{"override /split@_global_.split": "temporal"}],
            "name": name,
            "target_events": ["purchase"],
            "filter_seen": False,
            "raw": {"folder": "", "files": [f"{name}.csv"]},
            "reader": {"format": "csv"},
            "columns": {"user_id": "customer", "item_id": "item", "timestamp": "time", "price": "price"},
            "event_type": "purchase",
            "filters": {},
            "temporal": {"validation_days": 10, "test_days": 10},
            "max_rejected_share": 0,
            **settings,
        }
        (self.place / f"conf/dataset/{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))

    def _composed(self, verb: str, words: tuple[str, ...]) -> Any:
        added = [*ALWAYS, *words, f"hydra.searchpath=[file://{self.place / 'conf'}]"]
        with initialize_config_dir(str(configuration.main_folder().resolve()), version_base="1.3"):
            return compose(verb, added)

    def config(self, verb: str, *words: str) -> Any:
        """The composed config as the pipeline reads it."""
        return settings(self._composed(verb, words), VERBS[verb])

    def train(self, run: str, *words: str) -> RunFolder:
        """`train.py hydra.run.dir=<run> …`."""
        return train_model(self.config("train", *words), Path(run))

    def evaluate(self, *words: str) -> None:
        """`evaluate.py …`."""
        evaluate(self._composed("evaluate", words))

    def export(self, *words: str) -> None:
        """`export.py …`."""
        export(self._composed("export", words))

    def recommend(self, *words: str) -> None:
        """`recommend.py …`."""
        recommend(self._composed("recommend", words))


def small_shop() -> list[Row]:
    """10 customers, 6 items, one purchase a day for 60 days."""
    return [(f"c{7 * d % 10}", f"s{5 * d % 6}", f"2023-{1 + d // 30:02d}-{1 + d % 28:02d} 09:00:00", "2.5")
            for d in range(58)]  # fmt: skip


def read(path: Path | str) -> Any:
    """A JSON file; NaN, which is not JSON, is an error."""

    def refuse(name: str) -> Callable[[], None]:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)
