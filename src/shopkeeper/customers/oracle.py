r"""The best that any churn model can do on a simulated shop: the exact probability that no order follows.

With alpha(k, s) = P(type k, state s at the end of the day before the cutoff | everything visible before it), filtered
exactly (`events.simulated.filtering`), the probability of no order on the days c, ..., c + H - 1 is

    \sum_{k,s} alpha(k, s) \sum_{s'} transition(k, s, s') beta_c(k, s')
    beta_t(k, s) = (1 - P(order on t | k, s)) \sum_{s'} transition(k, s, s') beta_{t+1}(k, s'),  beta_{c+H} = 1.

Whether the customer is in the cohort (an order in the active window) is part of what is visible, so it is conditioned
on. `oracle_latent` (`latent: true`) is told type and state instead of alpha; nobody could know them, so it is shown
and never claimed. Cutoffs must lie at midnight UTC and horizons be whole days: the shop's hidden clock ticks by days.

Shapes: n rows, K types, S states.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.state import read_arrays, read_state, with_blanks, write_state
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file
from shopkeeper.models.about import PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.simulated.filtering import filter_days, replay, survival, visits
from shopkeeper.simulated.link import Link, hidden_truth

_ARRAYS = "weights.npz"
_BLOCK = 20_000  # rows at a time: the filter holds a few (rows, K, S) arrays


class ChurnOracle:
    """Exact churn probabilities of a simulated shop; calibrated by construction."""

    def __init__(self, latent: bool = False) -> None:
        self.latent = latent
        self.name = "oracle_latent" if latent else "oracle_observable"
        self.about = About(
            answers=PROBABILITIES,
            reads=("event_type", "timestamp", "channel"),
            needs=("dataset",),
            reads_instant=True,
            oracle="latent" if latent else "observable",
            not_exported="an oracle is no candidate, it knows the simulation's truth",
        )
        self.link: Link | None = None
        self.kind = np.zeros(1, np.int64)  # latent only: type by internal id …
        self.state = np.full((1, 1), -1, np.int8)  # … and state at the end of each day

    untrainable = ""  # nothing is learnt

    def bind(self, prepared: Prepared) -> None:
        """Learn from the dataset's manifest which world it is; a `UserError` when it is not simulated."""
        self.link = Link.of(prepared)
        if self.latent:
            self.kind, state = hidden_truth(prepared)
            self.state = state.astype(np.int8)

    def fit(self, train: Cohort, calibration: Cohort | None, fit: Fit) -> None:
        """Nothing is learnt."""
        self._link()

    def predict(self, cohort: Cohort) -> Predictions:
        """Probability of no purchase in [cutoff, cutoff + horizon) per row."""
        link = self._link()
        world, day = link.world(), MICROSECONDS_PER_DAY
        if np.any(cohort.cutoff % day) or cohort.horizon_days != round(cohort.horizon_days):
            raise UserError(
                f"the churn oracle is exact at midnight UTC and for whole days only; choose cutoffs at midnight and "
                f"a whole horizon_days (now {cohort.horizon_days:g})"
            )
        probability = np.full(len(cohort), np.nan)
        for begin in range(0, len(cohort), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            v = visits(
                world, replay(world, link.histories(Requests(cohort.events, cohort.start[rows], cohort.end[rows])))
            )
            cut = world.day_of(cohort.cutoff[rows])
            alpha = filter_days(world, v, cut - 1)
            if self.latent:
                alpha = self._told(alpha, cohort.customer[rows], cut - 1)
            for t in np.unique(cut):
                stay = np.einsum("kst,kt->ks", world.transition, survival(world, int(t), round(cohort.horizon_days)))
                here = np.flatnonzero(cut == t)
                probability[begin + here] = np.einsum("bks,ks->b", alpha[here], stay)
        return with_blanks(cohort, probability)

    def _told(self, alpha: np.ndarray, customer: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Certainty about (type, state) where they are known: float (n, K, S)."""
        known = (customer > 0) & (customer < len(self.kind)) & (day >= 0) & (day < self.state.shape[1])
        who = np.flatnonzero(known)
        who = who[self.state[customer[who], day[who]] >= 0]
        alpha[who] = 0.0
        alpha[who, self.kind[customer[who]], self.state[customer[who], day[who]]] = 1.0
        return alpha

    def save(self, folder: Path) -> None:
        """Write `model.json` and `weights.npz`."""
        link = self._link()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / _ARRAYS) as tmp, open(tmp, "wb") as f:
            np.savez(f, **link.to_arrays(), kind=self.kind, state=self.state)  # type: ignore[arg-type]
        write_state(folder, self.name, {"preset": link.preset, "parameters_hash": link.parameters_hash})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        read_state(folder, self.name, ("preset", "parameters_hash"))
        arrays = read_arrays(folder / _ARRAYS, ("preset", "hash", "item", "channel", "kind", "state"))
        self.kind, self.state = arrays["kind"], arrays["state"]
        self.link = Link.from_arrays(arrays, str(folder))

    def _link(self) -> Link:
        if self.link is None:
            raise UserError(
                "the churn oracle does not know its simulated shop: call bind(prepared), or train it by `shopkeeper "
                "train model=oracle_observable_churn task=churn dataset=demo_shop`"
            )
        return self.link
