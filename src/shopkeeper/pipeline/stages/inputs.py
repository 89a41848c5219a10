"""The stage `inputs`: what later stages read that is in no config (raw files, the code they run), so that DVC sees it.

raw.json             the raw files of the dataset, with size and hash; as it was where no raw file is here
campaigns.json       the audiences, segments of other days and uplift of the dataset that the report shows: made by hand
code-<stage>.json    the source files that a stage executes: the closure of its verb's imports and of its model's

It runs at every `dvc repro`, since raw files may lie anywhere (`SHOPKEEPER_RAW`) and a closure has no fixed files; what
it writes is the same where nothing has changed, and the later stages are skipped. What it looked at is noted, so that
the next time is over before this file is imported (`shopkeeper.unchanged`).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:  # PyYAML's parser in C, where it was built with one, reads the same in a tenth of the time
    from yaml import CSafeLoader as Loader
except ImportError:
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

from shopkeeper import closure, unchanged
from shopkeeper.closure import Known, source_of
from shopkeeper.errors import UserError
from shopkeeper.files import read_json, write_json
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import sha256_json
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.raw import are_here, as_json, looked_at, raw_files
from shopkeeper.models.targets import today
from shopkeeper.pipeline.context import BEST
from shopkeeper.pipeline.forms.form import ALONE
from shopkeeper.pipeline.stages.unedited import check_composed
from shopkeeper.shapes import Yaml
from shopkeeper.tasks.find import find_task, module_of

log = logging.getLogger(__name__)
# What a verb imports and no figure of a run comes from: data are made by `prepare`, and pictures are shown elsewhere.
MAKING = tuple(f"shopkeeper.{room}" for room in ("ingest", "arrange", "people", "splits"))
DATA = ("shopkeeper.pipeline.preparing", *MAKING, "shopkeeper.pipeline.audit")
SHOWN = ("shopkeeper.evaluation.report", "shopkeeper.pipeline.pictures.figures", "shopkeeper.tracking")
NOT_DECIDING = {
    "train": (*DATA, *SHOWN),
    "tune": (*DATA, *SHOWN),
    "export": DATA,
    "evaluate": DATA,
    "prepare": (),
    "segments": DATA,
}


def write_inputs(composed: Path = Path("data/composed"), out: Path = Path(unchanged.PLACE)) -> None:
    """Write what has changed of the files above into `out`."""
    began = time.time_ns()
    check_composed(composed, [path.name for path in composed.glob("*.yaml")])
    configs = {path.stem: _config(path) for path in sorted(composed.glob("*.yaml"))}
    if "stage-prepare" not in configs:
        raise UserError(f"{composed} holds no composed stages; run `python -m shopkeeper compose` first")
    models = {
        today(str(c["model"]["target"])).rpartition(".")[0] for name, c in configs.items() if name.startswith("train-")
    }
    wanted = {"raw.json": _raw(configs["stage-prepare"], out / "raw.json")}
    of_campaigns, seen = _campaigns(configs.get("stage-evaluate") or {})
    wanted["campaigns.json"] = of_campaigns
    known: Known = {}
    for stage, config in configs.items():
        first, _, last = stage.partition("-")
        verb = last if first == "stage" else first
        wanted[f"code-{stage}.json"] = _code(verb, config, sorted(models), known)
    for stale in set(out.glob("code-*.json")) - {out / name for name in wanted}:
        stale.unlink()
    for name, value in wanted.items():
        if not (out / name).is_file() or read_json(out / name) != value:
            write_json(out / name, value)
    _note(composed, out, configs["stage-prepare"], known, seen, began)


def _note(composed: Path, out: Path, config: Yaml, known: Known, seen: list[Path], began: int) -> None:
    """Note what the files depend on, where that can be said: not for models from elsewhere, nor without raw files."""
    raw = looked_at(parse(config["dataset"]), Path(config["paths"]["raw"]))
    texts = [path.read_text(encoding="utf-8") for path in composed.glob("*.yaml")]
    variables = [name for text in texts for name in re.findall(r"\$\{oc\.env:(\w+)", text)]
    of_this_package = all(module.partition(".")[0] == closure.NAME for module in known)
    if raw is None or not of_this_package or len(variables) != sum(text.count("oc.env") for text in texts):
        return
    source = [
        (place, names) for place, _, names in os.walk(closure.PACKAGE) if os.path.basename(place) != "__pycache__"
    ]
    paths = [*raw, *seen, composed, *composed.glob("*.yaml"), *(place for place, _ in source)]
    paths += [os.path.join(place, name) for place, names in source for name in names]
    unchanged.note(str(out), [str(path) for path in paths], variables, began)


def _config(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    found = Loader(path.read_text(encoding="utf-8")).get_single_data()
    kept = OmegaConf.create({k: found[k] for k in ("dataset", "task", "paths", "model", "report", "run") if k in found})
    return OmegaConf.to_container(kept, resolve=True)  # type: ignore[return-value]


def _code(verb: str, config: Yaml, models: list[str], known: Known) -> dict[str, str]:
    """Source files of a stage: of its verb, and of the models that it trains, exports or compares."""
    own = [target.rpartition(".")[0] for target in _targets(config)]
    without = NOT_DECIDING[verb]
    if "task" in config:
        own.append(module_of(config["task"]))
    if verb in ("train", "tune"):
        asks = find_task(config["task"]).asks
        without = (*without, *(room for form, rooms in ALONE.items() if form != asks for room in rooms))
    every = verb == "evaluate" or config.get("run") == BEST
    of_models = source_of(*own, *(models if every else []), known=known) if own or models else {}
    of_verb = source_of(f"shopkeeper.pipeline.{verb}", without=without, known=known)
    return dict(sorted((of_verb | of_models).items()))


def _campaigns(config: Yaml) -> tuple[dict[str, str], list[Path]]:
    """What was made of the dataset by hand and the report shows, by folder: a hash of what it holds, of any commit;
    and the files and folders that were looked at.

    The segments that a stage of its own makes are no such thing: the report depends on that stage.
    """
    if not config or not (config.get("report") or {}).get("campaigns", True):
        return {}, []
    paths, name = config["paths"], str(config["dataset"]["name"])
    of_stage = Path(paths.get("segments", "segments")) / name
    roots = [Path(paths.get("audiences", "audiences")) / name, of_stage.parent]
    roots.append(Path(paths.get("outputs", "outputs")) / "uplift")
    found: dict[str, str] = {}
    seen = list(roots)
    for root in roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            manifest = folder / MANIFEST
            if folder == of_stage or not folder.is_dir():
                continue
            seen.append(manifest)
            try:
                said = read_json(manifest) if manifest.is_file() else None
            except UserError:  # a damaged one is not in the report, which says so
                continue
            if isinstance(said, dict) and said.get("dataset") == name:
                found[folder.as_posix()] = sha256_json({k: v for k, v in said.items() if k not in ("commit", "seal")})
    return found, seen


def _targets(config: Yaml) -> Iterator[str]:
    if "model" in config:
        yield today(str(config["model"]["target"]))
    report = config.get("report") or {}
    for key in ("baselines", "shop_baselines"):  # which an evaluation trains by itself
        for model in (report.get(key) or {}).values():
            yield today(str(model["target"]))


def _raw(config: Yaml, before: Path) -> dict[str, Any]:
    dataset, raw = parse(config["dataset"]), Path(config["paths"]["raw"])
    known = read_json(before) if before.is_file() else {"files": []}
    try:
        return {"files": as_json(raw_files(dataset, raw))}
    except UserError as e:
        if are_here(known["files"], raw / dataset.folder):  # one of them has gone: prepare says so
            return {"files": [], "missing": str(e)}
        log.warning("no raw file of %s is in %s: whether they have changed could not be checked", dataset.name, raw)
        return dict(known)
