"""`export`: a finished run -> the bundle that a serving team receives, proven against the trained model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import RunFolder, open_run

log = logging.getLogger(__name__)


def export(config: DictConfig) -> None:
    """The verb: write `exports/<name>/` from `run=…` (default: the stage's run of `model`) and verify it."""
    from shopkeeper.serving.verify import verify

    cfg = context.plain(config)
    run = open_run(cfg["run"] or context.run_folder(cfg), context.named_targets(cfg))
    out = Path(cfg["paths"]["exports"]) / cfg["name"]
    export_run(run, out, k=int(cfg["k"]), golden=int(cfg["golden"]))
    log.info("%s", verify(out))


def export_run(run: RunFolder, out: Path, *, k: int = 10, golden: int = 100) -> Path:
    """Write the bundle of a run, whichever its task."""
    prepared, model = context.prepared_of(run.manifest), run.model()
    facts = about(run)
    if run.task == "next_item":
        from shopkeeper.export.bundle import export_bundle

        return export_bundle(model, prepared, context.split_of(prepared, run.manifest), facts, out, k=k, golden=golden)
    from shopkeeper.export.customers import export_customer_bundle
    from shopkeeper.pipeline.train_customers import test_cohort

    return export_customer_bundle(model, test_cohort(run.config, prepared), prepared, facts, out, golden=golden)


def about(run: RunFolder) -> dict[str, Any]:
    """What the bundle's manifest says about the run it was made from."""
    kept: Mapping[str, Any] = {k: v for k, v in run.manifest.items() if k not in ("kind", "format_version", "files")}
    return {**kept, "seed": run.metrics["seed"], "filter_seen": run.metrics["filter_seen"], "metrics": run.metrics}
