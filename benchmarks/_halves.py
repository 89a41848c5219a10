"""What models say of orders in a log's second half: trees and blends are asked of customers they were not fitted on.

The log of CDNOW ends when everybody's second half does, so that what is fitted on orders to come has no earlier window:
its answers are cross-fitted over customers, and not out of time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from _results import ROOT

END, FOLDS = "1998-07-01", 10
OUT_OF_TIME = ("bg_nbd", "pareto_nbd")  # fitted on the orders before the cutoff alone


def said_of_halves(
    prepared: Any, cutoff: str, horizon: int
) -> tuple[Any, dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """The cohort, what each model says, and the Kolmogorov-Smirnov distance of its counts, plain and conformal."""
    from scipy.stats import poisson

    from shopkeeper.customers.build_cohort import as_it_is, build_cohort
    from shopkeeper.customers.correction.conformal import fit_conformal
    from shopkeeper.customers.folds import folds_by_customer, rows_of
    from shopkeeper.customers.processes import btyd, pareto
    from shopkeeper.customers.state import labels_of
    from shopkeeper.customers.weighing import weigh
    from shopkeeper.customers.window import ORDERS
    from shopkeeper.metrics.value import ks_distance, pit_counts
    from shopkeeper.models.about import COUNTS
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make
    from shopkeeper.programs.scoring import mixed
    from shopkeeper.timeline.instants import instant

    told: dict[str, Any] = {"truth": as_it_is, "of": ORDERS, "answers": COUNTS, "observed_until": instant(END, "end")}
    cohort = build_cohort(prepared, instant(cutoff, "cutoff"), horizon, None, **told)
    f = {name: cohort.features[:, place] for place, name in enumerate(cohort.feature_names)}
    x, age = f["orders"] - 1, f["days_since_first_order"]
    T, t_x = (age - 1) / 7, (age - f["days_since_order"]) / 7  # to the last day itself, as the papers count
    said = {
        "bg_nbd": btyd.expected_orders(btyd.fit_bg_nbd(x, t_x, T), x, t_x, T, horizon / 7),
        "pareto_nbd": pareto.expected_orders(pareto.fit_pareto_nbd(x, t_x, T), x, t_x, T, horizon / 7),
    }
    for name in ("base_rate", "lightgbm"):
        settings = yaml.safe_load((ROOT / "conf/model" / f"{name}.yaml").read_text(encoding="utf-8"))
        said[name] = np.empty(len(cohort))
        for some, others in folds_by_customer(cohort.customer, 1, FOLDS):
            model = make(settings)
            model.fit(rows_of(cohort, some), None, Fit(seed=1))
            said[name][others] = model.predict(rows_of(cohort, others)).value
    members = np.stack([said[name] for name in ("lightgbm", *OUT_OF_TIME)], axis=1)
    label, said["blend"] = labels_of(cohort), np.empty(len(cohort))
    spread: dict[str, dict[str, float]] = {name: {} for name in said}
    for some, others in folds_by_customer(cohort.customer, 2, FOLDS):
        weight, offset = weigh(members[some], label[some], COUNTS)
        said["blend"][others] = mixed(members[others], weight, False, offset)
    count = np.arange(int(label.max()) + 2)
    for name, mean in said.items():
        conformal = np.empty((len(mean), len(count)))
        for some, others in folds_by_customer(cohort.customer, 3, FOLDS):
            conformal[others] = fit_conformal(mean[some], label[some], whole=True).cdf(mean[others], len(count))
        plain = poisson.cdf(count[None, :], np.maximum(mean, 1e-9)[:, None])
        for how, cdf in (("Poisson", plain), ("conformal", conformal)):
            spread[name][how] = float(ks_distance(pit_counts(label, cdf)))
    return cohort, said, spread
