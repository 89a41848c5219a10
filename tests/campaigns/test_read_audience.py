"""What an audience's message did: from its own arms and the log since, against a count by hand and a known effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import SMALL
from house import House
from shopkeeper.campaigns.audience.arms import power_of
from shopkeeper.campaigns.audience.reading import _words
from shopkeeper.campaigns.audience.readout import Outcome, outcomes, readout
from shopkeeper.campaigns.audience.settings import Control
from shopkeeper.cli.read_audience import read_audiences
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.pipeline.audience import audience
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.timeline import instant

START, MAILED, END = "2023-01-01", "2023-04-01", "2023-05-20"
EFFECT = 0.5  # of all who are written to, so many more come once


def day(n: float) -> str:
    return f"{np.datetime64(START) + int(n)} {int(n % 1 * 24):02d}:00:00"


def log(mailed: set[str]) -> list[tuple[str, str, str, str]]:
    """600 customers who order now and then; from the day after the mail on, some of those who got it once more."""
    rng, rows = np.random.default_rng(8), []
    last = (np.datetime64(END) - np.datetime64(START)).astype(int)
    for u in range(600):
        who, rate = f"c{u}", rng.uniform(0.005, 0.03)
        days = rng.uniform(0, last, rng.poisson(rate * last) + 1)
        extra = rng.random() < EFFECT
        if who in mailed and extra:
            days = np.append(days, 95.0)
        rows += [(who, f"s{rng.integers(9)}", day(d), f"{rng.uniform(5, 15):.2f}") for d in days]
    return sorted(rows, key=lambda row: row[2])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A shop as it was on the day of the mail, its audience, and the shop some weeks later."""
    house = House(tmp_path_factory.mktemp("measured"))
    everybody = ("audience=new_customer", "audience.who.features.orders=[1,null]",
                 "audience.who.features.days_since_order=[0,null]", "~audience.blocks.goes_with_your_last_order",
                 "audience.needs_consent=false", "audience.control.share=0.5", "audience.control.days=40")  # fmt: skip
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        before = [row for row in log(set()) if row[2] < MAILED]
        house.dataset("rhythm", [*before, ("c0", "s1", f"{MAILED} 12:00:00", "5")], churn={"horizon_days": 20})
        audience(house._composed("audience", (*SMALL, *everybody, f"at={MAILED}", "out=mail")))
        rows = pq.read_table("mail/audience.parquet").to_pylist()
        mailed = {row["user_id"] for row in rows if row["arm"] == "treatment"}
        house.dataset("rhythm", log(mailed), churn={"horizon_days": 20})
        prepare_data(house.config("prepare", *SMALL))
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def arms() -> dict[str, str]:
    return {row["user_id"]: row["arm"] for row in pq.read_table("mail/audience.parquet").to_pylist()}


def test_the_effect_that_was_made_is_in_the_interval_and_the_means_are_those_counted_by_hand(house: House):
    (found,) = read_audiences([Path("mail")], to=Path("page/april.json"))
    dealt = arms()
    since: dict[str, float] = dict.fromkeys(dealt, 0.0)
    mailed = {who for who, arm in dealt.items() if arm == "treatment"}
    until = str(np.datetime64(MAILED) + 40)
    for who, _, when, price in log(mailed):
        if MAILED <= when < until and who in since:
            since[who] += float(price)
    for arm in ("treatment", "control"):
        mine = [since[who] for who in dealt if dealt[who] == arm]
        assert found[arm] == len(mine)
        assert found["outcomes"]["buyers"][arm] == pytest.approx(np.mean(np.array(mine) > 0))
        assert found["outcomes"]["money"][arm] == pytest.approx(np.mean(mine))
    buyers = found["outcomes"]["buyers"]
    control = [since[who] > 0 for who in dealt if dealt[who] == "control"]
    truth = EFFECT * (1 - np.mean(control))  # of those who would not have come anyway
    assert buyers["low"] < truth < buyers["high"]
    assert buyers["low"] > 0
    assert found["sample_ratio"]["ok"]
    assert found["words"].startswith("More of those who were written to bought: +")
    assert found["money"]["value"] == pytest.approx(found["outcomes"]["money"]["value"] * found["treatment"])
    assert json.loads(Path("page/april.json").read_text()) == [found]
    assert buyers["variance_left"] < 1


def test_several_audiences_stand_on_one_page_and_segments_are_judged_together(capsys: pytest.CaptureFixture[str]):
    found = read_audiences([Path("mail"), Path("mail"), Path("raw")], contact_cost=0.5, to=Path("page/april.md"))
    page = Path("page/april.md").read_text()
    assert page == capsys.readouterr().out
    assert "## Not read\n\n- raw is no finished audience" in page
    assert page.count("| new_customer | 2023-04-01 | 2023-05-11 |") == 2
    one = found[0]
    assert one["money"]["cost"] == pytest.approx(0.5 * one["treatment"])
    assert one["segments"]
    assert one["family"] == 2 * len(one["segments"])
    for row in one["segments"]:
        assert min(row["treatment"], row["control"]) >= 50
        narrow, wide = one["outcomes"]["buyers"], row["outcomes"]["buyers"]
        assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]


def customers(rng: np.random.Generator, n: int, lift: float = 0.0) -> tuple[dict[str, Outcome], np.ndarray, np.ndarray]:
    """Buyers before and since, in two segments of which the first is moved."""
    taste, treated = rng.beta(1, 3, n), rng.random(n) < 0.8
    segment = np.where(rng.random(n) < 0.5, "a", "b").astype(object)
    moved = treated & (segment == "a") & (rng.random(n) < lift)
    buyers = Outcome(((rng.random(n) < taste) | moved) * 1.0, (rng.random(n) < taste) * 1.0)
    return {"buyers": buyers}, treated, segment


def test_where_nothing_was_done_a_difference_is_seen_as_seldom_as_the_level_says():
    rng, wrong, in_segments = np.random.default_rng(0), 0, 0
    for _ in range(300):
        found, treated, segment = customers(rng, 600)
        said = readout(found, treated, {"kind": segment}, treatment_share=0.8)
        one = said["outcomes"]["buyers"]
        wrong += not one["low"] <= 0 <= one["high"]
        in_segments += any(not s["outcomes"]["buyers"]["low"] <= 0 <= s["outcomes"]["buyers"]["high"]
                           for s in said["segments"])  # fmt: skip
    assert 0.02 < wrong / 300 < 0.085
    assert in_segments / 300 < 0.085


def test_only_the_segment_that_was_moved_shows_it():
    found, treated, segment = customers(np.random.default_rng(1), 8000, lift=0.2)
    said = {row["segment"]: row["outcomes"]["buyers"]
            for row in readout(found, treated, {"kind": segment}, treatment_share=0.8)["segments"]}  # fmt: skip
    assert said["a"]["low"] > 0
    assert said["b"]["low"] < 0 < said["b"]["high"]


def test_what_customers_did_before_makes_the_plan_and_the_interval_narrower():
    rng = np.random.default_rng(2)
    regular = rng.random(4000) < 0.3
    past = np.stack([regular ^ (rng.random(4000) < 0.05), regular ^ (rng.random(4000) < 0.05)], axis=1)
    arm = rng.random(4000) < 0.1
    known, unknown = (power_of(arm, Control(), np.full(4000, 0.3), p) for p in (past, None))
    assert known["smallest_difference"] < 0.7 * unknown["smallest_difference"]
    assert power_of(arm, Control(), None, np.zeros((4000, 2), bool))["correlation"] == 0


def test_what_cannot_be_read_is_told(house: House):
    with pytest.raises(
        UserError, match=r"whole until 2023-05-1.*, before 90 days from 2023-04-01.* are over; .*--days 48"
    ):
        read_audiences([Path("mail")], days=90)
    with pytest.raises(UserError, match=r"neither \.json nor \.md"):
        read_audiences([Path("mail")], to=Path("x.pdf"))
    with pytest.raises(UserError, match="raw is no finished audience"):
        read_audiences([Path("raw")])
    with pytest.raises(UserError, match=r"none of 2 audiences can be read, the first one since raw is no finished"):
        read_audiences([Path("raw"), Path("conf")])
    prepared = Prepared.open(Path("data/prepared/rhythm"))
    found = outcomes(prepared, np.arange(1, prepared.n_users + 1), 0, 10)
    assert not found["buyers"].value.any()


def test_the_last_day_counts_where_the_dataset_says_that_it_is_whole():
    prepared = Prepared.open(Path("data/prepared/rhythm"))
    everybody, at = np.arange(1, prepared.n_users + 1), instant(MAILED, "at")
    with pytest.raises(UserError, match="known to be whole until 2023-05-19"):
        outcomes(prepared, everybody, at, 49)
    manifest = {**prepared.manifest, "config": {**prepared.manifest["config"], "observed_until": END}}
    whole = outcomes(replace(prepared, manifest=manifest), everybody, at, 49)
    time = prepared.events.timestamp
    assert time is not None
    assert whole["orders"].value.sum() == (time >= at).sum()


def test_arms_that_lost_customers_are_not_to_be_read():
    found, treated, segment = customers(np.random.default_rng(3), 3000)
    kept = ~treated | (np.arange(3000) % 3 > 0)
    some: dict[str, Any] = {name: Outcome(o.value[kept], o.before[kept]) for name, o in found.items()}
    assert not readout(some, treated[kept], {}, treatment_share=0.8)["sample_ratio"]["ok"]
    assert readout(found, treated, {"kind": segment}, treatment_share=0.8)["sample_ratio"]["ok"]


def test_where_nobody_bought_in_either_arm_no_difference_is_not_said_to_be_shown():
    treated, bought = np.arange(20) < 10, np.arange(20) == 3
    for value, said in ((bought * 0.0, "Nobody bought, neither of those"), (bought * 1.0, "No difference is shown in")):
        found = readout({"buyers": Outcome(value, np.zeros(20))}, treated, {}, treatment_share=0.5)
        assert _words(found).startswith(said)
