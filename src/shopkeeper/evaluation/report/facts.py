"""The parts of the page that are read off the data's own papers: title, leak audit, protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shopkeeper.evaluation.family import METHOD
from shopkeeper.evaluation.table import metadata_of
from shopkeeper.models.about import parts_in_words
from shopkeeper.timeline.zones import clock

Sections = Mapping[str, Mapping[str, Any]]


def title_of(sections: Sections, tasks: Sequence[str]) -> tuple[str, str]:
    """Name of the dataset, and what was compared in one line."""
    section = sections[tasks[0]]
    prepared, first = section["prepared"], section["metrics"][section["names"][0]]
    title = str(prepared.manifest.get("title") or _config(section, "dataset").get("title") or prepared.name)
    span = _period(prepared)
    counts = f"{prepared.n_users:,} customers, {prepared.n_items:,} items, {int(prepared.offsets[-1]):,} events" + (
        f", {span}" if span else ""
    )
    return title, f"{counts}; split “{first['split']}”"


def day_of(prepared: Any) -> str:
    """The day of the log's last event, "9 December 2010"; "" where it has only an order."""
    time = prepared.events.timestamp
    return "" if time is None or len(time) == 0 else in_words(int(time.max()), prepared.zone)


def in_words(instant: int, zone: str) -> str:
    """A day on the shop's clocks, "9 December 2010"."""
    at = clock(instant, zone)
    return f"{at.day} {at:%B %Y}"


def audit_rows(sections: Sections) -> list[tuple[str, str, str]]:
    """What the leak audit of the split checked and found: (check, finding, good | note | bad)."""
    split = next((s["split"] for s in sections.values() if s.get("split") is not None), None)
    if split is None:
        return []
    timeline: Mapping[str, Any] = split.timeline
    audit = timeline.get("audit") or {}
    rows = [(check, "passed", "good") for check in _checks(audit.get("checks", []))]
    if first := audit.get("first_seen_in_test"):
        n, hit = int(first.get("items", 0)), int(first.get("targets", 0))
        text = f"{_many(n, 'item')}, {_many(hit, 'target')}"
        rows.append(("Items that appear for the first time in test", text, "note" if n else "good"))
    after = audit.get("training_after_other_test_instants")
    if after is not None:
        n = int(after.get("events", 0))
        text = f"{_many(n, 'training event')} (inherent in leave-one-out; compare with a temporal split)"
        rows.append(("Training events later than another customer's test request", text, "note" if n else "good"))
    if timeline.get("tie_share") is not None:
        share = float(timeline["tie_share"])
        rows.append(
            (
                "Events that share a time stamp with another of the same customer",
                f"{share:.1%}",
                "note" if share else "good",
            )
        )
    cold = (timeline.get("cold") or {}).get("test") or {}
    for key, name in (
        ("requests_of_cold_users", "Test requests of customers without training rows"),
        ("requests_without_history", "Test requests without any history"),
        ("cold_targets", "Test targets that training never showed"),
    ):
        if key in cold:
            rows.append((name, f"{cold[key]:,}", "note" if cold[key] else "good"))
    return rows


def protocol_rows(sections: Sections, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """How the figures came about, exactly enough to repeat them."""
    rows: list[tuple[str, str]] = []
    section = sections[tasks[0]]
    prepared, config = section["prepared"], _config(section, "dataset")
    for key, name in (("source", "Source"), ("licence", "Licence")):
        if value := prepared.manifest.get(key) or config.get(key):
            rows.append((name, str(value)))
    if section.get("split") is not None:
        rows += _split_rows(section)
    for task in tasks:
        rows += _window_rows(task, sections[task], prepared.zone)
    rows += _judged_rows(section)
    for name, metrics in ((name, m) for s in sections.values() for name, m in s["metrics"].items()):
        if auto := metrics.get("auto"):
            rows.append((f"Chosen by the data: {name}", parts_in_words(auto)))
    seeds = sorted({str(m["seed"]) for s in sections.values() for m in s["metrics"].values()})
    rows.append(("Seeds", ", ".join(seeds)))
    for task in tasks:
        hashes = {m["target_hash"] for m in sections[task]["metrics"].values()}
        rows.append((f"Target hash, {task.replace('_', ' ')}", ", ".join(sorted(hashes))))
    rows.append(("Data fingerprint", prepared.fingerprint))
    commits = sorted(
        {str(m.get("commit")) for s in sections.values() for m in s.get("manifests", {}).values()} - {"None"}
    )
    if commits:
        rows.append(("Git commit", ", ".join(commits)))
    return rows


def _split_rows(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How a recommender's requests were divided, and what they were ranked among."""
    prepared, split = section["prepared"], section["split"]
    timeline: Mapping[str, Any] = split.timeline
    spec = timeline.get("spec") or {}
    meta = metadata_of(section["tables"][section["names"][0]])
    meaning = {
        "published": "published: catalogue, ids and k-core come from the whole log, as papers do",
        "strict": "strict: nothing from after the cutoff enters training, catalogue or filters",
    }
    rows = [
        ("Split", f"{timeline.get('name', split.name)} ({split.name})"),
        ("Protocol", meaning.get(split.protocol, split.protocol)),
    ]
    cutoffs = timeline.get("cutoffs") or {}
    for name in sorted(cutoffs, key=lambda n: _micros(cutoffs[n])):
        rows.append((f"Cutoff: {name}", _instant(cutoffs[name], prepared.zone)))
    if "n_training_events" in timeline:
        n_users = timeline.get("n_training_users", 0)
        anew = "; for test trained anew on all until its cutoff" if meta.get("refit") else ""
        rows.append(("Training", f"{timeline['n_training_events']:,} events of {n_users:,} customers{anew}"))
    requests, targets = timeline.get("n_requests") or {}, timeline.get("n_targets") or {}
    if "test" in requests:
        rows.append(("Test", f"{requests['test']:,} requests with {targets.get('test', 0):,} targets"))
    if events := spec.get("target_events"):
        rows.append(("Targets", f"{', '.join(events)}; the lines of one order are one step"))
    source = (timeline.get("catalogue") or {}).get("from")
    n_items = meta.get("n_catalogue", len(split.catalogue))
    rows.append(
        ("Ranked", f"all {n_items:,} items of the catalogue{f', from {source}' if source else ''}; no sampling")
    )
    seen = "left out of the lists" if meta.get("filter_seen") else "may be recommended again"
    rows.append(("Items seen before", seen))
    rows.append(("Ties", f"counted as “{meta.get('ties', 'expected')}”"))
    return rows


def _window_rows(task: str, section: Mapping[str, Any], zone: str) -> list[tuple[str, str]]:
    """The windows of a task about customers, whom it was divided into and what a profit is made of."""
    rows: list[tuple[str, str]] = []
    name, metrics = task.replace("_", " ").capitalize(), section["metrics"]
    windows = metrics[section["names"][0]].get("windows") or {}
    for part in ("train", "calibration", "test"):
        listed = windows.get(part) or []
        listed = [_instant(t, zone) for t in ([listed] if isinstance(listed, str) else listed)]
        if listed:
            several = f"{len(listed)} cutoffs, {listed[0]} to {listed[-1]}" if len(listed) > 2 else ", ".join(listed)
            rows.append((f"{name}: {part}", several))
    for key in ("horizon_days", "active_days"):
        if windows.get(key) is not None:
            rows.append((f"{name}: {key.replace('_', ' ')}", f"{windows[key]:g}"))
    rows += [(f"{name}: customers", str(said)) for said in _distinct(m.get("divided") for m in metrics.values())]
    for said in _distinct(m.get("profit") for m in metrics.values()):
        rows.append(("Expected maximum profit", profit_in_words(said)))
    return rows


def _judged_rows(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How intervals and comparisons were made."""
    level, kind = f"{100 * section.get('confidence', 0.95):g} %", section.get("intervals", "percentile")
    kind = {"bca": "bias-corrected and accelerated (BCa)"}.get(kind, kind)
    method = METHOD[section.get("test", "randomisation")]
    drawn = f"{level}, {kind} bootstrap over customers (all requests of a customer are drawn together)"
    judged = f"paired by request; {method}: intervals and p-values adjusted together, per task and for all its slices"
    return [("Intervals", drawn), ("Comparisons", judged)]


def profit_in_words(said: Mapping[str, Any]) -> str:
    """The shop's own values behind a figure of profit."""
    seen = f", seen on {said['success_trials']:g} offers" if "success_trials" in said else ""
    most = f"; {said['capacity']:,.0f} customers can be contacted" if "capacity" in said else ""
    return (
        f"{said['currency']} per customer of the base, with the shop’s own values: a customer who stays is worth "
        f"{said['customer_value']:g}, an offer that is taken costs {said['offer_cost']:g}, a contact "
        f"{said['contact_cost']:g}; {said['success_rate']:.0%} of those about to leave stay when asked{seen}{most}"
    )


def _distinct(values: Iterable[Mapping[str, Any] | None]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for value in values:
        if value and value not in found:
            found.append(value)
    return found


def _config(section: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    configs = section.get("configs") or {}
    first: Mapping[str, Any] = next(iter(configs.values()), {})
    return first.get(group) or {}


def _period(prepared: Any) -> str:
    time = prepared.events.timestamp
    if time is None or len(time) == 0:
        return ""
    first, last = (clock(int(t), prepared.zone) for t in (time.min(), time.max()))
    return f"{first:%B %Y} to {last:%B %Y}" if f"{first:%Y%m}" != f"{last:%Y%m}" else f"{first:%B %Y}"


def _micros(value: Any) -> int:
    """Microseconds, ISO text or both -> microseconds."""
    value = value["us"] if isinstance(value, Mapping) else value
    return round(datetime.fromisoformat(value).timestamp() * 1e6) if isinstance(value, str) else int(value)


def _instant(value: Any, zone: str) -> str:
    """Microseconds, ISO text or both -> the shop's date and time, with its zone."""
    return f"{clock(_micros(value), zone):%Y-%m-%d %H:%M} {zone}"


def _checks(names: Sequence[str]) -> list[str]:
    """Checks in sentences; one that was made for validation and for test stands once."""
    parts: dict[str, list[str]] = {}
    for name in names:
        part, colon, check = name.partition(": ")
        parts.setdefault(check if colon else name, []).extend([part] if colon else [])
    where = {check: f" ({' and '.join(p)})" if p else "" for check, p in parts.items()}
    return [check[:1].upper() + check[1:] + where[check] for check in parts]


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
