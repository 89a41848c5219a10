"""How often a message is called a gain or a loss that did nothing, where few are in control; and what intervals hold.

    python benchmarks/control_groups.py --note "…"

Money of customers in 30 days, a tenth or half of them in control, as `read-audience` reads it: with what each paid in
the 30 days before (CUPED), level 5 %. `fifth`: a fifth buys, log-normal amounts; `few`: a twentieth; `retail`:
customers of Online Retail drawn with replacement, as of two days. `nothing`: the message does nothing; of 100 draws 2.5
may be a gain, and 2.5 a loss. `a third more`: everybody who is written to pays 30 % more; an interval whose lower end
lies above that, or whose upper end below, does not hold it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from _results import ROOT, at_most, row, write_result
from shopkeeper.campaigns.audience.readout import outcomes
from shopkeeper.data.prepared import Prepared
from shopkeeper.evaluation.online_test import read_out
from shopkeeper.timeline import instant

CONTROL, SHARES, DRAWS, MORE = (10, 20, 50), (0.1, 0.5), 400, 0.3
BUY = {"fifth": (0.2, 1.0), "few": (0.05, 1.2)}  # share that buys in a month, spread of the logarithm
Money = tuple[np.ndarray, np.ndarray]  # in the window and before, float64 (n,)


def drawn(rng: np.random.Generator, kind: str, n: int, retail: Money) -> Money:
    """Customers of a kind."""
    if kind == "retail":
        some = rng.integers(0, len(retail[0]), n)
        return retail[0][some], retail[1][some]
    share, spread = BUY[kind]
    buys = np.minimum(share * rng.gamma(1, 1, n), 1)
    now, before = ((rng.random(n) < buys) * rng.lognormal(3, spread, n) for _ in range(2))
    return now, before


def of_retail(folder: Path) -> Money:
    """What customers of Online Retail paid in 30 days, and in those before."""
    words = ["dataset=online_retail", f"paths.prepared={folder}", "progress=false"]
    subprocess.run([sys.executable, str(ROOT / "prepare.py"), *words], cwd=ROOT, check=True, capture_output=True)
    prepared, found = Prepared.open(folder / "online_retail"), []
    time = prepared.events.timestamp
    assert time is not None
    for day in ("2010-06-01", "2010-09-01"):
        at = instant(day, "day")
        customer = np.flatnonzero(time[prepared.offsets[:-1]] < at) + 1
        found.append(outcomes(prepared, customer, at, 30.0)["money"])
    return np.concatenate([o.value for o in found]), np.concatenate([o.before for o in found])


def errors(kind: str, control: int, share: float, more: float, draws: int, retail: Money) -> tuple[float, float]:
    """The shares of draws whose interval lies above the truth, and below it."""
    n = round(control / share)
    truth = more * float(drawn(np.random.default_rng(9), kind, 2_000_000, retail)[0].mean()) if more else 0.0
    rng, above, below = np.random.default_rng([control, int(10 * share)]), 0, 0
    for _ in range(draws):
        paid, before = drawn(rng, kind, n, retail)
        treated = rng.permutation(n) >= control
        found = read_out(np.where(treated, paid * (1 + more), paid), treated, before, treatment_share=1 - share)[
            "cuped"
        ]
        above += found["low"] > truth
        below += found["high"] < truth
    return above / draws, below / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench" / "control_groups", help="prepared shop")
    parser.add_argument("--draws", type=int, default=DRAWS, help="another number writes no result")
    parser.add_argument("--note", help="what a reader of the result must know")
    a = parser.parse_args()
    retail = of_retail(a.folder)
    rows, claims = [], []
    chance = 0.025 + 3 * (0.025 * 0.975 / a.draws) ** 0.5  # three standard errors of a count of so many draws
    for control in CONTROL:
        worst = {"gain": 0.0, "loss": 0.0, "above": 0.0, "below": 0.0}
        for kind in (*BUY, "retail"):
            for share in SHARES:
                said = [f"{kind}, {share:.0%} in control", f"{control} in control"]
                for more, names in ((0.0, ("gain", "loss")), (MORE, ("above", "below"))):
                    found = errors(kind, control, share, more, a.draws, retail)
                    print(*said, dict(zip(names, found, strict=True)), flush=True)
                    for name, value in zip(names, found, strict=True):
                        rows.append(row("shopkeeper", said[0], f"{said[1]}: {name}", "share of draws", [value]))
                        worst[name] = max(worst[name], value)
        for name in ("gain", "loss"):
            what = f"{control} customers in control, nothing done: called a {name}, the worst of six shops"
            claims.append(at_most("Campaigns", f"{what}, {a.draws:,} draws each", worst[name], chance))
        what = f"{control} customers in control, 30 % more: the interval lies above that, the worst of six shops"
        claims.append(at_most("Campaigns", what, worst["above"], chance))
        what = f"{control} customers in control, 30 % more: the interval lies below that, the worst of six shops"
        claims.append(at_most("Campaigns", what, worst["below"], 0.05, "aim"))
    if a.draws == DRAWS:
        write_result("control_groups", rows, claims, note=a.note)


if __name__ == "__main__":
    main()
