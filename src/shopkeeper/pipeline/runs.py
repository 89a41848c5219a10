"""The run folder that `train` leaves: only a finished one has a manifest; it is opened with its hashes checked.

Which files there are and what each holds is declared in `layout.py`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from shopkeeper.errors import UserError, whole, without_secrets
from shopkeeper.evaluation.table import read_table, write_table
from shopkeeper.files import (
    filled_folder,
    member,
    read_json,
    remove_made,
    sha256_file,
    sha256_tree,
    write_json,
    write_text,
)
from shopkeeper.hashing import SEAL, check_seal, sealed
from shopkeeper.pipeline import context
from shopkeeper.pipeline.told import Train, of_run
from shopkeeper.reranking.settings import Ordering, Placement
from shopkeeper.shapes import SWITCH, TEXT, Needed, Open, Shape, Yaml, check_written
from shopkeeper.tasks.base import Task
from shopkeeper.tasks.find import find_task
from shopkeeper.typed import read

if TYPE_CHECKING:
    from shopkeeper.reranking.placement import Placed

log = logging.getLogger(__name__)
FORMAT_VERSION = 2  # 2: a manifest with a seal
# What is read of a run's settings and figures, whichever its task: hashes can be made again, too.
CONFIG: Shape = Needed(Open({
    "task": Needed(Open({"name": Needed(TEXT), "headline": Needed(TEXT)})),
    "model": Needed(Open({})),
    "trainer": ("must hold settings", lambda x: isinstance(x, Mapping)),
}))  # fmt: skip
METRICS: Shape = Needed(Open({
    **dict.fromkeys(("dataset", "split", "task", "model"), Needed(TEXT)),
    "seed": Needed(whole(0)),
    "filter_seen": Needed(SWITCH),
}))  # fmt: skip
HIDDEN = shutil.ignore_patterns(".*")  # what a checkpoint is written under


@dataclass(frozen=True)
class RunFolder:
    """A finished run, opened."""

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    manifest: dict[str, Any]
    named: tuple[str, ...] = ()  # targets that the user's own command names, beside those of `conf/model/`

    @property
    def task(self) -> str:
        """The name of what it was trained for."""
        return str(self.metrics["task"])

    @property
    def about(self) -> Task:
        """The task itself; a `UserError` where its target is foreign."""
        return find_task({**(self.config.get("task") or {}), "name": self.task}, self.named)

    @property
    def told(self) -> Train:
        """What its training was told; settings that this version does not know are left aside."""
        return of_run(self.config)

    def table(self, part: str = "test") -> pa.Table:
        """The per-request table of a part."""
        with self._as_opened():
            return read_table(self.path / f"{part}.parquet")

    def model(self) -> Any:
        """The trained model, ready to answer."""
        model = self.untrained()
        try:
            with self._as_opened():
                model.load(self.path)
        except (KeyError, RuntimeError) as e:  # an array or a layer that this version's model has and the file has not
            raise UserError(f"the weights in {self.path} do not fit this version's model ({e}); train again") from None
        if (place := self.config.get("placement")) is not None:
            return self.placed(model, read(Placement, place, "placement", lenient=True))
        rerank = self.config.get("rerank")
        return model if rerank is None else self._in_order(model, rerank)

    @contextmanager
    def _as_opened(self) -> Iterator[None]:
        """A `UserError` where another run has taken the folder's place meanwhile: its files are not this run's."""
        try:
            yield
        except UserError:
            self._check_opened()
            raise
        self._check_opened()

    def _check_opened(self) -> None:
        file = self.path / "manifest.json"
        if not file.is_file() or read_json(file).get(SEAL) != self.manifest.get(SEAL):
            raise UserError(f"{self.path} was trained anew while it was read; run the same command again")

    def _in_order(self, model: Any, rerank: Mapping[str, Any]) -> Any:
        from shopkeeper.reranking.model import Reranked

        split = context.split_of(context.prepared_of(self.manifest), self.manifest)
        told = read(Ordering, rerank, "rerank", lenient=True)
        settings = told.steps, split, self.metrics["filter_seen"], told.candidates
        return Reranked(model, *settings, where=f"rerank.{rerank.get('name')}")

    def placed(self, model: Any, place: Placement, filter_seen: bool | None = None) -> Placed:
        """A model as it answers at a place of the shop; its fallback is fitted on the spot.

        `filter_seen`: None, as the run was evaluated.
        """
        from shopkeeper.models.fit import Fit
        from shopkeeper.models.make import make
        from shopkeeper.models.targets import refuse_foreign
        from shopkeeper.reranking.model import Reranked
        from shopkeeper.reranking.placement import Placed

        split = context.split_of(context.prepared_of(self.manifest), self.manifest)
        where = f"placement={place.name}: placement"
        seen = bool(self.metrics["filter_seen"]) if filter_seen is None else filter_seen
        taken_out = list(place.filter or ())

        def ordered(one: Any, steps: list[Any]) -> Reranked:
            return Reranked(one, steps, split, seen, place.candidates, where)

        others = []
        for settings in place.fallback.values():
            refuse_foreign(settings.plain, "placement.fallback", self.named)
            one = make(settings.plain)
            events = tuple(split.timeline["spec"].get("target_events") or Fit.target_events)
            one.fit(split.prepared, split, Fit(target_events=events, filter_seen=seen, progress=False))
            others.append(ordered(one, taken_out))
        return Placed(ordered(model, [*taken_out, *(place.rerank or ())]), others)

    def untrained(self) -> Any:
        """The run's model with its settings, before any training. A `UserError` where its target is foreign."""
        from shopkeeper.models.make import make
        from shopkeeper.models.targets import refuse_foreign

        refuse_foreign(self.config["model"], self.path / "config.yaml", self.named)
        return make(self.config["model"])


def declared_facts(model: Any) -> dict[str, Any]:
    """What a run's manifest keeps of what its model declares."""
    return {"uses_instant": model.about.reads_instant, "oracle": model.about.oracle}


def write_run(
    folder: Path,
    config: Yaml,
    model: Any,
    metrics: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    facts: Mapping[str, Any],
    checkpoint: Path | None = None,
) -> RunFolder:
    """Write a run folder, whole or not at all: a run that was there stays until this one is complete.

    The `checkpoint` is taken into it once everything is written.
    """
    with filled_folder(folder, "run") as room:
        write_text(room / "config.yaml", yaml.safe_dump(without_secrets(dict(config)), sort_keys=False))
        model.save(room)
        for part, table in tables.items():
            write_table(table, room / f"{part}.parquet")
        write_json(room / "metrics.json", metrics)
        if checkpoint is not None and checkpoint.is_dir():
            shutil.copytree(checkpoint, room / "checkpoint", copy_function=_link_or_copy, ignore=HIDDEN)
            facts = {**facts, "checkpoint": checkpoint.name}  # which training it is: the folder may be used again
        manifest = sealed(
            {
                "format_version": FORMAT_VERSION,
                "kind": "run",
                "commit": context.git_commit(),
                **facts,
                "files": sha256_tree(room),
            }
        )
        write_json(room / "manifest.json", manifest)
    if checkpoint is not None:
        remove_checkpoints(checkpoint)
    named = (str(config["model"]["target"]),)  # it was trained by this very command
    return RunFolder(folder, dict(config), dict(metrics), manifest, named)


def remove_checkpoints(place: Path) -> None:
    """Remove the resumable state of a training: nobody goes on with it."""
    for step in place.glob("checkpoint/step-*"):
        remove_made(step, "state.*")
    remove_made(place / "checkpoint", ".step-*.tmp")
    remove_made(place, ".view-*")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def open_run(path: Path | str, named: Sequence[str] = ()) -> RunFolder:
    """Open a run folder; a `UserError` names what is missing, foreign or changed.

    `named`: targets that the user's own command names; a run's `config.yaml` names none but those and this package's.
    """
    from shopkeeper.models.targets import refuse_foreign

    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"there is no run folder {path}; `shopkeeper runs` lists the runs, and `shopkeeper train` makes one"
        )
    if not (path / "manifest.json").is_file():
        raise UserError(f"{path} is not a finished run (no manifest.json); train again, training resumes by itself")
    manifest = read_json(path / "manifest.json")
    if _kind(manifest) != "run":
        raise UserError(f"{path} is a {_kind(manifest)}, not a run; `shopkeeper runs` lists the runs")
    if lacks := [k for k in ("format_version", "files", "prepared", "dataset_fingerprint") if k not in manifest]:
        raise UserError(f"{path / 'manifest.json'} has no '{lacks[0]}': not written by train, or damaged; train again")
    if not isinstance(manifest["files"], dict) or not isinstance(manifest["format_version"], int):
        raise UserError(f"{path / 'manifest.json'} is damaged (its files or format_version); train again")
    if manifest["format_version"] > FORMAT_VERSION:
        raise UserError(f"{path} was written by a newer shopkeeper (format {manifest['format_version']}); upgrade")
    for name, expected in manifest["files"].items():
        file = member(path, name)
        if not file.is_file():
            raise UserError(f"{file} is missing from the run; train again")
        if name != "log" and sha256_file(file) != expected:
            raise UserError(f"{file} was changed or damaged after training (SHA-256 differs); train again")
    for name in ("config.yaml", "metrics.json"):
        if name not in manifest["files"]:
            raise UserError(f"{path / 'manifest.json'} does not list {name}, so it cannot be believed; train again")
    config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.yaml'} holds no settings; train again")
    refuse_foreign(config.get("model"), path / "config.yaml", named)
    metrics = read_json(path / "metrics.json")
    check_written(config, CONFIG, str(path / "config.yaml"), "train again")
    check_written(metrics, METRICS, str(path / "metrics.json"), "train again")
    check_seal(manifest, path / "manifest.json", "train again", manifest["format_version"] >= FORMAT_VERSION)
    return RunFolder(path, config, metrics, manifest, tuple(named))


def _kind(manifest: Any) -> str:
    return str(manifest.get("kind", "foreign folder")) if isinstance(manifest, dict) else "foreign folder"


OF_A_RUN = ("dataset", "split", "task", "model", "features", "loss", "trainer", "timeline", "seed", "init_from")
ASKED = tuple(f"evaluation.{key}" for key in ("k", "top_k", "ties", "batch_size"))


def say_contradictions(cfg: Yaml, runs: Sequence[RunFolder]) -> None:
    """Warn of settings on the command line that no run agrees with: what a run is, it says itself."""
    for key in context.typed():
        if key.partition(".")[0] not in OF_A_RUN and key not in ASKED:
            continue
        told, said = _setting(cfg, key), [_setting(run.config, key) for run in runs]
        if told not in said:
            of = ", ".join(dict.fromkeys(str(s) for s in said))
            log.warning("%s=%s is left aside: %s says %s", key, told, ", ".join(str(run.path) for run in runs), of)


def _setting(config: Yaml, key: str) -> Any:
    """The value of a dotted key; of a group, its name. None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.get("name", value) if isinstance(value, Mapping) else value


def distinct_names(runs: Sequence[RunFolder]) -> list[str]:
    """A short name per run: the model, its seed where the model repeats, its folder's name where that is not enough,
    and the whole path where folders of one name lie in several places.
    """
    names = [str(run.metrics["model"]) for run in runs]
    for more in ("{model}#{seed}", "{model} ({name})", "{model} ({path})"):
        again = {name for name in names if names.count(name) > 1}
        names = [
            more.format(
                **run.metrics | {"name": run.path.name.removeprefix(f"{run.metrics['model']}-"), "path": run.path}
            )
            if name in again
            else name
            for name, run in zip(names, runs, strict=True)
        ]
    return names
