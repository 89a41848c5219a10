"""`python -m shopkeeper clean`: remove what the verbs have made, told by its manifests; all else stays and is named."""

from __future__ import annotations

from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.files import remove_ours
from shopkeeper.pipeline.forms.checkpoints import is_note
from shopkeeper.pipeline.score import SCORES
from shopkeeper.pipeline.stages.compose import composed

MADE = (
    "prepared",
    "runs",
    "outputs",
    "checkpoints",
    "reports",
    "exports",
    "studies",
    "segments",
    "audiences",
)  # of conf/paths
ELSEWHERE = ("data/composed", "models")  # no setting says where; in models/ runs lay before there was runs/
SHOWN = 5


def clean(dry_run: bool = False) -> None:
    """Remove every folder of ours below `paths.*`, whose files a manifest lists, and print what goes and what stays.

    Raw data, `.venv`, MLflow's database and artifacts, and whatever a person put beside ours are not touched. A
    `UserError` where a path leads to the working folder or above it.
    """
    paths = composed("prepare", []).paths
    roots = dict.fromkeys([*map(Path, ELSEWHERE), *(Path(str(paths[name])) for name in MADE)])
    for root in roots:
        if Path.cwd().is_relative_to(root.resolve()):
            raise UserError(f"{root} is the folder that this command runs in, or lies above it; set paths.* to others")
    notes = [path for path in Path(str(paths["checkpoints"])).glob("*.json") if is_note(path)]
    for path in notes if not dry_run else ():
        path.unlink()
    stay: list[Path] = []
    for root in roots:
        removed, left = remove_ours(root, dry_run)
        for folder in removed:
            print(f"{'would remove' if dry_run else 'removed'} {folder}")
        stay += [path for path in left if path.name not in ("README.md", ".gitkeep") and path not in notes]
    stay = list(dict.fromkeys(stay))
    scores = [path for path in stay if path.parent == Path(str(paths["outputs"])) / SCORES]
    for path in scores:
        print(f"stays, customers' scores: {path}; delete it by hand when nobody needs it")
    others = [path for path in stay if path not in scores]
    for path in others[:SHOWN]:
        print(f"stays, in no manifest of this project: {path}")
    if len(others) > SHOWN:
        print(f"and {len(others) - SHOWN:,} more files")
    for name in ("mlflow.db", "mlartifacts"):
        if Path(name).exists():
            print(f"stays, MLflow's: {name}; delete it by hand if no other runs are in it")
