"""`target`: a bundle for another runtime."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def write_target(kind: str, bundle: Path, to: Path, overwrite: bool, **told: Any) -> None:
    """Write what a runtime takes; say where it is."""
    from shopkeeper.bundles.targets import write_triton

    triton = {name: told[name] for name in ("batch", "instances", "gpu")}
    print(f"{write_triton(bundle, to, overwrite=overwrite, **triton)}: {kind} of {bundle}", file=sys.stderr)
