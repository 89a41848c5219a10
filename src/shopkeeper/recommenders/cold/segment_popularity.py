r"""What sells in this channel, in this season, to this kind of customer: for a visitor of whom no history is known.

    score(i, request) = pop(i) \prod_{s} (n_{si} + m) / (n_s share_i + m)

over the request's segments s: n_si target events of item i in the segment, n_s of all items, share_i the item's share
of all training events. The ratio of what was seen to what would be expected is shrunk towards 1, by as much as m
expected events weigh: a gamma prior with mean 1, as in W. DuMouchel, "Bayesian Data Mining in Large Frequency Tables",
The American Statistician 53(3), 1999. pop(i) counts target events, older ones less (`half_life_days`).

Shapes: B requests, S segments + 1 (0: not known), V = n_items + 1 columns, U customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import Rule, UserError, check, nearest, number, or_null
from shopkeeper.models.about import About
from shopkeeper.models.fit import Fit
from shopkeeper.programs.base import Program
from shopkeeper.programs.visitors import CHANNEL, MONTH, OF_TIME, WEEKDAY, of_time, segment_popularity
from shopkeeper.recommenders.arrays import load_arrays, save_arrays
from shopkeeper.recommenders.counting.popularity import item_popularity
from shopkeeper.schema import event_codes

BY: Rule = (
    "must be a list of channel, month, weekday and attributes of customers",
    lambda x: isinstance(x, str) or (isinstance(x, Sequence) and all(isinstance(name, str) for name in x)),
)


class SegmentPopularity:
    """Args:
    by: `channel`, `month`, `weekday` (the shop's), or an attribute of customers that was known before the training
        end; what a dataset does not have is left out.
    prior: expected events that a segment must have of an item to count as much as what is known without it.
    half_life_days: of the popularity that segments are set on; null: all time.
    """

    def __init__(
        self, by: Sequence[str] = (CHANNEL, MONTH), prior: float = 20.0, half_life_days: float | None = None
    ) -> None:
        said = {"by": by, "prior": prior, "half_life_days": half_life_days}
        check(said, {"by": BY, "prior": number(above=True), "half_life_days": or_null(number(above=True))}, "model.")
        self.by, self.prior, self.half_life_days = tuple([by] if isinstance(by, str) else by), prior, half_life_days
        self.arrays: dict[str, np.ndarray] = {"base": np.zeros(1, np.float32), "zone": np.array("UTC")}

    @property
    def about(self) -> About:
        """It reads no history; the instant, where it asks for a month or a weekday."""
        return About(reads_instant=any(name in OF_TIME for name in self.by))

    def fit(self, prepared: Prepared, split: Split, fit: Fit) -> None:
        """Count the training rows by segment."""
        events, V = prepared.events, prepared.n_items + 1
        _, rows = split.training_rows(event_codes(list(fit.target_events)))
        weights = dict.fromkeys(fit.target_events, 1.0)
        base = item_popularity(prepared, split, weights, self.half_life_days)
        self.arrays = {"base": base, "zone": np.array(prepared.zone)}
        item = events.item[rows]
        share_V = np.bincount(item, minlength=V) / max(len(rows), 1)
        for name in self.by:
            segment: np.ndarray | None = None
            if name == CHANNEL:
                segment = None if events.channel is None else events.channel[rows].astype(np.int64)
            elif name in OF_TIME:
                segment = None if events.timestamp is None else of_time(events.timestamp[rows], name, prepared.zone)
            elif (of_U := _attribute(prepared, split, name)) is not None:
                self.arrays[f"of/{name}"], segment = of_U, of_U[prepared.event_user[rows]].astype(np.int64)
            if segment is not None:
                self.arrays[f"lift/{name}"] = _lift(segment, item, share_V, self.prior)

    def score(self, requests: Requests) -> np.ndarray:
        """Popularity in the segments of each request: float32 (B, V)."""
        return segment_popularity(requests, self.arrays)

    def program(self, timed: bool) -> Program:
        """The arrays, without what customers are: a bundle is not told who asks."""
        kept = {name: values for name, values in self.arrays.items() if name.partition("/")[2] in ("", *KINDS)}
        return Program("segment_popularity", kept, needs_instant=any(f"lift/{name}" in kept for name in OF_TIME))

    def save(self, folder: Path) -> None:
        """Write the arrays as `weights.npz`, with their names."""
        names = np.array([name for name in self.arrays if "/" in name], np.str_)
        save_arrays(folder, "segment_popularity", {**self.arrays, "names": names})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        names = load_arrays(folder, "segment_popularity", ("names",))["names"].tolist()
        self.arrays = load_arrays(folder, "segment_popularity", ("base", "zone", *names))


KINDS = (CHANNEL, MONTH, WEEKDAY)


def _lift(segment: np.ndarray, item: np.ndarray, share_V: np.ndarray, prior: float) -> np.ndarray:
    """How much more an item sells in a segment than it would: float32 (S, V), ones where the segment is not known."""
    n_S, V = np.bincount(segment), len(share_V)
    seen_SV = np.bincount(segment * V + item, minlength=len(n_S) * V).reshape(len(n_S), V)
    lift_SV = ((seen_SV + prior) / (n_S[:, None] * share_V + prior)).astype(np.float32)
    lift_SV[:1] = 1
    return lift_SV


def _attribute(prepared: Prepared, split: Split, name: str) -> np.ndarray | None:
    """Which value of an attribute each customer has, int64 (U + 1,), 0 where it was not known before the training end.

    None: a dataset without the attribute, if it has none at all; a `UserError` where it has others.
    """
    there = [column for column in prepared.users.column_names if column not in ("user", "user_id")]
    if name not in there:
        if not there:
            return None
        raise UserError(
            f"model.by: customers of {prepared.name} have no '{name}'; they have {', '.join(there)}, and there are "
            f"{', '.join(KINDS)}.{nearest(name, [*there, *KINDS])}"
        )
    code = prepared.users[name].combine_chunks().cast(pa.string()).dictionary_encode()
    of_U = np.zeros(prepared.n_users + 1, np.int64)
    values = code.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    of_U[1 : len(values) + 1] = values + 1
    since_U, until = prepared.known_since("users", name), (split.timeline.get("cutoffs") or {}).get("validation")
    if since_U is not None:
        of_U[(since_U[: len(of_U)] >= until["us"]) if until else slice(None)] = 0
    return of_U
