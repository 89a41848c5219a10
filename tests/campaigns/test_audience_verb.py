"""`audience`: the folder that it leaves, what it refuses, and how its list goes to a tool."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from customers.test_totals_verbs import FEW, SMALL, rows
from house import House, read
from shopkeeper.errors import UserError
from shopkeeper.people.search import find_customer
from shopkeeper.pipeline.audience import audience
from shopkeeper.pipeline.score import score
from shopkeeper.pipeline.segments import segments
from shopkeeper.pipeline.upload import write_upload_file

OWN = {"currency": "EUR", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.3}
NO_CONSENT = "audience.needs_consent=false"
AS_OF = "at=2023-06-28"
MADE = "audiences/rhythm/win_back-2023-07-18"
FAST = ("segmentation.clusters.bootstraps=2", "segmentation.clusters.most=3", "segmentation.clusters.cutoffs=1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("audience"))
    renamed = [("=c0+1" if who == "c0" else who, *rest) for who, *rest in rows()]
    house.dataset("rhythm", renamed, churn={"horizon_days": 20, "active_days": 90}, profit=OWN)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        house.train("runs/churn", "model=lightgbm", *SMALL, "model.max_trees=10", "model.min_data_in_leaf=5", *FEW)
        house.train("runs/base", "model=base_rate", "task=orders", *SMALL, *FEW)
        house.train("runs/popularity", "model=popularity", *SMALL)
        house.train("runs/waits", "task=next_order", "model=hazard", "model.max_trees=10", *SMALL, *FEW)
        segments(house._composed("segments", (*SMALL, *FAST)))
        score(house._composed("score", ("run=runs/churn", "to=today.parquet")))
        made(house, "scores=runs/churn", "recommender=runs/popularity", "segments=segments/rhythm", NO_CONSENT)
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def made(house: House, *words: str) -> None:
    audience(house._composed("audience", (*SMALL, *words)))


def table(folder: str = "audiences/rhythm/win_back-2023-07-18") -> list[dict[str, Any]]:
    return list(pq.read_table(f"{folder}/audience.parquet").to_pylist())


def test_the_file_says_whom_why_and_with_what_and_its_parts_fit_together():
    said, found = read("audiences/rhythm/win_back-2023-07-18/card.json"), table()
    n = said["customers"]
    assert (n["of_the_dataset"], n["in_the_audience"]) == (80, len(found))
    assert n["control"] == sum(row["arm"] == "control" for row in found)
    assert n["treatment"] + n["control"] + sum(said["left_out"].values()) == 80
    scored = [row for row in found if row["probability"] is not None]
    assert len(scored) > 5
    today = {row["user_id"]: row["probability"] for row in pq.read_table("today.parquet").to_pylist()}
    of_segments = {row["user_id"]: row for row in pq.read_table("segments/rhythm/segments.parquet").to_pylist()}
    for row in found:
        assert row["probability"] == today[row["user_id"]]
        assert (row["blank_reason"] == "") == (row["probability"] is not None) == (row["reason_1"] is not None)
        assert row["lifecycle"] == of_segments[row["user_id"]]["lifecycle"] in ("at risk", "lapsed")
        assert row["cluster"] == of_segments[row["user_id"]]["cluster"]
        assert row["for_you_1"] != row["for_you_2"]
        assert row["for_you_1_price"] > 0
    for row in scored:
        parts = [row["usual"], row["other_reasons"], *(row[f"reason_{k}_effect"] for k in (1, 2, 3))]
        assert sum(parts) == pytest.approx(row["score"], abs=1e-12)
    order = [row["probability"] for row in scored]
    assert order == sorted(order, reverse=True)
    assert found[: len(scored)] == scored
    assert said["scores"]["quality"]["auroc"] == read("runs/churn/metrics.json")["test"]["auroc"]
    assert said["scores"]["blank"] == {"no purchase in the 90 days before the cutoff": len(found) - len(scored)}


def test_the_card_says_whether_it_pays_by_the_shops_own_values():
    card = read("audiences/rhythm/win_back-2023-07-18/card.json")
    assert card["currency"] == "EUR"
    assert card["costs"] == {"currency": "EUR", "contact_cost": 0.5}  # also of an audience without scores
    said = card["profit"]
    p = [row["probability"] for row in table() if row["arm"] == "treatment" and row["probability"] is not None]
    brings = [q * 32.5 - (1 - q) * 10.5 for q in p]
    assert said["all"]["customers"] == len(p)
    assert said["all"]["profit"] == pytest.approx(sum(brings))
    assert said["best"]["profit"] == pytest.approx(sum(x for x in brings if x >= 0))
    assert said["best"]["low"] <= said["best"]["profit"] <= said["best"]["high"]
    assert "EUR" in Path("audiences/rhythm/win_back-2023-07-18/card.md").read_text()


def test_as_csv_it_is_the_same_and_no_id_is_a_formula_and_the_card_names_nobody():
    with open("audiences/rhythm/win_back-2023-07-18/audience.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    found = table()
    assert [line["user_id"].removeprefix("'") for line in lines] == [row["user_id"] for row in found]
    assert [float(line["orders"]) for line in lines] == [row["orders"] for row in found]
    assert any(line["user_id"] == "'=c0+1" for line in lines) == any(row["user_id"] == "=c0+1" for row in found)
    for name in ("card.json", "card.md"):
        text = Path("audiences/rhythm/win_back-2023-07-18", name).read_text()
        assert not any(f'"{row["user_id"]}"' in text or f" {row['user_id']} " in text for row in found)
    page = Path("audiences/rhythm/win_back-2023-07-18/card.md").read_text()
    assert "| log loss |" in page
    assert "## Look at this first" in page


def test_made_again_it_is_the_same_and_in_other_chunks_too(house: House):
    words = ("scores=runs/churn", "recommender=runs/popularity", "segments=segments/rhythm", NO_CONSENT, "chunk=7")
    made(house, *words, "out=again")
    assert table("again") == table()
    a, b = (read(f"{folder}/card.json") for folder in ("again", "audiences/rhythm/win_back-2023-07-18"))
    assert a == b


def test_scores_of_a_file_have_no_reasons_and_must_be_of_the_same_day(house: House):
    made(house, "scores=today.parquet", "~audience.blocks.for_you", NO_CONSENT, "out=of_file")
    rows_of = table("of_file")
    assert "reason_1" not in rows_of[0]
    assert [r["probability"] for r in rows_of] == [r["probability"] for r in table()]
    said = read("of_file/card.json")
    assert said["scores"]["reasons"] is False
    assert any("holds scores alone" in text for text in said["warnings"])
    with pytest.raises(
        UserError, match=r"today.parquet holds scores as of 2023-07-18.*, and the audience is of 2023-06"
    ):
        made(house, "scores=today.parquet", "~audience.blocks.for_you", NO_CONSENT, AS_OF)


def test_a_run_about_who_leaves_also_says_who_comes(house: House):
    words = ("audience=about_to_buy", "audience.who.score.share=0.5", "recommender=runs/popularity", "placement=email")
    made(house, *words, NO_CONSENT, "scores=runs/churn")
    today = {row["user_id"]: row["probability"] for row in pq.read_table("today.parquet").to_pylist()}
    found = table("audiences/rhythm/about_to_buy-2023-07-18")
    known = sorted(p for p in today.values() if p is not None)
    assert all(row["probability"] == 1 - today[row["user_id"]] for row in found)
    assert len(found) >= len(known) / 2
    assert all(row["for_you_1"] and row["for_you_1"] != row["for_you_2"] for row in found)
    assert max(today[row["user_id"]] for row in found) <= np.median(known)


def test_waits_are_dates_to_send_on(house: House):
    made(house, "waits=runs/waits", "~audience.blocks.for_you", NO_CONSENT, "out=dated")
    score(house._composed("score", ("run=runs/waits", "to=waits.parquet")))
    said = {row["user_id"]: row for row in pq.read_table("waits.parquet").to_pylist()}
    dated = 0
    for row in table("dated"):
        assert (row["next_order"] is None) == (said[row["user_id"]]["days_50"] is None)
        assert (row["send_at"] is None) == (said[row["user_id"]]["days_25"] is None)
        if row["send_at"] is not None:
            dated += 1
            assert row["send_at"].hour == row["best_hour"]
            assert row["send_at"].isoformat() >= "2023-07-18"
    assert dated
    assert read("dated/card.json")["waits"]["model"] == "hazard"
    with pytest.raises(UserError, match="runs/waits says when the next order comes, which is no score"):
        made(house, "scores=runs/waits", "~audience.blocks.for_you", NO_CONSENT, "out=x")
    with pytest.raises(UserError, match="waits=runs/churn does not say when the next order comes"):
        made(house, "waits=runs/churn", "~audience.blocks.for_you", NO_CONSENT, "out=x")


def test_its_day_is_that_of_the_shops_clocks_and_the_way_out_is_that_instant(house: House):
    told = {"churn": {"horizon_days": 20, "active_days": 90}, "timestamp": {"time_zone": "Europe/Berlin"}}
    house.dataset("berlin", rows(), **told)
    here = ("dataset=berlin", "split=temporal", "~audience.blocks.goes_with_your_last_order", NO_CONSENT)
    here += ("audience=new_customer", "audience.who.features={orders: [1, null], days_since_order: [0, null]}")
    audience(house._composed("audience", (*here, "at=2023-06-01")))
    (folder,) = Path("audiences/berlin").iterdir()
    assert folder.name == "new_customer-2023-06-01"
    assert read(folder / "card.json")["as_of"] == "2023-05-31T22:00:00Z"  # midnight in Berlin
    segments(house._composed("segments", ("dataset=berlin", "split=temporal", *FAST, "at=2023-06-01")))
    assert Path("segments/berlin-2023-06-01/manifest.json").is_file()
    with pytest.raises(UserError, match=r"run `shopkeeper segments at=2023-06-01T22:00:00Z`$") as error:
        audience(house._composed("audience", (*here, "at=2023-06-02", "out=x", "segments=segments/berlin-2023-06-01")))
    way_out = str(error.value).rpartition("shopkeeper segments ")[2].rstrip("`")
    segments(house._composed("segments", ("dataset=berlin", "split=temporal", *FAST, way_out)))
    assert Path("segments/berlin-2023-06-02/manifest.json").is_file()


def test_in_the_past_it_says_what_a_model_knows_of_later(house: House, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        words = ("scores=runs/churn", "recommender=runs/popularity", NO_CONSENT, "at=2023-05-01")
        made(house, *words, "audience.who.features.days_since_order=[1,null]")
    assert "may have learnt from what came after 2023-05-01" in caplog.text
    assert Path("audiences/rhythm/win_back-2023-05-01/manifest.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scores=runs/churn",), r"needs consent and dataset=rhythm has no table of it"),
        ((NO_CONSENT,), r"audience.blocks.for_you recommends items; set recommender="),
        ((NO_CONSENT, "scores=runs/popularity"), r"scores=runs/popularity recommends items"),
        ((NO_CONSENT, "recommender=runs/churn"), r"recommender=runs/churn is about customers"),
        ((NO_CONSENT, "scores=runs/base"), r"audience.who.score.of=leaving, and runs/base says counts"),
        ((NO_CONSENT, "segments=segments/rhythm", AS_OF), r"as of 2023-07-18.*`shopkeeper segments at=2023-06"),
        ((NO_CONSENT, "at=2024-01-01"), r"at=2024-01-01T00:00:00Z lies after the end of the log"),
        ((NO_CONSENT, "out=runs/base"), r"runs/base holds '.*' and is no folder of an audience"),
        ((NO_CONSENT, "audience=vip_early", f"out={MADE}"), r"audience=win_back, not vip_early"),
        ((NO_CONSENT, "out=audiences/rhythm/win_back-2023-07-18", AS_OF), r"as_of=2023-07-18.*, not 2023-06-28"),
        ((NO_CONSENT, "audience.most=0"), r"audience.most is 0; it must be a whole number of at least 1"),
        ((NO_CONSENT, "audience.who.features.days_since_order=[3,1]"), r"days_since_order is .* must be \[from, to"),
        (("audience=exit_offer", "audience.sessions.days=60"), r"dataset=rhythm has no views in the 60 days"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(house: House, words: tuple[str, ...], said: str):
    with pytest.raises(UserError, match=said) as error:
        made(house, *words)
    assert "\n" not in str(error.value)


def contacts(who: list[str], refused: set[str]) -> Path:
    path = Path("contacts.csv")
    lines = [f"{x},{str(x not in refused).lower()},a{i}@example.org" for i, x in enumerate(who)]
    path.write_text("user_id,consent,email\n" + "\n".join(lines) + "\n")
    return path


def test_a_tool_gets_the_treatment_of_an_audience_without_those_who_refused(capsys: pytest.CaptureFixture[str]):
    found = table()
    treated = [row["user_id"] for row in found if row["arm"] == "treatment"]
    control = {row["user_id"] for row in found if row["arm"] == "control"}
    assert control
    people = contacts([row["user_id"] for row in found], {treated[0]})
    for listed, to in (
        (Path("audiences/rhythm/win_back-2023-07-18"), "a.jsonl"),
        (Path("audiences/rhythm/win_back-2023-07-18/audience.csv"), "b.jsonl"),
    ):
        write_upload_file(listed, people, "segment", Path(to))
        sent = {json.loads(line)["userId"] for line in Path(to).read_text().splitlines()}
        assert sent == set(treated[1:])
        said = capsys.readouterr().out
        assert f"left out, in the control group, who get nothing: {len(control)}" in said
        assert "left out, did not agree: 1" in said
    traits = json.loads(Path("a.jsonl").read_text().splitlines()[0])["traits"]
    assert "arm" not in traits
    assert traits["for_you_1"]


def test_an_unfinished_or_edited_audience_goes_nowhere():
    people = contacts(["c1"], set())
    half = Path(shutil.copytree("audiences/rhythm/win_back-2023-07-18", "half"))
    (half / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"half is no finished audience \(no manifest.json\); run `shopkeeper audience` again"
    ):
        write_upload_file(half, people, "klaviyo", Path("x.csv"))
    edited = Path(shutil.copytree("audiences/rhythm/win_back-2023-07-18", "edited"))
    pq.write_table(pq.read_table(edited / "audience.parquet").slice(0, 3), edited / "audience.parquet")
    with pytest.raises(UserError, match=r"audience\.parquet"):
        write_upload_file(edited, people, "klaviyo", Path("x.csv"))
    with pytest.raises(UserError, match="segments/rhythm holds no audience"):
        write_upload_file(Path("segments/rhythm"), people, "klaviyo", Path("x.csv"))


def test_a_customer_is_found_in_an_audience_and_the_way_out_is_told():
    who = next(row["user_id"] for row in table() if row["user_id"].startswith("c"))
    found = find_customer({who}, Path("."))
    traces = [trace for trace in found.traces if "audiences/rhythm/win_back-2023-07-18" in trace.path.as_posix()]
    assert {trace.path.name for trace in traces} >= {"audience.parquet", "audience.csv"}
    assert all(trace.step.startswith("shopkeeper audience") for trace in traces)
