"""What holds for every audience: reasons, chunks, consent, rests, arms, and that nothing later is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from audience_shop import (
    AT,
    ITEMS,
    LOG,
    made,
    names_in,
    newest,
    scores_of,
    shipped,
)

from shopkeeper.campaigns.audience.arms import in_control, power_of, too_small
from shopkeeper.campaigns.audience.lists import rows_between
from shopkeeper.campaigns.audience.make import Given, make
from shopkeeper.campaigns.audience.scores import as_asked
from shopkeeper.campaigns.audience.sessions import ready_sessions
from shopkeeper.campaigns.audience.settings import Control
from shopkeeper.data.consent import Consent
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.online_test import plan_test
from shopkeeper.evaluation.profit import Profit
from tiny import DAY, tiny_prepared


def test_reasons_add_up_to_the_score_also_where_the_model_says_the_opposite(shop: Prepared):
    scores = scores_of(shop)
    for of, sign in (("coming", 1), ("leaving", -1)):
        asked = as_asked(scores, of, "runs/x")
        changes = {"who": {"score": {"of": of, "share": 0.5}}, "blocks": {}}
        (table,) = made(shop, "about_to_buy", changes, scores=asked).chunks(1000)
        for row in table.to_pylist():
            parts = [row["usual"], row["reason_1_effect"], row["reason_2_effect"], row["other_reasons"]]
            assert sum(parts) == pytest.approx(row["score"], abs=1e-12)
            assert row["probability"] == pytest.approx(1 / (1 + np.exp(-row["score"])), abs=1e-12)
            mine = sign * np.log(
                scores.value[int(row["user_id"][1:]) - 1] / (1 - scores.value[int(row["user_id"][1:]) - 1])
            )
            assert row["score"] == pytest.approx(mine, abs=1e-9)
            assert abs(row["reason_1_effect"]) >= abs(row["reason_2_effect"])
    with pytest.raises(UserError, match=r"audience.who.score.of=worth, and runs/x says probabilities"):
        as_asked(scores, "worth", "runs/x")


def test_a_chunk_of_any_size_gives_the_same_table(shop: Prepared):
    whole, parts = (made(shop, "win_back", scores=as_asked(scores_of(shop), "leaving", "x")) for _ in range(2))
    table = pa.concat_tables(whole.chunks(1000))
    assert pa.concat_tables(parts.chunks(7)).equals(table)
    assert whole.filled == parts.filled


def test_who_withdrew_the_day_before_is_not_in_it_and_who_agreed_later_neither(shop: Prepared, tmp_path: Path):
    plain = sorted(names_in(made(shop, "win_back")))
    gone, late, other = plain[:3]
    day = np.datetime64("1970-01-01") + np.timedelta64(AT, "D")
    rows = [f"u{i + 1},email,1970-01-01," for i in range(len(LOG)) if i not in (gone, late, other)]
    rows += [
        f"u{gone + 1},email,1970-01-01,{day - 1}",
        f"u{late + 1},email,{day + 1},",
        f"u{other + 1},sms,1970-01-01,",
    ]
    (tmp_path / "consents.csv").write_text("account,purpose,granted,withdrawn\n" + "\n".join(rows) + "\n")
    found = made(shop, "win_back", {"needs_consent": True}, consents=tmp_path / "consents.csv")
    assert names_in(found) == set(plain) - {gone, late, other}
    assert found.left_out["did not agree to be written to"] == 3
    with pytest.raises(UserError, match="needs consent and dataset=tiny has no table of it; set consents="):
        made(shop, "win_back", {"needs_consent": True})
    user = np.repeat(np.arange(1, len(LOG) + 1), 2)
    at = np.where(np.arange(2 * len(LOG)) % 2, np.where(user == gone + 1, (AT - 1) * DAY, 10**6 * DAY), 0)
    ledger = Consent(np.arange(0, 2 * len(LOG) + 1, 2), at, np.arange(2 * len(LOG)) % 2 == 0)
    agreeing = make(
        Given(shipped("win_back", needs_consent=True), replace(shop, consent=ledger), AT * DAY, recommend=newest)
    )
    assert gone not in names_in(agreeing)
    assert agreeing.left_out["no consent at the instant"] == 1


def test_who_was_written_to_lately_or_often_rests_and_later_messages_are_not_known(shop: Prepared, tmp_path: Path):
    plain = sorted(names_in(made(shop, "win_back")))
    day = np.datetime64("1970-01-01") + np.timedelta64(AT, "D")
    sent = [
        (plain[0], 2),
        (plain[1], 10),
        (plain[1], 20),
        (plain[2], 10),
        (plain[2], 31),
        (plain[3], -1),
        (plain[4], 3),
    ]
    later = f"u{plain[5] + 1},{day}T06:00:00\n"
    (tmp_path / "sent.csv").write_text("user_id,at\n" + "".join(f"u{i + 1},{day - n}\n" for i, n in sent) + later)
    found = made(shop, "win_back", sent=tmp_path / "sent.csv")
    assert set(plain) - names_in(found) == {plain[0], plain[1], plain[4]}
    assert found.left_out["written to within 3 days"] == 2
    assert found.left_out["written to 2 times within 30 days"] == 1


def test_arms_depend_on_id_and_key_alone_and_have_their_share():
    ids = [f"c{i}" for i in range(20_000)]
    one = in_control(ids, 0.1, "spring")
    assert abs(one.mean() - 0.1) < 4 * np.sqrt(0.09 / len(ids))
    assert np.array_equal(in_control(ids[::-1], 0.1, "spring")[::-1], one)
    assert np.array_equal(in_control(ids[:50], 0.1, "spring"), one[:50])
    wider, other = in_control(ids, 0.3, "spring"), in_control(ids, 0.1, "autumn")
    assert wider[one].all()
    assert abs((one & other).mean() - 0.01) < 4 * np.sqrt(0.0099 / len(ids))
    assert not in_control(ids, 0.0, "spring").any()


def test_the_power_is_that_of_a_planned_test(shop: Prepared):
    arm = np.arange(5000) % 10 == 0
    found = power_of(arm, Control(), np.full(5000, 0.2))
    again = plan_test(0.2 * 0.8, found["smallest_difference"], 1000.0, treatment_share=0.9)
    assert abs(again.control + again.treatment - 5000) <= 2
    unknown, half = (power_of(arm, Control(), b) for b in (None, np.where(np.arange(5000) % 2, 0.2, np.nan)))
    assert found["smallest_difference"] < half["smallest_difference"] < unknown["smallest_difference"]
    assert half["known"] == 2500
    few = arm[:100]
    assert "where it is not known how many buy anyway: too small" in too_small(power_of(few, Control(), None))
    assert "where 20.0 of 100 buy anyway: too small" in too_small(power_of(few, Control(), np.full(100, 0.2)))
    assert made(shop, "win_back").power["control"] > 0


def test_nobody_currencies_and_rules_that_cannot_be_are_told(shop: Prepared, tmp_path: Path):
    with pytest.raises(UserError, match=r"nobody is in audience=new_customer as of 1970-07-20T00:00:00Z \("):
        made(shop, "new_customer", {"who": {"features": {"orders": [99, None]}}})
    with pytest.raises(UserError, match=r"audience.who.features names 'ordres'. Did you mean 'orders'"):
        made(shop, "new_customer", {"who": {"features": {"ordres": [1, 1]}}})
    with pytest.raises(UserError, match=r"audience.who.lifecycle names 'lost'"):
        made(shop, "win_back", {"who": {"lifecycle": ["lost"]}})
    with pytest.raises(UserError, match=r"give segments=<folder"):
        made(shop, "win_back", {"who": {"cluster": ["many orders"]}})
    with pytest.raises(UserError, match=r"audience.blocks.for_you recommends items; set recommender="):
        make(Given(shipped("win_back"), shop, AT * DAY))
    mixed, _ = tiny_prepared(tmp_path / "mixed", [[1, 2]] * 3, [[DAY, 2 * DAY]] * 3, items={"currency": ["EUR", "USD"]})
    with pytest.raises(UserError, match=r"items have prices in EUR, USD: currencies are mixed"):
        make(Given(shipped("new_customer", blocks={}), mixed, 3 * DAY))
    one, _ = tiny_prepared(tmp_path / "one", [[1, 2]] * 3, [[DAY, 2 * DAY]] * 3)
    with pytest.raises(UserError, match=r"dataset=tiny has no add_to_cart"):
        make(Given(shipped("cart_reminder", blocks={}), one, 3 * DAY))
    (tmp_path / "stock.csv").write_text("item_id,at,in_stock\n1,1970-01-01,false\n1,1970-01-03,true\n")
    with pytest.raises(UserError, match=r"dataset=tiny has no views, carts or favourites"):
        make(Given(shipped("back_in_stock"), one, 3 * DAY, stock=tmp_path / "stock.csv"))
    pounds, _ = tiny_prepared(tmp_path / "gbp", [[1]] * 3, [[DAY]] * 3, items={"currency": ["GBP"]})
    own = Profit(currency="EUR", customer_value=120, offer_cost=10, contact_cost=0.5, success_rate=0.3)
    with pytest.raises(UserError, match=r"prices in GBP and the dataset's profit is in EUR: currencies are mixed"):
        make(Given(shipped("new_customer", blocks={}), pounds, 3 * DAY, profit=own))


def test_nothing_that_comes_later_changes_an_audience(shop: Prepared):
    time = np.asarray(shop.events.timestamp)
    later = time >= AT * DAY
    assert later.sum() > 100
    rng = np.random.default_rng(0)
    events = replace(
        shop.events,
        item=np.where(later, rng.integers(1, ITEMS + 1, len(time)), shop.events.item).astype(np.int32),
        event_type=np.where(later, rng.permutation(shop.events.event_type), shop.events.event_type),
        price=np.where(later, 999.0, shop.events.price),
    )
    other = replace(shop, events=events)
    for name in ("win_back", "cart_reminder", "replenishment", "vip_early", "new_customer", "first_visit_offer"):
        changes = {"who": {"cart": {"hours": 240}}} if name == "cart_reminder" else {}
        one, two = (pa.concat_tables(made(s, name, changes).chunks(100)) for s in (shop, other))
        assert one.equals(two), name
    assert ready_sessions(shop, shipped("exit_offer"), AT * DAY).table.equals(
        ready_sessions(other, shipped("exit_offer"), AT * DAY).table
    )
    owner, rows = rows_between(shop, np.arange(1, 4), 0, AT * DAY, ("view",))
    assert (time[rows] < AT * DAY).all()
    assert owner.max() <= 2


def test_sessions_are_told_apart_by_ids_however_many_the_log_has(tmp_path: Path):
    at = [[(AT - 1) * DAY + n * DAY // 1440 for n in range(6)]]
    ids = [[65_536] * 3 + [131_072] * 3]  # whose product is 0 in 32 bits
    told = {"event_types": [["view"] * 6], "columns": {"session": ids}}
    shop, _ = tiny_prepared(tmp_path, [[1, 2, 3, 1, 2, 3]], at, **told)
    offer = shipped("exit_offer")
    assert offer.sessions is not None
    found = ready_sessions(shop, replace(offer, sessions=replace(offer.sessions, views=3, cart=False)), AT * DAY)
    assert (found.sessions, found.table["views"].to_pylist()) == (2, [3, 3])
    by_turns = {**told, "columns": {"session": [[65_536, 131_072] * 3]}}
    tabs, _ = tiny_prepared(tmp_path / "tabs", [[1, 2, 3, 1, 2, 3]], at, **by_turns)
    found = ready_sessions(tabs, replace(offer, sessions=replace(offer.sessions, views=3, cart=False)), AT * DAY)
    assert (found.sessions, found.table["views"].to_pylist()) == (2, [3, 3])
