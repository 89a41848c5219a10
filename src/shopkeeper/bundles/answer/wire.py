"""Requests and answers as JSON, one object each: the same in golden.json, on the command line and in the service.

{"history": [["sku-1", "view"]], "exclude": ["sku-9"], "k": 5}  ->  {"items": [{"item_id": …, "score": …}], …}
{"history": [["sku-1", "purchase", "2026-02-01T10:00Z"]], "as_of": "2026-03-01"}  ->  {"probability": .31, …}

What a request may hold follows from the bundle's manifest; `request_schema` and `response_schema` say it as JSON
Schema, and `Asked.of` holds a request to the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import COLUMNS, QUERY
from shopkeeper.errors import UserError, nearest
from shopkeeper.models.about import PROBABILITIES
from shopkeeper.schema import EVENT_TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SAYS = {  # what a request may hold, by kind of bundle
    "recommender": ("id", "history", "as_of", "k", "filter_seen", "exclude", "basket"),
    "customer": ("id", "history", "as_of"),
    "table": ("id", "history"),
}
OF_PLACES = ("placement", "category")  # and of a recommender that has placements
FIRST = re.compile(r"^(history|basket) 0\b")  # as messages to Python name one of several
LISTED_IDS = 'a list of ids, e.g. "exclude": ["sku-1"]'


@dataclass(frozen=True)
class Asked:
    """One request, checked as far as its outer shape goes; events are checked where they are read."""

    id: str | None
    history: Any
    as_of: Any = None
    k: int | None = None
    filter_seen: bool | None = None
    exclude: Sequence[str] = ()
    basket: Sequence[Any] = ()
    placement: str | None = None
    category: str | None = None

    @classmethod
    def of(cls, said: Any, manifest: Mapping[str, Any]) -> Asked:
        """Of a JSON value; a `UserError` says what is wrong and how it is written."""
        if not isinstance(said, Mapping):
            raise UserError(f'a request is {said!r:.60}; write an object, e.g. {{"history": ["sku-1", "sku-2"]}}')
        keys = _keys(manifest)
        if strange := [key for key in said if key not in keys]:
            if strange[0] in OF_PLACES and manifest["kind"] == "recommender":
                raise UserError(
                    f"a request of this bundle has no '{strange[0]}': it was exported without placements; "
                    f"export the run again with placements=[home]"
                )
            raise UserError(f"a request of this bundle has no '{strange[0]!s:.60}'.{nearest(str(strange[0]), keys)}")
        if "history" not in said:
            raise UserError('a request lacks history; write what is known of one person, e.g. "history": ["sku-1"]')
        found = {key: value for key, value in said.items() if value is not None}
        wanted = ("an object of columns", Mapping) if manifest["kind"] == "table" else ("a list of events", list)
        for key, (what, kind) in {"history": wanted, "basket": ("a list of lines", list), "as_of": ("text", str),
                                  "id": ("text", str), "filter_seen": ("true or false", bool),
                                  **dict.fromkeys(OF_PLACES, ("text", str))}.items():  # fmt: skip
            if (key in found or key == "history") and not isinstance(said[key], kind):
                raise UserError(f"{key} is {said[key]!r:.60}; write {what}")
        k = found.get("k", 1)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= manifest.get("k", 1):
            raise UserError(f"k is {k!r:.60}; write a whole number from 1 to {manifest['k']}")
        exclude = found.get("exclude", [])
        if not isinstance(exclude, list):
            raise UserError(f"exclude is {exclude!r:.60}; write {LISTED_IDS}")
        if wrong := [one for one in exclude if not isinstance(one, str)]:
            raise UserError(f"exclude holds {wrong[0]!r:.60}; write {LISTED_IDS}")
        return cls(**{"id": None, **found})


def answered(bundle: Bundle, said: Sequence[Any]) -> list[dict[str, Any]]:
    """An answer to each request, in the order given: as `response_schema` says, or `{"error": {"code", "message"}}`.

    Requests that ask in the same way are answered in one call.
    """
    answers: list[dict[str, Any]] = [{} for _ in said]
    alike: dict[tuple[Any, ...], list[tuple[int, Asked]]] = {}
    for place, one in enumerate(said):
        try:
            asked = Asked.of(one, bundle.manifest)
        except UserError as e:
            answers[place] = refusal(str(e), one)
            continue
        alike.setdefault((asked.as_of is None, asked.k, asked.filter_seen, asked.placement), []).append((place, asked))
    for group in alike.values():
        try:
            found: list[Answer | UserError] = [*_answer(bundle, [asked for _, asked in group])]
        except UserError:  # somebody's is wrong: the others are answered all the same
            found = [_alone(bundle, asked) for _, asked in group]
        for (place, asked), answer in zip(group, found, strict=True):
            if isinstance(answer, UserError):  # of one request, which has one history
                message = FIRST.sub(r"\1", str(answer).replace(str(bundle.path), "this bundle"))
                answers[place] = refusal(message, said[place])
            else:
                answers[place] = as_response(answer, asked.id, bundle.manifest)
    return answers


def refusal(message: str, said: Any = None, code: str = "bad_request") -> dict[str, Any]:
    """What stands in the place of an answer that there is none."""
    named = said.get("id") if isinstance(said, Mapping) else None
    return {**({"id": named} if isinstance(named, str) else {}), "error": {"code": code, "message": message}}


def as_response(answer: Answer, named: str | None, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as JSON: what golden.json holds, how many events or columns were not known, and the request's id."""
    unknown = "unknown_values" if manifest["kind"] == "table" else "unknown_items"
    return {**({} if named is None else {"id": named}), **answer.as_json(), unknown: answer.unknown}


def _alone(bundle: Bundle, asked: Asked) -> Answer | UserError:
    try:
        return _answer(bundle, [asked])[0]
    except UserError as e:
        return e


def _answer(bundle: Bundle, asked: Sequence[Asked]) -> list[Answer]:
    """Of requests that have `as_of`, k, filter_seen and placement alike."""
    first, histories = asked[0], [one.history for one in asked]
    if bundle.manifest["kind"] == "table":
        return bundle.answer(histories)
    as_of = None if first.as_of is None else [one.as_of for one in asked]
    if bundle.manifest["kind"] == "customer":
        return bundle.answer(histories, as_of)
    return bundle.answer(
        histories, as_of, k=first.k, filter_seen=first.filter_seen,
        exclude=[one.exclude for one in asked] if any(one.exclude for one in asked) else None,
        basket=[one.basket for one in asked] if any(one.basket for one in asked) else None, placement=first.placement,
        category=[one.category for one in asked] if any(one.category for one in asked) else None,
    )  # fmt: skip


def request_schema(manifest: Mapping[str, Any], columns: Sequence[str] = ()) -> dict[str, Any]:
    """JSON Schema of one request; `columns`: of a table of customers, those that a row may have."""
    event, rules = event_schema(manifest["history"]), manifest["history"]
    as_of = {"type": "string", "description": "the instant that is asked about, ISO 8601; without an offset it is on "
             f"the clocks of {rules['time_zone']}. What happens at or after it is not read"}  # fmt: skip
    known = {
        "id": {"type": "string", "description": "comes back with the answer"},
        "history": {"type": "array", "items": event, "description": "what is known of one person, oldest first; where "
                    "every event has a time, in any order"},
        "as_of": as_of if rules["needs_instant"] else _maybe(as_of),
        "k": _maybe({"type": "integer", "minimum": 1, "maximum": manifest.get("k"), "description": "items wanted"}),
        "filter_seen": _maybe({"type": "boolean", "description": "whether items of the history are left out; else "
                               f"{str(manifest.get('filter_seen', False)).lower()}"}),
        "exclude": _maybe({"type": "array", "items": {"type": "string"}, "description": "further items to leave out"}),
        "basket": _maybe({"type": "array", "items": event_schema({**rules, "needs_time": False}),
                          "description": "the order so far: read behind the history, and left out of the list"}),
        "placement": {"enum": [*(manifest.get("placements") or ()), None], "description": "the place of the shop that "
                      "asks: its filter, order and fallback make the list"},
        "category": _maybe({"type": "string", "description": "with a placement: whose items alone may be shown"}),
    }  # fmt: skip
    if manifest["kind"] == "table":
        value = {"type": ["string", "number", "boolean", "null"]}
        known["history"] = {"type": "object", "properties": dict.fromkeys(columns, value),
                            "additionalProperties": False, "description": "one customer's row"}  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "Request",
        "type": "object",
        "properties": {key: known[key] for key in _keys(manifest)},
        "required": ["history", *(["as_of"] if rules["needs_instant"] and manifest["kind"] != "table" else [])],
        "additionalProperties": False,
    }


def event_schema(rules: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of one event; `rules`: `history` of a manifest."""
    text = {"type": ["string", "null"]}
    amount = {"type": ["number", "null"]}
    time = {"type": "string" if rules["needs_time"] else ["string", "null"], "description": "ISO 8601"}
    column = {
        "item_id": {"type": "string"},
        "event_type": {"enum": [*EVENT_TYPES, None], "description": f"else {rules['usual_type']}"},
        "timestamp": time,
        "price": amount,
        "quantity": amount,
        **dict.fromkeys(("order_id", "channel", "session_id"), text),
    }
    needed = ["timestamp"] if rules["needs_time"] else []
    listed = {"type": "array", "prefixItems": [column[name] for name in COLUMNS], "items": False,
              "minItems": 3 if needed else 2}  # fmt: skip
    item = {"type": "object", "properties": column, "required": ["item_id", *needed], "additionalProperties": False}
    asked = {QUERY: {"type": "string", "pattern": r"\S"}, "event_type": {"enum": ["search", None]}}
    search = {
        "type": "object",
        "properties": {**{name: column[name] for name in COLUMNS if name != "item_id"}, **asked},
        "required": [QUERY, *needed],
        "additionalProperties": False,
        "description": "what was typed into the shop's search, in place of an item",
    }
    return {
        "anyOf": [*([] if needed else [{"type": "string", "description": "an item id alone"}]), listed, item, search]
    }


def response_schema(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of one answer."""
    count = {"type": "integer", "minimum": 0}
    reason = {"type": "string", "description": "why it is blank, or why the list is the same for all; else empty"}
    if manifest["kind"] == "recommender":
        item = {"type": "object", "properties": {"item_id": {"type": "string"}, "score": {"type": "number"}},
                "required": ["item_id", "score"], "additionalProperties": False}  # fmt: skip
        own = {"items": {"type": "array", "items": item, "maxItems": manifest["k"], "description": "best first"}}
        if manifest.get("placements"):
            own["fallback"] = {"type": "object", "additionalProperties": {**count, "minimum": 1},
                               "description": "of a placement: how many of the items, the last ones in this order, "
                               "each fallback gave. Left out where no placement asks"}  # fmt: skip
    elif "pairs" in manifest:
        pair = {"type": "object", "properties": {"subject": {"type": "string"},
                "probability": {"type": "number", "minimum": 0, "maximum": 1}},
                "required": ["subject", "probability"], "additionalProperties": False}  # fmt: skip
        own = {"pairs": {"type": ["array", "null"], "items": pair, "description": "each subject of the manifest"}}
    elif manifest.get("answers", PROBABILITIES) == PROBABILITIES:
        own = {"probability": {"type": ["number", "null"], "minimum": 0, "maximum": 1}}
    else:
        own = {"expected": {"type": ["number", "null"], "description": f"mean of the {manifest['answers']}"}}
    if levels := manifest.get("levels"):
        own["quantiles"] = {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": len(levels),
                            "maxItems": len(levels), "description": f"days, at {levels}; the window's length: not in "
                            "it. Left out where blank"}  # fmt: skip
    if tasks := manifest.get("further"):
        own["further"] = {"type": "object", "properties": {name: {"type": ["number", "null"]} for name in tasks},
                          "required": [*tasks], "additionalProperties": False,
                          "description": "what further tasks expect"}  # fmt: skip
    of = "row" if manifest["kind"] == "table" else "history"
    unknown = {"unknown_values" if manifest["kind"] == "table" else "unknown_items": {
        **count, "description": f"of the {of}, those that the model does not know"}}  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "Answer",
        "type": "object",
        "properties": {"id": {"type": "string"}, **own, "reason": reason, **unknown},
        "required": [*(name for name in own if name not in ("quantiles", "fallback")), "reason", *unknown],
        "additionalProperties": False,
    }


def _keys(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """What a request of this bundle may hold."""
    return (*SAYS[manifest["kind"]], *(OF_PLACES if manifest.get("placements") else ()))


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}
