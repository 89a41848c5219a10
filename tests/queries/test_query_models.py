"""Models read queries in histories, and suggest them: what follows what in the garden shop is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from garden import NEXT, garden, split_of

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import query_id
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.evaluation.alarms.model_audit import audit_learning
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.features.content import item_content
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.recommenders.item_pairs.item_to_item import ItemToItem
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.networks.bert4rec import BERT4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.schema import EVENT_CODE
from shopkeeper.timeline import DAY, instant
from shopkeeper.training.batching.batches import TrainingView
from shopkeeper.training.batching.cloze import ClozeView
from shopkeeper.training.config import TrainerConfig

NETWORK: dict[str, Any] = {
    "width": 16, "blocks": 1, "max_length": 12, "dropout": 0.0, "lr": 0.01, "batch_size": 8, "epochs": 12,
    "patience": 0,
}  # fmt: skip
TRAINER = TrainerConfig(accelerator="cpu", precision="fp32", threads=1, validation_requests=40)
MODELS: dict[str, Callable[[], Any]] = {
    "sasrec": lambda: SASRec(**NETWORK),
    "sasrec that reads texts": lambda: SASRec(**NETWORK, content="all"),
    "sasrec with its own history": lambda: SASRec(**NETWORK, history="kernel"),
    "item_to_item": lambda: ItemToItem(relation="alternative", anchors=1),
}
# Of those with an own history the customer's own cycle says here what comes next, without the look.
CYCLELESS = [name for name in MODELS if "own" not in name]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return garden(tmp_path_factory.mktemp("garden"))


def fitted(model: Any, split: Split) -> Any:
    targets = tuple(split.timeline["spec"]["target_events"])
    model.fit(split.prepared, split, Fit(seed=1, target_events=targets, trainer=TRAINER, progress=False))
    return model


def best_of(model: Any, split: Split, *histories: list[tuple[str, str]]) -> list[str]:
    """What may be recommended with the highest score after each history of (item, event type), one an hour."""
    names = ["", *split.prepared.items["item_id"].to_pylist()]
    known = [[names.index(item) for item, _ in events] for events in histories]
    kinds = [[EVENT_CODE[kind] for _, kind in events] for events in histories]
    at = instant("2024-02-10", "at")
    times = [[at + n * DAY // 24 for n in range(len(events))] for events in histories]
    asked = Requests.from_histories(known, kinds, times, [at + len(events) * DAY // 24 for events in histories])
    scores = np.full((len(histories), len(names)), -np.inf)
    scores[:, split.catalogue] = model.score(asked)[:, split.catalogue]
    return [names[i] for i in scores.argmax(axis=1)]


@pytest.mark.parametrize("name", CYCLELESS)
def test_whoever_looked_at_something_searches_for_what_goes_with_it(shop: Prepared, name: str):
    split = split_of(shop, "search")
    model = fitted(MODELS[name](), split)
    assert best_of(model, split, *([(look, "view")] for look in NEXT)) == [query_id(q) for q, _ in NEXT.values()]


@pytest.mark.parametrize("name", CYCLELESS)
def test_whoever_has_searched_for_something_buys_that(shop: Prepared, name: str):
    split = split_of(shop)
    model = fitted(MODELS[name](), split)
    histories = [[(query_id(q), "search")] for q, _ in NEXT.values()]
    found = best_of(model, split, *histories)
    assert found == [bought for _, bought in NEXT.values()]


def test_own_queries_come_back_and_products_do_not_stand_among_them(shop: Prepared):
    split = split_of(shop, "search")
    often = [(query_id("mower blade"), "search")] * 3 + [(query_id("rose fertilizer"), "search"), ("pond", "view")]
    assert best_of(fitted(PersonalFrequency(), split), split, often) == ["query:mower blade"]
    assert best_of(fitted(Recency(), split), split, often) == ["query:rose fertilizer"]


@pytest.mark.parametrize("name", ["sasrec", "sasrec with its own history", "item_knn"])
def test_what_comes_after_the_cutoff_changes_no_answer_of_a_model_that_reads_queries(shop: Prepared, name: str):
    split = split_of(shop, "search")

    def learn(prepared: Prepared, other: Split, short: bool) -> Any:
        model = SASRec(**NETWORK | {"epochs": 1}, history="kernel" if "own" in name else "none") if short else ItemKNN()
        return fitted(model, other)

    trained = learn(shop, split, name != "item_knn")
    assert audit_learning(learn, trained, name, split)["passed"]


def test_training_anew_until_the_test_cutoff_knows_its_queries(tmp_path: Path):
    late = "".join(f"c{n},,search,2024-02-15T{10 + n}:00,tulips\n" for n in range(9))
    p = garden(tmp_path, more=late)
    split = split_of(p, "search")
    tulips = p.items["item_id"].to_pylist().index("query:tulips") + 1
    later = split.until_test()
    assert tulips not in split.known
    assert tulips in later.catalogue
    assert tulips in split_of(p).until_test().beside


def test_a_query_shares_the_words_of_products_and_a_bucket_shares_none(tmp_path: Path):
    p = garden(tmp_path, more="c1,,search,2024-01-09T00:00,blade of grass\n")
    names = ["", *p.items["item_id"].to_pylist()]
    found = item_content(p, "all", None, np.ones(len(names), bool))

    def tokens(name: str) -> set[int]:
        i = names.index(name)
        end = found.offset_V[i + 1] if i + 1 < len(names) else len(found.token_E)
        return set(found.token_E[found.offset_V[i] : end].tolist())

    assert tokens("query:mower blade") & tokens("blade")
    assert tokens("query:mower blade") & tokens("mower")
    assert not tokens("query:mower blade") & tokens("pond")
    hidden = next(name for name in names if name.startswith("query#"))
    assert not tokens(hidden)
    unseen = item_content(p, ["name", "query"], None, np.zeros(len(names), bool))
    assert len(unseen.key_U) < len(found.key_U)  # what training has not seen has no tokens


def test_a_search_that_is_in_a_bucket_is_a_miss_for_everybody(tmp_path: Path):
    rare = "".join(f"c{n},,search,2024-02-26T09:{n + 10},my own words {n}\n" for n in range(3))
    p = garden(tmp_path, more=rare)
    split = split_of(p, "search")
    table = evaluate_requests(fitted(ItemToItem("alternative"), split), split, "test", k=[4], filter_seen=False)
    requests, targets = split.part("test")
    assert p.kind_V is not None
    hit = np.array(table["hit@4"].to_pylist())
    assert len(hit) == len(requests)
    assert (hit[targets.request[p.kind_V[targets.item] == 2]] == 0).all()
    assert hit.mean() > 0.9


def test_networks_learn_no_label_that_may_not_be_recommended(tmp_path: Path):
    """Of a split by searches where some are in buckets the classes are queries, in histories stands all."""
    p = garden(tmp_path, more="".join(f"c{n},,search,2024-01-0{n + 1}T23:00,own {n}\n" for n in range(9)))
    split = split_of(p, "search")
    view = TrainingView.build(split, ["search"])
    assert torch.equal(view.label_class_T.unique(), torch.arange(4, dtype=torch.int32))
    assert set(view.item_M.tolist()) == set(split.known.tolist())
    hidden = ClozeView.build(split, ["search"], "all", fitted(BERT4Rec(**NETWORK | {"epochs": 1}), split).network)
    assert set(hidden.item_M[hidden.step_M > 0].tolist()) == set(split.catalogue.tolist())
    assert set(hidden.item_M.tolist()) == set(split.known.tolist())
