"""The small table of `metrics_elsewhere.py`, judged by one other library in that library's own environment.

    python benchmarks/metric_peers.py <library> < table.json

Each is called as its documentation says for a table of recommendations and one of what was taken, with no option but
the cut-off. Prints JSON: versions, and for each metric its mean and a value per customer (where the library gives one).
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from importlib.metadata import version
from typing import Any

Table = dict[str, Any]  # k, items, lists: customer -> [[item, score], …], taken: customer -> [item, …]
Values = dict[str, dict[str, Any]]  # metric -> {"each": {customer: value}, "mean": value}


def frames(table: Table, user: str, item: str, score: str) -> tuple[Any, Any]:
    """Recommendations and what was taken as pandas frames with these names of columns."""
    import pandas as pd

    given = [(u, i, s) for u, entries in table["lists"].items() for i, s in entries]
    taken = [(u, i) for u, items in table["taken"].items() for i in items]
    return pd.DataFrame(given, columns=[user, item, score]), pd.DataFrame(taken, columns=[user, item])


def rectools(table: Table) -> Values:
    from rectools import Columns, metrics

    given, taken = frames(table, Columns.User, Columns.Item, Columns.Score)
    given[Columns.Rank] = given.groupby(Columns.User, sort=False).cumcount() + 1
    found = {}
    for name, cls in (("ndcg", metrics.NDCG), ("recall", metrics.Recall), ("precision", metrics.Precision),
                      ("hit", metrics.HitRate), ("mrr", metrics.MRR), ("map", metrics.MAP)):  # fmt: skip
        metric = cls(k=table["k"])
        each = metric.calc_per_user(given, taken).to_dict()
        found[name] = {"each": each, "mean": metric.calc(given, taken)}
    metric = metrics.NDCG(k=table["k"], divide_by_achievable=True)
    found["ndcg, divide_by_achievable=True"] = {
        "each": metric.calc_per_user(given, taken).to_dict(), "mean": metric.calc(given, taken)}  # fmt: skip
    return found


def replay(table: Table) -> Values:
    from replay import metrics
    from replay.metrics import PerUser

    given, taken = frames(table, "query_id", "item_id", "rating")
    found = {}
    for name, cls in (("ndcg", metrics.NDCG), ("recall", metrics.Recall), ("precision", metrics.Precision),
                      ("hit", metrics.HitRate), ("mrr", metrics.MRR), ("map", metrics.MAP)):  # fmt: skip
        (each,) = cls(table["k"], mode=PerUser())(given, taken).values()
        (mean,) = cls(table["k"])(given, taken).values()
        found[name] = {"each": each, "mean": mean}
    return found


def recbole(table: Table) -> Values:
    """Through its Collector and metric classes, which its Trainer calls with a row of scores for each customer.

    What a list does not hold gets the score -inf, as RecBole gives items that it leaves out. Who has nothing to be
    found is in no batch of its loaders. Its metrics are rounded (`metric_decimal_place`), here to 10 places.
    """
    import torch
    from recbole.config import Config
    from recbole.evaluator import Collector, metrics

    Config.compatibility_settings(None)  # as its Config does for NumPy from 1.24 on
    items, k = table["items"], table["k"]
    users = [u for u, taken in table["taken"].items() if taken]
    scores = torch.full((len(users), len(items)), -torch.inf)
    for row, user in enumerate(users):
        for item, score in table["lists"].get(user, []):
            scores[row, items.index(item)] = score
    pairs = [(row, items.index(i)) for row, user in enumerate(users) for i in table["taken"][user]]
    names = {"ndcg": metrics.NDCG, "recall": metrics.Recall, "precision": metrics.Precision, "hit": metrics.Hit,
             "mrr": metrics.MRR, "map": metrics.MAP}  # fmt: skip
    config = {"metrics": list(names), "topk": [k], "device": "cpu", "metric_decimal_place": 10,
              "eval_args": {"mode": "full"}}  # fmt: skip
    collector = Collector(config)
    rows, columns = (torch.tensor(side) for side in zip(*pairs, strict=True))
    collector.eval_batch_collect(scores, None, rows, columns)
    struct = collector.get_data_struct()
    found = {}
    for name, cls in names.items():
        metric = cls(config)
        (mean,) = metric.calculate_metric(struct).values()
        hits, counts = metric.used_info(struct)
        args = (hits,) if name in ("hit", "mrr", "precision") else (hits, counts)
        each = metric.metric_info(*args)[:, k - 1]
        found[name] = {"each": dict(zip(users, map(float, each), strict=True)), "mean": float(mean)}
    return found


def lenskit(table: Table) -> Values:
    from lenskit.data import ItemList, ItemListCollection, UserIDKey
    from lenskit.metrics import NDCG, Hit, Precision, Recall, RecipRank, RunAnalysis
    from lenskit.metrics.ranking import AveragePrecision

    k, found = table["k"], {}
    test = ItemListCollection(UserIDKey)
    for user, items in table["taken"].items():
        if items:
            test.add(ItemList(items), user_id=user)
    for name, metric in (("ndcg", NDCG(k)), ("recall", Recall(k)), ("precision", Precision(k)), ("hit", Hit(k)),
                         ("mrr", RecipRank(k)), ("map", AveragePrecision(k))):  # fmt: skip
        lists = ItemListCollection(UserIDKey)
        for user, entries in table["lists"].items():
            if name != "map" or table["taken"][user]:  # its average precision divides by how many there are to find
                ordered = ItemList([i for i, _ in entries], scores=[s for _, s in entries], ordered=True)
                lists.add(ordered, user_id=user)
        analysis = RunAnalysis()
        analysis.add_metric(metric, label=name)
        result = analysis.measure(lists, test)
        each = result.list_metrics(fill_missing=False)[name].to_dict()
        mean = float(result.list_summary()["mean"][name])
        found[name] = {"each": {u[0] if isinstance(u, tuple) else u: float(v) for u, v in each.items()}, "mean": mean}
    return found


def implicit(table: Table) -> Values:
    """A model of its own class whose factors are the scores; it recommends whatever has no score, too, at 0."""
    import numpy as np
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix

    items, users = table["items"], list(table["taken"])
    factors = np.zeros((len(users), len(items)), np.float32)
    for row, user in enumerate(users):
        for item, score in table["lists"].get(user, []):
            factors[row, items.index(item)] = score
    model = AlternatingLeastSquares(factors=len(items))
    model.user_factors, model.item_factors = factors, np.eye(len(items), dtype=np.float32)
    shape = (len(users), len(items))
    pairs = [(row, items.index(i)) for row, user in enumerate(users) for i in table["taken"][user]]

    def judged(rows: list[int]) -> dict[str, float]:
        some = [(r, c) for r, c in pairs if r in rows]
        test = csr_matrix((np.ones(len(some)), tuple(np.array(some).T)), shape)  # repeated entries are added up
        none = csr_matrix(shape)
        return dict(ranking_metrics_at_k(model, none, test, K=table["k"], show_progress=False, num_threads=1))

    together = judged(list(range(len(users))))
    single = {user: judged([row]) for row, user in enumerate(users) if table["taken"][user]}
    return {name: {"each": {u: float(v[name]) for u, v in single.items()}, "mean": float(together[name])}
            for name in ("ndcg", "precision", "map")}  # fmt: skip


def ranx(table: Table) -> Values:
    from ranx import Qrels, Run, evaluate

    taken = {u: {i: items.count(i) for i in items} for u, items in table["taken"].items() if items}
    lists = {u: dict(entries) for u, entries in table["lists"].items()}
    k, found = table["k"], {}
    for name, theirs in (("ndcg", "ndcg"), ("recall", "recall"), ("precision", "precision"), ("hit", "hit_rate"),
                         ("mrr", "mrr"), ("map", "map")):  # fmt: skip
        run = Run(lists)
        mean = evaluate(Qrels(taken), run, f"{theirs}@{k}", make_comparable=True)
        found[name] = {"each": dict(run.scores[f"{theirs}@{k}"]), "mean": float(mean)}
    return found


def ir_measures(table: Table) -> Values:
    import ir_measures as ir
    from ir_measures import AP, RR, P, R, Success, nDCG

    taken = [ir.Qrel(u, i, items.count(i)) for u, items in table["taken"].items() for i in dict.fromkeys(items)]
    given = [ir.ScoredDoc(u, i, s) for u, entries in table["lists"].items() for i, s in entries]
    k = table["k"]
    names = {"ndcg": nDCG @ k, "recall": R @ k, "precision": P @ k, "hit": Success @ k, "mrr": RR @ k, "map": AP @ k}
    each: dict[str, dict[str, float]] = {name: {} for name in names}
    for one in ir.iter_calc(list(names.values()), taken, given):
        (name,) = [n for n, measure in names.items() if measure == one.measure]
        each[name][one.query_id] = float(one.value)
    means = ir.calc_aggregate(list(names.values()), taken, given)
    return {name: {"each": each[name], "mean": float(means[measure])} for name, measure in names.items()}


PACKAGES = {"rectools": "rectools", "replay": "replay-rec", "recbole": "recbole", "lenskit": "lenskit",
            "implicit": "implicit", "ranx": "ranx", "ir_measures": "ir_measures"}  # fmt: skip


def main() -> None:
    library = sys.argv[1]
    table = json.load(sys.stdin)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        values = globals()[library](table)
    versions = {PACKAGES[library]: version(PACKAGES[library])}
    if library == "ir_measures":
        versions["pytrec_eval-terrier"] = version("pytrec_eval-terrier")
    print(json.dumps({"versions": versions, "values": values}))


if __name__ == "__main__":
    main()
