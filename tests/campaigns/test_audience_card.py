"""What the card and the page say of a campaign that pays for nobody, and scores of a file that says what they are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from report.decided import read
from shopkeeper.campaigns.audience.card import _profit_in_words
from shopkeeper.campaigns.audience.words import in_words
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.profit_curve import expected_profit
from shopkeeper.evaluation.report.outreach import campaigns

NEVER = Profit("EUR", customer_value=60, offer_cost=5, contact_cost=30, success_rate=0.25)  # .25 of 55 for 30
SELDOM = Profit("EUR", customer_value=60, offer_cost=5, contact_cost=5, success_rate=0.25)  # from 10 of 18.75 on
P = np.array([0.5, 0.2, 0.1])


def test_money_in_words_has_its_currency_and_nothing_else_does():
    assert in_words("money_per_order", 1234.5, "GBP") == "1,234.50 GBP an order"
    assert in_words("money_90d", 0.0, "GBP") == "spent 0.00 GBP in 90 days"
    assert in_words("money_returned_share", 0.1, "GBP") == "10 of 100 of the money came back"
    assert in_words("mood", 2.25, "GBP") == "mood 2.25"
    assert in_words("money", 3.0) == "spent 3.00 in all"


def test_thresholds_are_those_of_the_shops_values():
    assert NEVER.threshold == pytest.approx(35 / 18.75)
    assert SELDOM.threshold == pytest.approx(10 / 18.75)


def test_where_no_message_pays_the_card_says_so_and_names_no_probability_above_certainty():
    never, seldom = (_profit_in_words(expected_profit(P, profit)) for profit in (NEVER, SELDOM))
    assert "By the shop's own values no message pays, however probable it is that somebody leaves." in never
    assert "From a probability of 53% on a message pays: nobody here has one." in seldom
    said = _profit_in_words(expected_profit(np.append(P, 0.9), SELDOM))
    assert "From a probability of 53% on a message pays: 1 customers, 7 EUR" in said  # .9 x 18.75 - 10
    for words in (never, seldom, said):
        assert all(int(share) <= 100 for share in re.findall(r"(\d+)\s?%", words)), words


@pytest.mark.parametrize(
    ("profit", "words"),
    [
        (NEVER, "from all 3 with a score; an offer to nobody: by the shop’s values no offer pays"),
        (SELDOM, "from all 3 with a score; an offer to nobody: no risk is 53% or more"),
    ],
)
def test_the_page_says_the_same_of_an_audience(profit: Profit, words: str):
    told = read("2022-05", 100.0, 50.0)
    told["card"]["profit"] = expected_profit(P, profit)
    section = campaigns([told], "EUR")
    assert section is not None
    assert words in str(section.content)
