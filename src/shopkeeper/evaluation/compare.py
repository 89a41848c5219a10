"""Which model is better, by how much, and how sure that is: paired comparisons of per-request tables.

Differences are taken request by request and resampled by user. The p-value comes from a randomisation test (the sign
of each user's difference is flipped; exact when the models are exchangeable) or from the bootstrap; Wilcoxon's and the
sign test are not offered, since they reject far too often at these sizes (J. Urbano, H. Lima and A. Hanjalic,
Statistical significance testing in information retrieval, SIGIR 2019). Holm's step-down correction covers a family:
S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.

Shapes: n requests, U users, P comparisons (pairs of models times metrics), R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import ceil, floor, log10
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.evaluation.intervals import per_user, resampled_means
from shopkeeper.evaluation.table import metadata_of, users_of, values_of

TESTS = ("randomisation", "bootstrap")
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "absolute_error", "squared_error", "crps"})
SAME = ("dataset", "split", "protocol", "part", "task", "filter_seen", "target_hash", "n_catalogue", "ties")
POWER = 0.8  # with which the number of users is planned
_SHOWN = {"ndcg": "NDCG", "hit": "HitRate", "recall": "Recall", "precision": "Precision", "map": "MAP", "mrr": "MRR",
          "auc": "AUC", "r_precision": "R-precision", "percentile": "rank percentile", "log_loss": "log loss",
          "brier": "Brier score"}  # fmt: skip
_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Comparison:
    """Model b against model a on one metric; `difference` is the mean of b minus the mean of a."""

    metric: str
    a: str
    b: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float  # Holm over the family; equals p_value for a single comparison
    effect_size: float  # difference divided by the standard deviation of the users' differences (Cohen's d_z)
    n: int  # requests
    n_users: int
    users_needed: int  # to see the smallest effect of interest with power 0.8
    smallest_effect: float
    confidence: float = 0.95

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is at or below 1 - confidence."""
        return self.p_adjusted <= 1 - self.confidence + 1e-12

    @property
    def winner(self) -> str | None:
        """The better model, or None when they cannot be told apart."""
        if not self.significant or self.difference == 0:
            return None
        better_b = (self.difference > 0) != (self.metric.partition("@")[0] in LOWER_IS_BETTER)
        return self.b if better_b else self.a

    @property
    def statement(self) -> str:
        """The result in words."""
        name = metric_label(self.metric)
        if self.n_users < 2 or not np.isfinite(self.low):
            return f"nothing can be said of {self.a} and {self.b} on {name}: {self.n_users} users have a value of both"
        digits = _digits(self.difference if self.winner else max(abs(self.low), abs(self.high)))
        if self.winner is not None:
            loser, sign = (self.a, 1) if self.winner == self.b else (self.b, -1)
            if self.metric.partition("@")[0] in LOWER_IS_BETTER:
                sign = -sign
            bounds = sorted((sign * self.low, sign * self.high))
            text = (
                f"{self.winner} is better than {loser} by {sign * self.difference:.{digits}f} {name} "
                f"({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"
            )
            if abs(self.difference) < self.smallest_effect:
                text += f", less than the {self.smallest_effect:g} that matters here"
            return text
        text = f"cannot tell {self.a} and {self.b} apart on {name} ({self.low:+.{digits}f} to {self.high:+.{digits}f})"
        if max(abs(self.low), abs(self.high)) < self.smallest_effect:
            return f"{text}; if they differ, it is by less than the {self.smallest_effect:g} that matters here"
        more = self.users_needed - self.n_users
        if more > 0:
            return (
                f"{text}; to see a difference of {self.smallest_effect:g}, the smallest that matters here, "
                f"about {_rounded(more):,} more users would be needed"
            )
        return (
            f"{text}; these {self.n_users:,} users are enough to see a difference of {self.smallest_effect:g}, "
            f"the smallest that matters here, four times in five"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, with the statement, for JSON; numbers that are not finite become None."""
        plain = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}
        return plain | {"winner": self.winner, "significant": self.significant, "statement": self.statement}


def compare_tables(a: pa.Table, b: pa.Table, metric: str, **options: Any) -> Comparison:
    """Compare two per-request tables on one metric; options as of `compare_family`."""
    names = [str(metadata_of(t).get("model", "model")) for t in (a, b)]
    if names[0] == names[1]:
        names = [f"{n} ({s})" for n, s in zip(names, "ab", strict=True)]
    return compare_family(dict(zip(names, (a, b), strict=True)), [metric], **options)[0]


def compare_family(
    tables: Mapping[str, pa.Table],
    metrics: Sequence[str],
    *,
    reference: str | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    test: str = "randomisation",
    smallest_effect: float = 0.003,
    seed: int = 0,
) -> list[Comparison]:
    """All pairs of the named tables (or each against `reference`) on all metrics, Holm-corrected as one family.

    Refuses tables whose requests, targets or rules differ. A request for which one of two models has no value is left
    out of their comparison. `smallest_effect` is the smallest difference of interest, in units of the metric.
    """
    if test not in TESTS:
        raise UserError(f"there is no test '{test}'.{nearest(test, TESTS)}")
    if not smallest_effect > 0:
        raise UserError(
            f"smallest_effect={smallest_effect} must be above 0: it is the smallest difference that matters"
        )
    names = list(tables)
    if len(names) < 2:
        raise UserError(f"a comparison needs two models or more; given: {', '.join(names) or 'none'}")
    if reference is not None and reference not in tables:
        raise UserError(f"the reference '{reference}' is not among the models.{nearest(reference, names)}")
    aligned = align(tables)
    user = users_of(aligned[names[0]])
    values = {(n, m): values_of(aligned[n], m) for n in names for m in metrics}
    if reference is None:
        pairs = list(combinations(names, 2))
    else:
        pairs = [(reference, n) for n in names if n != reference]
    family = [(a, b, metric) for metric in metrics for a, b in pairs]
    difference = np.stack([values[b, m] - values[a, m] for a, b, m in family], axis=1)
    sums, counts = per_user(difference, user)
    boot = resampled_means(sums, counts, resamples, seed)
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(0) / counts.sum(0)
        low, high = _quantiles(boot, tail)
    if test == "bootstrap":
        p_value = (1 + (np.abs(boot - mean) >= np.abs(mean)).sum(0)) / (resamples + 1)
    else:
        p_value = randomisation_p(sums, max(resamples, 2000), seed)
    p_value = np.where(np.isnan(mean), np.nan, p_value)
    adjusted = holm(p_value)
    n_users = np.broadcast_to((counts > 0).sum(0), mean.shape)
    spread = _spread(sums, counts, mean)
    z = NormalDist().inv_cdf(1 - tail) + NormalDist().inv_cdf(POWER)
    results = []
    for j, (a, b, metric) in enumerate(family):
        both = ~np.isnan(difference[:, j])
        needed = (z * spread[j] / smallest_effect) ** 2
        results.append(
            Comparison(
                metric, a, b,
                float(values[a, metric][both].mean()) if both.any() else float("nan"),
                float(values[b, metric][both].mean()) if both.any() else float("nan"),
                float(mean[j]), float(low[j]), float(high[j]), float(p_value[j]), float(adjusted[j]),
                float(mean[j] / spread[j]) if spread[j] > 0 else float(np.sign(mean[j]) * np.inf if mean[j] else 0.0),
                int(both.sum()), int(n_users[j]), ceil(needed) if np.isfinite(needed) else 0,
                smallest_effect, confidence,
            )
        )  # fmt: skip
    return results


def align(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables in one order of requests; a `UserError` when they do not answer the same requests."""
    first, *others = tables
    facts = metadata_of(tables[first])
    for other in others:
        theirs = metadata_of(tables[other])
        for key in SAME:
            if facts.get(key) != theirs.get(key):
                raise UserError(
                    f"'{first}' and '{other}' cannot be compared: {key} is {_brief(facts.get(key))} and "
                    f"{_brief(theirs.get(key))}; train or evaluate both on the same split"
                )
    ordered = {name: table.sort_by("request") for name, table in tables.items()}
    for other in others:
        if not ordered[first]["request"].equals(ordered[other]["request"]):
            raise UserError(
                f"'{first}' ({ordered[first].num_rows} rows) and '{other}' ({ordered[other].num_rows} rows) hold "
                f"different requests of one split: a table is incomplete; evaluate it again"
            )
    return ordered


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values; NaN stays NaN and is not counted.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    adjusted = np.full(len(p), np.nan)
    some = np.flatnonzero(~np.isnan(p))
    order = some[np.argsort(p[some], kind="stable")]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate((len(order) - np.arange(len(order))) * p[order]))
    return adjusted


def randomisation_p(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p-values (P,) from flipping the sign of each user's summed difference (U, P)."""
    rng = np.random.default_rng([seed, 1])
    n_users = len(sums)
    observed = np.abs(sums.sum(0))
    tolerance = 1e-12 * np.abs(sums).sum(0)  # sums in another order differ by rounding
    block = int(np.clip(_BLOCK_BYTES // (8 * n_users), 1, resamples))
    extreme = np.zeros(sums.shape[1])
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        bits = np.frombuffer(rng.bytes(rows * (-(-n_users // 8))), np.uint8).reshape(rows, -1)
        sign = np.unpackbits(bits, axis=1, count=n_users).astype(np.float64) * 2 - 1
        extreme += (np.abs(sign @ sums) >= observed - tolerance).sum(0)
    return (1 + extreme) / (resamples + 1)


def _quantiles(boot: np.ndarray, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (P,) of the resampled means (R, P); a resample that drew nobody with a value does not count."""
    bounds = np.full((2, boot.shape[1]), np.nan)
    some = ~np.isnan(boot).all(axis=0)
    if some.any():
        bounds[:, some] = np.nanquantile(boot[:, some], [tail, 1 - tail], axis=0)
    return bounds[0], bounds[1]


def _spread(sums: np.ndarray, counts: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Standard deviation over users (P,) such that the mean's standard error is this over the root of their number."""
    present = np.broadcast_to(counts > 0, sums.shape)
    n_users = np.maximum(present.sum(0), 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = (sums - mean * counts) / (counts.sum(0) / n_users)
    return np.sqrt((deviation**2).sum(0) / (n_users - 1))


def metric_label(metric: str) -> str:
    """`ndcg@10` -> `NDCG@10`, as people write it."""
    base, at, cut = metric.partition("@")
    return f"{_SHOWN.get(base, base)}{at}{cut}"


def _digits(value: float) -> int:
    """Decimals at which the value shows two digits; three at least, six at most."""
    return min(6, max(3, 1 - floor(log10(abs(value))))) if value and np.isfinite(value) else 3


def _rounded(n: int) -> int:
    """One or two leading digits: 8,734 -> 8,700, 912 -> 910."""
    step = 10 ** max(0, floor(log10(n)) - 1)
    return ceil(n / step) * step


def _brief(value: Any) -> str:
    text = str(value)
    return f"'{text[:12]}…'" if len(text) > 40 else f"'{text}'"
