"""EASE on MovieLens-100K's held-out users, against NumPy and ir_measures working from the split's files alone."""

from __future__ import annotations

from pathlib import Path

import ir_measures as ir
import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import summarise
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.item_pairs.ease import EASE

ROOT = Path(__file__).parents[2]


@pytest.mark.real
def test_on_held_out_users_of_ml_100k_it_equals_numpy_and_ir_measures(raw, tmp_path):
    from shopkeeper.pipeline.preparing.data import prepare_data
    from shopkeeper.pipeline.preparing.split import prepare_split
    from shopkeeper.pipeline.told import Prepare, settings

    words = [
        "dataset=ml_100k",
        "split=held_out_users",
        f"paths.raw={raw}",
        f"paths.prepared={tmp_path}",
        "progress=false",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = settings(compose("prepare", words), Prepare)
    prepared = prepare_data(config)
    split = prepare_split(config, prepared)
    model = EASE(l2=200.0)
    model.fit(prepared, split, Fit(target_events=("rating",), filter_seen=True))
    ours = summarise(evaluate_requests(model, split, "test", k=(20, 100), filter_seen=True), ["ndcg@100", "recall@20"])

    item, offsets, train_end = (np.load(p) for p in (prepared.path / "item.npy", prepared.path / "offsets.npy",
                                                     split.path / "train_end.npy"))  # fmt: skip
    catalogue = np.load(split.path / "catalogue.npy")
    n = prepared.n_items + 1
    x = np.zeros((len(train_end), n))
    for u, (a, b) in enumerate(zip(offsets[:-1], train_end, strict=True)):
        x[u, item[a:b]] = 1
    p = np.linalg.inv(x.T @ x + 200.0 * np.identity(n))
    b = p / (-np.diag(p))
    np.fill_diagonal(b, 0)
    qrels, run = [], []
    for q, row in enumerate(pq.read_table(split.path / "test.parquet").to_pylist()):
        history = np.unique(item[row["start"] : row["end"]])
        score = np.zeros(n)
        score[history] = 1
        score = score @ b
        qrels += [ir.Qrel(str(q), str(i), 1) for i in row["targets"]]
        left = np.setdiff1d(catalogue, history)
        best = left[np.argsort(-score[left])[:150]]
        run += [ir.ScoredDoc(str(q), str(i), float(score[i])) for i in best]
    theirs = ir.calc_aggregate([ir.nDCG @ 100, ir.R @ 20], qrels, run)
    assert ours["ndcg@100"]["n"] == len({q.query_id for q in qrels}) > 50
    assert ours["ndcg@100"]["value"] == pytest.approx(theirs[ir.nDCG @ 100], abs=1e-5)  # float32 scores against float64
    assert ours["recall@20"]["value"] == pytest.approx(theirs[ir.R @ 20], abs=1e-5)
    assert ours["ndcg@100"]["value"] > 0.3
