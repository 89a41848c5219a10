"""Pareto/NBD against integrals over what it integrates out, the hypergeometric formula, and published fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import integrate, special

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.bg_nbd import BGNBDModel, ParetoNBDModel
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, came_back
from shopkeeper.customers.processes.pareto import (
    ParetoNBD,
    expected_orders,
    fit_pareto_nbd,
    log_integral,
    log_likelihood,
    p_alive,
    p_order,
)
from shopkeeper.customers.window import ORDERS
from shopkeeper.metrics.value import mae, rmse, total_bias
from shopkeeper.models.about import COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.timeline.instants import instant

MODEL = ParetoNBD(0.7, 4.0, 1.6, 9.0)
PEOPLE = [(0, 0.0, 10.0), (1, 2.0, 10.0), (3, 9.5, 10.0), (6, 4.0, 20.0)]


def integral(x: int, t_x: float, T: float, of: Any) -> float:
    """The likelihood of one customer times something, over the two rates, by Gauss' quadrature.

    exp(-lambda t_x) and exp(-mu t_x) are met with the densities: both ways to have done what he did share them.
    """
    r, alpha, s, beta = MODEL
    u, of_u = special.roots_genlaguerre(100, r - 1)
    v, of_v = special.roots_genlaguerre(100, s - 1)
    lam, mu = u[:, None] / (alpha + t_x), v[None, :] / (beta + t_x)
    shared = (alpha / (alpha + t_x)) ** r * (beta / (beta + t_x)) ** s / (of_u.sum() * of_v.sum())
    alive = lam**x * np.exp(-(lam + mu) * (T - t_x))
    gone = lam**x * mu / (lam + mu) * -np.expm1(-(lam + mu) * (T - t_x))
    return float((shared * of_u[:, None] * of_v[None, :] * of(lam, mu, alive, gone)).sum())


@pytest.mark.parametrize("person", PEOPLE)
def test_what_pareto_nbd_says_are_the_integrals_that_define_it(person: tuple[int, float, float]):
    x, t_x, T = person
    one = (np.array([x]), np.array([t_x]), np.array([T]))
    t = 5.0
    likelihood = integral(x, t_x, T, lambda lam, mu, alive, gone: alive + gone)
    assert log_likelihood(MODEL, *one)[0] == pytest.approx(np.log(likelihood), abs=1e-6)
    there = integral(x, t_x, T, lambda lam, mu, alive, gone: alive) / likelihood
    assert p_alive(MODEL, *one)[0] == pytest.approx(there, abs=1e-6)
    # Ordering and leaving compete: the first of them comes at rate lambda + mu.
    next_one = lambda lam, mu, alive, gone: alive * lam / (lam + mu) * -np.expm1(-(lam + mu) * t)
    assert p_order(MODEL, *one, t)[0] == pytest.approx(integral(x, t_x, T, next_one) / likelihood, abs=1e-6)
    # Orders at rate lambda as long as he is there: until t, or an exponential time with rate mu.
    many = lambda lam, mu, alive, gone: alive * lam * -np.expm1(-mu * t) / mu
    assert expected_orders(MODEL, *one, t)[0] == pytest.approx(integral(x, t_x, T, many) / likelihood, abs=1e-5)


@pytest.mark.parametrize("model", [(0.55, 10.6, 0.6, 11.7), (0.3, 1.0, 0.2, 1000.0), (0.3, 1000.0, 0.2, 1.0)])
@pytest.mark.parametrize("x", [0, 3, 40])
def test_the_one_integral_is_what_adaptive_quadrature_finds(model: tuple[float, float, float, float], x: int):
    r, alpha, s, beta = model
    for t_x, T in ((0.0 if x == 0 else 10.0, 30.0), (0.0 if x == 0 else 29.0, 30.0)):
        p, q, a, b = r + x, s + 1, alpha + t_x, beta + t_x
        of = lambda y: np.exp(-p * np.log1p(y / a) - q * np.log1p(y / b))  # noqa: B023
        plain = integrate.quad(of, 0, T - t_x, epsabs=0, epsrel=1e-12, limit=500, points=[0.1, 1.0])[0]
        found = log_integral(np.array([p]), q, np.array([a]), np.array([b]), T - t_x)[0]
        assert found == pytest.approx(np.log(plain) - p * np.log(a) - q * np.log(b), abs=2e-5)


def test_customers_of_very_many_orders_and_very_long_ages_have_numbers():
    x, t_x, T = (
        np.array([0, 800, 3000, 5]),
        np.array([0.0, 3000.0, 3640.0, 70.0]),
        np.array([0.5, 3650.0, 3650.0, 70.0]),
    )
    for s in (0.3, 1.0, 4.0):
        model = ParetoNBD(0.2, 4.4, s, 40.0)
        alive = p_alive(model, x, t_x, T)
        assert ((alive >= 0) & (alive <= 1)).all()
        assert alive[3] == 1  # he has ordered just now
        for t in (0.01, 90.0, 3650.0):
            found, p = expected_orders(model, x, t_x, T, t), p_order(model, x, t_x, T, t)
            assert np.isfinite(found).all()
            assert ((found >= p - 1e-9) & (p >= 0) & (p <= 1)).all()  # at least one order as often as any


@pytest.mark.parametrize("unit", [1.0, 1 / 365])
def test_what_was_simulated_is_found_again_in_any_unit_of_time(unit: float):
    true, rng, n = ParetoNBD(1.2, 6.0, 0.9, 15.0), np.random.default_rng(1), 3000
    rate, leaves = rng.gamma(true.r, 1 / true.alpha, n), rng.exponential(1 / rng.gamma(true.s, 1 / true.beta, n))
    T = rng.uniform(20, 60, n)
    x, t_x = np.zeros(n), np.zeros(n)
    for i in range(n):
        at = rng.exponential(1 / rate[i])
        while at < min(T[i], leaves[i]):
            x[i], t_x[i] = x[i] + 1, at
            at += rng.exponential(1 / rate[i])
    found = fit_pareto_nbd(x, t_x * unit, T * unit)
    assert found.r / found.alpha * unit == pytest.approx(true.r / true.alpha, rel=0.1)  # the mean rate
    assert p_alive(found, x, t_x * unit, T * unit).mean() == pytest.approx((leaves > T).mean(), abs=0.04)


def test_both_processes_say_the_same_kinds_of_things_and_are_opened_again(tmp_path: Path):
    shop = toy_shop(tmp_path / "shop", n_users=200)
    for told in ({"truth": came_back}, {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}):
        train, _, test = (build_cohort(shop, t, 60, 90, **told) for t in CUTOFFS)  # type: ignore[arg-type]
        said = []
        for cls in (BGNBDModel, ParetoNBDModel):
            model = cls()
            model.bind(shop)
            model.fit(train, None, Fit(seed=1))
            model.save(tmp_path / cls.__name__)
            again = cls()
            again.load(tmp_path / cls.__name__)
            said.append(model.predict(test).value)
            np.testing.assert_array_equal(again.predict(test).value, said[-1])
            alive = again.still_customer(test)
            assert ((alive >= 0) & (alive <= 1)).all()
        assert np.corrcoef(*said)[0, 1] > 0.8
        assert not np.array_equal(*said)


@pytest.mark.real
def test_the_published_fit_of_the_cdnow_sample_is_found(raw: Path, tmp_path: Path):
    """Fader, Hardie and Lee, RFM and CLV, JMR 42 (2005); the second half of their 39 + 39 weeks was not looked at."""
    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.data.prepared import Prepared

    conf = Path(__file__).parents[3] / "conf/dataset/cdnow_sample.yaml"
    config = yaml.safe_load(conf.read_text())
    prepared = Prepared.open(prepare_dataset(config, raw, tmp_path / "cdnow", progress=False))
    told: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}
    until = instant("1997-10-01", "")
    cohort = build_cohort(prepared, until, 273, None, observed_until=instant("1998-07-01", ""), **told)
    f = {name: cohort.features[:, i] for i, name in enumerate(cohort.feature_names)}
    x, age = f["orders"] - 1, f["days_since_first_order"]
    T, t_x = (age - 1) / 7, (age - f["days_since_order"]) / 7  # to the last day itself, as the paper counts
    found = fit_pareto_nbd(x, t_x, T)
    assert list(found) == pytest.approx([0.553, 10.578, 0.606, 11.669], rel=2e-3)
    assert log_likelihood(found, x, t_x, T).sum() == pytest.approx(-9594.98, abs=0.005)
    expected, came = expected_orders(found, x, t_x, T, 39.0), cohort.label
    assert came is not None
    figures = [float(of(came, expected)) for of in (mae, rmse, total_bias)]
    assert figures == pytest.approx([0.7545, 1.6028, -0.115], abs=1e-3)
