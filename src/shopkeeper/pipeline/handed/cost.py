"""What a smaller bundle loses against the exact one: both are asked a run's test requests and paired by customer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.compare import compare_tables
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.models.about import LISTS, About
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.schema import EVENT_TYPES

KEPT = ("metric", "difference", "low", "high", "p_value", "n", "n_users", "method", "statement")


@dataclass(frozen=True)
class Listing:
    """A bundle as a model that is judged: asked in the shop's own ids, as a client asks."""

    bundle: Bundle
    prepared: Prepared
    filter_seen: bool

    about = About(answers=LISTS)

    def recommend(self, requests: Requests, k: int) -> np.ndarray:
        """Internal ids, best first, 0 where there are fewer: int64 (B, k)."""
        rules, ids = self.bundle.manifest["history"], self.bundle.vocabulary.item_ids
        as_of = None
        if rules["needs_instant"]:
            assert requests.instant is not None
            as_of = [write_instant(at) for at in requests.instant.tolist()]
        exclude = None
        if requests.barred is not None:
            offsets, barred = requests.barred
            exclude = [[ids[i - 1] for i in barred[a:b].tolist()] for a, b in pairwise(offsets)]
        answers = self.bundle.answer(
            [*self._histories(requests, ids)], as_of, k=min(k, self.bundle.manifest["k"]),
            filter_seen=self.filter_seen, exclude=exclude,
        )  # fmt: skip
        internal = {self.bundle.vocabulary.shown(n): n for n in range(1, len(ids) + 1)}
        found = np.zeros((len(requests), k), np.int64)
        for b, answer in enumerate(answers):
            listed = [internal[item_id] for item_id, _ in answer.items or ()]
            found[b, : len(listed)] = listed
        return found

    def _histories(self, requests: Requests, ids: list[str]) -> Iterator[list[Any]]:
        """Histories as JSON has them: objects with what the bundle reads."""
        events, read = requests.events, self.bundle.vocabulary.columns
        channels = [None, *self.prepared.manifest.get("channels", ())]
        for first, end in zip(requests.start.tolist(), requests.end.tolist(), strict=True):
            span = slice(first, end)
            told: dict[str, list[Any]] = {
                "item_id": [ids[i - 1] for i in events.item[span].tolist()],
                "event_type": [EVENT_TYPES[code - 1] for code in events.event_type[span].tolist()],
            }
            if self.bundle.manifest["history"]["needs_time"]:
                assert events.timestamp is not None
                told["timestamp"] = [write_instant(at) for at in events.timestamp[span].tolist()]
            for name in ("price", "quantity"):
                if name in read and (values := getattr(events, name)) is not None:
                    told[name] = [None if x != x else x for x in values[span].tolist()]
            for name in ("order", "session"):
                if name in read and (values := getattr(events, name)) is not None:
                    told[f"{name}_id"] = [str(x) if x else None for x in values[span].tolist()]
            if "channel" in read and events.channel is not None:
                told["channel"] = [channels[code] for code in events.channel[span].tolist()]
            yield [dict(zip(told, values, strict=True)) for values in zip(*told.values(), strict=True)]


def cost_of(run: RunFolder, exact: Bundle, smaller: Bundle) -> dict[str, Any]:
    """NDCG of both on the run's test requests, and the paired difference with its interval.

    Raises:
        UserError: the run is not the one that the bundle was made of, or is asked of given candidates.
    """
    prepared = context.prepared_of(run.manifest)
    split = form_of(run.about, run.told.dataset).asked_of(run, prepared)
    data = exact.manifest["data"]
    if not isinstance(split, Split) or (data["fingerprint"], data["target_hash"]) != (
        prepared.fingerprint,
        split.target_hash("test"),
    ):
        raise UserError(
            f"{run.path} is not of the requests that {exact.path} was judged on; give the run it was made of"
        )
    return paired(split, exact, smaller)


def paired(split: Split, exact: Bundle, smaller: Bundle) -> dict[str, Any]:
    """The same of a split that is open."""
    if split.part("test")[0].candidates is not None:
        raise UserError(
            f"split '{split.name}' asks about given candidates, which a bundle is not told; measure another"
        )
    k = min(10, int(exact.manifest["k"]))
    filter_seen = bool(exact.manifest["filter_seen"])
    tables = [
        evaluate_requests(
            Listing(one, split.prepared, filter_seen), split, k=[k], filter_seen=filter_seen, beyond=False,
            metadata={"model": name},
        )
        for name, one in (("exact", exact), (_name(smaller.manifest), smaller))
    ]  # fmt: skip
    found = compare_tables(tables[0], tables[1], f"ndcg@{k}")
    told = found.as_dict()
    return {key: told[key] for key in KEPT} | {"exact": found.mean_a, "value": found.mean_b}


def _name(manifest: Mapping[str, Any]) -> str:
    return str((manifest.get("variant") or manifest["index"])["kind"])
