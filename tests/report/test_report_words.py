"""What a report says: the answer in words, its figures, whom it shows."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from figured import recommenders, told, with_seeds

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.report.charts import number
from shopkeeper.evaluation.report.facts import audit_rows
from shopkeeper.evaluation.report.figures import Model, Value
from shopkeeper.evaluation.report.gather import gather
from shopkeeper.evaluation.report.page import render
from shopkeeper.evaluation.report.words import _calibration
from shopkeeper.evaluation.settings import Report


def test_the_answer_names_the_best_model_by_how_much_and_how_far_from_the_best_possible(
    sections: dict[str, Any],
) -> None:
    text = told(sections, "next_item")
    assert text.startswith("SASRec recommends best")
    assert re.search(r"SASRec is better than Item-kNN by 0\.\d+ NDCG@10 \(0\.\d+ to 0\.\d+\)", text)
    assert "SASRec is better than Popularity" in text
    assert re.search(r"SASRec reaches \d\d% of it", text)
    assert "another model significantly better" in text


def test_more_than_chance_explains_is_more_as_it_is_written() -> None:
    def said(ece: float, high: float) -> str:
        return _calibration(Model("m", {"ece": Value(ece), "ece_if_calibrated": Value(0.1, 0.05, high)}, 0))

    assert "off by 16.4% on average, more than the 12.0% that chance explains" in said(0.164, 0.12)
    assert "off by 16.40% on average, more than the 16.35% that chance explains" in said(0.16402, 0.16351)
    assert "Nothing speaks against its probabilities" in said(0.16351, 0.16351)


def test_the_oracle_is_a_ceiling_and_never_the_answer(sections: dict[str, Any]) -> None:
    board = gather(sections, Report(resamples=100)).boards[0]
    assert board.models[-1].name == "oracle_observable"
    assert [m.name for m in board.rivals] == ["sasrec", "item_knn", "popularity"]
    assert 'class="ceiling"' in render(gather(sections, Report(resamples=100)))


def test_models_that_cannot_be_told_apart_are_not_ranked_in_words(shop: tuple[Prepared, Split]) -> None:
    text = told({"next_item": recommenders(shop, {"sasrec": 0.5, "item_knn": 0.49})}, "next_item")
    assert "leads, but cannot be told apart from" in text
    assert "better than" not in text.split("For whom not?")[0].replace("more users", "")


def test_a_model_that_leads_over_its_seeds_is_not_called_best_where_this_run_of_it_is_worse(
    shop: tuple[Prepared, Split],
) -> None:
    found = recommenders(shop, {"sasrec": 0.8, "item_knn": 0.2})
    assert told({"next_item": found}, "next_item").startswith("SASRec recommends best")
    turned = {**found, "names": ["item_knn", "sasrec"]}  # as the means over seeds have it
    assert told({"next_item": turned}, "next_item").startswith(
        "Item-kNN comes first, but side by side SASRec is better"
    )


def test_kinds_of_customers_for_whom_the_winner_is_worse_are_pointed_out_first(shop: tuple[Prepared, Split]) -> None:
    _, split = shop
    requests, _ = split.part("test")
    short = requests.lengths < 20
    found = recommenders(shop, {"sasrec": np.where(short, 0.0, 1.0), "item_knn": np.where(short, 0.6, 0.0)})
    text = told({"next_item": found}, "next_item")
    assert text.startswith("SASRec")
    assert re.search(r"For whom not\? .*events before the request 5-19 \(\d+\): Item-kNN is better", text)
    assert "⚠ Item-kNN better" in render(gather({"next_item": found}, Report(resamples=100)))


def test_less_log_loss_is_better_for_customers_too_and_nobody_loses_to_the_base_rate(sections: dict[str, Any]) -> None:
    text = told(sections, "churn")
    assert text.startswith("Logistic regression predicts best")
    assert re.search(r"Logistic regression is better than Base rate by 0\.\d+ log loss", text)
    assert "Base rate is better" not in text
    assert "Nothing speaks against its probabilities" in text


def test_a_single_model_is_not_called_the_best(shop: tuple[Prepared, Split]) -> None:
    assert told({"next_item": recommenders(shop, {"sasrec": 0.5})}, "next_item").startswith("SASRec stands alone")


def test_another_seed_of_the_winner_is_no_rival_of_it(shop: tuple[Prepared, Split]) -> None:
    found = with_seeds(shop)
    text = told({"next_item": found}, "next_item")
    assert text.startswith("SASRec recommends best")
    assert "is better than Item-kNN by" in text
    assert re.search(r"Trained with 2 seeds, SASRec has NDCG@10 0\.\d+ .* from seed to seed it moves by 0\.\d{4}", text)
    html = render(gather({"next_item": found}, Report(resamples=100)))
    assert "With 2 seeds a 95 % interval is too narrow where seeds matter" in html
    board = gather({"next_item": found}, Report(resamples=100)).boards[0]
    assert [m.colour for m in board.models[:3]] == [0, 0, 1]
    assert [m.name for m in board.models if board.like_the_best(m)] == []
    assert set(board.slices[0].rows[0].models) == {"sasrec#1", "item_knn", "popularity"}


def test_the_page_says_which_intervals_it_shows(sections: dict[str, Any]) -> None:
    asked = {task: {**s, "confidence": 0.9, "intervals": "bca", "test": "bootstrap"} for task, s in sections.items()}
    html = render(gather(asked, Report(resamples=100)))
    assert "with 90 % intervals over" in html
    assert "90 %, bias-corrected and accelerated (BCa) bootstrap over customers" in html
    assert "paired by request; joint bootstrap of customers, largest |t| of the family" in html
    assert "95 % intervals" not in html


def test_nothing_is_not_negative() -> None:
    assert [number(x) for x in (-0.0004, -0.0006, 0.0)] == ["0.000", "\u22120.001", "0.000"]


def test_the_shop_window_shows_what_each_model_gave_that_very_customer(sections: dict[str, Any]) -> None:
    window = gather(sections, Report(customers=12, chosen=("u7",), resamples=100)).window
    assert window is not None
    assert len(window["cases"]) == 12
    assert len({case["user"] for case in window["cases"]}) == 12
    first = window["cases"][0]
    assert (first["user"], first["kind"]) == ("u7", "chosen")
    split: Split = sections["next_item"]["split"]
    requests, targets = split.part("test")
    row = int(np.flatnonzero(requests.user == 7)[0])
    assert first["targets"] == targets.item[targets.offsets[row] : targets.offsets[row + 1]].tolist()
    assert first["history"][0][0] == requests.events.item[requests.end[row] - 1]
    table = sections["next_item"]["tables"]["sasrec"]
    assert first["lists"][0] == table["top_items"][row].as_py()[:10]
    for case in window["cases"]:
        if case["kind"] == "found":
            assert case["ranks"][0] <= 10
            assert all(r > 10 for r in case["ranks"][1:3])
    json.dumps(window, allow_nan=False)


def test_a_chosen_customer_who_was_asked_nothing_is_named(sections: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"report\.chosen: customer 'nobody' has no test request"):
        gather(sections, Report(customers=12, chosen=("u7", "nobody"), resamples=100))


def test_a_suggestion_counts_as_taken_also_when_the_order_was_too_long_to_be_listed(sections: dict[str, Any]) -> None:
    window = gather(sections, Report(customers=40, resamples=100)).window
    assert window is not None
    for case in window["cases"]:
        shown = {item for items in case["lists"] for item in items}
        assert set(case["taken"]) == shown & set(case["targets"])
        assert bool(case["taken"]) == any(rank is not None and rank <= 10 for rank in case["ranks"])


def test_the_audit_says_each_check_once_and_marks_what_is_worth_knowing() -> None:
    timeline = {
        "audit": {
            "checks": [
                "events are in time order",
                "validation: targets are the user's own",
                "test: targets are the user's own",
            ],
            "first_seen_in_test": {"items": 2, "targets": 5, "examples": ["a"]},
            "training_after_other_test_instants": {"events": 1234},
        },
        "tie_share": 0.25,
        "cold": {"test": {"requests_without_history": 0}},
    }
    rows = audit_rows({"next_item": {"split": SimpleNamespace(timeline=timeline)}})
    assert rows[:2] == [
        ("Events are in time order", "passed", "good"),
        ("Targets are the user's own (validation and test)", "passed", "good"),
    ]
    found = {check: (text, state) for check, text, state in rows}
    assert found["Items that appear for the first time in test"] == ("2 items, 5 targets", "note")
    assert found["Training events later than another customer's test request"][0].startswith("1,234 training events")
    assert found["Test requests without any history"] == ("0", "good")


def test_the_shops_own_values_stand_beside_a_figure_of_profit(sections: dict[str, Any]) -> None:
    own = {"currency": "EUR", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.2}
    churn = dict(sections["churn"])
    churn["metrics"] = {name: {**m, "profit": own} for name, m in churn["metrics"].items()}
    said = dict(gather({"churn": churn}, Report(resamples=100)).protocol)["Expected maximum profit"]
    assert "EUR per customer" in said
    assert "worth 120, an offer that is taken costs 10, a contact 0.5; 20% of those" in said
    assert "Expected maximum profit" not in dict(gather({"churn": sections["churn"]}, Report(resamples=100)).protocol)


def test_no_probability_above_certainty_is_named_where_no_offer_pays(sections: dict[str, Any]) -> None:
    own = {"currency": "EUR", "customer_value": 12, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.1}
    churn = dict(sections["churn"])
    churn["metrics"] = {name: {**m, "profit": own} for name, m in churn["metrics"].items()}
    text = render(gather({"churn": churn}, Report(resamples=100)))
    assert "No contact pays by the shop’s own values" in text
    assert "with a probability of 103% or more" not in text


def test_a_campaigns_profit_is_a_figure_and_a_table_in_the_shops_own_money(sections: dict[str, Any]) -> None:
    own = {"currency": "EUR", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.3}
    churn = dict(sections["churn"])
    churn["metrics"] = {name: {**m, "profit": own} for name, m in churn["metrics"].items()}
    report = gather({"churn": churn}, Report(resamples=100))
    text = render(report)
    part = text[text.index('id="profit-churn"') :]
    part = part[: part.index("</section>")]
    (b,) = report.boards
    assert b.profits
    for name, curve in b.profits.items():
        table = churn["tables"][name]
        p, label = table["probability"].to_numpy(), table["label"].to_numpy()
        chosen = p >= 10.5 / (0.3 * 110 + 10)
        assert curve.by_probability.profit == pytest.approx(sum(32.5 if left else -10.5 for left in label[chosen]))
        assert f"{curve.by_probability.profit:,.0f}".replace("-", "\u2212") in part
    assert "a customer who stays is worth 120, an offer that is taken costs 10, a contact 0.5, and 30% of those" in part
    assert "best share in hindsight" in part
    assert 'id="profit-churn"' not in render(gather({"churn": sections["churn"]}, Report(resamples=100)))
