"""The stage `compose`: one resolved Hydra config per later stage, so that DVC sees exactly what each stage would do.

DVC composes Hydra only in `dvc exp run`; here `conf/` is composed by a cheap stage of its own and every later stage
depends on its one file in `data/composed/`. A comment edited in `conf/` re-runs this stage alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from shopkeeper import configuration
from shopkeeper.errors import UserError, whole
from shopkeeper.files import atomic_folder, sha256_tree, write_json, write_text
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context, places
from shopkeeper.pipeline.stages.unedited import COMPOSED
from shopkeeper.pipeline.told import VERBS, plain, settings
from shopkeeper.shapes import TEXT, Each, Items, Needed, Shape, check_shape

# What a stage reads; without the rest, a model's learning rate would look like a change of the data.
OF_DATA = ("dataset", "split", "task", "paths", "engine", "timeline", "progress", "prepared_folder")
READS = {
    "prepare": (*OF_DATA, "features", "audit"),
    "evaluate": ("dataset", "split", "paths", "tracking", "evaluation", "report", "runs", "out", "overwrite"),
    "segments": (*OF_DATA, "at", "segmentation", "needed", "out", "overwrite"),
    "export": ("dataset", "split", "task", "paths", "model", "run", "runs", "name", "k", "golden", "overwrite",
               "evaluation"),
}  # fmt: skip


HYDRA = {  # leaves no folder and no log file, and logs plainly to stderr
    "run": {"dir": "."},
    "output_subdir": None,
    "job_logging": {
        "formatters": {"simple": {"format": "%(message)s"}},
        "handlers": {"console": {"stream": "ext://sys.stderr"}},
    },
}
PLAN: Shape = {  # conf/pipeline.yaml
    "dataset": Needed(TEXT), "split": Needed(TEXT), "seed": Needed(whole(0)), "models": Needed(Each(TEXT)),
    "export": Needed(TEXT), "tune": Items(TEXT), "overrides": Items(TEXT), "training": Each(Items(TEXT)),
}  # fmt: skip


def compose_stages(out: Path = Path("data/composed")) -> list[Path]:
    """Write `<out>/stage-prepare.yaml`, `train-<model>.yaml`, `tune-<model>.yaml`, … from `conf/pipeline.yaml`."""
    file = configuration.main_folder() / "pipeline.yaml"
    plan = yaml.safe_load(file.read_text(encoding="utf-8"))
    check_shape(plan, PLAN, str(file))
    common = [
        f"dataset={plan['dataset']}",
        f"split={plan['split']}",
        f"seed={plan['seed']}",
        *(plan.get("overrides") or []),
    ]
    of_models = plan.get("training") or {}
    if unknown := sorted(set(of_models) - set(plan["models"])):
        raise UserError(f"{file}: training: {', '.join(unknown)} is none of models ({', '.join(plan['models'])})")
    stages: dict[str, tuple[str, list[str]]] = {"stage-prepare": ("prepare", [])}
    for model, task in plan["models"].items():  # the file's name, which the stage's output is called after
        stages[f"train-{model}"] = ("train", [f"model={model}", f"task={task}", *of_models.get(model, [])])
    stages["stage-segments"] = ("segments", ["needed=false"])
    # DVC leaves the report before where it is, from which this one says what has moved; of which models is the plan's.
    stages["stage-evaluate"] = ("evaluate", ["overwrite=true"])
    best = plan["export"] == context.BEST
    stages["stage-export"] = ("export", [f"run={context.BEST}"] if best else [f"model={plan['export']}"])
    runs: dict[str, str] = {}  # the stages' own: what was trained by hand is not looked at
    for model in plan.get("tune") or []:
        stages[f"tune-{model}"] = ("tune", [f"model={model}"])
    with atomic_folder(out, "composed") as folder:
        for stage, (verb, overrides) in stages.items():
            config = _compose(stage, verb, common + overrides)
            if verb == "train":
                told = settings({k: v for k, v in config.items() if k != "defaults"}, VERBS[verb])
                runs[stage.removeprefix("train-")] = str(places.run_folder(told))
            elif verb == "evaluate" or (verb == "export" and best):
                config["runs"] = list(runs.values())
            elif verb == "export":
                config["run"] = runs.get(plan["export"])
            write_text(folder / f"{stage}.yaml", yaml.safe_dump(config, sort_keys=False))
        write_json(folder / MANIFEST, sealed({"kind": COMPOSED, "files": sha256_tree(folder)}))
    return sorted(out.glob("*.yaml"))


def composed(verb: str, overrides: list[str], added: Path | None = None) -> DictConfig:
    """What `python <verb>.py <overrides>` would be given; within a running Hydra command, from where it reads.

    `added`: a folder with configuration that goes before all other.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if GlobalHydra.instance().is_initialized():
        return compose(verb, overrides)
    places = [place.resolve() for place in (added, configuration.added_folder()) if place is not None]
    more = [f"hydra.searchpath=[{','.join(f'file://{place}' for place in places)}]"] if places else []
    with initialize_config_dir(str(configuration.main_folder().resolve()), version_base="1.3"):
        return compose(verb, [*overrides, *more])


def _compose(stage: str, verb: str, overrides: list[str]) -> dict[str, Any]:
    """The resolved config of one stage, with the folder that Hydra shall run in."""
    from omegaconf import OmegaConf

    config = composed(verb, overrides)
    # Places of raw data and servers, with their passwords, belong to the machine, not to the experiment.
    machine = {"paths": ("raw",), "tracking": ("uri",), "tuning": ("storage",)}
    kept = {
        group: {k: OmegaConf.to_container(config[group], resolve=False)[k] for k in keys if k in config[group]}  # type: ignore[index,call-overload]
        for group, keys in machine.items()
        if group in config
    }
    value = plain(config)
    for group, values in kept.items():
        value[group].update(values)
    if verb in READS:
        value = {k: v for k, v in value.items() if k in READS[verb]}
    if verb == "export":  # the best one is whichever it is; a named one is not compared
        for name in ("model", "task") if value["run"] == context.BEST else ("evaluation",):
            del value[name]
    if verb == "train":
        value["name"] = stage.removeprefix("train-")
    settings(value, VERBS[verb])  # what is wrong with a stage is told before the first one runs
    # The stage's output has this name, whatever conf/pipeline.yaml overrides about the dataset.
    value["prepared_folder"] = str(Path(value["paths"]["prepared"]) / value["dataset"]["name"])
    return {
        "defaults": ["_self_", {"override hydra/job_logging": "stdout"}],
        "hydra": HYDRA,
        **value,
    }
