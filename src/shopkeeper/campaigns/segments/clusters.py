"""Groups of customers who are alike: k-means over standardised traits, as many groups as come out the same again.

How alike two groupings of the same customers are says the adjusted Rand index (L. Hubert and P. Arabie, Journal of
Classification 2, 1985): 1 the same, 0 as by chance. For every number of groups it is taken between today's grouping and
those learned from customers drawn anew, and those learned at earlier cutoffs, all asked about today's customers; the
stability is the lower of the two means. Of the numbers that are about as stable as the most stable one the largest is
taken, so that groups say as much as they can; whether it is stable at all is said (after U. von Luxburg, Clustering
stability: an overview, Foundations and Trends in Machine Learning 2(3), 2010).

Shapes: n customers, T traits, K groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shopkeeper.campaigns.segments.settings import Clusters
from shopkeeper.errors import UserError

Columns = Mapping[str, np.ndarray]
# Traits and what a group is called in which they are low or high.
TRAITS: Mapping[str, tuple[str, str]] = {
    "days_since_order": ("ordered lately", "long since the last order"),
    "orders": ("few orders", "many orders"),
    "gap_mean": ("orders at short gaps", "orders at long gaps"),
    "money_per_order": ("small orders", "large orders"),
    "units_per_order": ("few pieces an order", "many pieces an order"),
    "categories": ("few categories", "many categories"),
    "repeat_share": ("tries new things", "buys the same again"),
    "return_share": ("returns little", "returns much"),
    "views_30d": ("looks little", "looks much"),
    "visits_90d": ("seldom here", "often here"),
}
CHANNEL = "channel_share_"
WIDEST = 3.0  # standard deviations: beyond, a customer pulls no group further
TRIES = 3  # starts of k-means, of which the best is kept
NAMED_BY = 2  # traits in a name
FEWEST = 20  # customers per group, in the mean


class UngroupedError(UserError):
    """There are no groups of customers who are alike; everything else that segments are is there."""


@dataclass(frozen=True)
class Scale:
    """How traits are made alike: log1p (but for shares), minus the mean, by the standard deviation; unknown is 0."""

    traits: tuple[str, ...]
    mean: np.ndarray  # float64 (T,)
    deviation: np.ndarray  # float64 (T,)

    @classmethod
    def of(cls, column: Columns) -> Scale:
        """From customers; a trait that hardly differs, or is unknown of more than half of them, is left out."""
        traits, mean, deviation = [], [], []
        for name in (n for n in column if n in TRAITS or n.startswith(CHANNEL)):
            values = _plain(name, column[name])
            known = values[~np.isnan(values)]
            if 2 * len(known) >= len(values) and len(known) and known.std() > 1e-6:
                traits.append(name)
                mean.append(known.mean())
                deviation.append(known.std())
        return cls(tuple(traits), np.array(mean), np.array(deviation))

    def of_customers(self, column: Columns) -> np.ndarray:
        """Traits of customers, float64 (n, T)."""
        values = np.stack([_plain(name, column[name]) for name in self.traits], axis=1)
        return np.clip(np.nan_to_num((values - self.mean) / self.deviation), -WIDEST, WIDEST)


@dataclass(frozen=True)
class Grouping:
    """What was learned: a customer belongs to the nearest centre."""

    scale: Scale
    centre: np.ndarray  # float64 (K, T), standardised
    names: tuple[str, ...]
    stability: Mapping[int, Mapping[str, float | None]]  # by number of groups
    stable: bool

    def of_customers(self, column: Columns) -> np.ndarray:
        """Name of the group of each customer: str object (n,)."""
        return np.array(self.names, object)[nearest_centre(self.scale.of_customers(column), self.centre)]

    def as_json(self) -> dict[str, Any]:
        """All that is needed to find a customer's group again, and how the number was chosen."""
        return {
            "number": len(self.names),
            "stable": self.stable,
            "stability": {str(k): dict(v) for k, v in self.stability.items()},
            "traits": list(self.scale.traits),
            "mean": [float(x) for x in self.scale.mean],
            "deviation": [float(x) for x in self.scale.deviation],
            "centres": {name: [float(x) for x in row] for name, row in zip(self.names, self.centre, strict=True)},
        }


def group(column: Columns, earlier: Sequence[Columns], rules: Clusters) -> Grouping:
    """Group customers by their traits.

    Args:
        column: features of today's customers by name, (n,) each; all have ordered.
        earlier: the same of the customers of earlier cutoffs.
        rules: how many groups there may be, and from when on they count as stable.

    Raises:
        UngroupedError: too few customers, or none that differ.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(rules.seed)
    today = _drawn(column, rules.sample, rng)
    n = len(today["orders"])
    most = min(rules.most, n // FEWEST)
    if most < rules.least:
        raise UngroupedError(
            f"{n:,} customers have ordered, too few for {rules.least} groups of {FEWEST}; choose a later instant"
        )
    scale = Scale.of(today)
    if not scale.traits:
        raise UngroupedError("all customers are alike in every trait; nothing groups them; choose a later instant")
    before = [_drawn(other, rules.sample, rng) for other in earlier if len(other["orders"]) >= most * FEWEST]
    of_then = [(s, s.of_customers(other)) for other in before if (s := Scale.of(other)).traits]
    z_nT = scale.of_customers(today)
    drawn = [rng.integers(0, n, n) for _ in range(rules.bootstraps)]
    found: dict[int, tuple[np.ndarray, dict[str, float | None]]] = {}
    for k in range(rules.least, most + 1):
        centre = _means(z_nT, k, rules.seed)
        own = nearest_centre(z_nT, centre)
        anew = [nearest_centre(z_nT, _means(z_nT[rows], k, rules.seed + 1 + i)) for i, rows in enumerate(drawn)]
        then = [nearest_centre(s.of_customers(today), _means(z, k, rules.seed)) for s, z in of_then]
        customers, cutoffs = ([float(adjusted_rand_score(own, o)) for o in others] for others in (anew, then))
        means = {"customers": float(np.mean(customers)), "cutoffs": float(np.mean(cutoffs)) if cutoffs else None}
        found[k] = centre, {**means, "stability": min(v for v in means.values() if v is not None)}
    said = {k: stability for k, (_, stability) in found.items()}
    index = {k: float(stability["stability"] or 0.0) for k, stability in said.items()}
    chosen = max(k for k in index if index[k] >= max(index.values()) - rules.close)
    centre = found[chosen][0]
    centre = centre[np.argsort(-np.bincount(nearest_centre(z_nT, centre), minlength=chosen), kind="stable")]
    return Grouping(scale, centre, names_of(centre, scale.traits), said, index[chosen] >= rules.stable)


def nearest_centre(z_nT: np.ndarray, centre_KT: np.ndarray) -> np.ndarray:
    """Number of the nearest centre of each customer, the first of equally near ones: int64 (n,)."""
    distance_nK = (centre_KT**2).sum(1) - 2 * z_nT @ centre_KT.T
    return distance_nK.argmin(1)


def names_of(centre_KT: np.ndarray, traits: Sequence[str]) -> tuple[str, ...]:
    """A name per group from the traits in which it differs most from all customers; no two are the same.

    >>> names_of(np.array([[0.2, 2.0], [-1.0, -0.1]]), ["orders", "money_per_order"])
    ('large orders, many orders', 'few orders, small orders')
    """
    order = np.argsort(-np.abs(centre_KT), axis=1, kind="stable")
    words = [[_word(traits[t], row[t]) for t in places] for row, places in zip(centre_KT, order, strict=True)]
    names = [", ".join(of[:NAMED_BY]) for of in words]
    for more in range(NAMED_BY + 1, len(traits) + 1):
        names = [", ".join(of[:more]) if names.count(name) > 1 else name for name, of in zip(names, words, strict=True)]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)
    )


def _word(trait: str, value: float) -> str:
    if trait.startswith(CHANNEL):
        return f"{'more' if value > 0 else 'less'} by {trait.removeprefix(CHANNEL)}"
    return TRAITS[trait][int(value > 0)]


def _plain(name: str, values: np.ndarray) -> np.ndarray:
    return values if "share" in name else np.log1p(values)


def _drawn(column: Columns, sample: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = len(column["orders"])
    rows = np.sort(rng.choice(n, sample, replace=False)) if n > sample else np.arange(n)
    return {name: values[rows] for name, values in column.items()}


def _means(z_nT: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(k, n_init=TRIES, random_state=seed).fit(z_nT).cluster_centers_, np.float64)
