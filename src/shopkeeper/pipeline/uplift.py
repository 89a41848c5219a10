"""`uplift`: whom a randomised campaign moves, by every learner, arm and outcome, judged on customers not seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper.campaigns.sheets import write_sheet
from shopkeeper.campaigns.uplift.judge import curve_of, judged
from shopkeeper.campaigns.uplift.layout import KIND
from shopkeeper.campaigns.uplift.learners import uplift_of_others
from shopkeeper.campaigns.uplift.randomised import check_randomised
from shopkeeper.campaigns.uplift.table import Told, read_campaign
from shopkeeper.files import atomic_folder, sha256_file, sha256_tree, write_json
from shopkeeper.folders import Unlike, check_target
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context, show, told

log = logging.getLogger(__name__)
FIGURES = ("qini", "auuc", "first")  # shown; `effect` is the same for every learner
NORMALISED = (
    "areas between the curve and the straight line to its end, in outcome per customer of the base; ties averaged, "
    "a constant score has 0"
)


def uplift(config: DictConfig) -> None:
    """The verb: check that the campaign was randomised, learn, judge, write the folder and print the figures."""
    out, found = uplifted(told.settings(config, told.Uplift))
    _say(found, out)


def uplifted(cfg: told.Uplift) -> tuple[Path, list[dict[str, Any]]]:
    """Learn from a campaign, judge and write the folder; the folder, and what was found by arm and outcome."""
    campaign = cfg.campaign
    out = cfg.out or cfg.paths.outputs / "uplift" / campaign.name
    unlike = None if cfg.overwrite else _unlike(campaign.name)
    out = check_target(out, KIND, unlike)
    data = read_campaign(campaign, cfg.paths.raw)
    found: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    scores: dict[str, np.ndarray] = {}
    for arm in data.arms:
        for outcome in campaign.outcomes:
            found.append(_of_arm(cfg, data, arm, outcome, scores, curves))
    with atomic_folder(out, KIND, unlike) as folder:
        about = {"normalised": NORMALISED, "campaign": dict(campaign.plain), "features": list(data.names)}
        asked = {
            "folds": cfg.folds,
            "trees": asdict(cfg.trees),
            "seed": cfg.seed,
            "confidence": cfg.evaluation.confidence,
        }
        write_json(folder / "uplift.json", {**about, **asked, "trials": found})
        write_sheet(pa.Table.from_pylist(curves), folder / "curves.csv")
        pq.write_table(_customers(data, scores), folder / "customers.parquet")
        manifest = {
            "format_version": 1,
            "kind": KIND,
            "campaign": campaign.name,
            "dataset": campaign.dataset,
            "raw": sha256_file(cfg.paths.raw / campaign.file),
            "commit": context.git_commit(),
            "files": sha256_tree(folder),
        }
        write_json(folder / "manifest.json", sealed(manifest))
    return out, found


def _unlike(campaign: str) -> Unlike:
    def unlike(manifest: Mapping[str, Any]) -> str | None:
        theirs = manifest.get("campaign")
        return None if theirs == campaign else f"campaign={theirs}, not {campaign}"

    return unlike


def _of_arm(
    cfg: told.Uplift, data: Told, arm: str, outcome: str, scores: dict[str, np.ndarray], curves: list[dict[str, Any]]
) -> dict[str, Any]:
    """Figures of every learner on one arm and outcome; what each says of customers goes into `scores`."""
    rows, trial = data.trial(arm, outcome)
    balance = check_randomised(trial, cfg.campaign.probability is not None, cfg.trees, cfg.seed)
    own = {name: uplift_of_others(name, trial, cfg.trees, cfg.folds, cfg.seed) for name in cfg.learners}
    e = cfg.evaluation
    figures = judged(trial, own, resamples=e.resamples, confidence=e.confidence)
    for name, score in own.items():
        column = np.full(data.table.num_rows, np.nan)
        column[rows] = score
        scores[f"{arm}/{outcome}/{name}"] = column
        curves += [{"arm": arm, "outcome": outcome, "learner": name, **point} for point in curve_of(trial, score)]
    effect = next(iter(figures.values()))["effect"]
    log.info("%s, %s: %s treated, %s in control", arm, outcome, f"{balance.treated:,}", f"{balance.control:,}")
    return {"arm": arm, "outcome": outcome, "balance": asdict(balance), "effect": effect, "learners": {
        name: {figure: values[figure] for figure in FIGURES} for name, values in figures.items()
    }}  # fmt: skip


def _customers(data: Told, scores: Mapping[str, np.ndarray]) -> pa.Table:
    n, key = data.table.num_rows, data.campaign.customer
    ids = pa.array([str(i) for i in range(n)]) if key is None else data.table[key].cast(pa.string())
    columns = {name: pa.array(np.nan_to_num(of), mask=np.isnan(of)) for name, of in scores.items()}
    return pa.table({"user_id": ids, "arm": data.table[data.campaign.treatment].cast(pa.string()), **columns})


def _say(found: list[dict[str, Any]], out: Path) -> None:
    for trial in found:
        digits = 4 if abs(trial["effect"]["value"]) < 0.1 else 3

        def shown(figure: Mapping[str, float], digits: int = digits) -> str:
            return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"

        print(f"{trial['arm']}, {trial['outcome']}: {shown(trial['effect'])} more per customer who is treated")
        best = sorted(trial["learners"].items(), key=lambda item: -item[1]["qini"]["value"])
        rows = [[name, *(shown(figures[f]) for f in FIGURES)] for name, figures in best]
        print(show.table(["learner", "qini", "auuc", "effect in the first 30 %"], rows))
        if all(figures["qini"]["low"] <= 0 for _, figures in best):
            print(
                "no learner is shown to order customers better than chance: every Qini's interval begins at 0 or below"
            )
        print()
    log.info("areas in outcome per customer, above the straight line; uplift: %s", context.relative(out))
