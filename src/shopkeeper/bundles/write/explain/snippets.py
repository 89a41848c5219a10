"""Twenty-odd lines of Python that answer a bundle's golden requests, from its files alone: for README.md.

They import nothing of this package; `tests/export/test_explained.py` runs them as they stand in the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.programs.base import GRAPH

HEAD = """\
import json
from datetime import datetime
from zoneinfo import ZoneInfo
import numpy as np{import_runtime}

manifest, words = (json.load(open(f"{{name}}.json", encoding="utf-8")) for name in ("manifest", "vocabulary"))
rules, told = manifest["history"], manifest["preprocessing"]
number = {{item_id: n for n, item_id in enumerate(words["item_ids"], start=1)}}
{model}

def when(text):  # microseconds
    at = datetime.fromisoformat(text)
    at = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(rules["time_zone"]))
    return round(at.timestamp() * 1e6)

def events_of(request):  # (time, number, event type, price, channel{quantity}) each, in order
    events = []
    for e in request["history"]:
        e = e if isinstance(e, dict) else dict(zip(told["event_columns"], [e] if isinstance(e, str) else e))
        channel = words["channels"].index(e["channel"]) + 1 if e.get("channel") in words["channels"] else 0
        events.append((when(e["timestamp"]) if e.get("timestamp") else None, number.get(e["item_id"], 0),
                       told["event_codes"][e.get("event_type") or rules["usual_type"]], e.get("price") or 0,
                       channel{units}))
    if all(e[0] is not None for e in events):
        events.sort(key=lambda e: e[0])
    if request.get("as_of"):
        events = [e for e in events if e[0] is None or e[0] < when(request["as_of"])]
    return events
"""
LISTS = """
def answer(request):
    events, k = events_of(request), request.get("k") or manifest["k"]
    read = [e for e in events if e[1]{known}{types}]{newest}
    hidden = [e[1] for e in events if e[1]] if request.get("filter_seen", manifest["filter_seen"]) else []
    hidden += [number[item_id] for item_id in request.get("exclude") or () if item_id in number]
{scored}
    listed = [{{"item_id": words["item_ids"][i - 1], "score": float(s)}} for i, s in zip(items, scores) if i > 0]
    return {{"items": listed, "reason": ("" if read else told["empty"]) if listed else told["nothing"]}}
"""
DRAWN = """\
    feed = {{"history": np.array([[e[1] for e in read] or [0]], np.int64),
            "event_type": np.array([[e[2] for e in read] or [0]], np.int64),
            "exclude": np.array([hidden or [0]], np.int64){others}}}
    items, scores = session.run(None, {{one.name: feed[one.name] for one in session.get_inputs()}})
    items, scores = items[0][:k], scores[0][:k]"""
OTHERS = {
    "price": "[e[3] for e in read] or [0]",
    "channel": "[e[4] for e in read] or [0]",
    "amount": "[e[3] for e in read]",
    "lines": "[e[5] for e in read]",
    "age": '[(read[-1][0] - e[0]) / told["day"] for e in read] or [0]',
    "since": '[(e[0] - b[0]) / told["day"] for b, e in zip([read[0], *read], read)] if read else [0]',
    "until": '[(b - e[0]) / told["day"] for b, e in zip([*(e[0] for e in read[1:]), when(request["as_of"])], read)] '
    "or [0]",
}
SUMMED = """\
    item, kind, time = (np.array([e[n] or 0 for e in read], np.int64) for n in (1, 2, 0))
{scores}
    items = np.setdiff1d(arrays["catalogue"], hidden)
    items = items[np.argsort(-scores[items], kind="stable")][:k]
    scores = scores[items]"""
AGED = """\
    weight = arrays["weight_of_type"][kind]
    if len(item) and arrays["half_life_days"][0] > 0:
        weight = weight * np.exp2((time - time[-1]) / (arrays["half_life_days"][0] * told["day"]))
"""
SCORES = {  # programs whose arithmetic is short: `item`, `kind` (and `time`) of the events that are read -> `scores`
    "popularity": '    scores = arrays["scores"]',
    "recency": """\
    scores, item = arrays["rest"].copy(), item[np.isin(kind, arrays["types"])]
    scores[item] = np.arange(1, len(item) + 1)  # an item that stands there twice keeps its last place""",
    "personal_frequency": AGED
    + """\
    own = np.bincount(item, weight, len(arrays["rest"]))
    scores = arrays["rest"] + np.where(own > 0, 1 + own, 0)""",
    "item_knn": AGED
    + """\
    if arrays["half_life_events"][0] > 0:
        weight = weight * np.exp2(-np.arange(len(item))[::-1] / arrays["half_life_events"][0])
    scores = np.zeros(len(arrays["fallback"]))
    for i, w in zip(item, weight):
        near = slice(arrays["indptr"][i], arrays["indptr"][i + 1])
        scores[arrays["indices"][near]] += w * arrays["values"][near]
    scores = np.where(scores > 0, scores, arrays["fallback"])""",
    "ease": """\
    counted = item[arrays["counts_type"][kind] > 0][::-1]
    since = np.arange(len(counted))
    if not arrays["every_time"][0]:
        counted, since = np.unique(counted, return_index=True)
    own = np.isin(counted, arrays["items"])
    scores = arrays["fallback"].copy()
    if own.any():
        half_life = arrays["half_life_events"][0]
        weight = np.exp2(-since[own] / half_life) if half_life > 0 else np.ones(own.sum())
        scores[:] = 0
        scores[arrays["items"]] = weight @ arrays["weight"][np.searchsorted(arrays["items"], counted[own])]""",
}
BASKETS = """
def baskets(events):  # those of one time and type are one: (time, number, type, amount, channel, lines)
    found = []
    for time, item, kind, price, channel, units in events:
        amount = (price if "price" in words["columns"] else 0) * (abs(units) if "quantity" in words["columns"] else 1)
        if found and (found[-1][0], found[-1][2]) == (time, kind):
            found[-1][3], found[-1][5] = found[-1][3] + amount, found[-1][5] + 1
        else:
            found.append([time, item, kind, amount, channel, 1])
    return found
"""
CUSTOMER = """
def answer(request):
    instant, events = when(request["as_of"]), events_of(request)
    if not events:
        return {{"{says}": None, "reason": told["empty"]}}
    wanted, days = [told["event_codes"][name] for name in manifest["active_events"]], manifest["active_days"]
    first = -np.inf if days is None else instant - round(days * told["day"])
    if wanted and not any(e[2] in wanted and e[0] >= first for e in events):
        span = "time" if days is None else f"{{days:g}} days"
        return {{"{says}": None, "reason": f"no {{' / '.join(manifest['active_events'])}} in the {{span}} before the cutoff"}}
    read = {events}{newest}
    feed = {{"history": np.array([[e[1] or len(number) + 1 for e in read]], np.int64),
            "event_type": np.array([[e[2] for e in read]], np.int64),
            "since_last": np.array([(instant - read[-1][0]) / told["day"]], np.float32){others}}}
    (p,) = session.run(None, {{one.name: feed[one.name] for one in session.get_inputs()}})
    p = p.astype(np.float64)
{calibrated}
    return {{"{says}": float(p[0]), "reason": ""}}
"""  # noqa: E501
SMALL = 1e-6
LOGIT = f"""\
    p = np.clip(p, {SMALL}, 1 - {SMALL})
    z = {{}}
    p = np.clip(1 / (1 + np.exp(-np.clip(z, -50, 50))), {SMALL}, 1 - {SMALL})"""
FITTED = 'manifest["calibrator"]["parameters"]'
CALIBRATED = {
    "scale": f'    p = p * {FITTED}["factor"][0]',
    "identity": f"    p = np.clip(p, {SMALL}, 1 - {SMALL})",
    "isotonic": f'    fitted = {FITTED}\n    p = np.clip(np.interp(np.clip(p, {SMALL}, 1 - {SMALL}), fitted["x"], '
    f'fitted["y"]), {SMALL}, 1 - {SMALL})',
    "beta": f"    fitted = {FITTED}\n"
    + LOGIT.format('fitted["low"][0] * np.log(p) - fitted["high"][0] * np.log1p(-p) + fitted["intercept"][0]'),
}
PLATT = f"    fitted = {FITTED}\n" + LOGIT.format(
    'fitted["slope"][0] * (np.log(p) - np.log1p(-p)) + fitted["intercept"][0]'
)


def snippet(manifest: Mapping[str, Any], reads: Mapping[str, Any], all_known: bool) -> str | None:
    """Python that defines `answer(request)`; None where the model's arithmetic is longer than that.

    `reads`: inputs of the graph; `all_known`: whether each item of item_ids is read.
    """
    rules, scorer = manifest["history"], manifest["scorer"]
    graph = scorer == GRAPH
    longer = manifest["kind"] == "table" or "own" in reads or {"further", "shift", "session", "pairs"} & manifest.keys()
    if longer or not (graph or scorer in SCORES):
        return None
    model = 'session = onnxruntime.InferenceSession("model.onnx")' if graph else 'arrays = dict(np.load("arrays.npz"))'
    baskets = "lines" in reads
    head = HEAD.format(
        import_runtime="\nimport onnxruntime" if graph else "", model=model, quantity=", quantity" if baskets else "",
        units=', 1 if e.get("quantity") is None else e["quantity"]' if baskets else "",
    )  # fmt: skip
    newest = "" if rules["max_length"] is None else '[-rules["max_length"] :]'
    more = "".join(f',\n            "{n}": np.array([{OTHERS[n]}], np.float32)' for n in reads if n in OTHERS)
    if manifest["kind"] == "customer":
        says = "expected" if manifest["answers"] != "probabilities" else "probability"
        calibrator = manifest["calibrator"]
        last = "" if calibrator is None else CALIBRATED.get(calibrator["method"], PLATT)
        events = "baskets(events)" if baskets else "events"
        made = CUSTOMER.format(says=says, events=events, newest=newest, others=more, calibrated=last)
        return head + (BASKETS if baskets else "") + made
    scored = DRAWN.format(others=more) if graph else SUMMED.format(scores=SCORES[scorer])
    return head + LISTS.format(
        known="" if all_known else ' and words["known"][e[1] - 1]',
        types=""
        if rules["event_types"] is None
        else ' and e[2] in {told["event_codes"][name] for name in rules["event_types"]}',
        newest=newest,
        scored=scored,
    )
