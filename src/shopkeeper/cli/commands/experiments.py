"""Commands about online tests planned and read, and policies from logged exposures."""

from __future__ import annotations

import argparse
from pathlib import Path

from shopkeeper.cli.commands.adding import Add, share


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    one = command("counterfactual", _counterfactual, "what another policy would have earned, from logged exposures")
    one.add_argument("log", type=Path, help="Parquet or CSV: reward, action, propensity, target and more; see the file")
    one.add_argument("--uniform", action="store_true", help="the other policy shows all actions alike")
    one.add_argument("--resamples", type=int, default=2000)
    one = command("plan-test", _plan_test, "customers and days that an online test needs, from a run's variance")
    one.add_argument("run_folder", type=Path, metavar="RUN")
    one.add_argument("--effect", type=float, required=True, help="smallest difference to see, in units of the metric")
    one.add_argument("--per-day", type=float, required=True, help="new customers in the test per day, both arms")
    one.add_argument("--metric", help="default: the task's headline metric")
    one.add_argument("--correlation", type=float, default=0.0, help="with the CUPED covariate")
    one.add_argument("--share", type=share, default=0.5, help="of customers in treatment")
    one.add_argument("--power", type=share, default=0.8)
    one.add_argument("--level", type=share, default=0.05)
    one = command("read-test", _read_test, "read an online test out: sample ratio, CUPED, sequential interval")
    one.add_argument("file", type=Path, help="Parquet or CSV: value, treated, user_id, covariate or not")
    one.add_argument(
        "--rows", default="mean", choices=["mean", "sum"], help="of the values of a customer with several rows"
    )
    one.add_argument("--planned", type=int, help="customers of both arms in the plan; fixed before the test")
    one.add_argument("--share", type=share, default=0.5, help="of customers in treatment, as planned")
    one.add_argument("--level", type=share, default=0.05)


def _counterfactual(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_counterfactual

    print_counterfactual(arguments.log, arguments.uniform, arguments.resamples)


def _plan_test(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_plan

    options = {k: getattr(arguments, k) for k in ("correlation", "power", "level")}
    print_plan(
        arguments.run_folder, arguments.metric, arguments.effect, arguments.per_day,
        treatment_share=arguments.share, **options,
    )  # fmt: skip


def _read_test(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_readout

    print_readout(arguments.file, arguments.planned, arguments.share, arguments.level, arguments.rows)
