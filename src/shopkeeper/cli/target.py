"""`target`: a bundle for another runtime, or in fewer bits."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from shopkeeper.errors import UserError


def write_target(kind: str, bundle: Path, to: Path, overwrite: bool, of: Path | None, **told: Any) -> None:
    """Write what a runtime takes; say where it is, and what it costs."""
    if kind == "triton":
        from shopkeeper.bundles.targets import write_triton

        triton = {name: told[name] for name in ("batch", "instances", "gpu")}
        print(f"{write_triton(bundle, to, overwrite=overwrite, **triton)}: {kind} of {bundle}", file=sys.stderr)
        return
    if of is None:
        raise UserError(f"say --of <run folder>, the run that {bundle} was made of: its test requests tell what {kind} "
                        f"costs")  # fmt: skip
    try:
        from shopkeeper.bundles.targets.smaller import shown, write_smaller
        from shopkeeper.pipeline.handed.cost import cost_of
        from shopkeeper.pipeline.runs import open_run
    except ImportError as e:
        raise UserError(f'{e.name} is not installed: `pip install "shopkeeper[export,train]"`') from None
    out = write_smaller(bundle, to, kind, partial(cost_of, open_run(of)), overwrite)
    print(f"{out}: {shown(out)}", file=sys.stderr)
