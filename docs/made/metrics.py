"""The page of metrics: formula, source and a worked example of each, from the docstrings of `metrics/`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from made.markdown import docstring

FILES = {
    "ranking": "Lists", "commerce": "Lists in a shop", "beyond_accuracy": "Beyond accuracy",
    "classification": "Probabilities", "classification_gains": "Gains of those at the top",
    "classification_reliability": "Whether probabilities can be believed", "value": "Counts and amounts",
    "waiting": "When the next order comes", "uplift": "Whom a campaign moves",
}  # fmt: skip
"""File of `metrics/` -> heading."""


def page() -> str:
    """The page in Markdown."""
    lines = ["# Metrics", "", "Made from the docstrings of `shopkeeper.metrics`, whose examples are run as doctests.",
             "Each metric of a list is one value per request; averages, intervals and tests are made",
             "[in one place](../method/intervals.md). The same names mean other things",
             "[in other libraries](../method/metrics-elsewhere.md).", ""]  # fmt: skip
    for file, title in FILES.items():
        module: Any = importlib.import_module(f"shopkeeper.metrics.{file}")
        lines += [f"## {title}", "", docstring(inspect.getdoc(module) or ""), ""]
        for name, function in described(module).items():
            lines += [f"### {name}", "", docstring(inspect.getdoc(function) or ""), ""]
    return "\n".join(lines) + "\n"


def described(module: Any) -> dict[str, Callable[..., Any]]:
    """The functions of a file whose docstring has an example: metrics, in the file's order."""
    return {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and ">>>" in (function.__doc__ or "")
    }
