"""What turns events into a model's input, as data in the manifest: a client in any language needs no source of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.bundles.answer.answers import SAME_DAYS, SAME_MEAN, SAME_PROBABILITY, SAME_RANK, SAME_SCORE
from shopkeeper.bundles.answer.events import COLUMNS
from shopkeeper.data.queries import BUCKET, TEXT
from shopkeeper.ids.spelling import BLANKS, EXPONENT, POINT_ZERO
from shopkeeper.programs.base import GRAPH, Program
from shopkeeper.schema import EVENT_CODE, NO_HISTORY, NOTHING_LEFT

INPUTS = {
    "history": "numbers of the items, oldest first; an empty history is one 0",
    "event_type": "codes of the events, as `history`",
    "exclude": "numbers of items that may not be shown, in any order; none are one 0",
    "since_last": "days from the newest event to the instant that is asked about",
    "age": "days from each event to the newest one",
    "since": "days from the event before; 0 of the oldest one that is given",
    "until": "days to the next event; of the newest one to the instant that is asked about",
    "price": "price per unit; 0 where it is not known",
    "amount": "what the lines of a basket come to: the sum of price times quantity without its sign; an unknown price "
    "is 0, an unknown quantity 1, as is one that `columns` of vocabulary.json has not",
    "lines": "how many lines a basket has",
    "channel": "place of the channel's name in `channels` of vocabulary.json, from 1; 0 where it is not known",
    "own": "numbers of the history's own items, as the small program over arrays.npz gives them",
    "own_score": "their scores, as `own`",
}
OUTPUTS = {
    "items": "numbers of the best items, best first; behind the last one that may be shown 0",
    "scores": "their scores, as `items`; behind the last one -inf",
    "probability": "what `answers` are expected, before `calibrator`",
    "probabilities": "of each category or item of `pairs`, in their order, calibrated",
    "further": "the same of each of `further`, in their order, before their calibrators",
    "hazard": "logit of the hazard of each of so many equal periods of the window: that the wait ends there if it has "
    "lasted until then. The product of 1 - hazard is the probability that it lasts; straight lines lie between the "
    "ends of periods. `shift` is added to the quantiles and the mean, each kept in the window",
}
STRANGE = {
    "recommender": "an event of an item that is not in item_ids, or not known (0 in `known`), is left out",
    "customer": "an item that is not in item_ids has the number n + 1, n being the length of item_ids",
    "table": "a text that is not known is one of the others of its column",
}


def preprocessing(kind: str, program: Program, drawn: Mapping[str, Any], buckets: int | None) -> dict[str, Any]:
    """The block `preprocessing` of a manifest.

    Args:
        kind: of bundle.
        program: what the bundle runs.
        drawn: of a graph its `inputs` and `outputs`: name -> `{"type", "axes"}`.
        buckets: of queries that are known by a hash alone; None: the log has no queries.
    """
    graph = program.scorer == GRAPH
    return {
        "event_codes": dict(EVENT_CODE),
        "event_columns": list(COLUMNS),  # of an event that is a list
        "order": "by time; equal times as they are given; as they are given where any event has no time",
        "day": 86_400_000_000,  # µs
        "unknown_items": STRANGE[kind],
        "padding": {"side": "left", "value": 0} if graph else None,
        "inputs": {n: {**told, "meaning": INPUTS[n]} for n, told in drawn["inputs"].items()} if graph else None,
        "outputs": {n: {**told, "meaning": OUTPUTS[n]} for n, told in drawn["outputs"].items()} if graph else None,
        "arrays": None if graph else {n: {"type": str(a.dtype), "shape": list(a.shape)}
                                      for n, a in program.arrays.items()},
        "ids": {  # tried where an id is not in item_ids as it stands
            "unicode": "NFC",
            "stripped": BLANKS,
            "same": [{"matches": POINT_ZERO, "is": "its first group"},
                     {"matches": EXPONENT, "is": "the same number in plain digits, where the exponent kept them all"}],
        },
        "queries": None if buckets is None else {
            "normal": "NFKC, lower case, NFKC; blanks at the ends stripped, those between words one each",
            "stripped": BLANKS,
            "kept": f"item id `{TEXT}` + text",
            "others": f"item id `{BUCKET}` + (BLAKE2b of the text as UTF-8, 8 bytes, little endian, modulo {buckets}) "
                      f"+ 1",
        },
        "empty": NO_HISTORY,  # the reason of an answer to an empty history
        "nothing": NOTHING_LEFT,  # and of an empty list
        "tolerance": {"score": SAME_SCORE, "rank": SAME_RANK, "probability": SAME_PROBABILITY,
                      "expected": SAME_MEAN, "further": SAME_MEAN, "days": SAME_DAYS},  # of golden answers
    }  # fmt: skip
