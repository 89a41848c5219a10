"""Whether somebody watches: a terminal or a notebook, where a bar may move; and the bar that suits it."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def in_notebook() -> bool:
    """Whether this is a cell of a notebook (IPython's kernel); nothing is imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def watched() -> bool:
    """Whether a bar that moves is seen as one: in a log file, a line per step reads better."""
    return sys.stderr.isatty() or in_notebook()


def bar(**options: Any) -> Any:
    """A `tqdm` bar for where it is shown: a widget in a notebook that has them, else text on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets: text will do
        from tqdm.auto import tqdm
    return tqdm(**options)
