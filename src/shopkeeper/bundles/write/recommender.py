"""Trained model -> the folder that a serving team receives.

Which files there are and what each holds is declared in `bundles/layout.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.write import golden as cases_of
from shopkeeper.bundles.write.arrays import Arrays, arrays_of
from shopkeeper.bundles.write.graphs import scorer_of
from shopkeeper.bundles.write.onnx_file import write_onnx
from shopkeeper.bundles.write.ranking import RankingGraph, Scorer
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.data.prepared import Prepared, Split
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_text
from shopkeeper.recommenders.base import untyped_event

RANDOM_CASES = 200  # histories that nobody had, checked beside the golden and the real ones
REAL_CASES = 300


def export_bundle(
    model: Any,
    prepared: Prepared,
    split: Split,
    run_manifest: Mapping[str, Any],
    out: Path,
    *,
    k: int = 10,
    golden: int = 100,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write the bundle of a trained recommender to `out`, whole or not at all, and prove that it answers as the model.

    Args:
        model: trained; of a family in `graphs.SCORERS` or `arrays.arrays_of`.
        prepared: the dataset that it was trained on.
        split: the split, whose catalogue goes into the graph.
        run_manifest: of the run: `model`, `task`, `seed`, `filter_seen`, `metrics`, `commit`; what is missing is null.
        out: the folder; a bundle of the same dataset and model that is there is replaced.
        k: length of the lists; never longer than the catalogue.
        golden: number of requests that travel with the bundle, an empty history among them.
        seed: chooses the golden requests.
        overwrite: replace a bundle of another dataset or model, too.

    Raises:
        UserError: the model cannot be exported, or the bundle does not answer as the trained model does.
    """
    if k < 1 or golden < 1:
        raise UserError(f"export.k={k}, export.golden={golden}: both must be at least 1")
    program = arrays_of(model, prepared)
    scorer: Scorer | Arrays = program or scorer_of(model, prepared, split)
    k, timed = min(k, len(split.catalogue)), bool(program and program.needs_time)
    unlike = None if overwrite else another(run_manifest, prepared.name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        if isinstance(scorer, Scorer):
            graph = RankingGraph(scorer, split.catalogue, prepared.n_items, k)
            write_onnx(graph, folder / "model.onnx", scorer.max_length)
        else:
            with open(folder / "arrays.npz", "wb") as f:
                np.savez(f, **scorer.arrays, catalogue=np.asarray(split.catalogue))  # type: ignore[arg-type]
        pq.write_table(_item_table(prepared, split, scorer), folder / "items.parquet")
        usual = untyped_event(model, split.timeline["spec"].get("target_events") or ())
        kept = cases_of.invented_cases(prepared, split, golden, seed, usual, scorer.max_length, timed)
        expected = cases_of.best(cases_of.trained_scores(model, kept, split.catalogue), k)
        item_ids = prepared.items["item_id"].to_pylist()
        lines = [json.dumps(_golden(*pair, item_ids)) for pair in zip(kept, expected, strict=True)]
        write_text(folder / "golden.json", '{"requests": [\n' + ",\n".join(lines) + "\n]}\n")  # one request a line
        seal(
            folder,
            _manifest(prepared, split, run_manifest)
            | {
                "k": k,
                "scorer": program.scorer if program else None,  # null: model.onnx
                "history": {
                    "max_length": scorer.max_length,
                    "event_types": None if scorer.event_types is None else list(scorer.event_types),
                    "needs_time": timed,  # each event must have its time
                    "time_zone": prepared.zone,  # of times without an offset
                    "usual_type": usual,  # what an event without a type counts as, here and in `recommend`
                },
            },
        )
        _prove(model, prepared, split, folder, out, seed)
    return Path(out)


def _prove(model: Any, prepared: Prepared, split: Split, folder: Path, out: Path, seed: int) -> None:
    """Hold the finished folder, opened as a serving team opens it, against the trained model."""
    wrong = verify(folder, repeat=0).wrong
    asked = len(wrong)
    if not wrong:
        bundle = Bundle.load(folder)
        checked = cases_of.real_cases(split, REAL_CASES, seed + 1, bundle.needs_time)
        checked += cases_of.random_cases(prepared, RANDOM_CASES, seed, bundle.event_types, bundle.needs_time)
        for first in range(0, len(checked), 64):
            part = checked[first : first + 64]
            scores_BV = cases_of.trained_scores(model, part, split.catalogue)
            wrong += cases_of.disagreements(scores_BV, cases_of.answer(bundle, part), bundle.internal, bundle.k)
        asked = len(checked)
    if wrong:
        raise UserError(
            f"{out} was not written: the bundle and the trained model differ in {len(wrong)} of {asked} requests "
            f"(first: {wrong[0]}); train with trainer.precision=fp32, or report it with what "
            f"`python -m shopkeeper doctor` prints"
        )


def _item_table(prepared: Prepared, split: Split, scorer: Scorer | Arrays) -> pa.Table:
    """Item table with two marks: may be recommended (`in_catalogue`), is read in a history (`known`)."""
    inside = np.isin(prepared.items["item"].to_numpy(), split.catalogue)
    table = prepared.items
    known = np.ones(len(inside), bool) if scorer.known is None else scorer.known[1:]
    for name, column in (("in_catalogue", inside), ("known", known)):
        if name in table.column_names:  # the mark replaces an attribute of the same name
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(column))
    return table


def _golden(case: cases_of.Case, expected: list[tuple[int, float]], item_ids: list[str]) -> dict[str, Any]:
    return {
        "history": cases_of.external(case, item_ids),
        "filter_seen": case.filter_seen,
        "exclude": [item_ids[i - 1] for i in case.exclude],
        "expected": [{"item_id": item_ids[i - 1], "score": score} for i, score in expected],
    }


def _manifest(prepared: Prepared, split: Split, run: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle is and where it comes from."""
    return {
        "kind": "recommender",
        "model": run.get("model"),
        "task": run.get("task", "next_item"),
        "seed": run.get("seed"),
        "filter_seen": bool(run.get("filter_seen", False)),
        "metrics": run.get("metrics"),
        "git_commit": run.get("commit"),
        "n_items": prepared.n_items,
        "n_catalogue": len(split.catalogue),
        "data": {
            "dataset": prepared.name,
            "fingerprint": prepared.fingerprint,
            "erasure_list": prepared.erasure_list,
            "split": split.name,
            "protocol": split.protocol,
            "target_hash": split.target_hash("test"),
        },
    }
