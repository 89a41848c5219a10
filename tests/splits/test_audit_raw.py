"""From the raw file on: another future changes nothing of what a model learns from, ids included."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.splits.steps import training_mask
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY, instant

START = instant("2024-01-01", "start")
CUTOFF = START + 40 * DAY
CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when", "price": "price", "order_id": "order"},
    "timestamp": {"unit": "us"},
    "event_type": {"column": "kind", "map": {"buy": "purchase", "see": "view"}},
    "filters": {"consecutive_repeats": True},
}
SPEC = {"name": "temporal", "target_events": ["purchase"], "validation_days": 10, "test_days": 10, "k_core": 2}


def rows(rng: np.random.Generator, n: int, first: int, last: int) -> list[str]:
    out = []
    for _ in range(n):
        buys = rng.random() < 0.5
        out.append(
            f"u{rng.integers(0, 20)},i{rng.integers(0, 40)},{rng.integers(first, last) // 10**6 * 10**6},"
            f"{'buy' if buys else 'see'},{rng.integers(1, 999) / 100},{'o' + str(rng.integers(0, 60)) if buys else ''}"
        )
    return out


def training_side(folder, lines: list[str]) -> dict[str, bytes | list[str]]:
    folder.mkdir()
    (folder / "log.csv").write_text("who,what,when,kind,price,order\n" + "\n".join(lines) + "\n")
    p = Prepared.open(prepare_dataset(CONFIG, folder, folder / "out", progress=False))
    split = Split.named(p, write_split(p, SPEC).name)
    mask = training_mask(p.offsets, split.train_end)
    users, items = np.unique(p.event_user[mask]), split.catalogue
    side = {
        name: getattr(p.events, name)[mask].tobytes() for name in ("item", "timestamp", "event_type", "price", "order")
    }
    side["user"] = p.event_user[mask].tobytes()
    side["catalogue"] = items.tobytes()
    side["user ids"] = [p.users["user_id"][int(u) - 1].as_py() for u in users]
    side["item ids"] = [p.items["item_id"][int(i) - 1].as_py() for i in items]
    return side


@pytest.mark.parametrize("seed", range(8))
def test_the_training_side_is_byte_equal_whatever_happens_after_the_cutoff(tmp_path, seed):
    rng = np.random.default_rng(seed)
    past = rows(rng, 300, START, CUTOFF)
    end = [f"u0,i0,{START + 60 * DAY - 10**6},buy,1.0,last"]  # the cutoffs count back from the last event
    one = past + rows(rng, 100, CUTOFF, START + 60 * DAY - 10**6) + end
    other = past + rows(rng, 300, CUTOFF, START + 60 * DAY - 10**6) + end
    rng.shuffle(one)
    order = {line: i for i, line in enumerate(one)}  # the past keeps its file order
    other = sorted(past, key=order.__getitem__) + other[len(past) :]
    a, b = training_side(tmp_path / "a", one), training_side(tmp_path / "b", other)
    assert len(a["item"]) > 400
    for name in a:
        assert a[name] == b[name], f"{name} depends on what happened after the cutoff"
