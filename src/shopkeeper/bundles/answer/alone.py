"""One request of ids alone to a recommender's graph: what is asked most, answered in few steps.

A product with the vectors of all items drives everything else out of a processor's cache, so that of the rest of an
answer it counts how much code it touches, not how long that takes by itself: the general way (`histories.read`,
`ItemModel.answer`), which takes whatever a request may hold, costs six times as much between two products as alone.
What is said here is what is said there (`tests/targets/test_alone.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from shopkeeper.bundles.answer.answers import Answer
from shopkeeper.schema import EVENT_CODE

if TYPE_CHECKING:
    from shopkeeper.bundles.answer.items import ItemModel

PLAIN = {"history", "event_type", "exclude"}
Alone = Callable[[Any, Any, Any], Answer | None]  # of a history, k and filter_seen; None: it is to be asked in general


def alone(model: ItemModel) -> Alone | None:
    """How the model answers one list of known ids; None of a model that reads more than ids and types."""
    rules, words = model.manifest["history"], model.vocabulary
    wanted, code = rules["event_types"], EVENT_CODE[rules["usual_type"]]
    plain = model.session is not None and not model.arrays and model.inputs <= PLAIN
    if not plain or rules.get("needs_time") or rules.get("needs_instant") or words.content.get("query_buckets"):
        return None
    if wanted is not None and code not in {EVENT_CODE[name] for name in wanted}:
        return None
    number, ids, known, all_known = words.internal.__getitem__, words.item_ids, model.known, model.knows_all
    run, names, nearest = model.session.run, [one.name for one in model.session.get_outputs()], model.nearest
    most, usual_filter, longest = model.k, bool(model.manifest["filter_seen"]), rules["max_length"]
    nothing, some, codes = np.zeros((1, 1), np.int64), np.zeros(1, bool), np.full((1, longest or 256), code)
    typed, left_out = "event_type" in model.inputs, PLAIN - model.inputs - {"event_type"}

    def answer(history: Any, k: Any, filter_seen: Any) -> Answer | None:
        if k is None:
            k = most
        elif type(k) is not int or not 1 <= k <= most:
            return None
        if filter_seen is None:
            filter_seen = usual_filter
        elif type(filter_seen) is not bool:
            return None
        if type(history) is not list:
            return None
        try:
            found = [*map(number, history)]
        except (KeyError, TypeError):  # an id that nobody knows, or what is no id
            return None
        if not found or not (all_known or all(map(known.__getitem__, found))):
            return None
        hidden = found if filter_seen else []
        if longest is not None and len(found) > longest:
            found = found[-longest:]
        feed = {"history": np.array(found, np.int64)[None]}
        feed["exclude"] = np.array(hidden, np.int64)[None] if hidden else nothing
        if typed:
            n = len(found)
            feed["event_type"] = codes[:, :n] if n <= codes.shape[1] else np.full((1, n), code)
        for name in left_out:
            del feed[name]
        said = run(names, feed)
        if nearest is not None:
            said = nearest.best(said[0], some, [hidden], k)
        items, scores = said[0][0].tolist(), said[1][0].tolist()
        if len(items) < k:
            return None
        shown = zip(items[:k], scores[:k], strict=True)
        listed = [(ids[item - 1], score) for item, score in shown if item > 0]
        return Answer(listed) if listed else None

    return answer
