"""Where configuration lies: the `conf/` of the folder one works in, then the one that the package brings along.

In a clone both are one folder. Elsewhere (after `pip install`) a person's own `conf/` needs to hold only what he adds,
for example `conf/dataset/my_shop.yaml`; a `conf/` with a `config.yaml` replaces the package's.
"""

from __future__ import annotations

from pathlib import Path

PACKAGED = Path(__file__).parent / "conf"


def folders() -> list[Path]:
    """Folders in which a group's files are looked up; the first that has one wins."""
    own = Path("conf")
    if (own / "config.yaml").is_file():
        return [own]
    return [own, PACKAGED] if own.is_dir() else [PACKAGED]


def main_folder() -> Path:
    """The folder with `config.yaml` and the verbs' own files."""
    return folders()[-1]


def added_folder() -> Path | None:
    """A person's own `conf/` beside the package's; None where there is only one."""
    both = folders()
    return both[0] if len(both) > 1 else None


def find(group: str, name: str) -> Path | None:
    """`conf/<group>/<name>.yaml`, the first there is."""
    paths = (folder / group / f"{name}.yaml" for folder in folders())
    return next((path for path in paths if path.is_file()), None)


def names(group: str) -> list[str]:
    """The choices of a group, sorted."""
    return sorted({path.stem for folder in folders() for path in (folder / group).glob("*.yaml")})


def usual_runs() -> Path:
    """`paths.runs` as conf/paths says it, for commands that are told no settings."""
    import yaml

    file = find("paths", "default")
    said = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return Path(str(said.get("runs", "runs")))
