"""From a composed config to folders and specifications: which dataset, which split, where things lie."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shopkeeper import configuration
from shopkeeper.customers.window import SESSION
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.profit import Profit
from shopkeeper.files import read_json, sha256_json
from shopkeeper.models.settings import ModelSettings
from shopkeeper.models.targets import refuse_foreign, targets_in
from shopkeeper.pipeline.told import Data, Train
from shopkeeper.shapes import Yaml
from shopkeeper.tasks.base import REQUESTS, Task
from shopkeeper.tasks.find import find_task, own_tasks
from shopkeeper.timeline import CustomerSpec, SplitSettings, SplitSpec, iso

log = logging.getLogger(__name__)
CUSTOMER_RULES = ("erasure", "identity", "consent", "pseudonyms", "ties")
OF_NO_ROW = ("refit", "profit", "currency")  # keys of a dataset on which nothing in its prepared folder depends
BEST = "best"  # in place of a run folder: of each task the run that leads on validation


def protocol(config: Data) -> str:
    """`published` (whole-log catalogue and k-core, as papers do) for leave-one-out, `strict` otherwise, unless set."""
    return config.split.protocol or ("published" if config.split.name.startswith("leave_") else "strict")


def known_per_cutoff(config: Data) -> bool:
    """Whether customers' keys are joined as of each cutoff: then the dataset is prepared once per cutoff."""
    if config.dataset.identity is None or not (config.dataset.identity.file or config.dataset.identity.from_events):
        return False
    from shopkeeper.people.rules import identity_instant

    return identity_instant(config.dataset.identity) is None


def dataset_spec(config: Data, as_of: int | None = None) -> dict[str, Any]:
    """The dataset config as `prepare` uses it, with what decides whether prepared data is stale.

    `as_of` (µs): with keys joined as they were known then.

    Under `strict` the k-core is the split's business, not the log's. Files of customer rules (erasure list, consent
    table, identities) come with their hash, so that a new list makes the data stale.
    """
    spec = {key: value for key, value in config.dataset.plain.items() if key not in OF_NO_ROW}
    filters = dict(spec.get("filters") or {})
    if protocol(config) == "strict":
        filters.pop("k_core", None)
    spec["filters"] = filters
    if config.timeline.ties != "file":
        spec["ties"] = {"order": config.timeline.ties, "seed": config.timeline.ties_seed}
    if as_of is not None:
        spec["identity"] = {**spec["identity"], "as_of": iso(as_of)}
    if not any(spec.get(rule) for rule in CUSTOMER_RULES):
        return spec  # training needs no Polars, which reading the rules' files does
    from shopkeeper.people.rules import pin_rules

    return pin_rules(spec, config.paths.raw)


def split_spec(config: Data) -> SplitSpec:
    """The split with what task and dataset decide filled in: target events, windows, k-core, protocol."""
    dataset, split = config.dataset, replace(config.split, protocol=protocol(config))
    events = split.target_events or config.task.target_events or dataset.target_events
    split = replace(split, target_events=events)
    if split.protocol == "strict" and split.k_core is None:
        split = replace(split, k_core=dataset.filters.k_core)
    split = split.filled(dataset.temporal).filled(SplitSettings(end=watched(config).get("observed_until")))
    return SplitSpec.of(split if dataset.zone == "UTC" else replace(split, zone=dataset.zone))


def prepared_folder(config: Data) -> Path:
    """`data/prepared/<dataset>`, or `<dataset>-<hash8>` when filters, protocol or source differ from the dataset's."""
    if config.prepared_folder:
        return config.prepared_folder
    spec = dataset_spec(config)
    name = str(spec["name"])
    own = {**config.dataset.plain, "filters": config.dataset.plain.get("filters") or {}}
    suffix = "" if _comparable(spec) == _comparable(own) and not _overridden(config) else f"-{sha256_json(spec)[:8]}"
    return config.paths.prepared / f"{name}{suffix}"


def _comparable(spec: Yaml) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k not in ("title", "source", "licence", *OF_NO_ROW)}


def _overridden(config: Data) -> bool:
    """Whether the dataset's config was changed on the command line: compared with its YAML file as it lies there."""
    if configuration.find("dataset", config.dataset.name) is None:
        return False
    written = configuration.written("dataset", config.dataset.name)
    return bool(sha256_json(_comparable(written)) != sha256_json(_comparable(config.dataset.plain)))


def watched(config: Data, settings: Yaml | None = None) -> dict[str, Any]:
    """Settings with since when and until when the log was watched: their own, `timeline`'s, or the dataset's."""
    found = {}
    for key in ("observed_from", "observed_until"):
        for place in (vars(config.timeline), vars(config.dataset)):
            if place.get(key) is not None and key not in found:
                found[key] = place[key]
    return {**found, **(settings or {})}


def customer_spec(config: Data) -> CustomerSpec:
    """Windows of a customer task: the dataset's (`<task>: {horizon_days, …}`) under the task's own settings.

    A `UserError` where neither says any, and where nobody can come back: each session is a customer of its own.
    """
    task = config.task
    if _nobody_returns(config) and not _asks_of_sessions(config):
        would = " or ".join(f"task={name}" for name in own_tasks() if _of_sessions(find_task({"name": name})))
        raise UserError(
            f"in dataset={config.dataset.name} each session is a customer of its own (columns.user_id is "
            f"columns.session_id), so nobody comes back and task={task.name} has nothing to learn from; {would} asks "
            f"about sessions"
        )
    shops = config.dataset.windows(task.name)
    settings = watched(config, {**(shops.given if shops else {}), **task.windows.given})
    if "horizon_days" not in settings and shops is None:
        needs = (
            ("horizon_days",) if _asks_of_sessions(config) else ("horizon_days", "active_days")
        )  # whoever comes has a session
        block, told = (", ".join(f"{mark}{name}{mark}: …" for name in needs) for mark in ("", "'"))
        raise UserError(
            f"dataset={config.dataset.name} says nothing about task={task.name}; "
            f"set {' and '.join(f'task.windows.{name}' for name in needs)}, or in the dataset "
            f"{task.name}: {{{block}}} (from Python: task={{'name': '{task.name}', 'windows': {{{told}}}}})"
        )
    return CustomerSpec.from_config({"zone": config.dataset.zone, **settings})


def _nobody_returns(config: Data) -> bool:
    """Whether each session is a customer of its own: a column holds the ids of both."""
    columns = config.dataset.plain.get("columns") or {}
    return columns.get("session_id") is not None and columns.get("user_id") == columns["session_id"]


def _asks_of_sessions(config: Data) -> bool:
    return _of_sessions(find_task({"name": config.task.name, **config.task.plain}, named_targets()))


def _of_sessions(task: Task) -> bool:
    return task.truth is not None and task.truth.by == SESSION


def needs_time(dataset: str, task: str) -> UserError:
    """The error for a task that asks about time of a dataset that has only an order."""
    return UserError(f"task={task} needs time stamps and dataset={dataset} has only an order; choose another dataset")


def prepared_of(manifest: Mapping[str, Any]) -> Prepared:
    """The prepared dataset that a run was trained on; refused when its data have changed since."""
    prepared = Prepared.open(_place_of(manifest))
    if prepared.fingerprint != manifest["dataset_fingerprint"]:
        raise UserError(f"{prepared.path} has changed since the run was trained (fingerprints differ); train again")
    return prepared


def _place_of(manifest: Mapping[str, Any]) -> Path:
    """Where a run's manifest says that its data lie: below the working folder, or as an absolute path elsewhere.

    Only data with the run's own fingerprint are opened there (whoever wrote the manifest knew them). A `UserError` for
    what is no such path, or leads out of the working folder.
    """
    said = manifest["prepared"]
    if not isinstance(said, str) or not said or "\0" in said or ".." in Path(said).parts:
        raise UserError(
            f"the run's manifest.json names {said!r:.80} as its prepared dataset, which is refused; train again"
        )
    place = Path(said)
    whole = place.parent.parent if place.parent.name == "as_of" else place
    if whole != place and whole.is_dir() and not place.is_dir():
        raise UserError(f"{place} has gone: {whole} was prepared anew since the run was trained; train again")
    if not place.is_absolute() and not whole.parent.is_dir():
        raise UserError(
            f"there is no {whole.parent} below {Path.cwd()}: a run names its data as seen from the folder in which it "
            f"was trained; run this command there"
        )
    if (place / "manifest.json").is_file():
        found = read_json(place / "manifest.json")
        if not isinstance(found, dict) or found.get("fingerprint") != manifest["dataset_fingerprint"]:
            raise UserError(f"{place} has changed since the run was trained (fingerprints differ); train again")
    return place


def say_if_raw_changed(manifest: Mapping[str, Any], raw: Path) -> None:
    """One line where the raw files are no longer those that a run's data were prepared from."""
    from shopkeeper.ingest.raw import raw_changes

    prepared = Prepared.open(_place_of(manifest))
    if changed := raw_changes(prepared.manifest, raw):
        log.warning("%s: %s; prepare and train again to have them counted", prepared.path, changed)


def split_of(prepared: Prepared, manifest: Mapping[str, Any]) -> Split:
    """The split that a run was trained on; of a run that was refitted after validation, all until the test cutoff."""
    split = Split.named(prepared, str(manifest["split"]))
    return split.until_test() if manifest.get("refit") else split


def _fits(task: Task, serves: str | Sequence[str | None]) -> bool:
    """Whether a model that serves tasks (names, or what they are asked of) serves this one."""
    return task.asks == serves if isinstance(serves, str) else bool({task.name, task.served_by} & set(serves))


def _serves(model: str) -> str | list[str | None]:
    """What tasks a choice of `model` is for, by its file."""
    said = configuration.written("model", model)
    found: str | list[str | None] = said.get("tasks") or [said.get("task")]
    return found


def check_task(config: Train) -> None:
    """A model and a task that do not belong together are refused, and a model that only an artifact names."""
    refuse_foreign(config.model.plain, "the composed config", named_targets())
    task, model = find_task(config.task.plain, named_targets()), config.model
    if not model.tasks and not model.task:
        raise UserError(
            f"model={model.name} says no task beside {', '.join(model.plain)}; set model.task to one of "
            f"{', '.join(own_tasks())}"
        )
    serves = model.tasks or [model.task]  # names, or what tasks are asked of
    if not _fits(task, serves):
        known = serves if isinstance(serves, str) else ", ".join(map(str, serves))
        said = f"tasks about {known}" if isinstance(serves, str) else f"task={known}"
        others = [name for name in configuration.names("model") if _fits(task, _serves(name))]
        way_out = f", or choose a model for it: {', '.join(others)}" if others else " or change it"
        raise UserError(f"model={model.name} is for {said}, not task={task.name}; leave task out{way_out}")
    if task.asks == REQUESTS and config.dataset.table is not None:
        labels = " or ".join(f"task={name}" for name in config.dataset.table.labels)
        raise UserError(f"dataset={config.dataset.name} is a table of customers without items; use {labels}")
    if task.asks == REQUESTS and config.dataset.filter_seen is None:
        name = config.dataset.name
        raise UserError(f"conf/dataset/{name}.yaml lacks filter_seen; set it: false where people buy things again")
    check_recommenders(config.task.baselines, "task.baselines")
    check_headline(config)


def check_recommenders(models: Mapping[str, ModelSettings], where: str) -> None:
    """A `UserError` for a model that is foreign, or about customers; `where` begins messages."""
    from shopkeeper.models.make import make

    for name, settings in models.items():
        refuse_foreign(settings.plain, f"{where}.{name}", named_targets())
        if make(settings.plain).about.asks != REQUESTS:
            raise UserError(f"{where}.{name} is about customers; name a recommender")


def check_headline(config: Train) -> None:
    """A `UserError` where the headline is cut off where nothing is measured, or the worst would lead by it."""
    from shopkeeper.evaluation.compare import check_direction

    check_direction(config.task.headline, config.task.direction)
    check_currency(config)
    headline, k = config.task.headline, list(config.evaluation.k)
    cut = headline.partition("@")[2]
    if cut and cut not in map(str, k):
        raise UserError(f"task.headline={headline} is not among evaluation.k={k}; add {cut} there")


def check_currency(config: Data) -> None:
    """A `UserError` where the shop's values make no sense, or are in another currency than its prices."""
    name, own = config.dataset.name, config.dataset.currency
    profit = Profit.of(config.dataset.profit, name)
    if profit is not None and own is not None and profit.currency != own:
        raise UserError(
            f"conf/dataset/{name}.yaml: profit.currency is {profit.currency}, and the log's prices are in {own}; give "
            f"the shop's values in {own}"
        )


def named_targets() -> tuple[str, ...]:
    """Targets that the person at the command line names: `….target=…`, a `model=` or `task=` of his `--config-dir`.

    Whatever else is in the composed config may come from a file that a tool wrote (a search's best.yaml, a stage).
    """
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return ()
    hydra = HydraConfig.get()
    words = [str(word).lstrip("+").split("=", 1) for word in hydra.overrides.task]
    named = [word[1].strip("'\"") for word in words if word[0].endswith(".target") and len(word) == 2]
    chosen = [word for word in words if word[0] in ("model", "task") and len(word) == 2]
    for source in hydra.runtime.config_sources:
        for path in (Path(source.path) / group / f"{name}.yaml" for group, name in chosen):
            if source.schema == "file" and path.is_file():
                found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
                named += [str(target) for _, target in targets_in(found, path.parent.name)]
    return tuple(named)


def by_hand() -> bool:
    """Whether this is a command that somebody typed, and not a call from within Python."""
    from hydra.core.hydra_config import HydraConfig

    return bool(HydraConfig.initialized())


def typed() -> list[str]:
    """Dotted keys that the command line sets, in its order: `model`, `model.width`, `report.baselines`."""
    from hydra.core.hydra_config import HydraConfig

    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return list(dict.fromkeys(re.split("[=@]", word.lstrip("+~"))[0].replace("/", ".") for word in words))


def git_commit() -> str:
    """The commit that is checked out, with `-dirty` when tracked files differ; `unknown` outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changes.strip() else "")


def tracked(config: Train) -> dict[str, Any]:
    """The settings that make runs differ, for the tracker's table; the whole config is kept with the run as a file."""
    left_out = ("paths", "tracking", "progress", "engine", "audit", "evaluation", "name", "overwrite")
    kept = {k: v for k, v in config.plain.items() if k not in left_out}
    about = ("title", "source", "licence", "raw", "reader", "columns", "missing", "reject", "items", "users", "schema")
    if "tuning" in kept:  # a database's URL holds its password
        kept["tuning"] = {k: v for k, v in kept["tuning"].items() if k != "storage"}
    return {**kept, "dataset": {k: v for k, v in config.dataset.plain.items() if k not in about}}


def relative(folder: Path) -> str:
    """A folder as seen from the working directory, so that no artifact names a machine."""
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)
