"""README.md of a bundle, for whoever receives it: what lies here, how it is asked, how it is answered without us."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shopkeeper.bundles.answer.wire import OF_PLACES
from shopkeeper.bundles.write.explain.snippets import snippet
from shopkeeper.models.about import AMOUNTS, PROBABILITIES
from shopkeeper.tasks.find import find_task, own_tasks

FILES = {
    "model.onnx": "the model as an ONNX graph, weights included",
    "arrays.npz": "the model as arrays (NumPy's .npz: a ZIP file of .npy)",
    "index.faiss": "an index of the item vectors (faiss), in place of comparing all",
    "index.usearch": "an index of the item vectors (usearch), in place of comparing all",
    "vector.onnx": "the graph that makes a request's vector, which the index is asked with",
    "index.npz": "the items of the index, in its order, and who is shown where nothing is known",
    "placements.npz": "what the places of the shop read of items, and their fallbacks",
    "vocabulary.json": "item ids, channels and what else turns events into numbers",
    "golden.json": "invented requests with the answers that are right",
    "request.schema.json": "JSON Schema of a request",
    "response.schema.json": "JSON Schema of an answer",
    "card.md": "the model's card: data, period, protocol, figures, limits",
    "statement.md": "what customers may be told, in English, Russian and Ukrainian",
    "manifest.json": "what this is, the rules below as data, SHA-256 of every other file",
    "manifest.json.sha256": "SHA-256 of manifest.json",
}
EVENTS_SHOWN = 3
UNKNOWN = "The package says in `unknown_items`, too, how many events of the history are of items that it does not know."


def readme(manifest: Mapping[str, Any], files: Sequence[str], golden: Sequence[Mapping[str, Any]], known: Any) -> str:
    """The text. `files`: those of the bundle, `golden`: its requests, `known`: as in vocabulary.json."""
    return "\n".join(_lines(manifest, files, golden, known)) + "\n"


def _lines(
    m: Mapping[str, Any], files: Sequence[str], golden: Sequence[Mapping[str, Any]], known: Any
) -> Iterator[str]:
    data = m["data"]
    yield from (f"# {m['model'] or 'Model'} of {data['dataset']}", "")
    yield from (f"It answers one question: {_question(m)} `card.md` says how well.", "")
    yield "With Python and NumPy (and ONNX Runtime where there is a graph) nothing else is needed:"
    yield from ("", "```sh", 'pip install "shopkeeper[serving]"', "shopkeeper verify .",
                "shopkeeper answer . < requests.jsonl > answers.jsonl", "```", "")  # fmt: skip
    yield "Any other language reads the files below. `manifest.json` holds every rule of this page as data."
    yield from ("", "| file | what it is |", "|---|---|")
    for name in sorted(
        {*files, "README.md", "manifest.json", "manifest.json.sha256"} - {"README.md"}, key=[*FILES].index
    ):
        yield f"| `{name}` | {FILES[name]} |"
    yield from ("", "## A request and its answer", "")
    yield "One JSON object each; on the command line one a line. From `golden.json`:"
    yield from ("", "```json", *_example(golden), "```", "")
    yield from _request(m)
    yield from ("", "## Rules", "")
    for number, rule in enumerate(_rules(m, known), start=1):
        yield f"{number}. {rule}"
    yield ""
    reads = (m["preprocessing"]["inputs"] or {}) | (m["preprocessing"]["arrays"] or {})
    text = snippet(m, reads, known is None)
    places = bool(m.get("placements"))
    beside = ""
    if m["kind"] == "recommender":
        beside = f", and reads no `{'`, `'.join(('basket', *(OF_PLACES if places else ())))}`"
    if text is None:
        yield from _by_program(m)
    else:
        yield from (
            f"The same as code; it answers each of the `requests` in `golden.json`{beside}:",
            "",
            "```python",
            text.rstrip(),
            "```",
        )
    yield from ("", "## Is it whole, is it right?", "")
    t = m["preprocessing"]["tolerance"]
    asked = "`requests`, and those of its `placements`" if places else "`requests`"
    yield "Compare the SHA-256 of each file with `files` in `manifest.json`, and that of `manifest.json` with"
    yield f"`manifest.json.sha256`. Then answer the {asked} in `golden.json`:"
    yield "`expected` must come out, the reason as it stands,"
    if m["kind"] == "recommender":
        yield f"scores within {t['score']:g} (relative to scores above 1), the same ids at the same places; items whose"
        yield f"scores lie within {t['rank']:g} of each other may stand in either order."
    else:
        yield f"probabilities within {t['probability']:g}, `expected` and `further` within {t['expected']:g} (relative"
        yield f"to those above 1), `quantiles` within {t['days']:g}."


def _question(m: Mapping[str, Any]) -> str:
    if m["kind"] == "recommender":
        return f"which {m['k']} of {m['n_catalogue']:,} items are this person's next ones?"
    what = "how probable it is" if m["answers"] == PROBABILITIES else f"what {m['answers']} are to be expected"
    if (
        m["kind"] != "table"
        and m["task"] in own_tasks()
        and (question := find_task({"name": m["task"]}).words.question)
    ):
        what = f"{question} It says {what}"
    if m.get("further"):
        what += f", and what {', '.join(m['further'])} are"
    if m["kind"] == "table":
        return f"{what} for a customer of whom a row of a table is known (task `{m['task']}`)."
    if "pairs" in m:
        ((kind, names),) = m["pairs"].items()
        days = f"within {m['horizon_days']:g} days after an instant"
        return f"{what} {days} that somebody buys of each {kind} ({len(names)} of them; task `{m['task']}`)."
    if rule := m.get("session"):
        after = f"after the first {rule['after']} events of the session that goes on"
        return f"{what} in what is left of it, {after}, from a history (task `{m['task']}`)."
    return f"{what} within {m['horizon_days']:g} days after an instant, from a history (task `{m['task']}`)."


def _example(golden: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A short golden request with something in it."""
    chosen = next(
        (g for g in golden if 0 < len(g["history"]) <= EVENTS_SHOWN and not g["expected"]["reason"]), golden[-1]
    )
    asked = {key: value for key, value in chosen.items() if key != "expected" and value not in ([], None)}
    if isinstance(asked["history"], list):
        asked["history"] = asked["history"][-EVENTS_SHOWN:]
    said = dict(chosen["expected"])
    if "items" in said:
        said["items"] = said["items"][:2]
    yield json.dumps(asked, ensure_ascii=False)
    yield json.dumps(said, ensure_ascii=False)


def _request(m: Mapping[str, Any]) -> Iterator[str]:
    if m["kind"] == "table":
        yield "`history` is the customer's row: columns as the table had them. What is left out, null or blank is not"
        yield "known. `reason` is empty."
        return
    columns = ", ".join(f"`{name}`" for name in m["preprocessing"]["event_columns"])
    yield f"An event is an item id as text (ids are text, also where they are digits), a list in the order {columns}"
    yield "whose end may be missing, or an object with these keys. `as_of` is the instant that is asked about"
    yield f"({'needed' if m['history']['needs_instant'] else 'may be left out'}); times are ISO 8601, without an offset"
    yield f"they are what clocks in {m['history']['time_zone']} show."
    if m["kind"] == "recommender":
        yield f"`filter_seen` (else {str(m['filter_seen']).lower()}): leave out what stands in the history. `exclude`:"
        yield f"further ids to leave out. `k`: how many items, at most {m['k']}. `basket`: the order so far, as events;"
        yield "they stand behind the history and are left out."
        if places := m.get("placements"):
            yield f"`placement`: {', '.join(places)}. Its list is made of the model's best `candidates` by the steps"
            yield "of `filter` and `rerank` of `placements` in `manifest.json`; who has no history gets the list of the"
            yield "first fallback after `filter`, and fallbacks fill lists that are short. Scores are 1 / place. On an"
            yield "item's page (`asks`: product) that item is the history's last one, and left out. `category`: its"
            yield "items alone. The answer's `fallback` says how many of its items, the last ones, each fallback gave."
        yield '`reason` is "" or, where nothing of the history can be read and the list is the same for all, '
        yield f'"{m["preprocessing"]["empty"]}"; of an empty list "{m["preprocessing"]["nothing"]}".'
        yield UNKNOWN
    else:
        yield from _meaning(m)
        yield "`reason` says why there is no number, and is empty where there is one."
        yield UNKNOWN
        if levels := m.get("levels"):
            yield f"`quantiles` are days, at {', '.join(map(str, levels))}; one of {m['horizon_days']:g} says"
            yield "that it is later than the window."
        if {"price_level", "position"} & set(m.get("features", ())):
            yield "Levels of price, and a customer's place among others, are told by the shop as it stood on the last"
            yield "day at which the model was judged: export a newer run to move it."


def _meaning(m: Mapping[str, Any]) -> Iterator[str]:
    """What the number is of, in the words of the task; nothing of a task of somebody's own, which has its own."""
    if m["task"] not in own_tasks():
        return
    words = find_task({"name": m["task"]}).words
    active = "all the time" if m.get("active_days") is None else f"the {m['active_days']:g} days"
    means = words.means.format(active=active, horizon=f"{m['horizon_days'] or 0:g} days").replace(
        "the cutoff", "`as_of`"
    )
    if m["answers"] == PROBABILITIES and means:
        yield f"`probability` is that of this: {means}"
    elif means:
        yield f"`expected`: {means}"
    if m["answers"] == AMOUNTS:
        yield f"Money is in {m['data'].get('currency') or 'the currency of the log, which was not told'}."


def _rules(m: Mapping[str, Any], known: Any) -> Iterator[str]:
    p, rules = m["preprocessing"], m["history"]
    if m["kind"] == "table":
        yield (
            "A cell's text is stripped; blank, or one of `table.missing` of `vocabulary.json`, it is not known. "
            "Booleans are `true` and `false`."
        )
        yield (
            "Features come as in `feature_names`: of `table.numbers` each number less what is taken off, "
            "at least 0, NaN: not known; of `categories` 1 at its value, (others) or (unknown)."
        )
        return
    if rules["needs_time"]:
        yield "Each event needs its time."
    yield f"Put events in order {p['order']}. Leave out those at or after `as_of`."
    yield f"An event without a type is a `{rules['usual_type']}`. Codes: {_codes(p['event_codes'])}."
    yield (
        "Items are numbered by their place in `item_ids`, from 1. One that is not there is tried in another "
        f"spelling (`preprocessing.ids`). Otherwise {p['unknown_items']}."
    )
    if m["kind"] == "recommender":
        if known is not None:
            yield "Items whose `known` is 0 are not read, but count as seen."
        if rules["event_types"] is not None:
            yield f"Events that are not of {', '.join(rules['event_types'])} are not read; their items count as seen."
    elif rule := m.get("session"):
        gap, n = f"{rule['gap_minutes']:g} minutes", rule["after"]
        yield f"Asked about is the newest session with {n} events or more, no purchase and no silence of more than"
        yield f"{gap} before `as_of`; its first {n} events are read, and the customer as he was when it began. Events"
        yield "with one `session_id` are one session unless it is silent for a day; those without are cut where more"
        yield f"than {gap} lie between two."
    elif m["active_events"]:
        within = "" if m["active_days"] is None else f" in the {m['active_days']:g} days before `as_of`"
        yield f"Without a {' / '.join(m['active_events'])}{within} there is no number: nobody like that was evaluated."
    if "lines" in (p["inputs"] or ()):
        yield "Events of one type and one time that follow each other are one basket with the first one's item: what is"
        yield "said of events below is said of baskets."
    if rules["max_length"] is not None:
        yield f"Keep the newest {rules['max_length']}."
    if p["inputs"] is not None:
        for name, told in p["inputs"].items():
            padded = "; padded with 0 on the left" if "length" in told["axes"] else ""
            yield f"`{name}`, {told['type']} {_axes(told)}: {told['meaning']}{padded}."
        for name, told in p["outputs"].items():
            yield f"Out comes `{name}`, {told['type']} {_axes(told)}: {told['meaning']}."
    if m.get("further"):
        yield "`further` of the manifest says what each further task answers with, and its calibration."
    if m["kind"] != "recommender" and m["calibrator"] is not None:
        yield f"Then the calibration `{m['calibrator']['method']}` with its parameters: `calibrator` of the manifest."


def _by_program(m: Mapping[str, Any]) -> Iterator[str]:
    yield f"The arithmetic of this model (`scorer`: {m['scorer']}) is too long for a page. It is NumPy in the package"
    yield "`shopkeeper`, folder `programs/`, which needs nothing but NumPy (and ONNX Runtime where there is a graph):"
    yield "call it from Python, or put JSON lines through `shopkeeper answer`."


def _axes(told: Mapping[str, Any]) -> str:
    return f"({', '.join(map(str, told['axes']))})"


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {code}" for name, code in codes.items())
