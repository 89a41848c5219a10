"""The tables of figures in written guides, from `benchmarks/results/*.json`, which the named commands write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SHOPS = {"online_retail": "Online Retail II", "demo_shop": "demo shop"}
Row = Mapping[str, Any]
Rows = Mapping[tuple[str, str, str], Row]  # by system, dataset, figure


def shops() -> str:
    """Every model on two shops, best of the first shop first; trained once, and anew until the test cutoff."""
    once, anew = _rows("shops"), _rows("shops_refit")
    figure, first = "test ndcg@10", next(iter(SHOPS))
    models = sorted(_systems(once, first, figure), key=lambda model: -once[model, first, figure]["median"])
    header = [cell for title in SHOPS.values() for cell in (title, "anew")]
    lines = [f"| `model=` | {' | '.join(header)} |", f"|{'---|' * (len(header) + 1)}"]
    for model in models:
        cells = []
        for shop in SHOPS:
            one, other = once.get((model, shop, figure)), anew.get((model, shop, figure))
            cells += [_interval(one) if one else "", _share(other["median"]) if other else ""]
        lines.append(f"| `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def customers() -> str:
    """Churn and spend of Online Retail II, best by churn's log loss first."""
    wanted: Sequence[tuple[str, Callable[[float], str]]] = (
        ("churn: test log_loss", _share), ("churn: test auroc", _share),
        ("spend: test absolute_error", "{:,.0f}".format), ("spend: test normalised_gini", _share),
        ("spend: test bias", _percent),
    )  # fmt: skip
    return _table("customers", "online_retail", wanted, (
        "churn: log loss", "AUROC", "spend: mean error", "Gini", "bias"
    ))  # fmt: skip


def customers_of_a_table() -> str:
    """Churn of a plain table of customers."""
    wanted = (("churn: test log_loss", _share), ("churn: test auroc", _share), ("churn: test ece", _share))
    return _table("customers", "telco_churn", wanted, ("log loss", "AUROC", "calibration error"))


def customers_by_log() -> str:
    """Who leaves, of each log: the model that leads on validation beside others on test, log loss and calibration."""
    rows = _rows("customers")
    logs = dict.fromkeys(dataset for _, dataset, figure in rows if figure == "churn: validation log_loss")
    beside = ("lightgbm", "bg_nbd", "oracle_observable_churn")
    titles = ["`dataset=`", "leads on validation", "log loss", "AUROC", "calibration error",
              *("the exact oracle" if name.startswith("oracle") else f"`{name}`" for name in beside)]  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", f"|---|---|{'---:|' * (len(titles) - 2)}"]
    for log in sorted(logs):
        models = [name for name in _systems(rows, log, "churn: validation log_loss") if not name.startswith("oracle")]
        # As the benchmark chooses: by the first seed, of which its intervals are.
        best = min(models, key=lambda name: float(rows[name, log, "churn: validation log_loss"]["values"][0]))
        own = [_share(rows[best, log, f"churn: test {name}"]["median"]) for name in ("log_loss", "auroc", "ece")]
        found = [rows.get((name, log, "churn: test log_loss")) for name in beside]
        others = ["" if one is None else _share(one["median"]) for one in found]
        lines.append(f"| `{log}` | `{best}` | {' | '.join([*own, *others])} |")
    return "\n".join(lines)


def _table(file: str, dataset: str, wanted: Sequence[tuple[str, Callable[[float], str]]], titles: Iterable[str]) -> str:
    rows = _rows(file)
    first = wanted[0][0]
    lines = [f"| `model=` | {' | '.join(titles)} |", f"|---|{'---:|' * len(wanted)}"]
    models = dict.fromkeys(system for system, of, figure in rows if of == dataset and figure in dict(wanted))

    def place(model: str) -> float:
        found = rows.get((model, dataset, first))
        return float("inf") if found is None else float(found["median"])

    for model in sorted(models, key=place):
        cells = [show(found["median"]) if (found := rows.get((model, dataset, name))) else "" for name, show in wanted]
        lines.append(f"| `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(file: str) -> Rows:
    found = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))["rows"]
    return {(row["system"], row["dataset"], row["figure"]): row for row in found}


def _systems(rows: Rows, dataset: str, figure: str) -> list[str]:
    return [system for system, of, name in rows if (of, name) == (dataset, figure)]


def _share(value: float) -> str:
    """A figure between 0 and 1, with three digits and no zero before them.

    >>> _share(0.2996)
    '.300'
    """
    return f"{value:.3f}".removeprefix("0")


def _percent(value: float) -> str:
    return f"{value:+.0f} %".replace("-", "−")


def _interval(row: Row) -> str:
    return f"{_share(row['median'])} ({_share(row['low'])}–{_share(row['high'])})"
