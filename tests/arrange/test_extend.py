"""A new day's data joins a prepared dataset without starting over, and as if it had been there from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree

CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["day*.csv"]},
    "reader": {"format": "csv"},
    "columns": {
        "user_id": "user", "item_id": "item", "timestamp": "time", "order_id": "order", "session_id": "visit",
        "channel": "channel", "price": "price", "quantity": "n",
    },
    "timestamp": {"unit": "s"},
    "event_type": {"column": "kind"},
    "items": {"from_events": {"name": "label"}},
    "users": {"from_events": {"town": "town"}},
    "extra": {"position": "position"},
    "filters": {"consecutive_repeats": True, "event_types": ["view", "purchase", "return"]},
    "max_rejected_share": 0.5,
}  # fmt: skip
HEAD = "user,item,time,kind,order,visit,channel,price,n,label,town,position\n"


def day(number: int, seed: int, n: int = 400) -> str:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        item, order = rng.integers(8 + 6 * number), rng.integers(1, 60)
        price = rng.choice(["1.5", "", "2", "-1"], p=[0.5, 0.2, 0.28, 0.02])
        rows.append(
            f"u{rng.integers(5 + 5 * number)},i{item},{1_600_000_000 + 86_400 * number + rng.integers(50)},"
            f"{rng.choice(['view', 'purchase', 'return', 'search'])},{f'o{number}-{order}' if order > 20 else ''},"
            f"v{rng.integers(30)},{rng.choice(['web', 'app', 'shop'][: number + 1])},{price},{rng.integers(1, 3)},"
            f"{rng.choice(['', f'label {item} of day {number}'])},{rng.choice(['', 'Ulm', 'Bonn'])},{rng.integers(9)}\n"
        )
    return HEAD + "".join(rows)


def test_extending_day_by_day_gives_the_bytes_of_preparing_everything_at_once(tmp_path: Path):
    grown = None
    for number in range(3):
        (tmp_path / f"day{number}.csv").write_text(day(number, seed=number))
        whole = prepare_dataset(CONFIG, tmp_path, tmp_path / "whole", progress=False)
        if grown is None:
            grown = prepare_dataset(CONFIG, tmp_path, tmp_path / "grown", progress=False)
        else:
            before = Prepared.open(grown).items["item_id"].to_pylist()
            extend_dataset(grown, CONFIG, tmp_path, tmp_path / "grown", progress=False)
            assert Prepared.open(grown).items["item_id"].to_pylist()[: len(before)] == before
        assert sha256_tree(grown) == sha256_tree(whole)
        assert Prepared.open(grown).fingerprint == Prepared.open(whole).fingerprint
        assert Prepared.open(grown).manifest["config"] == Prepared.open(whole).manifest["config"]


def test_order_only_data_can_be_extended_too(tmp_path: Path):
    config = {
        "name": "seq", "raw": {"folder": "", "files": ["a.txt"]}, "reader": {"format": "sequences"},
        "columns": {"user_id": "user_id", "item_id": "item_id"},
    }  # fmt: skip
    (tmp_path / "a.txt").write_text("u1 a b\nu2 c a\n")
    (tmp_path / "b.txt").write_text("u1 d\nu3 a e\n")
    prepare_dataset(config, tmp_path, tmp_path / "old", progress=False)
    both = {**config, "raw": {"folder": "", "files": ["a.txt", "b.txt"]}}
    extended = extend_dataset(tmp_path / "old", both, tmp_path, tmp_path / "new", progress=False)
    assert sha256_tree(extended) == sha256_tree(prepare_dataset(both, tmp_path, tmp_path / "whole", progress=False))
    assert Prepared.open(extended).events.item.tolist() == [1, 2, 4, 3, 1, 1, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": {"k_core": 5}}, "another `filters`"),
        ({"max_rejected_share": 0.4}, "another `max_rejected_share`"),
        ({"raw": {"folder": "", "files": ["day0.csv"]}}, "names no new file"),
    ],
)
def test_what_cannot_be_extended_is_refused_in_one_line(tmp_path: Path, change: dict, message: str):
    (tmp_path / "day0.csv").write_text(day(0, seed=0))
    prepare_dataset(CONFIG, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "day1.csv").write_text(day(1, seed=1))
    with pytest.raises(UserError, match=message):
        extend_dataset(tmp_path / "old", {**CONFIG, **change}, tmp_path, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_late_events_and_changed_old_files_are_refused(tmp_path: Path):
    (tmp_path / "day1.csv").write_text(day(1, seed=0))
    prepare_dataset(CONFIG, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "day2.csv").write_text(day(0, seed=1))
    with pytest.raises(UserError, match=r"day2.csv: .* rows are from before the last event"):
        extend_dataset(tmp_path / "old", CONFIG, tmp_path, tmp_path / "new", progress=False)
    (tmp_path / "day1.csv").write_text(day(1, seed=0, n=10))
    with pytest.raises(UserError, match=r"day1.csv has changed"):
        extend_dataset(tmp_path / "old", CONFIG, tmp_path, tmp_path / "new", progress=False)


@pytest.mark.parametrize(
    ("files", "rows", "expected"),
    [
        (["day0.csv", "day1.csv", "day2.csv"], 9, r"day1.csv comes before day2.csv .* name it last in raw.files"),
        (["day2.csv", "day0.csv", "day1.csv"], 9, r"with its files in another order; prepare all files together"),
        (["day0.csv", "day2.csv", "day1.csv"], 0, r"day1.csv hold no rows to add; leave the extending"),
    ],
)
def test_a_new_file_that_is_not_the_last_one_or_is_empty_is_said_to_be_so(
    tmp_path: Path, files: list[str], rows: int, expected: str
):
    for number in (0, 2):
        (tmp_path / f"day{number}.csv").write_text(day(number, seed=number))
    prepare_dataset(CONFIG, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "day1.csv").write_text(day(3, seed=1, n=rows))
    config = {**CONFIG, "raw": {"folder": "", "files": files}}
    with pytest.raises(UserError, match=expected):
        extend_dataset(tmp_path / "old", config, tmp_path, tmp_path / "new", progress=False)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"min_history": 2}, r"filters.min_history looks at the whole log"),
        ({"repeats": {"seconds": 60, "of": "all"}}, r"filters.repeats compares .* prepare all files together"),
    ],
)
def test_a_filter_over_the_whole_log_is_refused(filters: dict, expected: str, tmp_path: Path):
    config = {**CONFIG, "filters": filters}
    (tmp_path / "day0.csv").write_text(day(0, seed=0))
    prepare_dataset(config, tmp_path, tmp_path / "old", progress=False)
    (tmp_path / "day1.csv").write_text(day(1, seed=1))
    with pytest.raises(UserError, match=expected):
        extend_dataset(tmp_path / "old", config, tmp_path, tmp_path / "new", progress=False)
