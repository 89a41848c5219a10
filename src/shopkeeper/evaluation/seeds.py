r"""Means over seeds: how much of the uncertainty comes from who was asked, how much from how training went.

With S runs of one model on the same users, the mean of a metric is modelled as
:math:`y_{us} = \mu + u_u + s_s + e_{us}` (crossed random effects without replication). Its variance is estimated by
moments from the mean squares of the two-way analysis of variance: S. R. Searle, G. Casella and C. E. McCulloch,
Variance Components (1992), chapter 4. Limits use Satterthwaite's degrees of freedom, which is too confident where few
seeds carry much of the variance: simulated, a 95 % interval covers 87 to 96 % with 2 seeds, 92 to 96 % with 3 and 93
to 95 % with 5, the less the more of the variance is due to seeds (3,000 experiments each, shares of 0 to .95).

Shapes: S seeds, U users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.evaluation.compare import align
from shopkeeper.evaluation.family import least_p
from shopkeeper.evaluation.intervals import per_user
from shopkeeper.evaluation.table import metadata_of, users_of, values_of

ROUNDING = 1e-12  # of the largest value: a difference below is none
ENOUGH_SEEDS = 5  # from here on a 95 % interval covers about 95 %


def too_few(n_seeds: int) -> str | None:
    """What a reader must know of an interval over so few seeds, else None; the figures are of the simulation above.

    >>> too_few(2)
    'with 2 seeds a 95 % interval is too narrow where seeds matter (it then covers about 87 %); 5 are enough'
    """
    if not 1 < n_seeds < ENOUGH_SEEDS:
        return None
    covered = {2: 87, 3: 92, 4: 93}[n_seeds]
    return (
        f"with {n_seeds} seeds a 95 % interval is too narrow where seeds matter (it then covers about {covered} %); "
        f"{ENOUGH_SEEDS} are enough"
    )


@dataclass(frozen=True)
class Seeds:
    """A metric over seeds; the variances are those of the overall mean, and add up to `standard_error` squared."""

    metric: str
    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    spread: float  # standard deviation of the seeds' means (0 for one seed)
    from_users: float  # variance of the mean that more users would take away
    from_seeds: float  # variance of the mean that more seeds would take away
    standard_error: float
    n_users: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}


def over_seeds(tables: Sequence[pa.Table], metric: str, confidence: float = 0.95) -> Seeds:
    """Mean over runs that differ in their seed alone, with an interval that holds for new users and new seeds.

    Over the requests of which all runs have a value; of fewer than two users there is no interval (NaN). Two seeds are
    too few for it to hold as often as it says: see `too_few`.
    """
    value_US, weight_U = _by_user([tables], metric)
    return estimate(metric, value_US, weight_U, confidence)


def difference_over_seeds(
    a: Sequence[pa.Table], b: Sequence[pa.Table], metric: str, confidence: float = 0.95, family: int = 1
) -> Seeds:
    """Mean of model b minus mean of model a, each over its seeds; `per_seed` pairs them where they are equally many.

    The interval counts the users once (they are the same for both) and the seeds of each model on their own. With two
    seeds each it is too confident: see `too_few`. Of a `family` of so many differences all intervals hold together
    (Bonferroni: each is given its share of 1 - confidence). Where fewer users differ than can be told apart at all
    (`least_p`) the interval holds 0.
    """
    value_US, weight_U = _by_user([a, b], metric)
    return difference(metric, value_US[:, : len(a)], value_US[:, len(a) :], weight_U, 1 - (1 - confidence) / family)


def difference(
    metric: str, value_a_US: np.ndarray, value_b_US: np.ndarray, weight_U: np.ndarray, confidence: float = 0.95
) -> Seeds:
    """The same from each user's value of every run, columns of a and of b; weights as of `estimate`."""
    parts = [estimate(metric, v, weight_U, confidence) for v in (value_a_US, value_b_US)]
    difference_U = value_b_US.mean(1) - value_a_US.mean(1)
    largest = max(np.abs(v).max(initial=0.0) for v in (value_a_US, value_b_US))
    difference_U[np.abs(difference_U) <= ROUNDING * largest] = 0.0
    users = estimate(metric, difference_U[:, None], weight_U, confidence)
    # The spread of users' mean differences also holds the residual noise of the seeds, as it should.
    between = parts[0].from_seeds + parts[1].from_seeds
    freedom = [len(p.per_seed) - 1 for p in parts]
    low, high, error = _limits(
        users.mean,
        [(users.from_users, users.n_users - 1), *((p.from_seeds, f) for p, f in zip(parts, freedom, strict=True))],
        confidence,
    )
    if least_p(int((difference_U != 0).sum())) > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)  # NaN stays
    paired = value_a_US.shape[1] == value_b_US.shape[1]
    each = tuple(y - x for x, y in zip(parts[0].per_seed, parts[1].per_seed, strict=True)) if paired else ()
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else 0.0
    return Seeds(metric, users.mean, low, high, each, spread, users.from_users, between, error, users.n_users)


def _by_user(models: Sequence[Sequence[pa.Table]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Contribution of each user to the mean of each run (U, S), scaled so that their plain mean is the run's mean.

    The runs of all models stand side by side, over the requests of which each has a value.
    """
    for tables in models:
        if not tables:
            raise UserError("there is no run to average over: give one per-request table per seed")
        seeds = [str(metadata_of(t).get("seed")) for t in tables]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"runs over seeds must differ in their seed; found {', '.join(seeds)}")
    runs = [table for tables in models for table in tables]
    ordered = list(align({f"run {i + 1}": table for i, table in enumerate(runs)}).values())
    value = np.stack([values_of(t, metric) for t in ordered], axis=1)
    complete = ~np.isnan(value).any(1)
    sums, counts = per_user(value[complete], users_of(ordered[0])[complete])
    return sums * (len(sums) / max(counts.sum(), 1)), counts[:, 0] * (len(sums) / max(counts.sum(), 1))


def estimate(metric: str, value_US: np.ndarray, weight_U: np.ndarray, confidence: float = 0.95) -> Seeds:
    """The mean of each user's value of every run; weights: requests of each user, as a share of their mean."""
    n_users, n_seeds = value_US.shape
    if n_users == 0:
        return Seeds(metric, np.nan, np.nan, np.nan, (), 0.0, 0.0, 0.0, np.nan, 0)
    each = value_US.mean(0)
    mean = float(each.mean())
    # A user with many requests counts more: what varies is the share beyond what that number alone brings.
    user_U = value_US.mean(1) - mean * weight_U
    square_users = n_seeds * (user_U**2).sum() / max(n_users - 1, 1)
    if n_seeds > 1:
        square_seeds = n_users * ((each - mean) ** 2).sum() / (n_seeds - 1)
        rest = value_US - value_US.mean(1, keepdims=True) - each + mean
        square_rest = (rest**2).sum() / max((n_users - 1) * (n_seeds - 1), 1)
        from_seeds = float(max(square_seeds - square_rest, 0.0) / (n_users * n_seeds))
        spread = float(each.std(ddof=1))
    else:
        from_seeds, spread = 0.0, 0.0
    from_users = float(square_users / (n_users * n_seeds))
    low, high, error = _limits(mean, [(from_users, n_users - 1), (from_seeds, n_seeds - 1)], confidence)
    return Seeds(metric, mean, low, high, tuple(map(float, each)), spread, from_users, from_seeds, error, n_users)


def _limits(mean: float, parts: list[tuple[float, int]], confidence: float) -> tuple[float, float, float]:
    """Student limits for a mean whose variance is a sum of estimates with their degrees of freedom.

    The first part is of the users: NaN where they leave no freedom.
    """
    from scipy.special import stdtrit

    variance = sum(v for v, _ in parts)
    if parts[0][1] < 1:
        return np.nan, np.nan, np.nan
    if variance == 0:
        return mean, mean, 0.0
    freedom = variance**2 / sum(v**2 / f for v, f in parts if v > 0 and f > 0)
    error = float(np.sqrt(variance))
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return mean - reach, mean + reach, error
