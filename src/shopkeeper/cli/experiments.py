"""`python -m shopkeeper counterfactual | plan-test | read-test`: what was logged, what to test, what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.configuration import usual_runs
from shopkeeper.errors import UserError, nearest

CUSTOMER = ("user_id", "user", "customer_id", "customer")  # columns that say whose a row is, first come first


def print_counterfactual(log: Path, uniform: bool, resamples: int) -> None:
    """What another policy would have earned, by every estimator that the log allows, with what speaks against it.

    `log` (Parquet or CSV) has a row per shown item: `reward`, `action` (0 to A-1), `propensity`; a list column `target`
    with the other policy's probabilities (`uniform`: all actions alike), and, where known, `user` (resampled together),
    `position` (support is checked within each) and a list column `predicted` (a reward model's guess per action).
    """
    from shopkeeper.evaluation.counterfactual import LoggedRounds, evaluate_policy
    from shopkeeper.pipeline import show

    table = _read(log)
    reward, action = _column(table, "reward", log), _column(table, "action", log).astype(np.int64)
    if uniform:
        n_actions = int(action.max(initial=0)) + 1
        target = np.full((len(action), n_actions), 1 / n_actions)
    else:
        target = _matrix(table, "target", log, "; give --uniform for a policy that shows all actions alike")
    found = evaluate_policy(
        LoggedRounds(
            reward=reward.astype(np.float64),
            action=action,
            propensity=_column(table, "propensity", log) if "propensity" in table.column_names else None,
            target=target,
            cluster=_codes(table, "user"),
            stratum=_codes(table, "position"),
        ),
        _matrix(table, "predicted", log) if "predicted" in table.column_names else None,
        resamples=resamples,
    )
    rows = [
        [name, show.with_interval(e), "" if e["parameter"] is None else f"{e['parameter']:g}", str(e["interval_of"])]
        for name, e in found.estimates.items()
    ]
    print(show.table(["estimator", f"reward per row of {len(reward):,} (95 %)", "parameter", "interval of"], rows))
    print()
    print("\n".join(f"{name.replace('_', ' ')}: {value:.4g}" for name, value in found.diagnostics.items()))
    for warning in found.warnings:
        print(f"warning: {warning}")


def print_plan(run: Path, metric: str | None, effect: float, per_day: float, **options: Any) -> None:
    """How many customers and days an online test needs, from the variance that a run's per-request table shows.

    `options` as of `plan_test`: correlation (with the CUPED covariate), treatment_share, level, power.
    """
    from shopkeeper.evaluation.online_test import customer_variance, plan_test
    from shopkeeper.evaluation.table import users_of, values_of
    from shopkeeper.pipeline import places
    from shopkeeper.pipeline.runs import open_run

    opened = open_run(places.find(run, usual_runs()))
    table = opened.table("test")
    metric = metric or str(opened.config["task"]["headline"])
    value, user = values_of(table, metric), users_of(table)
    some = ~np.isnan(value)
    if not some.any():
        raise UserError(f"{metric} is not defined for any request of {run}; choose another one with --metric")
    mean, variance, n = customer_variance(value[some], user[some])
    plan = plan_test(variance, effect, per_day, **options)
    print(f"{metric}: mean {mean:.4f}, standard deviation between customers {variance**0.5:.4f} ({n:,} customers)")
    print(
        f"to see a difference of {effect:g} with power {plan.power:g} at level {plan.level:g}: "
        f"{plan.control:,} customers in control, {plan.treatment:,} in treatment, {plan.days:,.1f} days; "
        f"CUPED leaves {plan.variance_left:.0%} of the variance"
    )
    print("an offline metric only stands in for what the test will measure: plan with the test's own where you have it")


def print_readout(file: Path, planned: int | None, share: float, level: float, rows: str = "mean") -> None:
    """Read a test out: `file` (Parquet or CSV) has `value`, `treated` (0 or 1), `covariate` or not, and whose a row is.

    A customer counts once, with the mean (or `rows="sum"`) of its values; without a column of `CUSTOMER` a row is one.

    A sample ratio that does not fit the plan comes first and is an error: nothing may be read from such a test.
    """
    from shopkeeper.evaluation.online_test import ENOUGH, p_in_words, read_out

    table = _read(file)
    covariate = _column(table, "covariate", file) if "covariate" in table.column_names else None
    value, treated = (_column(table, name, file) for name in ("value", "treated"))
    customer = _customers(table, file)
    found = read_out(
        value, treated, covariate, customer=customer, total=rows == "sum", planned_n=planned, treatment_share=share,
        level=level,
    )  # fmt: skip
    n = found["difference"]["n"]
    if customer is None:
        print(f"no column {' or '.join(CUSTOMER)}: each of the {n:,} rows is taken for a customer of its own")
    elif n < len(value):
        print(f"{len(value):,} rows of {n:,} customers: each customer counts once, with the {rows} of its values")
    ratio = found["sample_ratio"]
    odds = p_in_words(ratio["p"])
    print(f"customers: {ratio['control']:,} in control, {ratio['treatment']:,} in treatment (p {odds})")
    if not ratio["ok"]:
        raise UserError(found["words"])
    for name in ("difference", "cuped"):
        if name in found:
            row = found[name]
            text = f"{name}: {row['value']:+.4g}; looked at once {row['low']:+.4g} to {row['high']:+.4g}"
            if 2 * min(ratio["control"], ratio["treatment"]) >= ENOUGH:
                text += f"; at every look {row['sequential_low']:+.4g} to {row['sequential_high']:+.4g}"
            else:
                text += "; at every look: not yet"
            print(text)
    if covariate is not None:
        print(f"CUPED left {found['variance_left']:.0%} of the variance")
    print(found["words"])


def _customers(table: pa.Table, path: Path) -> np.ndarray | None:
    """Whose each row is, None where no column says so."""
    from shopkeeper.ids.columns import normal_ids

    name = next((n for n in CUSTOMER if n in table.column_names), None)
    if name is None:
        return None
    ids = normal_ids(table[name].combine_chunks())
    blank = sum(not text for text in ids.to_pylist())
    if blank:
        raise UserError(f"column '{name}' of {path} is empty in {blank:,} rows; say whose they are or drop them")
    return np.asarray(ids.to_pylist(), object).astype(str)


def _read(path: Path) -> pa.Table:
    from shopkeeper.campaigns.sheets import read_sheet

    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a CSV or Parquet file")
    return read_sheet(path, CUSTOMER)


def _column(table: pa.Table, name: str, path: Path, way_out: str = "") -> np.ndarray:
    if name not in table.column_names:
        raise UserError(f"{path} lacks the column '{name}'{way_out}.{nearest(name, table.column_names)}")
    kind = table[name].type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"column '{name}' of {path} holds {kind}; give numbers")
    if name == "action" and (pa.types.is_floating(kind) or table[name].null_count):
        raise UserError(f"column 'action' of {path} must hold whole numbers from 0, one per row")
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)


def _matrix(table: pa.Table, name: str, path: Path, way_out: str = "") -> np.ndarray:
    """A list column with lists of one length, as float64 (n, A)."""
    if name not in table.column_names:
        raise UserError(f"{path} lacks the column '{name}'{way_out}")
    rows = table[name].to_pylist()
    if not rows or not isinstance(rows[0], list) or len({len(row or []) for row in rows}) != 1:
        raise UserError(f"column '{name}' of {path} must hold a list per row, all of one length (use Parquet)")
    return np.array(rows, np.float64)


def _codes(table: pa.Table, name: str) -> np.ndarray | None:
    if name not in table.column_names:
        return None
    return np.unique(np.asarray(table[name].to_pylist()).astype(str), return_inverse=True)[1]
