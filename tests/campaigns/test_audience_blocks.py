"""What was bought lately is not recommended again in a message, unless it is used up as fast."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from audience_shop import AT, ITEMS, LOG, before, made, newest, shipped

from shipped import CONF
from shopkeeper.campaigns.audience.lists import bought_again
from shopkeeper.campaigns.audience.make import Given, make
from shopkeeper.campaigns.audience.settings import ASKED
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from tiny import DAY, tiny_prepared

WHO = {"features": {"orders": [1, None]}}


@pytest.mark.parametrize("source", ["recommended", "with_last_order"])
def test_nothing_of_the_last_days_is_recommended_and_everything_else_as_before(shop: Prepared, source: str):
    def lists(rest_days: float | None) -> dict[int, list[str]]:
        blocks = {"for_you": {"from": source, "k": ITEMS, "rest_days": rest_days}}
        found = made(shop, "new_customer", {"who": WHO, "blocks": blocks})
        table = found._table(np.arange(len(found))).to_pylist()
        return {int(r["user_id"][1:]) - 1: [r[f"for_you_{k + 1}"] for k in range(ITEMS)] for r in table}

    usual, rested = lists(None), lists(20)
    assert usual.keys() == rested.keys()
    changed = 0
    for who, items in rested.items():
        lately = {f"i{e.item}" for e in before(LOG[who]) if e.kind == "purchase" and e.day >= AT - 20}
        assert [i for i in items if i] == [i for i in usual[who] if i and i not in lately]
        changed += items != usual[who]
    assert changed > 5


def test_what_half_of_its_buyers_buy_again_within_the_days_may_be_recommended(tmp_path: Path):
    """Milk every third day, a lamp once in a while, and a cake that 30 have bought twice and 31 only once."""
    histories, times = [], []
    for u in range(61):
        events = [(3 * n, 1) for n in range(10)] + [(5 + u % 9, 2), (80, 2)] + [(10, 3)] + [(15, 3)] * (u < 30)
        events += [(12, 4), (12, 4)]  # two lines of one order are no second purchase
        events.sort()
        histories.append([item for _, item in events])
        times.append([day * DAY for day, _ in events])
    prepared, _ = tiny_prepared(tmp_path / "shop", histories, times, n_items=5)
    again = bought_again(prepared, 100 * DAY, 7)
    # milk: 9 of 10 purchases; the cake: 30 of 61 + 30 within 7 days; the lamp never
    assert again.tolist() == [False, True, False, False, False, False]
    assert bought_again(prepared, 14 * DAY, 3).tolist()[1]  # by then alone
    assert bought_again(prepared, 100 * DAY, 2).tolist() == [False] * 6
    few, _ = tiny_prepared(tmp_path / "few", histories[:1], times[:1], n_items=5)
    assert not bought_again(few, 100 * DAY, 7).any()


def test_every_shipped_block_that_recommends_rests_and_none_of_the_log_may(shop: Prepared):
    resting = 0
    for file in sorted((CONF / "audience").glob("*.yaml")):
        for block in shipped(file.stem).blocks.values():
            resting += block.get("rest_days") is not None
            assert block.get("rest_days") is None or block["from"] in ASKED, file
    assert resting >= 6
    blocks = {"left": {"from": "cart", "k": 2, "rest_days": 7}}
    with pytest.raises(UserError, match=re.escape("audience.blocks.left.rest_days is about what is recommended")):
        make(Given(shipped("cart_reminder", blocks=blocks), shop, AT * DAY, recommend=newest))
