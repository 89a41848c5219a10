"""Who of an audience gets nothing, so that the rest can be held against them, and how small an effect that shows.

A customer's arm is a keyed hash of the id: the same customer is in the same arm whenever an audience of that key is
made, whoever else is in it, and independently of the arms under another key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.audience.settings import Control
from shopkeeper.evaluation.online_test import ENOUGH, visible_effect

ARM, TREATMENT, CONTROL = "arm", "treatment", "control"
IN_CONTROL = "in the control group, who get nothing"
HIGHEST = 2.0**64


def in_control(ids: Iterable[str], share: float, key: str) -> np.ndarray:
    """Which customers are left alone, about this share of them: bool (n,). BLAKE2b, keyed."""
    secret = hashlib.sha256(key.encode()).digest()
    border = int(share * HIGHEST)
    found = [
        int.from_bytes(hashlib.blake2b(x.encode(), digest_size=8, key=secret).digest(), "big") < border for x in ids
    ]
    return np.array(found, bool)


def without_control(table: pa.Table) -> tuple[pa.Table, int]:
    """A list of customers without those of a control group (`arm`), and how many they were."""
    if ARM not in table.column_names:
        return table, 0
    kept = table.filter(pc.fill_null(pc.not_equal(table[ARM].cast(pa.string()), CONTROL), True))
    return kept, table.num_rows - kept.num_rows


def power_of(arm: np.ndarray, rule: Control, buys: np.ndarray | None, past: np.ndarray | None = None) -> dict[str, Any]:
    """What the arms can show: the smallest difference in the share of buyers that is seen with the rule's power.

    Args:
        arm: True in control, bool (n,).
        rule: share, power and level.
        buys: probability that each buys without a message; None or NaN: not known. Of those half count as buyers, the
            case in which least is seen.
        past: who ordered in the window before the instant and in the one before that, bool (n, 2): how much of the
            differences between customers a read-out with CUPED will take out, if it goes on so. None: not known.
    """
    control, treatment = int(arm.sum()), int((~arm).sum())
    known = np.zeros(0) if buys is None else buys[np.isfinite(buys)]
    rate, part = float(known.mean()) if len(known) else 0.5, len(known) / max(len(arm), 1)
    variance = max(part * rate * (1 - rate) + (1 - part) * 0.25, 1e-6)
    found: dict[str, Any] = {
        "control": control,
        "treatment": treatment,
        "power": rule.power,
        "level": rule.level,
        "buyers": rate if len(known) else None,
        "known": len(known),
        "days": rule.days,
        "correlation": _correlation(past),
        "smallest_difference": None,
    }
    if control and treatment:
        share = treatment / (control + treatment)
        found["smallest_difference"] = visible_effect(
            variance * (1 - found["correlation"] ** 2),
            control + treatment,
            treatment_share=share,
            level=rule.level,
            power=rule.power,
        )
    return found


def _correlation(past: np.ndarray | None) -> float:
    """Between one window and the next; 0 where nothing is known, or all did the same."""
    if past is None or len(past) < 2 or (past.all(axis=0) | ~past.any(axis=0)).any():
        return 0.0
    return float(np.clip(np.asarray(np.corrcoef(past.T.astype(np.float64)))[0, 1], -0.99, 0.99))


def too_small(power: dict[str, Any]) -> str:
    """What is to be said where the control group shows nothing, "" where it may."""
    if not power["control"]:
        return "nobody is in the control group: whether the message did anything will not be known"
    seen = power["smallest_difference"]
    rate = power["buyers"] if power["buyers"] is not None else 0.5
    if 2 * power["control"] < ENOUGH or (seen is not None and seen > rate):
        points = 100 * min(seen or 1, 1)
        buy = "it is not known how many" if power["buyers"] is None else f"{100 * rate:.1f} of 100"
        return (
            f"a control group of {power['control']:,} shows an effect only from {points:.1f} points on, "
            f"where {buy} buy anyway: too small to measure anything; take a larger audience.control.share"
        )
    return ""
