"""BG/NBD and Gamma-Gamma against integrals over what they integrate out, published fits, and a simulated shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import integrate, special, stats

from customers.toyshop import CUTOFFS, toy_shop
from shopkeeper.customers.bg_nbd import BGNBDModel
from shopkeeper.customers.build_cohort import as_it_is, build_cohort, came_back
from shopkeeper.customers.processes.btyd import (
    BGNBD,
    GammaGamma,
    bg_nbd_log_likelihood,
    expected_order_value,
    expected_orders,
    fit_bg_nbd,
    fit_gamma_gamma,
    gamma_gamma_log_likelihood,
    p_alive,
    p_order,
)
from shopkeeper.customers.window import MONEY, ORDERS
from shopkeeper.data.prepared import Prepared
from shopkeeper.metrics.value import mae, normalised_gini, rmse, total_bias
from shopkeeper.models.about import AMOUNTS, COUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.programs.bg_nbd import gauss
from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.timeline.instants import instant

MODEL = BGNBD(0.7, 4.0, 1.6, 2.4)
PEOPLE = [(0, 0.0, 10.0), (1, 2.0, 10.0), (3, 9.5, 10.0), (6, 4.0, 20.0)]


def integral(x: int, t_x: float, T: float, of: Any) -> float:
    """The likelihood of one customer times something, integrated over his rate and his probability of leaving.

    By Gauss' quadrature, whose weights are the two densities; the rate's is met with exp(-lambda t_x), which both ways
    to have done what he did share.
    """
    r, alpha, a, b = MODEL
    u, of_u = special.roots_genlaguerre(120, r - 1)
    v, of_v = special.roots_jacobi(80, b - 1, a - 1)  # of (1 - v) and (1 + v)
    lam, p = u[:, None] / (alpha + t_x), (1 + v[None, :]) / 2
    weight = of_u[:, None] * of_v[None, :] / (of_u.sum() * of_v.sum()) * (alpha / (alpha + t_x)) ** r
    alive = (1 - p) ** x * lam**x * np.exp(-lam * (T - t_x))
    gone = p * (1 - p) ** (x - 1) * lam**x if x else np.zeros_like(alive)
    return float((weight * of(p, lam, alive, gone)).sum())


@pytest.mark.parametrize("person", PEOPLE)
def test_likelihood_and_what_is_expected_are_the_integrals_that_define_them(person: tuple[int, float, float]):
    x, t_x, T = person
    one = (np.array([x]), np.array([t_x]), np.array([T]))
    t = 5.0
    likelihood = integral(x, t_x, T, lambda p, lam, alive, gone: alive + gone)
    assert bg_nbd_log_likelihood(MODEL, *one)[0] == pytest.approx(np.log(likelihood), abs=1e-6)
    there = integral(x, t_x, T, lambda p, lam, alive, gone: alive) / likelihood
    assert p_alive(MODEL, *one)[0] == pytest.approx(there, abs=1e-6)
    some = integral(x, t_x, T, lambda p, lam, alive, gone: alive * (1 - np.exp(-lam * t))) / likelihood
    assert p_order(MODEL, *one, t)[0] == pytest.approx(some, abs=1e-6)
    # Orders of somebody alive who leaves after each with probability p: (1 - exp(-lam p t)) / p on average.
    many = integral(x, t_x, T, lambda p, lam, alive, gone: alive * -np.expm1(-lam * p * t) / p) / likelihood
    assert expected_orders(MODEL, *one, t)[0] == pytest.approx(many, abs=1e-5)


def test_gamma_gamma_is_the_integral_that_defines_it():
    model, n, mean = GammaGamma(2.0, 3.5, 12.0), 3, 8.0
    scale = stats.gamma(model.q, scale=1 / model.gamma)

    def likelihood(of: Any) -> float:
        mean_of_n = lambda nu: stats.gamma(model.p * n, scale=1 / (nu * n)).pdf(mean)
        return float(integrate.quad(lambda nu: scale.pdf(nu) * mean_of_n(nu) * of(nu), 0, np.inf)[0])

    one = np.array([float(n)]), np.array([mean])
    whole = likelihood(lambda nu: 1.0)
    assert gamma_gamma_log_likelihood(model, *one)[0] == pytest.approx(np.log(whole), abs=1e-8)
    assert expected_order_value(model, *one)[0] == pytest.approx(likelihood(lambda nu: model.p / nu) / whole, rel=1e-6)


def test_customers_of_very_many_orders_and_very_long_ages_have_numbers():
    x, t_x, T = np.array([0, 800, 3000]), np.array([0.0, 3000.0, 3640.0]), np.array([0.5, 3650.0, 3650.0])
    for a in (0.3, 1.0, 4.0):
        model = BGNBD(0.2, 4.4, a, 2.4)
        for t in (0.01, 90.0, 3650.0):
            found = expected_orders(model, x, t_x, T, t)
            assert np.isfinite(found).all()
            assert (found >= 0).all()
            assert ((p_order(model, x, t_x, T, t) >= 0) & (p_order(model, x, t_x, T, t) <= 1)).all()


@pytest.mark.parametrize(
    ("a", "b"), [(29.9, 60.0), (30.1, 60.0), (40.0, 8.0), (60.0, 2000.0), (1100.7, 1951.0), (1e5, 1e5)]
)
def test_where_all_leave_alike_what_is_expected_is_still_the_integral_over_their_chances(a: float, b: float):
    model, T, t = BGNBD(0.1, 43.5, a, b), 100.0, 90.0
    for x in (0.0, 3.0):
        width = 12 * np.sqrt(a * (b + x)) / (a + b + x) ** 1.5
        middle = (a - 1) / (a + b + x - 2)
        p = np.linspace(max(middle - width, 1e-9), min(middle + width, 1 - 1e-9), 100_001)
        density = np.exp(stats.beta.logpdf(p, a, b + x) - stats.beta.logpdf(middle, a, b + x))
        orders = (1 - (1 + p * t / (model.alpha + T)) ** -(model.r + x)) / p
        person = np.array([x]), np.array([0.9 * T if x else 0.0]), np.array([T])
        true = (density @ orders) / density.sum() * p_alive(model, *person)[0]
        assert expected_orders(model, *person, t)[0] == pytest.approx(true, rel=1e-6)


def test_gauss_series_is_scipy_s_function_up_to_its_edge():
    c, z = np.array([0.3, 1.9, 8.0, 400.0]), np.array([0.0, 0.5, 0.9, 0.999])
    for a, b in ((-0.4, 0.2), (2.3, -0.6), (3.0, 1.5)):
        one, other = (grid.ravel() for grid in np.meshgrid(c, z))
        wanted = special.hyp2f1(a, b, one, other)
        np.testing.assert_allclose(gauss(a, b, one, other), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("unit", [1.0, 7.0, 1 / 365])
def test_what_was_simulated_is_found_again_in_any_unit_of_time(unit: float):
    true, rng, n = BGNBD(0.8, 6.0, 0.9, 2.5), np.random.default_rng(1), 4000
    rate, leave = rng.gamma(true.r, 1 / true.alpha, n), rng.beta(true.a, true.b, n)
    T = rng.uniform(20, 60, n)
    x, t_x = np.zeros(n), np.zeros(n)
    for i in range(n):
        at = rng.exponential(1 / rate[i])
        while at < T[i]:
            x[i], t_x[i] = x[i] + 1, at
            if rng.random() < leave[i]:
                break
            at += rng.exponential(1 / rate[i])
    found = fit_bg_nbd(x, t_x * unit, T * unit)
    assert found.alpha / unit == pytest.approx(true.alpha, rel=0.15)
    assert [found.r, found.a / (found.a + found.b)] == pytest.approx([true.r, true.a / (true.a + true.b)], rel=0.12)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return toy_shop(tmp_path_factory.mktemp("btyd"), n_users=300)


def test_one_model_says_who_leaves_who_buys_how_often_and_for_how_much(shop: Prepared):
    said = {}
    for task, told in {
        "churn": {},
        "propensity": {"truth": came_back},
        "orders": {"truth": as_it_is, "of": ORDERS, "answers": COUNTS},
        "spend": {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS},
    }.items():
        train, _, test = (build_cohort(shop, t, 60, 90, **told) for t in CUTOFFS)  # type: ignore[arg-type]
        model = BGNBDModel()
        model.bind(shop)
        model.fit(train, None, Fit(seed=1))
        said[task] = model.predict(test).value, test.label
    np.testing.assert_allclose(said["churn"][0], 1 - said["propensity"][0], atol=1e-6)
    for task in ("orders", "spend"):
        expected, label = said[task]
        assert label is not None
        assert normalised_gini(label, expected) > 0.3
        assert abs(total_bias(label, expected)) < 0.25
    orders, spend = said["orders"][0], said["spend"][0]
    assert 5 < np.median(spend / orders) < 20  # a line costs 1 to 20


def test_too_few_who_came_back_leave_everybody_blank(shop: Prepared):
    train, _, test = (build_cohort(shop, t, 60, 90) for t in CUTOFFS)
    model = BGNBDModel(min_customers=10_000)
    model.bind(shop)
    model.fit(train, None, Fit(seed=1))
    found = model.predict(test)
    assert np.isnan(found.value).all()
    assert found.blank_reason is not None
    assert found.blank_reason[0].startswith("too few customers with a repeat order")


@pytest.mark.real
def test_the_published_fits_of_the_cdnow_sample_are_found(raw: Path, tmp_path: Path):
    """Fader, Hardie and Lee 2005, table 2; Fader and Hardie 2013, of those with a repeat order; 39 + 39 weeks."""
    from shopkeeper.arrange.prepare import prepare_dataset

    conf = Path(__file__).parents[3] / "conf/dataset/cdnow_sample.yaml"
    config = yaml.safe_load(conf.read_text())
    prepared = Prepared.open(prepare_dataset(config, raw, tmp_path / "cdnow", progress=False))
    until = instant("1997-10-01", "")
    told: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS}
    cohort = build_cohort(prepared, until, 273, None, observed_until=instant("1998-07-01", ""), **told)
    f = {name: cohort.features[:, i] for i, name in enumerate(cohort.feature_names)}
    x, age = f["orders"] - 1, f["days_since_first_order"]
    T, t_x = (age - 1) / 7, (age - f["days_since_order"]) / 7  # to the last day itself, as the paper counts
    found = fit_bg_nbd(x, t_x, T)
    assert len(x) == 2357
    assert [round(value, 2) for value in found] == [0.24, 4.41, 0.79, 2.43]
    assert bg_nbd_log_likelihood(found, x, t_x, T).sum() == pytest.approx(-9582.43, abs=0.01)
    expected, came = expected_orders(found, x, t_x, T, 39.0), cohort.label
    assert came is not None
    figures = [float(of(came, expected)) for of in (mae, rmse, total_bias)]
    assert figures == pytest.approx([0.786, 1.608, -0.1215], abs=1e-3)

    # What each repeat order brought, the first one's left out.
    time, price = np.asarray(prepared.events.timestamp), np.asarray(prepared.events.price)
    units, user = np.asarray(prepared.events.quantity), prepared.event_user
    paid = np.where(time < until, price * units, 0.0)
    first = time // MICROSECONDS_PER_DAY == (time // MICROSECONDS_PER_DAY)[prepared.offsets[user - 1]]
    later = np.bincount(user, np.where(first, 0.0, paid), prepared.n_users + 1)[cohort.customer]
    some = (x > 0) & (later > 0)
    value = fit_gamma_gamma(x[some], later[some] / x[some])
    assert some.sum() == 946
    assert list(value) == pytest.approx([6.25, 3.74, 15.45], rel=0.01)
