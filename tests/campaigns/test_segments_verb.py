"""`segments`: the folder that it leaves, what it may know, and its segments as slices of a comparison."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, SMALL, rows
from customers.toyshop import toy_shop
from house import House, read
from shopkeeper.campaigns.segments.segment import segments_of
from shopkeeper.campaigns.segments.settings import Clusters, Segmentation
from shopkeeper.data.consent import Consent
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.segments import read_segments
from shopkeeper.pipeline.segments import segments
from tiny import DAY, days, tiny_prepared

FAST = ("segmentation.clusters.bootstraps=2", "segmentation.clusters.most=3", "segmentation.clusters.cutoffs=1")
FEW_GROUPS = Segmentation(clusters=Clusters(most=3, bootstraps=2, cutoffs=1))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("segments"))
    renamed = [("=c0+1" if who == "c0" else who, *rest) for who, *rest in rows()]
    house.dataset("rhythm", renamed, churn={"horizon_days": 20, "active_days": 30})
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        house.train("runs/logistic", "model=logistic", *SMALL, *FEW)
        house.train("runs/base", "model=base_rate", "task=churn", *SMALL, *FEW)
        segments(house._composed("segments", (*SMALL, *FAST)))
        segments(house._composed("segments", (*SMALL, *FAST, "at=2023-06-28")))
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def labels(folder: str, name: str) -> dict[str, str]:
    """Customer -> segment."""
    table = pq.read_table(f"{folder}/segments.parquet", columns=["user_id", name])
    return dict(zip(*table.to_pydict().values(), strict=True))


def test_everybody_is_in_the_table_and_every_count_adds_up():
    folder = Path("segments/rhythm")
    table, said = pq.read_table(folder / "segments.parquet"), read(folder / "segments.json")
    assert said["as_of"] == "2023-07-18T00:00:00Z"
    assert table.num_rows == 80
    with open(folder / "movement.csv", newline="") as file:
        moved = list(csv.DictReader(file))
    for name in ("lifecycle", "value_tier", "cluster"):
        label = table[name].to_pylist()
        for profile in said["profiles"][name]:
            assert profile["who"]["customers"] == label.count(profile["segment"])
            assert ("why" in profile) == (profile["who"]["customers"] >= 10)
            now = sum(int(m["customers"]) for m in moved if (m["segmentation"], m["now"]) == (name, profile["segment"]))
            assert now == profile["who"]["customers"]
    assert sum(p["who"].get("money_share", 0) for p in said["profiles"]["value_tier"]) == pytest.approx(1, abs=0.1)


def test_what_moved_is_what_the_earlier_table_says():
    now, then = (labels(f"segments/{name}", "lifecycle") for name in ("rhythm", "rhythm-2023-06-28"))
    segments_days = ("segmentation.movement_days=20", "out=moved")
    house = House(Path.cwd())
    segments(house._composed("segments", (*SMALL, *FAST, *segments_days)))
    with open("moved/movement.csv", newline="") as file:
        moved = {(m["before"], m["now"]): int(m["customers"]) for m in csv.DictReader(file)
                 if m["segmentation"] == "lifecycle"}  # fmt: skip
    assert sum(moved.values()) == 80
    same = sum(then[who] == now[who] for who in now)
    assert abs(sum(n for (a, b), n in moved.items() if a == b) - same) <= 8  # the shop's gap of then was another one
    assert any(a != b for a, b in moved)


def test_as_csv_no_id_is_a_formula_and_numbers_stay_numbers():
    with open("segments/rhythm/segments.csv", newline="") as file:
        found = {row["user_id"]: row for row in csv.DictReader(file)}
    assert "'=c0+1" in found
    assert float(found["c1"]["net_money"]) > 0
    assert "'=c0+1" not in pq.read_table("segments/rhythm/segments.parquet")["user_id"].to_pylist()


def test_segments_of_the_first_question_are_slices_and_those_of_later_are_refused(house: House):
    runs = "runs=[runs/logistic,runs/base]"
    few = ("report.resamples=50", "report.shuffle=false", "report.ids=true")
    house.evaluate(runs, "out=report", "segments=segments/rhythm-2023-06-28", *few)
    rows_of = pq.read_table("report/customers.parquet")
    label = labels("segments/rhythm-2023-06-28", "cluster")
    assert rows_of["slice:segment_cluster"].to_pylist() == [label[who] for who in rows_of["user_id"].to_pylist()]
    assert len(set(rows_of["slice:segment_lifecycle"].to_pylist())) > 1
    with pytest.raises(UserError, match=r"knows customers until 2023-07-18T.* run `shopkeeper segments at=2023-06-28"):
        house.evaluate(runs, "out=other", "segments=segments/rhythm", *few)
    with pytest.raises(UserError, match=r"runs/base holds no segments"):
        house.evaluate(runs, "out=other", "segments=runs/base", *few)
    edited = Path("segments/rhythm-2023-06-28/manifest.json")
    before = edited.read_text()
    edited.write_text(json.dumps({**json.loads(before), "as_of": "2023-01-01T00:00:00Z"}))
    with pytest.raises(UserError, match="was changed"):
        house.evaluate(runs, "out=other", "segments=segments/rhythm-2023-06-28", *few)
    edited.write_text(before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("at=2024-01-01",), r"at=2024-01-01T00:00:00Z lies after the end of the log \(2023-07-18"),
        (("at=2022-01-01",), r"nobody is known before 2022-01-01"),
        (("segmentation.lifecycle.at_risk=3",), r"segmentation.lifecycle.at_risk=3 must lie below"),
        (("at='2023-06-28 06:00'",), r"at=2023-06-28T00:00:00Z, not 2023-06-28T06:00:00Z; say overwrite=true"),
        (("out=runs/base",), r"runs/base holds '.*' and is no folder of segments"),
    ],
)
def test_what_cannot_be_done_is_one_line(house: House, words: tuple[str, ...], said: str):
    with pytest.raises(UserError, match=said) as error:
        segments(house._composed("segments", (*SMALL, *FAST, *words)))
    assert "\n" not in str(error.value)


def test_nothing_that_comes_later_changes_a_segment(tmp_path: Path):
    shop, at = toy_shop(tmp_path / "shop"), 300 * DAY
    time = np.asarray(shop.events.timestamp)
    later = time >= at
    assert later.any()
    rng = np.random.default_rng(0)
    changed = replace(
        shop.events,
        item=np.where(later, rng.integers(1, 9, len(time)), shop.events.item).astype(np.int32),
        price=np.where(later, 1000.0, shop.events.price),
    )
    found, other = (segments_of(lambda _, e=e: replace(shop, events=e), at, FEW_GROUPS) for e in (shop.events, changed))
    assert found.table.equals(other.table)
    assert found.movement.equals(other.movement)
    assert found.about == other.about


def test_who_withdrew_the_day_before_is_in_no_segment_and_no_profile(tmp_path: Path):
    shop, at = toy_shop(tmp_path / "shop"), 300 * DAY
    n = shop.n_users
    granted = [(1, 0, True), (1, at - DAY, False), *((u, 0, True) for u in range(2, n + 1))]
    user, instants, holds = (np.array(x) for x in zip(*granted, strict=True))
    first = np.searchsorted(user, np.arange(1, n + 2))
    found = segments_of(lambda _: replace(shop, consent=Consent(first, instants, holds)), at, FEW_GROUPS)
    row = found.table.slice(0, 1).to_pylist()[0]
    assert row["blank_reason"] == "no consent at the instant"
    assert all(value is None for name, value in row.items() if name not in ("user_id", "blank_reason"))
    counted = sum(p["who"]["customers"] for p in found.about["profiles"]["lifecycle"])
    assert counted == found.table.num_rows - found.table["lifecycle"].null_count
    gone = [m for m in found.movement.to_pylist() if m["now"] == "no longer here"]
    assert sum(m["customers"] for m in gone if m["segmentation"] == "lifecycle") == 1


def test_a_log_without_prices_has_no_value_and_one_without_times_no_segments(tmp_path: Path):
    histories = [[1 + (u + k) % 4 for k in range(2 + u % 5)] for u in range(60)]
    bare, _ = tiny_prepared(tmp_path / "bare", histories, days(histories))
    found = segments_of(lambda _: bare, 30 * DAY, FEW_GROUPS)
    assert "value_tier" not in found.table.column_names
    assert "money" not in found.table.column_names
    assert found.table["rfm"][0].as_py().startswith("R")
    ordered, _ = tiny_prepared(tmp_path / "order", histories)
    with pytest.raises(UserError, match="has no time stamps"):
        segments_of(lambda _: ordered, 30 * DAY, FEW_GROUPS)


def test_data_without_times_leave_a_pipeline_a_folder_that_says_so_and_a_person_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    ordered = House(tmp_path)
    steps = [(f"c{u}", f"s{(u + k) % 5}") for u in range(12) for k in range(4)]
    columns = {"user_id": "customer", "item_id": "item"}
    split = [{"override /split@_global_.split": "leave_one_out"}]
    ordered.dataset("steps", steps, ("customer", "item"), columns=columns, defaults=split)
    with pytest.raises(UserError, match="dataset=steps has only an order"):
        segments(ordered._composed("segments", ("dataset=steps",)))
    assert not Path("segments").exists()
    for _ in range(2):  # the second time in place of the first
        segments(ordered._composed("segments", ("dataset=steps", "needed=false")))
    assert "no segments: they are as of an instant, and dataset=steps has no times" in caplog.text
    assert [path.name for path in Path("segments/steps").iterdir()] == ["manifest.json"]
    assert read("segments/steps/manifest.json")["as_of"] is None
    with pytest.raises(UserError, match="holds no segments: dataset=steps has no times"):
        read_segments(Path("segments/steps"), "steps")
    ordered.train("runs/popular", "dataset=steps", "model=popularity", "name=popular")
    ordered.evaluate("dataset=steps", "runs=[runs/popular]", "out=page")
    assert "popular" in Path("page/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("alike", [False, True])
def test_a_shop_with_too_few_customers_for_groups_has_all_its_other_segments(
    alike: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    few = House(tmp_path)
    one = [(f"c{n}", "s1", f"2023-02-0{day} 12:00:00", "2.5") for day in (1, 3, 5) for n in range(50)]  # nobody differs
    few.dataset("few", one if alike else [(who, *rest) for who, *rest in rows() if int(who[1:]) < 12])
    segments(few._composed("segments", ("dataset=few",)))
    said, table = read("segments/few/segments.json"), pq.read_table("segments/few/segments.parquet")
    why = "all customers are alike in every trait" if alike else "12 customers have ordered, too few for 2 groups"
    assert said["clusters"]["number"] == 0
    assert why in said["clusters"]["reason"]
    assert why in caplog.text
    assert set(said["profiles"]) == {"lifecycle", "value_tier"}
    assert "cluster" not in table.column_names
    assert table["lifecycle"].null_count == 0
    assert table.num_rows == len(set(table["user_id"].to_pylist())) == (50 if alike else 12)
