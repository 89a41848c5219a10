"""card.md: what the model is, on which data, how well it does, and where it must not be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shopkeeper.programs.base import GRAPH

PROTOCOLS = {
    "published": "published: catalogue and ids come from the whole log, as papers do; a live shop knows less",
    "strict": "strict: nothing from after the cutoff was used",
}


def card(manifest: Mapping[str, Any]) -> str:
    """The text, from what the manifest says."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(m: Mapping[str, Any]) -> Iterator[str]:
    data = m["data"]
    yield from (f"# Model card: {m['model'] or 'model'}, {m['task'] or 'no task'}, {data['dataset']}", "")
    yield from ("| | |", "|---|---|")
    rows = {
        "Model": f"`{m['model']}`, run as {'ONNX graph' if m['scorer'] == GRAPH else 'NumPy program ' + m['scorer']}",
        "Task": m["task"],
        "Data": " · ".join(filter(None, (data.get("title") or data["dataset"], data.get("source")))),
        "Licence of the data": data.get("licence") or "none stated",
        "Data from, to": None if not data.get("period") else f"{data['period'][0]} to {data['period'][1]}",
        "Trained until": data.get("trained_until") or "not a cutoff in time",
        "Split": data["split"],
        "Protocol": PROTOCOLS.get(data["protocol"] or "", data["protocol"]),
        "Consent": data["consent"],
        "Erasure list (SHA-256)": data["erasure_list"] or "none was applied",
        "Fingerprint of the data": data["fingerprint"],
        "Requests that it was judged on": data["target_hash"],
        "Code": m["git_commit"],
        "Seed": m["seed"],
        "Made with": ", ".join(f"{name} {version}" for name, version in m["versions"].items()),
        "Exported": m["exported"],
    }
    for name, value in rows.items():
        if value is not None:
            yield f"| {name} | {value} |"
    yield from ("", "## How well", "", *_figures(m))
    yield from ("", "## Limits", "", *(f"- {limit}" for limit in _limits(m)))


def _figures(m: Mapping[str, Any]) -> Iterator[str]:
    parts = {
        part: found for part in ("test", "validation") if isinstance(found := (m["metrics"] or {}).get(part), dict)
    }
    if not any(parts.values()):
        yield "No figures came with the run."
    for part, found in parts.items():
        yield from (f"On {part}:", "", "| figure | value | interval | n |", "|---|---|---|---|")
        for name, one in found.items():
            n = one.get("n")
            yield f"| {name} | {_number(one['value'])} | {_between(one)} | {'' if n is None else f'{n:,}'} |"
        yield ""
    if judged := m.get("judged"):
        yield f"Against the strongest baseline, `{judged['baseline']}`: {judged['statement']}"
        difference = f"{_number(judged['difference'])} ({_between(judged)})"
        yield f"Difference in {judged['metric']}: {difference}; {judged['method']}."
    else:
        yield "No evaluation beside a baseline was there when it was exported."
    if (chosen := m.get("chosen")) and chosen.get("statement"):
        yield f"It was chosen among {chosen['of']} on {chosen['part']}: {chosen['statement']}"


def _limits(m: Mapping[str, Any]) -> Iterator[str]:
    rules = m["history"]
    yield "Figures are of logged behaviour. What a shop earns by showing the answers, only a test with customers tells."
    if m["kind"] == "recommender":
        yield (
            f"It lists {m['n_catalogue']:,} of the {m['n_items']:,} items that it can name; later ones "
            f"are not known until it is trained again."
        )
        yield f"Without a history that it can read (`{m['preprocessing']['empty']}`) everybody gets the same list."
        seen = "left out" if m["filter_seen"] else "shown again where they are likely"
        yield f"Items of the history are {seen}, as it was judged; a request may ask for the other."
    elif m["kind"] == "customer":
        who = " / ".join(m["active_events"]) or "any event"
        within = "" if m["active_days"] is None else f" in the last {m['active_days']:g} days"
        yield f"It was judged on customers with {who}{within}; of others it says nothing."
        yield f"Its numbers are about the {m['horizon_days']:g} days after the instant, not about other spans."
    else:
        yield "It knows only what one row says, as of when the table was made."
    if rules["max_length"] is not None:
        read = "baskets" if "lines" in (m["preprocessing"]["inputs"] or ()) else "events"
        yield f"It reads the newest {rules['max_length']} {read} of a history."
    if m["people"]:
        yield (
            f"It holds what {m['people']:,} training customers did, without ids: personal data. Export it anew when "
            f"one of them is erased."
        )
    yield "Do not use it to decide about credit, prices for a person, health or employment: nothing of that was tested."


def _number(value: Any) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _between(one: Mapping[str, Any]) -> str:
    low, high = one.get("low"), one.get("high")
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
