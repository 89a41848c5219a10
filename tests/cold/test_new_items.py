"""New items: what they are is known before anybody has asked for them, and nothing of them from later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from brand_shop import (
    BRANDS,
    CONFIG,
    EACH,
    LAUNCH,
    SPLIT,
    START,
    brand_of,
    brand_shop,
    cold_recall,
    name_of,
    new_of,
    split_of,
)

from recommenders.checks import stranger
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.alarms.model_audit import another_future, audit_answers
from shopkeeper.features.content import item_content
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.cold.content_affinity import ContentAffinity
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.recommenders.networks.two_tower import TwoTower
from shopkeeper.splits.audit import AuditError, audit_by_perturbation, audit_split
from shopkeeper.timeline import DAY
from shopkeeper.training.config import TrainerConfig

TRAINER = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
FIT = Fit(seed=1, trainer=TRAINER, progress=False)
SMALL: dict[str, Any] = {"width": 16, "max_length": 20, "batch_size": 32, "lr": 0.005}
EVENTS = {"items": {"from_events": {"brand": "brand"}}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    prepared = brand_shop(tmp_path_factory.mktemp("brands"), customers=300)
    return prepared, split_of(prepared)


@pytest.fixture(scope="module")
def knowing(shop: tuple[Prepared, Split]) -> SASRec:
    model = SASRec(**SMALL, blocks=1, epochs=10, content="all")
    model.fit(*shop, FIT)
    return model


def test_a_tenth_of_the_items_are_new_and_are_recommended_more_than_by_popularity(
    shop: tuple[Prepared, Split], knowing: SASRec
):
    prepared, split = shop
    assert new_of(prepared)[split.catalogue].mean() == 1 / EACH
    popular, requests = Popularity(), split.part("test")[0]
    popular.fit(prepared, split, FIT)
    assert cold_recall(popular.score(requests), split) < 0.02
    assert cold_recall(knowing.score(requests), split) > 0.2  # 0.46: two loved brands, no favourites in them


def test_content_alone_reaches_them_and_puts_new_ones_a_little_ahead(shop: tuple[Prepared, Split]):
    prepared, split = shop
    requests, new_V, brand_V = split.part("test")[0], new_of(prepared), brand_of(prepared)
    found = {}
    for fresh in (0.0, 0.1):
        model = ContentAffinity(content=["brand"], fresh=fresh)
        model.fit(prepared, split, FIT)
        found[fresh] = model.score(requests)
    assert cold_recall(found[0.1], split) > cold_recall(found[0.0], split) > 0.2
    loved = int(np.flatnonzero(new_V)[0])
    same = np.flatnonzero((brand_V == brand_V[loved]) & ~new_V)
    score_V = model.score(stranger([same[:3].tolist()]))[0]
    assert score_V.argmax() == loved
    assert score_V[loved] == pytest.approx(1 + 1.0 * 1.1)  # the same brand alone: cosine 1, and new
    other = (brand_V != brand_V[loved]) & (brand_V >= 0)
    assert score_V[other].max() <= 0.5
    popular = Popularity()
    popular.fit(prepared, split, FIT)
    assert (score_V[other].argsort() == popular.score(stranger([[]]))[0][other].argsort()).all()


def test_a_history_of_two_brands_is_like_both_the_newer_one_more(shop: tuple[Prepared, Split]):
    prepared, split = shop
    model = ContentAffinity(content=["brand"], half_life_events=1.0, fresh=0.0)
    model.fit(prepared, split, FIT)
    one, two = (int(np.flatnonzero(brand_of(prepared) == b)[0]) for b in (3, 7))
    score_V = model.score(stranger([[one, two]]))[0]
    np.testing.assert_allclose(score_V[[one, two]], 1 + np.array([0.5, 1.0]) / np.hypot(0.5, 1.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (GRU4Rec, {"history": "frequency", "epochs": 10}),
        (SASRec, {"loss": {"name": "sampled_softmax", "negatives": 32}, "epochs": 10}),
        (TwoTower, {"loss": {"name": "sampled_softmax", "negatives": 32, "draw": "popularity"}, "epochs": 30}),
    ],
)
def test_so_they_are_with_every_network_loss_and_history(
    shop: tuple[Prepared, Split], network: Any, options: Mapping[str, Any]
):
    model = network(**SMALL, content=["brand"], **options)
    model.fit(*shop, FIT)
    assert cold_recall(model.score(shop[1].part("test")[0]), shop[1]) > 0.1


def test_a_new_item_of_a_loved_brand_is_reached_and_those_of_others_are_not(
    shop: tuple[Prepared, Split], knowing: SASRec
):
    prepared, split = shop
    ids = {item_id: i for i, item_id in enumerate(prepared.items["item_id"].to_pylist(), start=1)}
    brand_V, new_V = brand_of(prepared), new_of(prepared)
    for brand in range(BRANDS):
        history = [ids[name_of(brand, n)] for n in (0, 3, 1, 2, 5, 4)]
        score_V = knowing.score(stranger([history]))[0]
        place_V = np.empty(len(score_V), int)
        place_V[split.catalogue[np.argsort(-score_V[split.catalogue])]] = np.arange(len(split.catalogue))
        new = np.flatnonzero(new_V)
        assert brand_V[new[score_V[new].argmax()]] == brand
        assert place_V[ids[name_of(brand, EACH - 1)]] < EACH + 3


def test_without_content_and_without_new_items_nothing_is_another_than_before(shop: tuple[Prepared, Split]):
    prepared, split = shop
    plain = split_of(prepared, new_items=False)
    assert set(plain.catalogue) == set(np.flatnonzero(~new_of(prepared))[1:])
    assert "new_items" not in plain.timeline["spec"]
    assert plain.timeline["target_hash"] == split.timeline["target_hash"]
    assert plain.name != split.name
    for catalogue, lacking in ((plain, split), (split, plain)):  # each audit knows which catalogue was declared
        moved = replace(catalogue, catalogue=lacking.catalogue)
        if catalogue is plain:
            with pytest.raises(AuditError, match="10 catalogue items have no training event"):
                audit_split(prepared, moved)
    audit_split(prepared, split)
    audit_by_perturbation(prepared, split)


def test_what_an_event_shows_after_the_cutoff_makes_no_item_new_and_is_no_content(tmp_path: Path):
    prepared = brand_shop(tmp_path, customers=60, **EVENTS)
    split = split_of(prepared)
    assert not new_of(prepared)[split.catalogue].any()
    audit_by_perturbation(prepared, split)
    until = split.timeline["cutoffs"]["validation"]["us"]
    content = item_content(prepared, "all", until, np.ones(prepared.n_items + 1, bool))
    counts = np.diff(np.append(content.offset_V, len(content.token_E)))
    assert (counts[1:] > 0).tolist() == (~new_of(prepared)[1:]).tolist()
    late = item_content(prepared, "all", START + (LAUNCH + 40) * DAY, np.ones(prepared.n_items + 1, bool))
    assert len(late.token_E) > len(content.token_E)
    fitted, alone = [], []
    for data in (split, another_future(split, "sasrec")):
        content_only = ContentAffinity()
        content_only.fit(data.prepared, data, FIT)
        alone.append(content_only.score(split.part("test")[0]))
        model = SASRec(**SMALL, blocks=1, epochs=2, content=["brand"])
        model.fit(data.prepared, data, FIT)
        audit_answers(model, "sasrec", split)
        fitted.append(model.item_vectors()[split.catalogue])
    np.testing.assert_array_equal(*fitted)
    np.testing.assert_array_equal(*alone)


def test_after_a_refit_until_test_the_items_of_that_day_may_be_recommended(tmp_path: Path):
    prepared = brand_shop(tmp_path, customers=60, **EVENTS)
    split = split_of(prepared)
    late = split.until_test()
    assert new_of(prepared)[late.catalogue].sum() == BRANDS


def test_tokens_are_words_levels_and_parts_and_what_a_single_item_has_is_left_out(tmp_path: Path):
    table = {
        "i": [f"i{n}" for n in range(24)],
        "kind": ["Red shoes", "red  hats", "RED SHOES"] + ["x"] * 21,
        "price": [float(n) for n in range(24)],
        "tags": [["new", "sale"], ["sale"], None] + [["new"]] * 21,
        "given": [[3.0, 4.0]] + [[0.0, 2.0]] * 22 + [None],
    }
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    rows = [f"u{n % 5},i{n},2024-01-{1 + n % 28:02d} 10:0{n % 9}" for n in range(24)]
    (tmp_path / "log.csv").write_text("\n".join(["u,i,t", *rows]) + "\n")
    items = {"file": "items.parquet", "id": "i", "reader": {"format": "parquet"}}
    prepared = Prepared.open(prepare_dataset({**CONFIG, "items": items}, tmp_path, tmp_path / "out", progress=False))
    all_V = np.ones(25, bool)
    place = {item_id: n for n, item_id in enumerate(prepared.items["item_id"].to_pylist(), start=1)}

    def tokens(names: list[str], item: str) -> set[int]:
        found = item_content(prepared, names, None, all_V)
        ends = np.append(found.offset_V, len(found.token_E))
        return set(found.key_U[found.token_E[ends[place[item]] : ends[place[item] + 1]]].tolist())

    first, second, third = (tokens(["kind"], item) for item in ("i0", "i1", "i2"))
    assert first == third
    assert len(first) == 3  # the whole, red, shoes
    assert second < first  # red alone: nobody else has hats
    assert tokens(["tags"], "i0") == tokens(["tags"], "i1") | tokens(["tags"], "i3")
    assert tokens(["price"], "i0") == tokens(["price"], "i1")
    assert not tokens(["price"], "i0") & tokens(["price"], "i23")
    given = item_content(prepared, ["given"], None, all_V).number_VF
    np.testing.assert_allclose(given[[place["i0"], place["i1"], place["i23"]]], [[0.6, 0.8], [0, 1], [0, 0]])
    assert item_content(prepared, "all", None, all_V).weight_E.min() == pytest.approx(1 / np.sqrt(3))
    with pytest.raises(UserError, match=r"model.content: the items of brands have no 'kinds'.* Did you mean 'kind'\?"):
        item_content(prepared, ["kinds"], None, all_V)


def test_an_embedding_of_the_table_reaches_new_items_too(shop: tuple[Prepared, Split], tmp_path: Path):
    rng = np.random.default_rng(0)
    brand = rng.normal(size=(BRANDS, 6))
    names = [(b, n) for b in range(BRANDS) for n in range(EACH)]
    table = {"i": [name_of(*name) for name in names], "given": [(brand[b] + 0.1).tolist() for b, _ in names]}
    items = {"file": "items.parquet", "id": "i", "reader": {"format": "parquet"}}
    tmp_path.joinpath("shop").mkdir()
    pq.write_table(pa.table(table), tmp_path / "shop/items.parquet")
    prepared = brand_shop(tmp_path / "shop", customers=300, items=items)
    split = split_of(prepared)
    model = SASRec(**SMALL, blocks=1, epochs=10, content=["given"])
    model.fit(prepared, split, FIT)
    assert cold_recall(model.score(split.part("test")[0]), split) > 0.2


def test_a_run_that_was_killed_goes_on_and_one_that_starts_warm_knows_the_words(
    shop: tuple[Prepared, Split], knowing: SASRec, tmp_path: Path
):
    whole, parts = (SASRec(**SMALL, blocks=1, epochs=3, content="all") for _ in range(2))
    whole.fit(*shop, FIT)
    for most in (1, 3):
        parts.fit(*shop, replace(FIT, folder=tmp_path / "run", trainer=replace(TRAINER, max_epochs=most)))
    np.testing.assert_array_equal(parts.item_vectors(), whole.item_vectors())
    knowing.save(tmp_path / "old")
    warm = SASRec(**SMALL, blocks=1, epochs=1, content="all")
    warm.fit(*shop, replace(FIT, init_from=tmp_path / "old", trainer=replace(TRAINER, max_batches=1)))
    assert np.abs(warm.item_vectors() - knowing.item_vectors()).max() < 0.05
    with pytest.raises(UserError, match=r"was trained with content=all, this model has none; set model.content=all"):
        SASRec(**SMALL, blocks=1).fit(*shop, replace(FIT, init_from=tmp_path / "old"))


def test_a_graph_holds_the_vectors_as_they_have_become(shop: tuple[Prepared, Split], knowing: SASRec):
    module = knowing.program(True).module
    assert not [name for name in module.state_dict() if "token" in name]
    np.testing.assert_array_equal(module.network.item.weight.numpy(), knowing.item_vectors())


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({"protocol": "published"}, "protocol=published has all items"),
        ({"k_core": 5}, "split.k_core=5 takes items out"),
    ],
)
def test_new_items_beside_a_rule_that_says_otherwise_are_refused(spec: dict[str, Any], match: str):
    from shopkeeper.timeline import SplitSpec

    with pytest.raises(UserError, match=match):
        SplitSpec.from_config({**SPLIT, **spec})


def test_the_timeline_says_where_the_catalogue_is_from(shop: tuple[Prepared, Split]):
    said = json.loads((shop[1].path / "timeline.json").read_text())
    assert said["catalogue"] == {"from": "training rows and the item table", "n_items": BRANDS * EACH}
