"""What a report decides by, made by hand: money, today's customers, segments, audiences, an earlier report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.evaluation.money import compare_money
from shopkeeper.evaluation.table import summarise

PROFIT = {"currency": "EUR", "customer_value": 60.0, "offer_cost": 5.0, "contact_cost": 0.5, "success_rate": 0.25}
EARLIER = {
    "until": "31 May 2022",
    "fingerprint": "another",
    "figures": {
        "churn.expected": {"label": "", "value": 100.0, "low": 90.0, "high": 110.0, "unit": "", "digits": 0},
        "gone.figure": {"label": "", "value": 1.0, "unit": "", "digits": 0},
    },
    "since": None,
}


def with_money(section: Mapping[str, Any], earned: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A section of recommenders whose rows earn what is told, in pounds, with a shop's own values."""
    tables = {
        name: t.append_column("revenue@10", pa.array(earned[name])) if name in earned else t
        for name, t in section["tables"].items()
    }
    metrics = {n: {**m, "test": summarise(tables[n], resamples=200)} for n, m in section["metrics"].items()}
    money = [c.as_dict() for c in compare_money(tables, "revenue@10", resamples=500)]
    configs = {
        n: {"dataset": {**c["dataset"], "currency": "GBP", "profit": PROFIT}} for n, c in section["configs"].items()
    }
    return {
        **section, "tables": tables, "metrics": metrics, "money": "revenue@10", "configs": configs,
        "others": {"audience": ["python", "audience.py", "dataset=tiny"], "score": ["python", "score.py"]},
        "comparisons": [*section["comparisons"], *money], "leader": "models/tiny/temporal/next_item/sasrec",
    }  # fmt: skip


def now(**other: Any) -> dict[str, Any]:
    """What the leading model says today."""
    return {
        "model": "logistic", "answers": "probabilities", "asked": 320, "scored": 300, "of_all": 320,
        "as_of": "2022-07-01T00:00:00Z", "until": "2022-07-31T00:00:00Z", "horizon_days": 30.0, "active_days": 60.0,
        "leaving": True, "expected": 123.4, "low": 110.2, "high": 136.6,
        "top_tenth": {"customers": 30, "expected": 27.1, "from": 0.81},
        "profit": {**PROFIT, "threshold": 0.29, "all": {"customers": 300, "profit": -40.0, "low": -60.0, "high": -20.0},
                   "best": {"customers": 111, "profit": 842.5, "low": 700.0, "high": 985.0}},
        "drivers": {"unit": "log-odds", "customers": 300, "features": [
            {"feature": "days_since_order", "moves": 0.8, "share": 0.8, "direction": 1},
            {"feature": "orders", "moves": 0.2, "share": 0.2, "direction": -1}]},
        "rates": [
            {"cutoff": "2022-03-01T00:00:00Z", "part": "learned from", "n": 99, "rate": 0.4, "low": 0.33, "high": 0.47},
            {"cutoff": "2022-04-01T00:00:00Z", "part": "validation", "n": 210, "rate": 0.42, "low": 0.36, "high": 0.49},
            {"cutoff": "2022-05-01T00:00:00Z", "part": "test", "n": 220, "rate": 0.55, "low": 0.48, "high": 0.61}],
        "drift": {
            "from": "2022-01-01T00:00:00Z", "to": "2022-03-01T00:00:00Z", "rows": 600, "now": 320, "of": 2, "moved": 1,
            "features": [
                {"feature": "days_since_order", "psi": 0.31, "by_chance": 0.05, "then": 12.0, "now": 21.0,
                 "unknown_then": 0.0, "unknown_now": 0.02, "moved": True},
                {"feature": "orders", "psi": 0.01, "by_chance": 0.05, "then": 3.0, "now": float("nan"),
                 "unknown_then": 0.0, "unknown_now": 1.0, "moved": False}],
            "told_apart": {"auroc": 0.71, "low": 0.66, "high": 0.75, "rows": 920, "by": ("days_since_order",)}},
        **other,
    }  # fmt: skip


def read(month: str, value: float, half: float, **other: Any) -> dict[str, Any]:
    """An audience whose message was read out: so much money in all, give or take."""
    each = {"value": value / 90, "low": (value - half) / 90, "high": (value + half) / 90}
    points = {"value": 0.02, "low": -0.01, "high": 0.05}
    return {
        "audience": "win_back", "as_of": f"{month}-01T00:00:00Z", "folder": f"audiences/tiny/win_back-{month}-01",
        "unread": "",
        "card": {"title": "Win back", "message": "We have <b>missed</b> you.", "warnings": ["arms are small"],
                 "customers": {"in_the_audience": 100, "of_the_dataset": 320, "treatment": 90, "control": 10},
                 "arms": {"smallest_difference": 0.18, "days": 30.0}},
        "read": {"audience": "win_back", "title": "Win back", "as_of": f"{month}-01T00:00:00Z",
                 "until": f"{month}-28T00:00:00Z", "treatment": 90, "control": 10, "currency": None,
                 "words": "No difference is shown in who bought: +2.00 points (-1.00 to +5.00).",
                 "sample_ratio": {"ok": True}, "warnings": [], "cost_known": True,
                 "outcomes": {"buyers": points, "money": each},
                 "money": {"cost": 45.0, "value": value, "low": value - half, "high": value + half}},
        **other,
    }  # fmt: skip


def moves(*rows: tuple[str, str, int]) -> list[dict[str, Any]]:
    """Rows of movement.csv."""
    return [{"segmentation": "lifecycle", "before": a, "now": b, "customers": n} for a, b, n in rows]


def segments() -> dict[str, Any]:
    """What a folder of segments says."""
    profile = {
        "segment": "active",
        "who": {"customers": 60, "share": 0.6, "money_share": 0.9,
                "attributes": {"user_country": {"name": "France", "share": 0.4}}},
        "what": {"orders": 4.0, "money_per_order": 21.5, "most": [{"name": "tea", "share": 0.3, "times_usual": 1.4}]},
        "why": [{"trait": "days_since_order", "median": 5.0, "median_of_all": 30.0}],
        "when": {"days_since_order": 5.0, "weekday": [{"name": "Monday"}], "time_of_day": []},
        "where": {"channels": {"web": 0.8}},
    }  # fmt: skip
    few = {"segment": "won back", "who": {"customers": 3, "share": 0.03}}
    return {
        "as_of": "2022-07-01T00:00:00Z", "movement_since": "2022-06-01T00:00:00Z", "fresh": True,
        "folder": "segments/tiny",
        "movement": moves(
            ("active", "active", 50), ("active", "at risk", 30), ("at risk", "active", 10), ("new", "active", 10)
        ),
        "profiles": {"lifecycle": [profile, few]},
    }  # fmt: skip


def uplift() -> dict[str, Any]:
    """What was learned from a campaign of two arms: of one by nobody, of the other by one learner."""

    def spans(*of: float) -> dict[str, float]:
        return dict(zip(("value", "low", "high"), of, strict=True))

    def trial(arm: str, **qini: tuple[float, float, float]) -> dict[str, Any]:
        figures = {"auuc": spans(0.002, -0.001, 0.005), "first": spans(0.08, 0.05, 0.11)}
        learners = {name: {"qini": spans(*of), **figures} for name, of in qini.items()}
        return {"arm": arm, "outcome": "visit", "effect": spans(0.045, 0.039, 0.052), "learners": learners,
                "balance": {"treated": 2100, "control": 2080}}  # fmt: skip

    clear = trial("womens_mail", t=(0.004, 0.001, 0.007), r=(0.001, -0.001, 0.003))
    return {
        "folder": "outputs/uplift/spring", "normalised": "areas above the straight line",
        "campaign": {"name": "spring", "title": "Spring <b>mail</b>"},
        "trials": [clear, trial("mens_mail", t=(0.001, 0.0, 0.002), r=(0.002, -0.001, 0.004))],
    }  # fmt: skip


def campaigned() -> dict[str, Any]:
    """Segments and audiences of a dataset."""
    unread = read("2022-06", 0, 0) | {
        "read": None,
        "unread": "the log ends at 2022-07-01T00:00:00Z; prepare the newer log",
    }
    audiences = [unread, read("2022-05", 300.0, 100.0), read("2022-04", 200.0, 50.0)]
    return {"segments": segments(), "audiences": audiences, "uplifts": [uplift()]}
