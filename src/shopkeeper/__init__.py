"""shopkeeper: what each regular will want next, who is drifting away, what they are worth.

Importing the package is cheap: no torch, no Polars, no MLflow until a verb needs them. The names of `shopkeeper.api`
are here, too (`__init__.pyi` lists them), and are imported when they are first used.
"""

import os

# OpenMP's threads otherwise spin while they wait: beside any other busy process that costs ten times the work itself.
# It is read once, when the first library brings OpenMP in, hence here; a value of your own stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps the kernels it has made for 1,024 shapes; a training on sequences of many lengths has a few more.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

__version__ = "0.1.0"

# Of `shopkeeper.api`. A list of names and no import: what a stage depends on is read from imports (`closure.py`).
__all__ = [
    "Comparison", "Dataset", "Estimator", "Histories", "Model", "Promotion", "Report", "Search", "Uplift", "UserError",
    "Written", "audience", "choices", "compare", "dataset", "evaluate", "fit", "load", "promote", "score", "segments",
    "tune", "uplift", "upload",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in __all__:
        import importlib  # here: a stage that has nothing to do is over before anything is imported

        return vars(importlib.import_module("shopkeeper.api"))[name]
    raise AttributeError(f"module 'shopkeeper' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
