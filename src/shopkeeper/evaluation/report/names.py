"""What models, metrics and statements are called on the page."""

from __future__ import annotations

import re

from shopkeeper.evaluation.compare import metric_label
from shopkeeper.evaluation.report.figures import label_of_model

OWN_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "ece": "ECE",
    "coverage": "coverage",
    "ndcg_repeat": "repeat half of NDCG",
    "ndcg_explore": "explore half of NDCG",
    "basket_size": "basket size",
    "bought_before": "share taken before",
    "in_cart": "share in the cart",
    "ece_if_calibrated": "ECE of perfect probabilities",
    "base_rate": "base rate",
    "lift_quality": "lift quality",
    "emp": "expected maximum profit",
    "scored": "share with a score",
    "squared_error": "squared error",
    "in_interval": "share within 80 % intervals",
    "mean_total": "mean of what it was",
    "brier_miscalibration": "Brier: miscalibration",
    "brier_discrimination": "Brier: discrimination",
    "brier_uncertainty": "Brier: uncertainty",
}


def label_of(metric: str) -> str:
    """Metric as people write it; the customer metrics have names of their own."""
    base, at, cut = metric.partition("@")
    return f"{OWN_NAMES[base]}{at}{cut}" if base in OWN_NAMES else metric_label(metric)


def heading_of(metric: str) -> str:
    """The same at the beginning of a line."""
    return label_of(metric)[:1].upper() + label_of(metric)[1:]


def labelled(statement: str, names: list[str]) -> str:
    """A statement with the names of the models as people write them."""
    pattern = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    text = re.sub(rf"(?<![\w-])({pattern})(?![\w-])", lambda m: label_of_model(m[1]), statement)
    return re.sub(r"(?<=[( ])-(?=\d)", "\u2212", text)
