"""One run of a peer for `shop_speed.py`, in the peer's own environment: `shop_peers.py KIND FILE.npz`.

FILE.npz holds `user` and `item`, for the drawn shops also `order` and `at` (seconds). Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np

from _timed import ASKED, PER_MODEL, TREES, timed

warnings.filterwarnings("ignore")


def dataset(log: Any) -> Any:
    import pandas as pd
    from rectools.dataset import Dataset

    at = log["at"] if "at" in log else np.arange(len(log["user"]))
    frame = pd.DataFrame({"user_id": log["user"], "item_id": log["item"], "weight": 1.0})
    frame["datetime"] = pd.to_datetime(at, unit="s")
    return Dataset.construct(frame.drop_duplicates(["user_id", "item_id"], keep="last"))


def rectools(kind: str, log: Any) -> dict[str, float]:
    from implicit.nearest_neighbours import CosineRecommender
    from rectools.models import EASEModel, ImplicitItemKNNWrapperModel, PopularModel

    data = dataset(log)
    knn = ImplicitItemKNNWrapperModel(CosineRecommender(K=51))  # an item is its own first neighbour
    if kind == "item_knn":
        return timed(lambda: knn.fit(data))
    if kind == "ease":
        return timed(lambda: EASEModel(regularization=250.0).fit(data))
    from catboost import CatBoostRanker
    from rectools.model_selection import TimeRangeSplitter
    from rectools.models.ranking import (
        CandidateGenerator,
        CandidateRankingModel,
        CatBoostReranker,
        PerUserNegativeSampler,
    )

    generators = [CandidateGenerator(m, PER_MODEL, keep_ranks=True, keep_scores=True) for m in (knn, PopularModel())]
    # 31 leaves of ours are a depth of 5 here.
    trees = CatBoostRanker(iterations=TREES, depth=5, thread_count=2, verbose=False, allow_writing_files=False)
    ranker = CatBoostReranker(trees)
    sampler = PerUserNegativeSampler(n_negatives=20, random_state=1)
    model = CandidateRankingModel(generators, TimeRangeSplitter("14D", n_splits=1), ranker, sampler)
    model.fit(data)
    everybody = data.user_id_map.external_ids
    return timed(
        lambda: model.recommend(everybody, data, k=10, filter_viewed=False, force_fit_candidate_generators=False)
    )


def cornac(log: Any) -> dict[str, float]:
    from cornac.data import BasketDataset
    from cornac.models import TIFUKNN

    user, item, basket, at = (log[name] for name in ("user", "item", "order", "at"))
    data = BasketDataset.from_ubit(list(zip(user.tolist(), basket.tolist(), item.tolist(), at.tolist(), strict=True)))
    histories = [baskets for _, _, [baskets] in data.ubi_iter(batch_size=1, shuffle=False)][:ASKED]
    model = TIFUKNN(n_neighbors=100)

    def work() -> None:
        model.fit(data)
        for user_index, baskets in enumerate(histories):
            model.score(user_index, baskets)

    return timed(work)


def main() -> None:
    kind, path = sys.argv[1:]
    with np.load(path) as file:
        log = dict(file)
    peer = "cornac" if kind == "tifu_knn" else "rectools"
    found = cornac(log) if peer == "cornac" else rectools(kind, log)
    print(json.dumps(found | {"version": version(peer)}))


if __name__ == "__main__":
    main()
