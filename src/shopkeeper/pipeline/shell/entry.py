"""How a verb begins and how it fails: Hydra's mistakes and the user's end in one line with the way out."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shopkeeper import configuration, stopping
from shopkeeper.errors import UserError, nearest, without_secrets
from shopkeeper.files import write_error
from shopkeeper.ingest import dataset_shape
from shopkeeper.pipeline.shell import other_ways
from shopkeeper.pipeline.shell.faulty_files import file_at_fault
from shopkeeper.pipeline.shell.yaml_comments import read

EXTRAS = {
    "polars": "prepare", "duckdb": "prepare", "narwhals": "prepare", "fastexcel": "prepare", "dvc": "prepare",
    "jinja2": "prepare", "markupsafe": "prepare",
    "torch": "train", "pytorch_lightning": "train", "safetensors": "train", "hydra": "train", "omegaconf": "train",
    "tqdm": "train", "scipy": "train", "sklearn": "tabular", "lightgbm": "tabular", "mlflow": "track",
    "matplotlib": "track", "optuna": "tune", "sqlalchemy": "tune", "onnxruntime": "serving", "onnx": "export",
    "fastapi": "service", "uvicorn": "service",
    "onnxscript": "export", "pyspark": "spark", "psycopg": "postgres", "pandas": "notebook",
}  # fmt: skip
# How lists are put in order by verbs that answer at a place of the shop and know no `rerank`.
IN_ORDER = "placement=home 'placement.rerank=[{mmr: {attributes: [category], weight: 0.3}}]'"


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """End without a word, with the code of a program that SIGPIPE ends, where nobody reads on: `… --help | head -3`.

    Only what is told to standard output counts: a connection that breaks is an error as any.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
            sys.exit(141)  # 128 and the number of that signal
        raise


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print user errors as one line on stderr and exit with code 1; anything else keeps its traceback.

    Hydra is told to raise instead of printing (HYDRA_FULL_ERROR), so that its messages can be shortened here.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.setLogRecordFactory(_without_secrets)
    try:
        with stopping.listening():
            yield
    except UserError as e:
        _stop(str(e))
    except KeyboardInterrupt as e:
        _stop(stopping.describe(e), stopping.exit_code(e))
    except MemoryError:
        _stop("out of memory; choose a smaller trainer.micro_batch or model.max_length, or a machine with more memory")
    except Exception as e:
        message = missing_package(e) or file_at_fault(sys.argv[1:])  # Hydra may be missing
        message = message or explain_hydra(e) or explain_yaml(e) or write_error(e)
        if message is None:
            raise
        _stop(message)


def _without_secrets(*words: Any, **named: Any) -> logging.LogRecord:
    """A log record, without the passwords of addresses: Hydra, for one, says what a sweep was called with."""
    record = logging.LogRecord(*words, **named)
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # a slip in the call: logging says so when it prints
        return record
    if (clean := without_secrets(text)) != text:
        record.msg, record.args = clean, ()
    return record


def _stop(message: str, code: int = 1) -> None:
    print(f"error: {without_secrets(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(code)


def missing_package(error: BaseException) -> str | None:
    """The command that installs what an import did not find; None for modules of this package."""
    if not isinstance(error, ModuleNotFoundError) or not error.name or error.name.startswith("shopkeeper"):
        return None
    package = error.name.partition(".")[0]
    wanted = f'"shopkeeper[{EXTRAS[package]}]"' if package in EXTRAS else package
    return f"{package} is not installed: `pip install {wanted}`"


def explain_yaml(error: BaseException) -> str | None:
    """File, line and column of a slip in a YAML file; None for anything else."""
    from yaml import MarkedYAMLError

    if not isinstance(error, MarkedYAMLError):
        return None
    mark = error.problem_mark or error.context_mark
    place = "a YAML file" if mark is None else f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
    what = " ".join(str(error.problem or error.context).split())
    return f"{place}: {what}; look at the indentation, the colons and the quotes there"


def explain_hydra(error: BaseException) -> str | None:
    """One line for what Hydra and OmegaConf raise about a command line; None for anything else."""
    try:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException
    except ModuleNotFoundError:  # where bundles are served
        return None
    if isinstance(error, ValueError) and "Config group override must be" in str(error):
        words = [word for word in sys.argv[1:] if word.endswith(("=null", "="))]
        return f"{' '.join(words) or 'a group'}: a group of settings cannot be null; name one of its files"
    if isinstance(error, ValueError) and str(error).startswith("Only one of --run"):
        return f"{str(error).replace('shell_completion', 'shell-completion')}; leave the others out"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    if "LexerNoViableAlt" in text or "token recognition" in text:
        word = text.split(": ", 1)[-1].splitlines()[0]
        return f"cannot read {word} on the command line; put it in quotes within quotes, e.g. 'history=[\"é\"]'"
    if bare := re.match(r"Error parsing override '([^'=]+)'", text):
        return other_ways.without_name(_verb(), bare.group(1))
    if missing := re.search(r"Could not find '([\w./-]+)/([\w.-]+)'", text):
        group, name = missing.groups()
        own = f" For files of your own `shopkeeper new-dataset <file or folder> --name {name}` writes it."
        return (
            f"there is no {group}={name}.{nearest(name, configuration.names(group))}{own if group == 'dataset' else ''}"
        )
    if missing := re.search(r"Cannot find primary config '([\w./-]+)'", text):
        return (
            f"there is no config '{missing.group(1)}'; run `python -m shopkeeper compose` to write the stages' configs"
        )
    if unknown := re.search(r"Could not override '([\w@./-]+)'", text):
        # of key={a: 1} the cause names key.a
        inner = re.search(r"is not in struct\s+full_key: ([\w./-]+)", str(error.__cause__))
        key = (inner or unknown).group(1)
        return f"there is no option '{key}'.{_nearest_key(key)}"
    if unknown := re.search(r"full_key: ([\w.]+)", text):
        first = text.splitlines()[0]
        return f"{first} (option '{unknown.group(1)}'; see `--help` for the options and their types)"
    return text.splitlines()[0] + " (see `--help`)"


def _nearest_key(key: str) -> str:
    """The valid names beside a misspelt key: groups and options at the top, a group's own options below it."""
    import yaml

    shared = configuration.main_folder()
    head, _, tail = key.rpartition(".")
    if not head:
        files = [p for p in shared.glob("*.yaml") if p.stem != "pipeline"]
        of = {p.stem: _names_in(p) for p in files}
        verb = _verb()
        own = of["config"] | of.get(verb, set())
        if key == "run" and "runs" in own:
            return f" Did you mean 'runs'? `{verb}` takes several: runs=[…]."
        if takers := sorted(other for other, keys in of.items() if key in keys - own):
            *others, last = [f"`{other}`" for other in takers]
            verbs = f"{', '.join(others)} and {last}" if others else last
            instead = f"write {IN_ORDER}" if key == "rerank" and "placement" in own else "leave it out"
            return f" Only {verbs} {'knows' if len(takers) == 1 else 'know'} it; {instead} here."
        if deeper := other_ways.below(key, own):
            return f" Did you mean {' or '.join(map(repr, deeper))}?"
        return nearest(key, own)
    names: set[str] = set()
    first, *others = head.split(".")
    if head == "dataset" and tail in dataset_shape.shape():
        return f" This dataset's YAML does not name it; to add it, write `+{key}=…`."
    of_group = [p for name in configuration.names(first) if (p := configuration.find(first, name))]
    owners = []
    for source in of_group or shared.glob("*.yaml"):
        node = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
        for part in others if of_group else [first, *others]:
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            names |= {str(k) for k in node if k != "defaults"}
            owners += [source.stem] if of_group and tail in node else []
    if owners:  # of several models in one command some know it
        return f" It is one of {first}={','.join(owners)}; leave it out for the others, or run these apart."
    return nearest(tail, names) if names else f" To add what the config does not name, write `+{key}=…`."


def _verb() -> str:
    """The verb that runs, "config" where none is told: `python train.py`, `shopkeeper train`."""
    verbs = {p.stem for p in configuration.main_folder().glob("*.yaml")} - {"pipeline", "config"}
    return next((w for w in (Path(sys.argv[0]).stem, *sys.argv[1:2]) if w in verbs), "config")


def _names_in(file: Path) -> set[str]:
    """What one of the main files sets at the top: its settings, and the groups that it chooses among."""
    found = read(file)
    return {one.name.partition(".")[0] for one in (*found.settings, *found.groups)} - {"override"}
