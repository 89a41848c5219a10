"""Do the intervals hold what they promise? Off-policy intervals, test readouts and sequential looks, simulated.

`python benchmarks/counterfactual.py` runs 2,000 experiments of each kind with fixed seeds (the tests run fewer) and
writes `benchmarks/results/counterfactual.json`.
"""

from __future__ import annotations

import numpy as np

from _results import at_least, at_most, row, write_result
from shopkeeper.evaluation.counterfactual import LoggedRounds, evaluate_policy
from shopkeeper.evaluation.online_test import read_out, sequential_margin

EXPERIMENTS = 2000
RATE = np.array([[0.1, 0.5, 0.3], [0.6, 0.2, 0.4], [0.3, 0.3, 0.7], [0.8, 0.1, 0.1]])  # visitors x items
OLD = np.array([[0.7, 0.1, 0.2], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2], [0.1, 0.45, 0.45]])
NEW = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
TRUTH = float((NEW * RATE).sum(axis=1).mean())
ESTIMATORS = ("ips", "clipped_ips", "snips", "dr", "switch_dr", "dr_os")


def policy_coverage(n: int = 400) -> dict[str, float]:
    """Share of 95 % intervals that hold the true value; the reward model is wrong by a fifth."""
    held = dict.fromkeys(ESTIMATORS, 0)
    for seed in range(EXPERIMENTS):
        rng = np.random.default_rng(seed)
        visitor = rng.integers(0, 4, n)
        action = (rng.random(n)[:, None] > OLD[visitor].cumsum(axis=1)).sum(axis=1)
        reward = (rng.random(n) < RATE[visitor, action]).astype(float)
        log = LoggedRounds(reward, action, OLD[visitor, action], NEW[visitor])
        rows = evaluate_policy(log, RATE[visitor] * 0.8, resamples=500, seed=seed).estimates
        for name in ESTIMATORS:
            held[name] += rows[name]["low"] <= TRUTH <= rows[name]["high"]
    return {name: count / EXPERIMENTS for name, count in held.items()}


def readout_coverage(n: int = 400) -> dict[str, float]:
    """Share of 95 % intervals of a test's readout that hold the true effect of 0.3."""
    held = {"difference": 0, "cuped": 0}
    for seed in range(EXPERIMENTS):
        rng = np.random.default_rng(seed)
        treated = rng.random(n) < 0.5
        before = rng.gamma(2.0, 1.0, n)
        found = read_out(before + rng.normal(size=n) + 0.3 * treated, treated, before)
        for name in held:
            held[name] += found[name]["low"] <= 0.3 <= found[name]["high"]
    return {name: count / EXPERIMENTS for name, count in held.items()}


def false_alarms(customers: int = 5000, first: int = 100) -> tuple[float, float]:
    """Share of tests without effect that some look calls significant: fixed interval, sequential interval."""
    margin = np.array([sequential_margin(1.0, n, 1000) for n in range(1, customers + 1)])
    fixed = sequential = 0
    for seed in range(EXPERIMENTS):
        rng = np.random.default_rng(seed)
        treated = rng.random(customers) < 0.5
        value = (rng.random(customers) < 0.3).astype(float)
        n1, n0 = treated.cumsum(), (~treated).cumsum()
        with np.errstate(invalid="ignore", divide="ignore"):
            m1, m0 = (value * treated).cumsum() / n1, (value * ~treated).cumsum() / n0
            error = np.sqrt(m1 * (1 - m1) / (n1 - 1) + m0 * (1 - m0) / (n0 - 1))
        size = np.abs(m1 - m0)[first:]
        fixed += (size > 1.96 * error[first:]).any()
        sequential += (size > margin[first:] * error[first:]).any()
    return fixed / EXPERIMENTS, sequential / EXPERIMENTS


def main() -> None:
    policy, readout = policy_coverage(), readout_coverage()
    fixed, sequential = false_alarms()
    figure = f"coverage of 95 % intervals over {EXPERIMENTS} experiments"
    rows = [row(name, "simulated bandit, 400 rounds", figure, "share", [v]) for name, v in policy.items()]
    rows += [row(name, "simulated test, 400 customers", figure, "share", [v]) for name, v in readout.items()]
    looks = f"false alarms over {EXPERIMENTS} tests, a look after each of 5,000 customers"
    rows += [row("fixed interval", "simulated test", looks, "share", [fixed])]
    rows += [row("sequential interval", "simulated test", looks, "share", [sequential])]
    every = [*policy.values(), *readout.values()]
    what = "off-policy and readout 95 % intervals, {} coverage of {} kinds"
    claims = [
        at_least("evaluation", what.format("lowest", len(every)), min(every), 0.93),
        at_most("evaluation", what.format("highest", len(every)), max(every), 0.97),
        at_most("evaluation", "sequential interval, false alarms when looking at every customer", sequential, 0.05),
    ]
    write_result("counterfactual", rows, claims)


if __name__ == "__main__":
    main()
