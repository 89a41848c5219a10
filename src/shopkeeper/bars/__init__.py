"""Whether somebody watches: a terminal or a notebook, where a bar may move; and the bar that suits it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def over_bytes(text: str, total: int, show: bool) -> Iterator[Callable[[int], object]]:
    """A bar over bytes in a terminal or a notebook, nothing elsewhere; what it gives is told how many are behind."""
    moving = None
    if show:
        hidden = False if in_notebook() else None  # None: where stderr is no terminal
        with suppress(ImportError):
            moving = bar(total=total, desc=text, unit="B", unit_scale=True, disable=hidden, leave=False)
    try:
        yield (lambda n: None) if moving is None else moving.update
    finally:
        if moving is not None:
            moving.close()
