"""Where configuration lies: the `conf/` of the folder one works in, then the one that the package brings along.

In a clone both are one folder. Elsewhere (after `pip install`) a person's own `conf/` needs to hold only what he adds,
for example `conf/dataset/my_shop.yaml`; a `conf/` with a `config.yaml` replaces the package's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def written(group: str, name: str) -> dict[str, Any]:
    """What a group's file says, over what files of its `defaults` put there (`/source@_here_: shopify_orders`)."""
    import yaml

    path = find(group, name)
    own = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    parts = list(own.pop("defaults", None) or [])
    whole: dict[str, Any] = {}
    for part in parts if "_self_" in parts else [*parts, "_self_"]:
        if part == "_self_":
            whole = _over(whole, own)
        elif isinstance(part, Mapping):
            for key, of in part.items():
                if (base := str(key).removesuffix("@_here_")) != key:
                    whole = _over(whole, written(base.strip("/"), str(of)))
    return whole


def _over(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them; of blocks in both, those of both."""
    inner = {
        k: _over(base[k], v) for k, v in other.items() if isinstance(v, Mapping) and isinstance(base.get(k), Mapping)
    }
    return {**base, **other, **inner}


def usual_runs() -> Path:
    """`paths.runs` as conf/paths says it, for commands that are told no settings."""
    import yaml

    file = find("paths", "default")
    said = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return Path(str(said.get("runs", "runs")))
