"""Bundles that are asked of sessions while they go on: raw events in, what `score` says of them out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from customers.pairs.test_session_intention import BOUGHT, CART, VIEW, clicks
from house import House
from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.pipeline.score import score

NONE = "no session that goes on after 3 events without a purchase"
HEADER = ("customer", "item", "time", "price", "kind", "tab")
NETWORK = ("model.width=8", "model.max_length=12", "model.epochs=8", "model.lr=0.02", "trainer.precision=fp32")
MODELS = {"logistic": (), "lightgbm": ("model.max_trees=20",), "base_rate": (), "gru": NETWORK, "transformer": NETWORK}


def tabbed() -> list[tuple[str, ...]]:
    """The clicks, every fifth day of a customer in two tabs at once."""
    found = []
    for n, row in enumerate(clicks()):
        day = row[2][:10]
        found.append((*row, f"{row[0]}-{day}-{n % 2 if int(day[-2:]) % 5 == 0 else 0}"))
    return found


@pytest.mark.parametrize(("model", "tabs"), [("logistic", False), ("logistic", True), ("lightgbm", True),
                                             ("base_rate", False), ("gru", False), ("transformer", True)])  # fmt: skip
def test_sessions_that_go_on_are_answered_as_they_were_scored_and_the_others_say_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, tabs: bool
):
    house, log = House(tmp_path), tabbed()
    columns = {"user_id": "customer", "item_id": "item", "timestamp": "time", "price": "price"}
    house.dataset(
        "clicks",
        log,
        HEADER,
        columns=columns | ({"session_id": "tab"} if tabs else {}),
        event_type={"column": "kind", "map": {kind: kind for kind in (VIEW, CART, BOUGHT)}},
        churn={"horizon_days": 14, "active_days": 30},
    )
    monkeypatch.chdir(tmp_path)
    words = ("dataset=clicks", "split=temporal", "task=session_intention", *(["task.after_events=2"] if tabs else []))
    run = house.train("runs/it", f"model={model}", *words, *MODELS[model])
    if MODELS[model] is NETWORK and not tabs:
        assert run.metrics["test"]["auroc"]["value"] > 0.7  # it reads what was put into the cart
    house.export(f"run={run.path}", "name=live", "golden=60", "dataset=clicks", "split=temporal")
    assert verify("exports/live").ok
    assert "```python" not in Path("exports/live/README.md").read_text(encoding="utf-8")  # it cuts no sessions
    bundle = Bundle.load("exports/live")
    golden = [one["expected"] for one in json.loads(Path("exports/live/golden.json").read_text())["requests"]]
    assert sum(one["probability"] is not None for one in golden) > 10
    for at in ("2023-03-20 09:08:00", "2023-01-03 09:08:00"):  # early on most are not known yet
        score(house._composed("score", (f"run={run.path}", f"at={at}", "to=live.parquet")))
        live, reasons = 0, set()
        for row in pq.read_table("live.parquet").to_pylist():
            history = [{"item_id": i, "timestamp": f"{t}Z", "price": float(p), "event_type": k, "session_id": s}
                       for c, i, t, p, k, s in log if c == row["user_id"]]  # fmt: skip
            (answer,) = answered(bundle, [{"history": history, "as_of": f"{at}Z"}])
            assert answer["reason"] == row["blank_reason"]
            assert answer["probability"] == (
                None
                if row["blank_reason"]
                else pytest.approx(row["probability"], abs=1e-6 if MODELS[model] is NETWORK else 1e-9)
            )
            live += not row["blank_reason"]
            reasons.add(row["blank_reason"])
        assert 0 < live < 150
        assert ("no history before the cutoff" in reasons) is at.startswith("2023-01")
    seen = [
        ("s1", "view", "2023-03-20T09:00Z"),
        ("s2", "view", "2023-03-20T09:02Z"),
        ("s1", "view", "2023-03-20T09:03Z"),
    ]
    (now,) = bundle.answer([seen], as_of="2023-03-20T09:10Z")
    (late,) = bundle.answer([seen], as_of="2023-03-20T09:34Z")
    (bought,) = bundle.answer([[*seen, ("s1", "purchase", "2023-03-20T09:04Z")]], as_of="2023-03-20T09:10Z")
    assert now.probability is not None
    assert late.reason == bought.reason == NONE.replace("3", "2" if tabs else "3")
    assert bundle.answer([[]], as_of="2023-03-20T09:10Z")[0].reason == "no history before the cutoff"
