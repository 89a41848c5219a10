r"""Planning an online test from offline numbers, and reading one out.

A test compares means per randomised unit (customers, not requests): all functions take one row per customer, or make
it so. CUPED uses a covariate from before the test, which the treatment cannot have touched.

Shapes: n customers, m requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, lgamma, log, sqrt
from typing import Any

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.evaluation.resampling import Redealt

ENOUGH = 100  # customers from which on the sequential interval is as good as it says: half of them in each arm
DEALT = 20_000_000  # customers of the smaller arm in all deals together: with more there are fewer deals
ROUNDING = 1e-12  # of the largest value: a difference below is none
SRM_LEVEL = 0.0005  # strict: a test with this little chance of an honest split is broken, not unlucky


@dataclass(frozen=True)
class Plan:
    """Customers needed per arm, and days until they have come; `variance_left` is the share that CUPED leaves."""

    control: int
    treatment: int
    days: float
    variance: float  # per customer, before CUPED
    variance_left: float
    effect: float
    level: float
    power: float


def customer_variance(value_m: np.ndarray, user_m: np.ndarray) -> tuple[float, float, int]:
    r"""Mean per request, its variance per customer, and the number of customers, from requests of customers.

    A customer's requests depend on each other, so the ratio $\sum_u S_u / \sum_u N_u$ of sums and counts per customer
    gets the delta method: $\sigma^2 = Var(S_u - \bar y N_u) / \bar N^2$, and the mean over n customers has variance
    $\sigma^2 / n$. Deng, Knoblich & Lu, "Applying the delta method in metric analytics", KDD 2018.
    """
    _check_finite("value", value_m)
    user_n = np.unique(user_m, return_inverse=True)[1]
    count_n = np.bincount(user_n)
    if len(count_n) < 2:
        raise UserError(f"{len(count_n)} customers have a value: a variance between customers needs at least 2")
    sum_n = np.bincount(user_n, value_m)
    mean = float(sum_n.sum() / count_n.sum())
    return mean, float(np.var(sum_n - mean * count_n, ddof=1) / count_n.mean() ** 2), len(count_n)


def plan_test(
    variance: float,
    effect: float,
    customers_per_day: float,
    *,
    correlation: float = 0.0,
    treatment_share: float = 0.5,
    level: float = 0.05,
    power: float = 0.8,
) -> Plan:
    r"""Customers per arm and days for a two-sided test to see an absolute `effect` with the given power.

    $N = (z_{1-\alpha/2} + z_{power})^2 \sigma^2 (1 - \rho^2) / (s (1 - s) \delta^2)$ customers in all, with s the
    treatment's share and \rho the correlation with the CUPED covariate. `customers_per_day` counts new customers in
    the test, both arms. Deng, Xu, Kohavi & Walker, "Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data", WSDM 2013.

    >>> plan_test(1.0, 0.1, 100.0).control
    1570
    """
    for name, number in (("effect", abs(effect)), ("customers_per_day", customers_per_day)):
        _check_within(name, number, inf)
    if not -1 < correlation < 1:
        raise UserError(f"correlation is {correlation}; give a number between -1 and 1")
    left = 1 - correlation**2
    total = _needed(variance * left, treatment_share, level, power) / effect**2
    control, treatment = ceil(total * (1 - treatment_share)), ceil(total * treatment_share)
    days = (control + treatment) / customers_per_day
    return Plan(control, treatment, days, variance, left, effect, level, power)


def visible_effect(
    variance: float, customers: int, *, treatment_share: float = 0.5, level: float = 0.05, power: float = 0.8
) -> float:
    r"""The smallest absolute effect that so many customers of both arms show with the given power, $\delta$ above.

    >>> round(visible_effect(1.0, 3140), 3)
    0.1
    """
    _check_within("customers", customers, inf)
    return sqrt(_needed(variance, treatment_share, level, power) / customers)


def _needed(variance: float, treatment_share: float, level: float, power: float) -> float:
    """Customers of both arms times the squared effect."""
    from scipy.special import ndtri

    _check_within("variance", variance, inf)
    for name, number in (("treatment_share", treatment_share), ("level", level), ("power", power)):
        _check_within(name, number, 1)
    z = float(ndtri(1 - level / 2) + ndtri(power))
    return z**2 * variance / (treatment_share * (1 - treatment_share))


def _check_within(name: str, number: float, high: float) -> None:
    if not 0 < number < high:
        raise UserError(f"{name} is {number}; give a number above 0 and below {high}")


def sample_ratio(counts: tuple[int, int], treatment_share: float = 0.5, level: float = SRM_LEVEL) -> dict[str, Any]:
    r"""Did the split come out as planned? Chi-square of (control, treatment) counts: `p`, `ok`.

    A mismatch means that customers were lost on one side, and no estimate from such a test means anything.
    Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments", KDD 2019.
    """
    from scipy.stats import chisquare

    if not 0 < treatment_share < 1:
        raise UserError(f"treatment_share is {treatment_share}; give a number above 0 and below 1")
    if min(counts) < 0 or sum(counts) == 0:
        raise UserError(f"the arms hold {counts[0]} and {counts[1]} customers; a readout needs some")
    expected = [sum(counts) * (1 - treatment_share), sum(counts) * treatment_share]
    p = float(chisquare(counts, expected).pvalue)
    return {"control": counts[0], "treatment": counts[1], "p": p, "level": level, "ok": p >= level}


def cuped(value_n: np.ndarray, covariate_n: np.ndarray, treated_n: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Values with what the pre-test covariate explains taken out, and the share of variance that is left.

    $y_i - \theta (x_i - \bar x)$ with $\theta = Cov(x, y) / Var(x)$ within the arms, pooled, so that an effect on y
    does not leak into $\theta$. The difference of means keeps its expectation (Deng et al. 2013).
    """
    arm = treated_n.astype(bool)
    centred_x, centred_y = covariate_n.astype(np.float64).copy(), value_n.astype(np.float64).copy()
    for side in (arm, ~arm):
        centred_x[side] -= covariate_n[side].mean()
        centred_y[side] -= value_n[side].mean()
    spread = float((centred_x**2).sum())
    theta = float((centred_x * centred_y).sum()) / spread if spread > 0 else 0.0
    adjusted_n = value_n - theta * (covariate_n - covariate_n.mean())
    total = float((centred_y**2).sum())
    left = float(((centred_y - theta * centred_x) ** 2).sum()) / total if total > 0 else 1.0
    return adjusted_n, left


def by_customer(
    value_m: np.ndarray,
    treated_m: np.ndarray,
    covariate_m: np.ndarray | None,
    customer_m: np.ndarray,
    total: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Value, treated and covariate (n,) of n customers from m rows: means of a customer's rows, or the sum of values.

    Rows of one customer depend on each other: taken for independent they make differences out of nothing. The
    covariate is from before the test and is averaged in any case.

    Raises:
        UserError: a customer is in both arms, or `customer_m` is not of the rows' length.
    """
    if len(customer_m) != len(value_m) or len(treated_m) != len(value_m):
        raise UserError(f"column customer has {len(customer_m)} rows for {len(value_m)} values; give one for each row")
    names, code_m = np.unique(customer_m, return_inverse=True)
    count_n = np.bincount(code_m)
    treated_n = np.bincount(code_m, treated_m) / count_n
    both = np.flatnonzero((treated_n > 0) & (treated_n < 1))
    if len(both):
        raise UserError(
            f"customer {names[both[0]]} is in both arms ({len(both):,} of {len(names):,} customers are): an effect "
            f"cannot be told; find out how they were assigned, or leave them all out and say so"
        )
    value_n = np.bincount(code_m, value_m)
    covariate_n = None if covariate_m is None else np.bincount(code_m, covariate_m) / count_n
    return (value_n if total else value_n / count_n), treated_n, covariate_n


def difference(value_n: np.ndarray, treated_n: np.ndarray) -> tuple[float, float]:
    """Treatment mean minus control mean, and its standard error with unequal variances (Welch).

    An arm whose values are all alike says nothing of its spread: then the arms' common one is taken.
    """
    arm = treated_n.astype(bool)
    treated, control = value_n[arm], value_n[~arm]
    spread = [float(side.var(ddof=1)) for side in (treated, control)]
    if min(np.ptp(treated), np.ptp(control)) == 0:
        common = float(np.dot(spread, [len(treated) - 1, len(control) - 1])) / (len(value_n) - 2)
        spread = [common, common]
    return float(treated.mean() - control.mean()), sqrt(spread[0] / len(treated) + spread[1] / len(control))


def _freedom(value_n: np.ndarray, arm: np.ndarray) -> float:
    """Welch's degrees of freedom: what few customers in one arm take from the certainty of the standard error."""
    part = [float(side.var(ddof=1)) / len(side) for side in (value_n[arm], value_n[~arm])]
    if sum(part) == 0:
        return float(len(value_n) - 2)
    return sum(part) ** 2 / sum(v**2 / (n - 1) for v, n in zip(part, (arm.sum(), (~arm).sum()), strict=True))


def deals_for(level: float, small: int) -> int:
    """How often customers are dealt to the arms anew: with large arms seldomer, and never too seldom for the level.

    >>> deals_for(0.05, 100), deals_for(0.05, 100_000), deals_for(0.001, 100), deals_for(0.001, 100_000)
    (999, 199, 9999, 1999)
    """
    return max(ceil(2 / level), min(max(1000, ceil(10 / level)), DEALT // small)) - 1


def sequential_margin(standard_error: float, n: int, planned_n: int, level: float = 0.05) -> float:
    r"""Half-width of an interval that stays valid however often one looks (asymptotic confidence sequence).

    $\hat\sigma \sqrt{\frac{2 (n \rho^2 + 1)}{n^2 \rho^2} \log\frac{\sqrt{n \rho^2 + 1}}{\alpha}}$ with
    $\hat\sigma = se \sqrt n$ and $\rho^2 = (-2 \log\alpha + \log(-2 \log\alpha) + 1) / n_{plan}$, which makes it
    tightest near the planned size. The estimate must be an average of independent customers, asymptotically, and n not
    small (a hundred or more). Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and
    asymptotic confidence sequences", Annals of Statistics 2024.
    """
    if n < 1 or planned_n < 1 or not 0 < level < 1:
        raise UserError(f"n is {n}, planned_n {planned_n}, level {level}; give sizes of 1 or more and 0 < level < 1")
    rho2 = (-2 * log(level) + log(-2 * log(level)) + 1) / planned_n
    width = sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * log(sqrt(n * rho2 + 1) / level))
    return standard_error * sqrt(n) * width


def read_out(
    value_n: np.ndarray,
    treated_n: np.ndarray,
    covariate_n: np.ndarray | None = None,
    *,
    customer: np.ndarray | None = None,
    total: bool = False,
    planned_n: int | None = None,
    treatment_share: float = 0.5,
    level: float = 0.05,
) -> dict[str, Any]:
    """Read a test, one row per customer, or any number with `customer` (m,) naming whose they are (`by_customer`).

    Gives sample ratio, plain and CUPED differences, fixed and sequential intervals. The fixed one is Welch's, and where
    customers dealt to the arms anew (`resampling.Redealt`) say so further out: of money, which few customers bring, an
    A/A test with a tenth in control is else called a gain by up to one in five.

    Keys: `sample_ratio`, `difference` and, with a covariate, `cuped` (each value, low, high at a single look;
    sequential_low, sequential_high for any number of looks; n), `variance_left`, `words`. When the sample ratio is
    off, `words` says that the test must not be read. `planned_n` (both arms) is where the sequential interval is
    tightest; it must be fixed before the test.
    """
    from scipy.special import stdtrit

    value_n, treated_n = np.asarray(value_n, np.float64), np.asarray(treated_n)
    _check_finite("value", value_n)
    if treated_n.shape != value_n.shape or not np.isin(treated_n, (0, 1)).all():
        raise UserError("column treated must hold 0 or 1 for each customer")
    if covariate_n is not None:
        covariate_n = np.asarray(covariate_n, np.float64)
        if covariate_n.shape != value_n.shape:
            raise UserError(f"column covariate has shape {covariate_n.shape}; give one value per row ({len(value_n)})")
        _check_finite("covariate", covariate_n)
    if customer is not None:
        value_n, treated_n, covariate_n = by_customer(value_n, treated_n, covariate_n, np.asarray(customer), total)
    arm = treated_n.astype(bool)
    sizes = (int((~arm).sum()), int(arm.sum()))
    if min(sizes) < 2:
        raise UserError(f"the arms hold {sizes[0]} and {sizes[1]} customers; a readout needs at least 2 in each")
    n = len(value_n)
    ways = lgamma(n + 1) - lgamma(sizes[0] + 1) - lgamma(sizes[1] + 1)  # log of how many, to deal them out to the arms
    certain = 1 - 2 * exp(-ways)  # no more can be said without assumptions, whatever their values

    def interval(values: np.ndarray, fitted: int = 0) -> dict[str, Any]:
        value, error = difference(values, arm)
        value, error = (0.0 if abs(x) <= ROUNDING * np.abs(value_n).max() else x for x in (value, error))
        error *= sqrt((n - 2) / max(n - 2 - fitted, 1))  # a fitted covariate has taken a degree of freedom
        wide = sequential_margin(error, n, planned_n or n, level)
        once = float(stdtrit(max(_freedom(values, arm) - fitted, 1), 1 - level / 2)) * error
        low, high = value - once, value + once
        if error > 0:
            dealt = Redealt.of(values, arm, value, error, deals_for(level, min(sizes))).ends(level)
            low, high = min(low, dealt[0]), max(high, dealt[1])
        if certain < 1 - level:
            low, high = min(low, value - abs(value)), max(high, value + abs(value))
        row = {"value": value, "low": low, "high": high, "standard_error": error, "n": n}
        return row | {"sequential_low": value - wide, "sequential_high": value + wide}

    ratio = sample_ratio(sizes, treatment_share)
    result: dict[str, Any] = {"sample_ratio": ratio, "difference": interval(value_n), "variance_left": 1.0}
    best = result["difference"]
    if covariate_n is not None:
        adjusted_n, result["variance_left"] = cuped(value_n, covariate_n, arm)
        best = result["cuped"] = interval(adjusted_n, fitted=1)
    result["words"] = _words(ratio, best, level, "" if covariate_n is None else " with CUPED")
    return result


def _words(ratio: dict[str, Any], best: dict[str, Any], level: float, how: str) -> str:
    if not ratio["ok"]:
        return (
            f"Do not read this test: {ratio['control']} and {ratio['treatment']} customers cannot come from the "
            f"planned split (p {p_in_words(ratio['p'])}); find out where customers are lost first."
        )
    low, high = best["sequential_low"], best["sequential_high"]
    span = f"{best['value']:+.4g}{how} ({low:+.4g} to {high:+.4g}, {100 * (1 - level):.4g} %, valid at every look)"
    fewer = min(ratio["control"], ratio["treatment"])
    if 2 * fewer < ENOUGH:
        text = (
            f"Nothing holds at every look yet: an arm of {fewer} customers is too small; wait for {ENOUGH // 2} in "
            f"each."
        )
    elif low > 0:
        return f"The treatment is better: {span}."
    elif high < 0:
        return f"The treatment is worse: {span}."
    else:
        text = f"Cannot tell the arms apart yet: {span}."
    if best["low"] > 0 or best["high"] < 0:
        text += (
            f" Had this been planned as the only look, the treatment would be "
            f"{'better' if best['low'] > 0 else 'worse'} ({best['low']:+.4g} to {best['high']:+.4g})."
        )
    return text


def p_in_words(p: float) -> str:
    """`= 0.0021`, and `< 1e-12` for what no count of customers can tell from nothing.

    >>> p_in_words(0.00214), p_in_words(0.0)
    ('= 0.0021', '< 1e-12')
    """
    return f"= {p:.2g}" if p >= 1e-12 else "< 1e-12"


def _check_finite(name: str, column: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(column))
    if len(wrong):
        raise UserError(f"column {name}, row {wrong[0]}, is {column[wrong[0]]} ({len(wrong)} such rows); give numbers")
