"""Where is a customer still? Looks through everything that was made, whatever the files are called."""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from shopkeeper.errors import UserError, without_secrets
from shopkeeper.people.look import Tally, look
from shopkeeper.people.names import Names

# Below the root these are searched, and what else there was made by this project; raw data is not ours to search.
MADE = [
    *(
        "data/prepared",
        "data/composed",
        "runs",
        "models",
        "outputs",
        "multirun",
        "reports",
        "exports",
        "studies",
        "segments",
    ),
    "audiences",
    *("mlruns", "mlartifacts", "mlflow.db", ".dvc/cache"),
]
NOBODY = re.compile(r"(.*\.)?missing(\.\w+_id)?")  # a setting that lists names of nobody
KINDS = frozenset({"run", "report", "prepared", "recommender", "customer", "table", "segments", "audience", "uplift",
                   "answers"})  # fmt: skip
MARKS = ("manifest.json", "_manifest.json", ".unfinished.json")  # what says of a folder which of these it is
NOT_MADE = frozenset({".git", ".venv", "node_modules", "__pycache__", "src", "tests", "conf", "raw", "site-packages"})


@dataclass(frozen=True)
class Trace:
    """Something that still names the customer, or was made from data that did."""

    path: Path
    where: str  # column, key or table
    count: int
    step: str  # what must be run again


@dataclass(frozen=True)
class Search:
    """What was found and how much was looked at.

    `unknown` could not be read, or was made from data that is no longer there to look at.
    """

    traces: list[Trace]
    unknown: list[Trace]
    tally: Tally
    places: list[Path]  # what was searched below the root
    ours: bool  # whether any of it was made by this project
    elsewhere: list[str]  # what is named and cannot be looked at from here: servers, DVC's remotes
    hidden: dict[tuple[str, str], Path]  # variable and id of the key of each dataset with pseudonyms
    datasets: list[Path]  # prepared folders among it
    nobody: list[Path]  # those of them whose settings say that a customer of this name is none

    @property
    def files(self) -> int:
        """How many files were looked at."""
        return self.tally.files

    @property
    def gone(self) -> bool:
        """Whether this proves that the customer is gone: something was looked at, nothing found, all could be read."""
        return self.files > 0 and not self.traces and not self.unknown


def find_customer(ids: set[str], root: Path) -> Search:
    """Look for a customer (external id, and pseudonym where ids are hidden) in all that lies below `root`.

    Parquet (text columns and lists), JSON, NumPy files, safetensors headers, SQLite (MLflow, Optuna), text and HTML are
    read by their content, DVC's cache included, and so is what runs say that they wrote elsewhere (another tracking
    store, other folders). What names the fingerprint of prepared data that holds the customer is a trace too, be it a
    run, a bundle, a study, a copied page or the checkpoint of a training that was killed: a model can remember what its
    files do not name. Ids are compared in one spelling (`ids.spelling.normal_id`), hashes without case.
    """
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give the one that holds data, models, reports and exports as --root")
    names, tally = Names.of(ids), Tally()
    places = [root / name for name in MADE if (root / name).exists()]
    places += list(_made_elsewhere(root, places))
    ours = bool(places)
    local, elsewhere = _of_dvc(root)
    queue = list(places or [root]) + local
    traces: list[Trace] = []
    manifests: list[Path] = []
    uses: dict[Path, set[str]] = {}  # file -> fingerprints of prepared data that it names
    seen: set[Path] = set()
    for place in queue:
        for path in _files(place, seen):
            found, fingerprints = look(path, names, tally)
            found = [hit for hit in found if not (NOBODY.fullmatch(hit[0]) or _rejected_as_nobody(path, names))]
            if any(map(names.in_name, path.relative_to(place).parts if place.is_dir() else [path.name])):
                found = [("its name", 1), *found]
            traces += [Trace(path, where, count, _step(path, root)) for where, count in found]
            if fingerprints:
                uses[path] = fingerprints
            if path.name == "manifest.json":
                manifests.append(path)
                local = [Path(p) for p in (str(_manifest(path).get("prepared")),) if Path(p).is_absolute()]
                queue += [p for p in local if p not in queue and p.is_dir()]
            elif path.name == "config.yaml":
                local, far = _named_places(path, root)
                queue += [p for p in local if p not in queue]
                elsewhere |= far
    made, unknown = _by_fingerprint(manifests, uses, {t.path for t in traces}, root)
    unknown += [Trace(p, f"cannot be read: {why}", 0, _step(p, root)) for p, why in tally.unreadable]
    hidden = {key: path.parent for path in manifests if (key := key_of(path.parent))}
    datasets = [path.parent for path in manifests if _manifest(path).get("kind") == "prepared"]
    nobody = [folder for folder in datasets if _is_nobody(folder, names)]
    ours = ours or bool(manifests)
    return Search(traces + made, unknown, tally, queue, ours, sorted(elsewhere), hidden, datasets, nobody)


def _is_nobody(folder: Path, names: Names) -> bool:
    """Whether a prepared dataset takes the id for no id at all (`missing: {user_id: [NA]}`)."""
    said = (_manifest(folder / "manifest.json").get("config") or {}).get("missing") or []
    return any(str(x) in names for x in (said.get("user_id") or [] if isinstance(said, dict) else said))


def _rejected_as_nobody(path: Path, names: Names) -> bool:
    """Whether a file holds only the rows that were put aside because of such an id."""
    return path.name == "rejected.parquet" and _is_nobody(path.parent, names)


def near(ids: Mapping[str, str], datasets: Iterable[Path]) -> list[tuple[str, Path]]:
    """Which other spellings are customers of prepared datasets, and where; `ids`: as written there -> the spelling."""
    found = []
    for folder in datasets:
        with suppress(OSError, pa.ArrowException):
            users = pq.read_table(folder / "users.parquet", columns=["user_id"])["user_id"].cast(pa.string())
            hits = users.filter(pc.is_in(users, value_set=pa.array(sorted(ids), pa.string())))
            found += [(ids[user], folder) for user in hits.to_pylist()]
    return found


def key_of(folder: Path) -> tuple[str, str] | None:
    """Which variable held the key of a prepared dataset's pseudonyms, and the key's id; None: it has none."""
    manifest = _manifest(folder / "manifest.json")
    done = (manifest.get("changes") or {}).get("pseudonyms")
    rule = (manifest.get("config") or {}).get("pseudonyms") or {}
    return (str(rule.get("key_env")), str(done.get("key_id"))) if done else None


def _of_dvc(root: Path) -> tuple[list[Path], set[str]]:
    """Where DVC keeps what stages made, as its settings say: a cache on this machine, remotes."""
    local, far = [], set()
    for name in ("config", "config.local"):
        said = configparser.ConfigParser(interpolation=None)
        try:
            said.read(root / ".dvc" / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for section in said.sections():
            where = said.get(section, "dir" if section == "cache" else "url", fallback=None)
            if where is None:
                continue
            if "://" in where:
                far.add(f"files were pushed to the DVC remote {without_secrets(where)}")
            elif (place := root / ".dvc" / where).is_dir():
                local.append(place)
    return local, far


def _kind(folder: Path) -> str | None:
    """What a folder is, of those that this project makes and that may hold customers."""
    said = (_manifest(folder / name).get("kind") for name in MARKS)
    return next((kind for kind in said if isinstance(kind, str) and kind in KINDS), None)


def _made_elsewhere(root: Path, known: list[Path]) -> Iterator[Path]:
    """Runs, reports, bundles, answers and prepared data in folders of other names, and databases beside them."""
    for folder, inner, files in os.walk(root):
        here = Path(folder)
        inner[:] = sorted(n for n in inner if n not in NOT_MADE and here / n not in known)
        if here != root and _kind(here) is not None:
            inner.clear()
            yield here
            continue
        for name in sorted(files):
            if name.endswith((".db", ".sqlite", ".sqlite3")) and here / name not in known:
                yield here / name


def _named_places(config: Path, root: Path) -> tuple[list[Path], set[str]]:
    """Folders and files that a run's config.yaml says were written, where they are here; servers that it names."""
    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        return [], set()
    said = said if isinstance(said, dict) else {}
    paths = {k: v for k, v in (said.get("paths") or {}).items() if k != "raw"}
    tracking, tuning = said.get("tracking") or {}, said.get("tuning") or {}
    uri, far = str(tracking.get("uri") or ""), set()
    for value, what in (
        (uri, "runs were logged to the MLflow server"),
        (tracking.get("artifacts"), "artifacts of runs were put into"),
        (tuning.get("storage"), "trials were kept in the database"),
    ):
        if "://" in str(value) and not str(value).startswith(("sqlite:", "file:")):
            far.add(f"{what} {without_secrets(str(value))}")
    if uri.startswith("sqlite:///"):
        paths |= {"uri": uri.removeprefix("sqlite:///"), "artifacts": tracking.get("artifacts")}
    if str(tuning.get("storage")).startswith("sqlite:///"):
        paths["storage"] = str(tuning["storage"]).removeprefix("sqlite:///")
    places = [root / str(value) for value in paths.values() if value and str(value) not in (".", "/")]
    return [p for p in places if p.exists() and p.resolve() != root.resolve()], far


def _files(place: Path, seen: set[Path]) -> Iterator[Path]:
    """Every file once; links are followed, also to folders on another disk."""
    if place.is_file():
        walk: Iterable[tuple[str, list[str], list[str]]] = [(str(place.parent), [], [place.name])]
    else:
        walk = os.walk(place, followlinks=True)
    for folder, inner, files in walk:
        real = Path(folder).resolve()
        if place.is_dir():
            if real in seen:  # a link to where we have been
                inner.clear()
                continue
            seen.add(real)
            inner.sort()
        for name in sorted(files):
            path = Path(folder) / name
            target = path.resolve()
            if target not in seen and target.is_file():
                seen.add(target)
                yield path


def _manifest(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return said if isinstance(said, dict) else {}


def _by_fingerprint(
    manifests: list[Path], uses: dict[Path, set[str]], named: set[Path], root: Path
) -> tuple[list[Trace], list[Trace]]:
    """What was made from prepared data that holds the customer, and what from data that is no longer here."""
    fingerprints: dict[str, bool] = {}  # of prepared data -> holds the customer
    for path in manifests:
        said = _manifest(path)
        if said.get("kind") == "prepared":
            holds = any(path.parent in trace.parents for trace in named)
            key = str(said.get("fingerprint"))
            fingerprints[key] = fingerprints.get(key, False) or holds
            uses.pop(path, None)
    folders = {path.parent for path in manifests if path in uses}
    made, unknown = [], []
    for path, those in uses.items():
        inside = next((p for p in path.parents if p in folders), None)
        if inside is not None and path != inside / "manifest.json":  # its folder is listed already
            continue
        known = {f: h for f, h in fingerprints.items() if any(f.startswith(x) for x in those)}
        lost = [x for x in those if not any(f.startswith(x) for f in fingerprints)]
        if any(known.values()):
            made.append(Trace(path, "was made from data that holds the customer", 1, _step(path, root)))
        elif lost:
            where = f"was made from data that is no longer here (fingerprint {min(lost)[:12]})"
            unknown.append(Trace(path, where, 0, _step(path, root)))
    return made, unknown


def _bundle(folder: Path, exports: Path) -> str:
    """The words that export the bundle in a folder again, as far as its manifest says them."""
    said = _manifest(folder / "manifest.json")
    data = said.get("data")
    data = data if isinstance(data, dict) else {}
    split = re.sub(r"-[0-9a-f]{8}$", "", str(data.get("split") or "")) or None
    about = {"dataset": data.get("dataset"), "split": split, "task": said.get("task"), "model": said.get("model")}
    name = f" name={folder.relative_to(exports).as_posix()}"
    if not all(about.values()) or not _stage(exports.parent, **about).is_dir():  # trained by hand
        return f" run=… (the one that was trained again){name}"
    return "".join(f" {k}={v}" for k, v in about.items()) + name


def _stage(root: Path, dataset: Any, split: Any, task: Any, model: Any) -> Path:
    """Where a stage leaves a run."""
    return root / "runs" / str(dataset) / str(task) / str(split) / str(model)


def _step(path: Path, root: Path) -> str:
    """The command that makes this file anew, from where it lies."""
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        return f"delete {path} or make it again"
    place = parts[0] if len(parts) > 1 else path.name
    kind = _kind(path.parent)
    if kind == "answers":
        return f"delete {path.parent}, then `shopkeeper answer` again without the customer"
    if ".dvc" in parts:
        return "dvc gc --workspace (after the steps above)"
    if place == "data" and len(parts) > 2:
        again = f"shopkeeper prepare dataset={parts[2].split('-')[0]} (with the customer in the erasure list)"
        return f"delete {root / Path(*parts[:3])}, then {again}"  # another setting writes to another folder
    if place == "runs" and len(parts) > 5:
        about, name, run = f"dataset={parts[1]} task={parts[2]} split={parts[3]}", parts[4], root / Path(*parts[:5])
        short = re.sub(r"-[0-9a-f]{8}$", "", name)
        model = _manifest(run / "metrics.json").get("model", short)
        named = f" name={name}" if short == name else ""
        settings = "" if model == name else f" with the settings in {run}/config.yaml"  # else of a stage
        return f"shopkeeper train {about} model={model}{named}{settings}"
    if parts[:2] == ("outputs", "checkpoints") and len(parts) > 3:
        return f"delete {root / Path(*parts[:3])} (the state of a training that did not end)"
    if place in ("runs", "models", "outputs", "multirun"):
        return f"delete {path.parent} and train again"
    if place == "reports":
        chosen = f" dataset={parts[1]} split={parts[2]}" if len(parts) > 3 else ""
        there = (root / "runs").is_dir()
        return f"shopkeeper evaluate{chosen}" + ("" if there else " runs=[…] (those that were trained again)")
    if place == "exports":
        return f"shopkeeper export{_bundle(path.parent, root / place)} (after training again)"
    if place == "segments":
        return f"shopkeeper segments with what made {path.parent}"
    if place == "audiences":
        return f"shopkeeper audience with what made {path.parent}"
    if place == "studies":
        return f"shopkeeper tune with what made {root / place / parts[1]}, after deleting it"
    if place in ("mlruns", "mlartifacts", "mlflow.db"):
        return "delete the MLflow runs that were logged from this data, then `mlflow gc`"
    if kind is not None:
        return f"delete {path.parent} or make it again"
    return f"delete {path} or make it again"
