"""Which model is better, by how much, and how sure that is: paired comparisons of per-request tables.

Differences are taken request by request and judged by user, all of a family together (`family.py`): interval and
p-value come from one resampling, so that a sentence never says anything but its interval. Resampled are signs
(randomisation) or users (bootstrap); Wilcoxon's and the sign test are not offered, since they reject far too often at
these sizes (J. Urbano, H. Lima and A. Hanjalic, Statistical significance testing in information retrieval, SIGIR 2019).

Shapes: n requests, U users, P comparisons (pairs of models times metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import ceil, floor, log10
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.evaluation.family import METHOD, Part, judge, least_p
from shopkeeper.evaluation.intervals import per_user
from shopkeeper.evaluation.table import metadata_of, users_of, values_of

TESTS = tuple(METHOD)
LOWER_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "ece",
        "absolute_error",
        "squared_error",
        "poisson_deviance",
        "rmse",
        "absolute_bias",
        "crps",
        "pinball",
    }
)
SAME = ("dataset", "task", "split", "protocol", "part", "filter_seen", "target_hash", "n_catalogue", "ties", "refit")
POWER = 0.8  # with which the number of users is planned
_SHOWN = {"ndcg": "NDCG", "hit": "HitRate", "recall": "Recall", "precision": "Precision", "map": "MAP", "mrr": "MRR",
          "auc": "AUC", "r_precision": "R-precision", "percentile": "rank percentile", "log_loss": "log loss",
          "brier": "Brier score", "auroc": "AUROC", "average_precision": "average precision", "ece": "ECE",
          "lift_quality": "lift quality", "absolute_error": "MAE", "rmse": "RMSE", "bias": "bias in %",
          "absolute_bias": "bias in %, whatever its sign", "normalised_gini": "normalised Gini",
          "poisson_deviance": "Poisson deviance", "spearman": "rank correlation",
          "pinball": "pinball loss", "concordance": "concordance"}  # fmt: skip


def check_direction(metric: str, direction: str) -> None:
    """A `UserError` where a task would have the worst model of a metric that is known here lead."""
    name = metric.partition("@")[0]
    right = "minimize" if name in LOWER_IS_BETTER else "maximize"
    if name in _SHOWN and direction != right:
        raise UserError(
            f"task.headline={metric} and task.direction={direction} would have the worst model lead; "
            f"set task.direction={right}"
        )


@dataclass(frozen=True)
class Comparison:
    """Model b against model a on one metric; `difference` is the mean of b minus the mean of a.

    All intervals of a family hold together with `confidence`; one excludes 0 exactly when its `p_adjusted` is at or
    below 1 - confidence.
    """

    metric: str
    a: str
    b: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float  # of this comparison alone
    p_adjusted: float  # for the whole family; equals p_value for a single comparison
    effect_size: float  # difference divided by the standard deviation of the users' differences (Cohen's d_z)
    n: int  # requests
    n_users: int
    users_needed: int  # to see the smallest effect of interest with power 0.8
    smallest_effect: float
    confidence: float = 0.95
    n_differing: int = 0  # users whose values of the two differ
    family: int = 1  # comparisons that are judged together
    method: str = METHOD["randomisation"]

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0, that is, the adjusted p-value is at or below 1 - confidence."""
        return self.low > 0 or self.high < 0

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
            return (
                f"nothing can be said of {self.a} and {self.b} on {name}: {_users(self.n_users, ('has', 'have'))} a "
                f"value of both"
            )
        bounds = self.low, self.high
        digits = digits_apart(self.difference, *bounds) if self.winner else digits_of(max(map(abs, bounds)))
        if self.winner is not None:
            loser, sign = (self.a, 1) if self.winner == self.b else (self.b, -1)
            if self.metric.partition("@")[0] in LOWER_IS_BETTER:
                sign = -sign
            bounds = min(sign * self.low, sign * self.high), max(sign * self.low, sign * self.high)
            text = (
                f"{self.winner} is better than {loser} by {sign * self.difference:.{digits}f} {name} "
                f"({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})"
            )
            if abs(self.difference) < self.smallest_effect:
                text += f", less than the {self.smallest_effect:g} that matters here"
            return text
        if self.n_differing == 0:  # which says little of other users where these are few
            return f"{self.a} and {self.b} have the same {name} for all {_users(self.n_users)}"
        text = f"cannot tell {self.a} and {self.b} apart on {name} ({self.low:+.{digits}f} to {self.high:+.{digits}f})"
        if least_p(self.n_differing) > 1 - self.confidence:
            return f"{text}; their values differ for {_users(self.n_differing)}, too few to tell"
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
        said = {"winner": self.winner, "significant": self.significant, "statement": self.statement}
        return plain | said | {"p_shown": p_shown(self.p_adjusted)}


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
    pairs: Sequence[tuple[str, str]] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    test: str = "randomisation",
    smallest_effect: float = 0.003,
    seed: int = 0,
) -> list[Comparison]:
    """All pairs of the named tables (or each against `reference`, or `pairs`) on all metrics, judged as one family.

    `reference` and `pairs` must be chosen before the results are seen: for the best of these tables compare all pairs.
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
    values = {(n, m): finite_values(aligned[n], n, m) for n in names for m in metrics}
    if reference is not None:
        pairs = [(reference, n) for n in names if n != reference]
    elif pairs is None:
        pairs = list(combinations(names, 2))
    family = [(a, b, metric) for metric in metrics for a, b in pairs]
    part, both = _part(values, user, family)
    found = judge([part], len(part.sums), confidence=confidence, resamples=resamples, test=test, seed=seed)
    total = np.broadcast_to(part.counts.sum(0), found.mean.shape)
    spread = np.nan_to_num(found.error * np.sqrt(np.maximum(found.n_users, 1)))
    z = found.critical + NormalDist().inv_cdf(POWER)
    results = []
    for j, (a, b, metric) in enumerate(family):
        there = both(j)
        mean = float(found.mean[j])
        needed = (z * spread[j] / smallest_effect) ** 2
        results.append(
            Comparison(
                metric, a, b,
                float(values[a, metric][there].mean()) if total[j] else float("nan"),
                float(values[b, metric][there].mean()) if total[j] else float("nan"),
                mean, float(found.low[j]), float(found.high[j]), float(found.p_value[j]), float(found.p_adjusted[j]),
                float(mean / spread[j]) if spread[j] > 0 else float(np.sign(mean) * np.inf if mean else 0.0),
                int(total[j]), int(found.n_users[j]), ceil(needed) if np.isfinite(needed) else 0,
                smallest_effect, confidence, int(found.n_differing[j]), len(family), METHOD[test],
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
                way = "train one again with the other's evaluation.refit" if key == "refit" else (
                    "train or evaluate both on the same split"
                )  # fmt: skip
                raise UserError(
                    f"'{first}' and '{other}' cannot be compared: {key} is {_brief(facts.get(key))} and "
                    f"{_brief(theirs.get(key))}; {way}"
                )
    ordered = {name: table.sort_by("request") for name, table in tables.items()}
    for other in others:
        if not ordered[first]["request"].equals(ordered[other]["request"]):
            raise UserError(
                f"'{first}' ({ordered[first].num_rows} rows) and '{other}' ({ordered[other].num_rows} rows) hold "
                f"different requests of one split: a table is incomplete; evaluate it again"
            )
    return ordered


def _part(
    values: Mapping[tuple[str, str], np.ndarray], user: np.ndarray, family: Sequence[tuple[str, str, str]]
) -> tuple[Part, Callable[[int], np.ndarray | slice]]:
    """The family by user, and which requests count in its j-th comparison: all, or those that both have a value of."""
    keys = list(values)
    table = np.stack([values[key] for key in keys], axis=1)
    a = np.array([keys.index((a, metric)) for a, _, metric in family])
    b = np.array([keys.index((b, metric)) for _, b, metric in family])
    if not np.isnan(table).any():
        return Part(*per_user(table, user), (a, b)), lambda j: slice(None)
    difference = table[:, b] - table[:, a]
    return Part(*per_user(difference, user)), lambda j: ~np.isnan(difference[:, j])


def p_shown(p: float | None) -> str:
    """A p-value as people read it: what lies below the resolution of the resampling is written as such.

    Rounded up, so that none that is above a level looks as if it had reached it.

    >>> p_shown(0.00025), p_shown(0.05), p_shown(0.0502)
    ('< 0.001', '0.050', '0.051')
    """
    if p is None or not np.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{ceil(1000 * p - 1e-6) / 1000:.3f}"


def metric_label(metric: str) -> str:
    """`ndcg@10` -> `NDCG@10`, as people write it."""
    base, at, cut = metric.partition("@")
    return f"{_SHOWN.get(base, base)}{at}{cut}"


def digits_of(value: float) -> int:
    """Decimals at which the value shows two digits; three at least. Below 1e-12 is nothing."""
    return max(3, 1 - floor(log10(abs(value)))) if 1e-12 <= abs(value) < np.inf else 3


def digits_apart(difference: float, low: float, high: float) -> int:
    """Decimals of a difference at which no bound that is off 0 is read as 0."""
    return max(digits_of(difference), digits_of(10 * min(abs(low), abs(high))))


def finite_values(table: pa.Table, name: str, metric: str) -> np.ndarray:
    """`values_of` the model called `name`, NaN where there is none; a `UserError` where one is infinite."""
    values = values_of(table, metric)
    if n := int(np.isinf(values).sum()):
        raise UserError(
            f"{metric} of '{name}' is infinite for {n:,} requests, so that no mean of it says anything; "
            f"let the metric give a number, or nothing"
        )
    return values


def _users(n: int, verb: tuple[str, str] = ("", "")) -> str:
    return f"{n:,} user{'' if n == 1 else 's'} {verb[n != 1]}".strip()


def _rounded(n: int) -> int:
    """One or two leading digits: 8,734 -> 8,700, 912 -> 910."""
    step = 10 ** max(0, floor(log10(n)) - 1)
    return ceil(n / step) * step


def _brief(value: Any) -> str:
    text = str(value)
    return f"'{text[:12]}…'" if len(text) > 40 else f"'{text}'"
