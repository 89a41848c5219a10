"""Loss curves of short reference runs: a later change may make them faster, it may not move them.

After a change that is meant to move them, `python tests/training/test_curves.py` writes them anew; the commit says why.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from small_training import fit, shop

CURVES = Path(__file__).with_name("curves")
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"dropout": 0.0},
    "two_blocks_two_heads": {"dropout": 0.0, "blocks": 2, "heads": 2, "lr": 0.005},
    "gated_warmup_cosine_clip": {
        "dropout": 0.0, "gated": True, "warmup_steps": 6, "decay": "cosine", "clip": 0.5, "weight_decay": 0.1,
    },
    "dropout": {"dropout": 0.3},
}  # fmt: skip


def curve(prepared: Any, split: Any, name: str) -> list[dict[str, float]]:
    trained = fit(prepared, split, **RUNS[name]).trained
    assert trained is not None
    return [{k: round(row[k], 7) for k in ("epoch", "loss", "ndcg@10")} for row in trained.history]


@pytest.mark.parametrize("name", RUNS)
def test_the_loss_curve_is_where_it_was(tiny_shop, name: str):
    want = json.loads((CURVES / f"{name}.json").read_text())
    got = curve(*tiny_shop, name)
    assert [r["epoch"] for r in got] == [r["epoch"] for r in want]
    # float32 sums in another order on another processor: 1e-5 relative, five epochs long
    assert [r["loss"] for r in got] == pytest.approx([r["loss"] for r in want], rel=2e-5)
    assert [r["ndcg@10"] for r in got] == pytest.approx([r["ndcg@10"] for r in want], abs=0.02)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        data = shop(Path(folder) / "data")
        CURVES.mkdir(exist_ok=True)
        for run in RUNS:
            (CURVES / f"{run}.json").write_text(json.dumps(curve(*data, run), indent=1) + "\n")
