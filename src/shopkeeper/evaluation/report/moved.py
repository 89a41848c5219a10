"""The figures that a report decides by, and what has moved since the report before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.evaluation.report.figures import Report, Value
from shopkeeper.evaluation.report.names import label_of

SAME = "the same"


def figures_of(report: Report) -> dict[str, dict[str, Any]]:
    """What is decided by, by a name that later reports have, too: label, value, bounds, unit and digits."""
    found: dict[str, dict[str, Any]] = {}

    def put(key: str, label: str, v: Value, unit: str = "", digits: int = 3, times: float = 1.0) -> None:
        ends = {k: None if x is None else times * x for k, x in (("low", v.low), ("high", v.high))}
        found[key] = {"label": label, "value": times * v.value, **ends, "unit": unit, "digits": digits}

    for b in report.boards:
        if not b.rivals:
            continue
        best, task = b.rivals[0], b.task.replace("_", " ")
        put(f"{b.task}.headline", f"{task}: {label_of(b.metric)} of the best model", best.metrics[b.metric])
        if b.money:
            put(
                f"{b.task}.money",
                f"{task}: {label_of(b.money)} of the best model",
                best.metrics[b.money],
                b.currency,
                2,
            )
        for name, label in ((f"hit@{b.k}", "requests that find something"), ("base_rate", "base rate")):
            if name in best.metrics:
                put(f"{b.task}.{name.partition('@')[0]}", f"{task}: {label}", best.metrics[name], "%", 1, 100)
        if (now := b.now) is not None and "expected" in now:
            put(
                f"{b.task}.expected",
                f"{task}: expected of all",
                Value(now["expected"], now.get("low"), now.get("high")),
                "",
                0,
            )
            put(f"{b.task}.asked", f"{task}: customers who are asked about", Value(now["asked"]), "", 0)
            if best_of := (now.get("profit") or {}).get("best"):
                value = Value(best_of["profit"], best_of["low"], best_of["high"])
                put(f"{b.task}.profit", f"{task}: expected of writing", value, now["profit"]["currency"], 0)
    for row in (report.segments or {}).get("profiles", {}).get("lifecycle", []):
        put(f"segment.{row['segment']}", f"customers: {row['segment']}", Value(row["who"]["customers"]), "", 0)
    return found


def decisions(report: Report) -> dict[str, Any]:
    """What the next report is told: figures, of which data, and the figures before where these are others."""
    own = {"until": report.until, "fingerprint": report.fingerprint, "figures": figures_of(report)}
    return {**own, "since": since(report, own)}


def since(report: Report, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """The figures that the report before decided by; those before them, where it said the same as this one."""
    earlier = report.earlier
    if earlier is None:
        return None
    if earlier.get("fingerprint") == own["fingerprint"] and _alike(earlier["figures"], own["figures"]):
        kept = earlier.get("since")
        return dict(kept) if isinstance(kept, Mapping) else None
    return {key: earlier[key] for key in ("until", "fingerprint", "figures") if key in earlier}


def _alike(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether all that both say is the same."""
    return all(then[key] == now[key] for key in then if key in now)


def moved(report: Report) -> tuple[str, list[tuple[str, str, str, str]]] | None:
    """The day of the earlier figures, and each that both have: label, then, now, change; None: no earlier ones."""
    figures = figures_of(report)
    before = since(report, {"fingerprint": report.fingerprint, "figures": figures})
    if before is None:
        return None
    rows = []
    for key, now in figures.items():
        then = before["figures"].get(key)
        if not isinstance(then, Mapping) or not isinstance(then.get("value"), int | float):
            continue
        digits, unit = int(now["digits"]), f" {now['unit']}" if now["unit"] else ""
        change = now["value"] - then["value"]
        text = f"{change:+,.{digits}f}".replace("-", "\u2212") if round(change, digits) else SAME
        rows.append((now["label"], _of(then, digits) + unit, _of(now, digits) + unit, text))
    if not rows or (before.get("fingerprint") == report.fingerprint and all(row[3] == SAME for row in rows)):
        return None
    return str(before.get("until") or "an earlier day"), rows


def _of(entry: Mapping[str, Any], digits: int) -> str:
    text = f"{entry['value']:,.{digits}f}"
    if entry.get("low") is None or entry.get("high") is None:
        return text
    return f"{text} ({entry['low']:,.{digits}f} to {entry['high']:,.{digits}f})".replace("-", "\u2212")
