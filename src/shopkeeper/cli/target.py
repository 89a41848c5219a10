"""`target`: a bundle for another runtime, in fewer bits, or with an index of its items."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shopkeeper.bundles.answer import Bundle
from shopkeeper.configuration import usual_runs
from shopkeeper.errors import UserError

if TYPE_CHECKING:
    from shopkeeper.bundles.targets.smaller import Cost


def write_target(kind: str, bundle: Path, to: Path, overwrite: bool, of: Path | None, **told: Any) -> None:
    """Write what a runtime takes; say where it is, and what it costs."""
    if kind == "triton":
        from shopkeeper.bundles.targets import write_triton

        triton = {name: told[name] for name in ("batch", "instances", "gpu")}
        print(f"{write_triton(bundle, to, overwrite=overwrite, **triton)}: {kind} of {bundle}", file=sys.stderr)
        return
    if kind in ("faiss", "usearch"):
        from shopkeeper.bundles.targets.index import write_index

        out = write_index(bundle, to, kind, None if of is None else _cost(of), overwrite)
        found = Bundle.load(out).manifest["index"]
        recall, cost = found["recall"], found["cost"]
        lost = f"; {cost['statement']}" if cost else "; --of <run> tells its cost in NDCG, too"
        print(
            f"{out}: {kind} of {bundle}, recall@{recall['k']} {recall['golden']:.4f} of golden requests{lost}",
            file=sys.stderr,
        )
        return
    if of is None:
        raise UserError(f"say --of <run>, the one that {bundle} was made of: its test requests tell what {kind} costs")
    from shopkeeper.bundles.targets.smaller import shown, write_smaller

    out = write_smaller(bundle, to, kind, _cost(of), overwrite)
    print(f"{out}: {shown(out)}", file=sys.stderr)


def _cost(of: Path) -> Cost:
    """What measures on the test requests of a run."""
    from shopkeeper.pipeline import places
    from shopkeeper.pipeline.handed.cost import cost_of
    from shopkeeper.pipeline.runs import open_run

    return partial(cost_of, open_run(places.find(of, usual_runs())))
