"""Two stages over a catalogue with new items: what nobody has taken yet is proposed, learnt from earlier launches."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brand_shop import BRANDS, EACH, LAUNCH, brand_of, brand_shop, cold_recall, new_of, split_of

from recommenders.checks import fitted, stranger
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.features.content import item_content
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.recommenders.combined.two_stage import TwoStage
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.windows import earlier_windows
from shopkeeper.schema import event_codes
from shopkeeper.timeline import DAY

PURCHASE = event_codes(["purchase"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return brand_shop(tmp_path_factory.mktemp("launches"), customers=200, launches=(20, 40, 60, LAUNCH))


def shipped(**others: Any) -> partial[TwoStage]:
    told = plain(composed("train", ["model=two_stage"]))["model"]
    settings = {name: told[name] for name in ("candidates", "for_new_items")}
    small = {"per_model": 10, "windows": 3, "window_days": 20, "trees": 60, "patience": None, "min_data_in_leaf": 5}
    return partial(TwoStage, **{**settings, **small, **others})


KNOWN = {name: one for name, one in shipped().keywords["candidates"].items() if name != "content"}


def test_a_new_item_of_a_loved_brand_is_reached_as_those_before_it_were(shop: Prepared):
    split = split_of(shop)
    model, requests = fitted(shipped(), shop, split), split.part("test")[0]
    popular = fitted(Popularity, shop, split)
    assert cold_recall(popular.score(requests), split, first=True) < 0.05
    assert cold_recall(model.score(requests), split, first=True) > 0.2
    without = fitted(shipped(candidates=KNOWN, for_new_items=[]), shop, split)
    assert cold_recall(without.score(requests), split, first=True) < 0.05
    # Whoever took one brand alone gets its new item, before anybody has taken it, and no other brand's.
    brand_V, new_V = brand_of(shop), new_of(shop)
    told = [[int(i) for i in np.flatnonzero((brand_V == brand) & ~new_V)[:5]] for brand in range(BRANDS)]
    scores = model.score(stranger(told))
    best = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :EACH] + 1
    reached = new_V[best]
    assert (brand_V[best[reached]] == np.repeat(np.arange(BRANDS), EACH).reshape(BRANDS, EACH)[reached]).mean() > 0.8
    assert reached.any(axis=1).mean() > 0.7


def test_where_no_new_items_are_offered_the_model_is_the_one_without_that_candidate(shop: Prepared):
    split = split_of(shop, new_items=False)
    with_it = fitted(shipped(), shop, split)
    without = fitted(shipped(candidates=KNOWN, for_new_items=[]), shop, split)
    assert with_it.booster.model_to_string() == without.booster.model_to_string()
    with pytest.raises(
        UserError, match=r"for_new_items names 'contnt', which is no candidate\. Did you mean 'content'"
    ):
        shipped(for_new_items=["contnt"])()


def test_a_window_offers_what_was_listed_by_its_own_cutoff_and_knows_no_more_of_it(tmp_path: Path):
    words = {"items": {"from_events": {"brand": "brand"}}}  # known since an event has shown it
    shop = brand_shop(tmp_path / "shop", customers=40, launches=(20, 40, 60, LAUNCH), **words)
    split: Split = split_of(shop)
    time, trained_V = shop.events.timestamp, np.zeros(shop.n_items + 1, bool)
    for number, window in enumerate(earlier_windows(split, PURCHASE, days=20, count=3), start=1):
        cutoff = int(split.timeline["cutoffs"]["validation"]["us"]) - number * 20 * DAY
        known = np.unique(shop.events.item[time < cutoff])
        np.testing.assert_array_equal(window.split.catalogue, known)
        until = window.split.timeline["cutoffs"]["validation"]["us"]
        content = item_content(shop, "all", until, trained_V)
        told = np.diff(np.append(content.offset_V, len(content.token_E))) > 0
        assert np.isin(np.flatnonzero(told), known).all()
    table = split_of(brand_shop(tmp_path / "table", customers=40))
    (window,) = earlier_windows(table, PURCHASE, days=20, count=1)
    assert new_of(table.prepared)[window.split.catalogue].sum() == BRANDS  # the file lists them from the start
