"""The verbs: which function a word runs, from which configuration. `python train.py …` is `shopkeeper train …`."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shopkeeper import configuration, startup
from shopkeeper.errors import without_secrets
from shopkeeper.files import write_json, write_text
from shopkeeper.folders import KINDS
from shopkeeper.pipeline.shell.entry import one_line_errors, until_reader_leaves
from shopkeeper.pipeline.shell.other_ways import check_dashes
from shopkeeper.pipeline.shell.terminal import columns
from shopkeeper.pipeline.shell.typed_ids import keep_ids
from shopkeeper.pipeline.stages.unedited import check_chosen

# verb -> what it does; the verb is also the name of its file in `conf/`, and of the function in `pipeline/<verb>.py`
VERBS = {
    "prepare": "raw events -> one validated log, its splits and their audit",
    "train": "train one model, evaluate it on validation and test, leave a run folder",
    "tune": "search a model's settings on validation",
    "evaluate": "compare finished runs and write the report",
    "export": "turn a finished run into a bundle that a serving team can run",
    "recommend": "answer for one person from a finished run",
    "score": "say of every customer what a finished run expects, as of today",
    "audience": "say whom to write to, with what, and who is left alone to see the effect",
    "uplift": "learn from a randomised campaign whom it moves",
    "segments": "say of every customer in which segments they are, and how many moved",
}


SWEEP = KINDS["sweep"].mark  # the file that says whose a folder of a sweep is
FREE = "model.parameters."  # settings of another package's models, which are checked against its own files


@until_reader_leaves()
def run_verb(verb: str, words: Sequence[str] | None = None) -> None:
    """Compose the verb's configuration with Hydra from the words of a command line, and hand it to the pipeline."""
    words = list(sys.argv[1:] if words is None else words)
    if {"--help", "-h"} & set(words):
        from shopkeeper.pipeline.shell import help as told

        print(told.text(verb, VERBS[verb], words))
        return
    added = configuration.added_folder()
    if added is not None and not {"--config-dir", "-cd"} & {w.partition("=")[0] for w in words}:
        words += ["--config-dir", str(added)]
    with one_line_errors():
        check_dashes(verb, words)
        sys.argv = [f"{verb}.py", *keep_ids(_added(words))]  # Hydra reads them there
    left: list[tuple[list[str], Any]] = []  # by each job of a sweep, with the words that it was called with
    sweep: list[Path] = []  # where Hydra notes what is swept

    def run(config: Any) -> None:
        with one_line_errors():
            check_chosen()
            sweep[:] = _mark_sweep()
            with startup.without_collecting():
                function = getattr(importlib.import_module(f"shopkeeper.pipeline.{verb}"), verb)
            done = function(config)
            left.append((_called_with(), done))

    with one_line_errors(), _nothing_left(words, left, sweep):  # for what Hydra finds wrong before it calls `run`
        import hydra

        startup.stays_for_good()
        startup.ready_arrow()
        startup.compose_once()
        folder = str(configuration.main_folder().resolve())
        try:
            hydra.main(version_base="1.3", config_path=folder, config_name=verb)(run)()
        finally:
            if verb == "train" and sweep and left:
                _print_sweep(left)


def _print_sweep(left: Sequence[tuple[list[str], Any]]) -> None:
    from shopkeeper.pipeline.comparing.commands import evaluate_next
    from shopkeeper.pipeline.comparing.swept import sweep_table

    print(f"\n{sweep_table(left, columns())}")
    print(f"next: {shlex.join(evaluate_next())}", file=sys.stderr)


def _called_with() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return [str(word) for word in HydraConfig.get().overrides.task]


@contextmanager
def _nothing_left(words: Sequence[str], left: Sequence[Any], sweep: Sequence[Path]) -> Iterator[None]:
    """Afterwards empty folders that Hydra made for a verb go, and a sweep's where all of it failed."""
    told = [Path(word.partition("=")[2]) for word in words if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    new = [folder for path in told for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in () if left else sweep:
            if folder not in told:
                for name in ("multirun.yaml", SWEEP):
                    (folder / name).unlink(missing_ok=True)
                new = [folder, folder.parent, folder.parent.parent, *new]
        for folder in new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _added(words: Sequence[str]) -> list[str]:
    """Words that set what `conf/` cannot name are said as additions, so that Hydra takes them."""
    return [f"++{word}" if word.startswith(FREE) else word for word in words]


def _mark_sweep() -> list[Path]:
    """Hydra writes down what a sweep (`-m`) was called with, passwords in addresses too: taken out before each job.

    Beside it a mark says whose the folder is, for `clean`. Gives the folder; none where this is no sweep.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    settings = HydraConfig.get()
    file = Path(settings.sweep.dir) / "multirun.yaml"
    if settings.mode != RunMode.MULTIRUN:
        return []
    if file.is_file():
        write_text(file, without_secrets(file.read_text(encoding="utf-8")))
        if not (file.parent / SWEEP).exists():
            write_json(file.parent / SWEEP, {"kind": "sweep"})
    return [file.parent]
