"""The first screen says what to do in money and customers; pages about customers and campaigns say what is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decided import EARLIER, campaigned, moves, now, read, with_money

from shopkeeper.evaluation.report.decide import _how_far_off, decide
from shopkeeper.evaluation.report.figures import Reliability, Value
from shopkeeper.evaluation.report.gather import board, gather
from shopkeeper.evaluation.report.glossary import METRICS, meaning_of
from shopkeeper.evaluation.report.moved import decisions, moved
from shopkeeper.evaluation.report.outreach import TALL, campaigns, flow
from shopkeeper.evaluation.report.outreach import segments as segments_page
from shopkeeper.evaluation.report.page import render
from shopkeeper.evaluation.report.reliability import direction
from shopkeeper.evaluation.rows.kinds import KINDS
from shopkeeper.evaluation.rows.labels import COLUMNS
from shopkeeper.evaluation.settings import Report as Told
from shopkeeper.metrics.ranking import metric_names

FAST = Told(resamples=100)


def plain(text: Any) -> str:
    return re.sub(r"<[^>]+>", "", str(text))


def said(full: dict[str, Any], task: str, **changes: Any) -> Any:
    report = gather(full, FAST, campaigned(), EARLIER)
    b = next(b for b in report.boards if b.task == task)
    return decide(replace(b, **changes), report)


def test_what_lists_bring_and_by_how_much_more_stands_first_in_money_with_its_interval(full: dict[str, Any]) -> None:
    found = said(full, "next_item")
    assert plain(found.headline) == "Show the lists of SASRec"
    (money, about), (more, beside), (hit, basket), (n, until) = found.tiles
    table = full["next_item"]["tables"]["sasrec"]
    assert money == f"{np.mean(table['revenue@10'].to_numpy()):.2f} GBP"
    assert re.search(r"items among its ten \(\d+\.\d\d to \d+\.\d\d\)$", about)
    gain = np.mean(table["revenue@10"].to_numpy() - full["next_item"]["tables"]["item_knn"]["revenue@10"].to_numpy())
    assert more == f"+{gain:.2f} GBP"
    assert "against Item-kNN" in beside
    assert "not told apart" not in beside
    assert hit.endswith("%")
    assert "their baskets hold" not in basket or "items" in basket
    assert n == "320"
    assert "until" in until
    assert "than Item-kNN" in found.paragraphs[0]
    assert "only a test says" in found.paragraphs[-1]


def test_a_model_that_earns_more_but_is_less_accurate_is_warned_of(full: dict[str, Any]) -> None:
    tables = full["next_item"]["tables"]
    plain_tables = {n: t.drop_columns(["revenue@10"]) for n, t in tables.items()}
    without = {**full["next_item"], "tables": plain_tables}
    without["comparisons"] = [c for c in without["comparisons"] if c["metric"] != "revenue@10"]
    rng = np.random.default_rng(0)
    earned = {n: rng.gamma(1.0, 10.0, t.num_rows) + 20 * (n == "popularity") for n, t in plain_tables.items()}
    found = said({**full, "next_item": with_money(without, earned)}, "next_item")
    assert plain(found.headline) == "Show the lists of SASRec"
    assert re.match(
        r"Popularity is ahead in money, though not in accuracy: by 1\d\.\d\d GBP", plain(found.paragraphs[0])
    )


def test_without_prices_nothing_is_said_in_money(sections: dict[str, Any]) -> None:
    found = said(sections, "next_item")
    assert "cannot be said" in found.paragraphs[0]
    assert len(found.tiles) == 2


def test_whom_to_write_to_and_what_it_brings_by_when(full: dict[str, Any]) -> None:
    found = said(full, "churn")
    assert plain(found.headline) == "Write to 111 customers: 842.50 EUR expected"
    tiles = dict(found.tiles)
    assert tiles["123"].startswith(
        "of 300 customers of the last 60 days are expected to leave by 31 July 2022 (110 to 137"
    )
    assert "29% or more (700.00 to 985.00); to all: −40.00" in tiles["842.50 EUR"]
    assert any("the base rate" in what for what in tiles.values())
    assert found.paragraphs[0].startswith(
        "Who had bought in the 60 days before the cutoff, and did not buy in the 30 days"
    )
    commands = [command for _, command in found.commands]
    assert commands[0].split()[1:] == [
        "audience.py", "dataset=tiny", "audience=at_risk", "scores=models/tiny/temporal/churn/logistic",
        "audience.who.score.share=null", "audience.who.score.at_least=0.29",
        "recommender=models/tiny/temporal/next_item/sasrec", "audience.needs_consent=false",
    ]  # fmt: skip
    own = {"audience": ["python", "audience.py", "--config-dir", "conf"], "score": ["python", "score.py"]}
    told = said({**full, "next_item": {**full["next_item"], "others": own}}, "churn").commands[0][1]
    assert told.endswith("audience.needs_consent=false --config-dir conf")  # after all settings: else it is not read
    nobody = now()["profit"] | {"best": {"customers": 0, "profit": 0.0, "low": 0.0, "high": 0.0}}
    none = said(full, "churn", now=now(profit=nobody))
    assert "nobody" in plain(none.headline)
    assert [command.split()[1] for _, command in none.commands] == ["score.py"]  # and no list of whom to write to
    unknown = {k: v for k, v in now().items() if k != "profit"}
    headline = "123 of 300 customers of the last 60 days are expected to leave"
    assert plain(said(full, "churn", now=unknown).headline) == headline


def test_no_more_are_written_to_than_can_be_contacted(full: dict[str, Any]) -> None:
    profit = now()["profit"]
    for capacity, bound in ((111, True), (5000, False)):
        found = said(full, "churn", now=now(profit={**profit, "capacity": capacity}))
        assert plain(found.headline) == "Write to 111 customers: 842.50 EUR expected"
        about, command = found.commands[0]
        assert ("audience.most=111" in command.split()) is bound
        assert about.startswith("As many as can be contacted" if bound else "All for whom an offer pays")
        to_whom = dict(found.tiles)["842.50 EUR"]
        assert ("the 111 with the highest risk, 29% or more: no more can be contacted (700.00" in to_whom) is bound
        assert ("the 111 whose risk is 29% or more (700.00" in to_whom) is not bound


def test_amounts_are_expected_of_all_together(full: dict[str, Any]) -> None:
    top = {"customers": 30, "expected": 2100.0}
    told = now(answers="amounts", expected=4200.0, top_tenth=top, leaving=False)
    totals = {k: v for k, v in told.items() if k not in ("low", "high")}
    found = said(full, "churn", now=totals, currency="GBP")
    assert plain(found.headline) == "4,200 GBP are expected by 31 July 2022"
    assert found.tiles[1][0] == "14.00 GBP a customer"
    assert found.tiles[-1] == ("50%", "of it from the 30 of whom most is expected, a tenth of all")
    assert [words.split()[1] for _, words in found.commands] == ["score.py"]


def test_amounts_that_were_off_in_all_say_in_which_direction() -> None:
    assert "too little of all together in the last window that is over, by 27 % of what came (4 to 44)" in _how_far_off(
        Value(-26.9, -43.7, -4.3)
    )
    assert "too much" in _how_far_off(Value(12.0, 3.0, 20.0))
    assert _how_far_off(Value(-5.0, -12.0, 3.0)).startswith("Nothing shows")
    assert _how_far_off(None) == ""


def test_probabilities_that_are_off_say_in_which_direction() -> None:
    expected = Value(0.02, 0.01, 0.04)
    points = [(0.10, 0.11, 0.08, 0.14, 100), (0.42, 0.32, 0.28, 0.36, 100)]
    found = direction(Reliability("m", points, 0.055, expected, []), "left")
    assert found.startswith(
        "It promises too much where it is furthest off: of those to whom it gives 42 of 100, 32 left"
    )
    assert "(28 to 36); over all customers 4.5 of 100 too many" in found  # (-0.01 + 0.10) / 2
    low = direction(Reliability("m", [(0.2, 0.4, 0.3, 0.5, 50)], 0.2, expected, []), "left")
    assert "too little" in low
    assert "too few" in low
    fine = direction(Reliability("m", points, 0.03, expected, []), "left")
    assert "no more than chance explains" in fine


def test_pages_about_customers_say_what_drives_the_score_and_whether_today_is_as_then(full: dict[str, Any]) -> None:
    text = plain(render(gather(full, FAST)))
    assert "Days since order moves it most, with 80% of all" in text
    assert "the more, the lower" in text
    assert "outside of the range of those before (40.0% to 42.0%)" in text
    assert "A classifier tells the two apart (AUROC 0.710, 0.660 to 0.750), most by days since order" in text
    assert "1 of 2 features have moved more than chance" in text
    alike = {**now()["drift"], "told_apart": {**now()["drift"]["told_apart"], "low": 0.48, "auroc": 0.51}}
    other = {**full, "churn": {**full["churn"], "now": now(drift=alike)}}
    assert "A classifier cannot tell the two apart" in plain(render(gather(other, FAST)))


def test_an_audience_that_is_not_to_be_read_counts_in_no_sum_of_money_and_says_why() -> None:
    broken = read("2022-05", 900.0, 100.0)
    broken["read"] |= {
        "words": "Not to be read: customers are missing in one arm.",
        "sample_ratio": {"ok": False},
        "warnings": ["do not read this: 90 and 2 customers cannot come from the arms that were dealt"],
    }
    section = campaigns([read("2022-05", 100.0, 50.0), broken], "GBP")
    assert section is not None
    text = plain(section.content)
    assert "of 1 it can be read" in section.lead
    assert "+100 GBP (+50 to +150)" in text
    assert "+900 GBP" not in text
    assert "+1,000 GBP" not in text
    assert "Not to be read: customers are missing in one arm." in text
    assert "do not read this: 90 and 2 customers" in text


def test_profit_of_messages_with_lists_is_turnover_where_no_margin_is_known(full: dict[str, Any]) -> None:
    text = plain(render(gather(full, FAST)))
    assert "What would messages with these lists bring?" in text
    assert "this is turnover and not profit" in text
    section = full["next_item"]
    curve = board(section, FAST).profits["sasrec"]
    earned = section["tables"]["sasrec"]["revenue@10"].to_numpy()
    assert curve.everybody.profit == pytest.approx((earned - 0.5).sum())
    assert curve.best.share_low is not None
    assert curve.best.profit >= curve.everybody.profit - 1e-9


def test_no_control_group_shows_more_than_everybody() -> None:
    one = campaigned()["audiences"][0]
    for seen, said in (
        (0.1031, "10.3 points of buyers or more, after 30 days"),
        (1.031, "nothing: too few are left alone"),
    ):
        card = {**one["card"], "arms": {**(one["card"].get("arms") or {}), "smallest_difference": seen, "days": 30.0}}
        section = campaigns([{**one, "card": card}], "EUR")
        assert section is not None
        assert said in section.content


def test_flows_are_as_thick_as_customers_are_many_and_segments_stand_in_their_order() -> None:
    found = flow(moves(("active", "at risk", 30), ("active", "active", 50), ("at risk", "active", 20)))
    assert [name for _, name, _ in found.left] == ["active", "at risk"]
    assert [n for _, _, n in found.left] == [80, 20]
    assert [n for _, _, n in found.right] == [70, 30]
    first = found.bands[0]
    assert first.hover == "active → active: 50 customers"
    assert first.stays
    top, bottom = (float(y) for y in re.findall(r"^M0 ([\d.]+).*?V([\d.]+)", first.path)[0])
    assert bottom - top == pytest.approx(TALL / 2, abs=0.2)
    assert found.summary == (
        "50 of 100 customers moved, most of them: 30 from active to at risk; 20 from at risk to active"
    )


def test_of_few_customers_a_segment_says_only_how_many(full: dict[str, Any]) -> None:
    section = segments_page(campaigned()["segments"])
    assert section is not None
    cards = re.findall(r"<article.*?</article>", str(section.content), re.DOTALL)
    assert "country France (40%)" in cards[0]
    assert "of the others nothing was known" not in section.lead
    some = segments_page(campaigned()["segments"], (), "UTC", 320)
    assert some is not None
    assert "63 of 320 customers: of the others nothing was known by then." in some.lead
    assert "<dt>" not in cards[1]


def test_a_month_adds_what_its_messages_brought_and_never_less_than_their_widths() -> None:
    section = campaigns(
        [read("2022-05", 300.0, 100.0), read("2022-05", 100.0, 50.0), read("2022-04", -20.0, 5.0)], "GBP"
    )
    assert section is not None
    text = str(section.content)
    months = text[text.index("By month") : text.index("Audiences</h3>")]
    assert "+400 GBP (+250 to +550)" in months  # 300 + 100, half widths 100 + 50
    assert "−20 GBP (−25 to −15)" in months
    assert months.index("May 2022") < months.index("April 2022")
    assert "We have &lt;b&gt;missed&lt;/b&gt; you." in text


def test_days_are_those_on_the_shops_clocks(full: dict[str, Any]) -> None:
    """Midnight in Berlin is ten o'clock of the evening before in UTC."""
    told = now(as_of="2022-06-30T22:00:00Z", until="2022-07-30T22:00:00Z")
    found = said(full, "churn", now=told, zone="Europe/Berlin")
    assert "are expected to leave by 31 July 2022" in plain(found.tiles[0][1])
    assert "Asked as of 1 July 2022" in found.paragraphs[0]
    one = read("2022-05", 300.0, 100.0)
    for place in (one, one["read"]):
        place["as_of"] = "2022-04-30T22:00:00Z"
    section = campaigns([one], "GBP", "Europe/Berlin")
    assert section is not None
    assert "Win back, 1 May 2022" in plain(section.content)
    assert "May 2022" in str(section.content)[str(section.content).index("By month") :]
    assert "April 2022" not in str(section.content)
    shown = {**campaigned()["segments"], "as_of": "2022-06-30T22:00:00Z", "movement_since": "2022-05-31T22:00:00Z"}
    page = segments_page(shown, (), "Europe/Berlin")
    assert page is not None
    assert "As of 1 July 2022, from what was known then; moved since 1 June 2022." in page.lead


def test_costs_that_are_not_known_are_no_zero() -> None:
    known, unknown = read("2022-05", 300.0, 100.0), read("2022-04", 20.0, 5.0)
    unknown["read"] |= {"cost_known": False, "money": {**unknown["read"]["money"], "cost": 0.0}}
    section = campaigns([known, unknown, {**unknown, "as_of": known["as_of"]}], "GBP")
    assert section is not None
    months = str(section.content).partition("By month")[2].partition("Audiences</h3>")[0]
    assert re.findall(r'data-label="costs">(.*?)<', months) == ["45.00 GBP or more", "not known"]


def test_whom_a_campaign_moves_is_said_of_each_arm_and_no_order_by_chance_is_praised(full: dict[str, Any]) -> None:
    text = plain(render(gather(full, FAST, campaigned())))
    assert "Whom does a message move?" in text
    assert (
        "womens mail, visit: +0.0450 (+0.0390 to +0.0520) more of each who was treated (2,100 treated, 2,080 in "
        "control); put into an order that is better than chance by t." in text
    )
    assert "no learner is shown to put customers into an order that is better than chance: write to all or to" in text
    assert "Spring &lt;b&gt;mail&lt;/b&gt;" in text
    rows = re.findall(r"(\w+ mail: visit)(\w)\+?([−\d.]+) \(", re.sub(r"\s*\n", "", text))
    assert [(arm, learner) for arm, learner, _ in rows] == [
        ("womens mail: visit", "t"), ("womens mail: visit", "r"), ("mens mail: visit", "r"), ("mens mail: visit", "t"),
    ]  # fmt: skip
    assert "Qini" in text[text.index("What the words and marks mean") :]


def test_what_has_moved_since_the_report_before_is_said_and_survives_a_second_look(full: dict[str, Any]) -> None:
    report = gather(full, FAST, campaigned(), EARLIER)
    found = moved(report)
    assert found is not None
    day, rows = found
    assert day == "31 May 2022"
    assert rows == [("churn: expected of all", "100 (90 to 110)", "123 (110 to 137)", "+23")]
    own = json.loads(json.dumps(decisions(report)))
    again = replace(report, earlier=own)  # the same report made anew says the same
    assert moved(again) == found
    assert decisions(again)["since"] == own["since"]
    newer = replace(report, earlier={**own, "fingerprint": "older"})
    assert moved(newer) is not None
    assert moved(newer)[0] == report.until  # type: ignore[index]
    assert moved(replace(report, earlier=None)) is None


def test_every_metric_has_a_meaning() -> None:
    known = {name for kind in KINDS for name in (*kind.aggregates, *kind.of_truth)}
    known |= {name.partition("@")[0] for name in metric_names([10])} | {
        of_row for _, _, rows in COLUMNS.values() for of_row in rows
    }
    assert {"ndcg", "auroc", "rmse", "pinball"} <= known
    assert sorted(name for name in known if name not in METRICS) == []
    assert meaning_of("ndcg@10").count("10") == 1


def test_words_in_headings_say_what_they_mean_and_the_glossary_has_them(full_page: Path) -> None:
    html = full_page.read_text(encoding="utf-8")
    titled = dict(re.findall(r'<abbr title="([^"]+)">([^<]+)</abbr>', html))
    glossary = html[html.index('id="glossary"') :]
    for meaning in titled:
        assert meaning in glossary, titled[meaning]
    assert {"NDCG@10", "PSI", "AUROC", "control"} <= set(titled.values())
    assert re.search(r'<use href="#m0"[^>]*><title>SASRec: 0\.\d+', html)


def test_customers_are_on_the_page_only_when_asked_for(full: dict[str, Any]) -> None:
    html = render(gather(full, FAST, campaigned()))
    assert "No single customer is on this page" in html
    assert 'id="shop"' not in html
    chosen = render(gather(full, Told(resamples=100, chosen=("u7",)), campaigned()))
    assert "It holds personal data" in chosen
