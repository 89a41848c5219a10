"""What a short command does not wait for, where libraries would do it by themselves and this project has no use for it.

Each of these may be left out: nothing changes but the time that a command takes.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_for_good = False  # `stays_for_good` was called; others may freeze, too: a server that is about to fork, or our tests


@contextmanager
def without_collecting() -> Iterator[None]:
    """Within, Python does not look for cycles of objects that nobody holds.

    What an import or a configuration makes stays; looking through it while it grows takes a third of `import mlflow`.
    In a process that `stays_for_good` was called in it is not looked through later either.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if _for_good:
            gc.freeze()
        if was:
            gc.enable()


def stays_for_good() -> None:
    """Let Python never look again for cycles among the objects that are there now: they are those of imports.

    For the process of one command alone: in a session that somebody works in, what they have let go would stay, too.
    """
    global _for_good
    _for_good = True
    gc.freeze()


def ready_arrow() -> None:
    """`arrow_without_pandas` and `arrow_from_jemalloc`; nothing where PyArrow is not installed: bundles need none."""
    with suppress(ModuleNotFoundError):
        arrow_without_pandas()
        arrow_from_jemalloc()


def arrow_without_pandas() -> None:
    """Let PyArrow look for pandas when somebody asks for a data frame, not when the first array is made.

    It looks once, to see whether what it is given is a series; where that look finds nothing, `to_pandas` and
    `from_pandas` look again by themselves.
    """
    import pyarrow as pa

    with without("pandas"):
        pa.scalar(0)


def arrow_from_jemalloc() -> None:
    """Let Arrow take its memory from jemalloc where it was built with it.

    With its own default, mimalloc, reading nested Parquet takes twice the processor time (`benchmarks/explode.py`), and
    preparation of a hundred million rows holds a sixth more; with the C library's it holds twice as much.
    What `ARROW_DEFAULT_MEMORY_POOL` says goes first.
    """
    import pyarrow as pa

    if not os.environ.get("ARROW_DEFAULT_MEMORY_POOL") and "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Within, packages that are not imported yet are found by nobody; afterwards everything is as it was."""
    hidden = frozenset(packages)

    class Finder:
        """Asked before the others."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            """Refuse the packages; leave the rest to the other finders."""
            if name in hidden:
                raise ModuleNotFoundError(f"No module named '{name}' here", name=name)

    sys.meta_path.insert(0, Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(Finder)


def compose_once() -> None:
    """Let Hydra compose a command's configuration once; it does so twice, the first time to read `hydra.mode` alone.

    A configuration that cannot be composed for a single run (a sweep's) is composed anew, as Hydra would.
    """
    from hydra.types import RunMode

    loader = importlib.import_module("hydra._internal.config_loader_impl").ConfigLoaderImpl
    load = loader.load_configuration
    kept: list[tuple[str | None, list[str], Any]] = []

    def once(self: Any, config_name: str | None, overrides: list[str], run_mode: Any, *rest: Any, **named: Any) -> Any:
        if named.get("validate_sweep_overrides") is False:
            named["validate_sweep_overrides"] = True
            config = load(self, config_name, overrides, RunMode.RUN, *rest, **named)
            kept[:] = [(config_name, list(overrides), config)]
            return config
        name, words, config = kept.pop() if kept else (None, [], None)
        asked = [word for word in overrides if word != "hydra.mode=RUN"]  # Hydra adds it where nobody has said a mode
        if config is not None and run_mode == RunMode.RUN and (name, words) == (config_name, asked):
            return config
        return load(self, config_name, overrides, run_mode, *rest, **named)

    loader.load_configuration = once
