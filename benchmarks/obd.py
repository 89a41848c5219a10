"""Open Bandit Dataset: each policy's click rate estimated from the other policy's log, held against its own log.

`SHOPKEEPER_RAW=… python benchmarks/obd.py` reads `obd/` there and writes `benchmarks/results/obd.json`.
"""

from __future__ import annotations

import os
from pathlib import Path

from _results import ROOT, at_least, not_had, row, write_result
from shopkeeper.evaluation.counterfactual import evaluate_obd
from shopkeeper.evaluation.counterfactual.obd import CAMPAIGNS

WHAT = "obd {}: estimators (of 7) whose uniform-policy value from the Thompson-sampling log agrees with the uniform log"


def main() -> None:
    folder = Path(os.environ.get("SHOPKEEPER_RAW", ROOT / "data" / "raw")) / "obd"
    if not folder.is_dir():
        write_result("obd", [], [not_had("evaluation", WHAT.format(c), 7, f"no {folder.name}/") for c in CAMPAIGNS])
        return
    table = evaluate_obd(folder).to_pylist()
    rows = []
    for r in table:
        exact = "exact" if r["kind"] == "exact" else "stationary approximation"
        what = f"{r['target']} policy from the {r['logged']} log ({exact})"
        data = f"obd {r['campaign']}"
        for part in ("value", "low", "high"):
            rows.append(row(r["estimator"], data, f"{what}, {part}", "clicks per shown item", [r[part]]))
        for part in ("difference", "difference_low", "difference_high"):
            rows.append(row(r["estimator"], data, f"{what}, {part} to its own log", "clicks per shown item", [r[part]]))
        print(
            f"{data:<10} {what:<58} {r['estimator']:<12} {r['value']:.5f} ({r['low']:.5f} to {r['high']:.5f}), "
            f"own {r['own_value']:.5f} ({r['own_low']:.5f} to {r['own_high']:.5f}) {'' if r['agrees'] else 'DISAGREES'}"
        )
    for r in (r for r in table if r["estimator"] == "ips"):
        what = f"{r['target']} policy from the {r['logged']} log"
        data = f"obd {r['campaign']}"
        for part in ("own_value", "own_low", "own_high"):
            rows.append(row("own log", data, f"{r['target']} policy, {part}", "clicks per shown item", [r[part]]))
        rows.append(row("weights", data, f"{what}, effective sample size", "rounds", [r["effective_sample_size"]]))
        for part in ("overlap", "mean_weight", "max_weight"):
            rows.append(row("weights", data, f"{what}, {part}", "1", [r[part]]))
        for warning in r["warnings"]:
            print(f"{data}, {what}: {warning}")
    claims = [
        at_least(
            "evaluation",
            WHAT.format(c),
            sum(r["agrees"] for r in table if r["kind"] == "exact" and r["campaign"] == c),
            7,
        )
        for c in CAMPAIGNS
    ]
    write_result("obd", rows, claims)


if __name__ == "__main__":
    main()
