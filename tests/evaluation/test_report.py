"""The report says the right thing first, holds what it promises, and opens in a browser without a word of complaint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from browser import console_errors, document, screenshot
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.compare import compare_family
from shopkeeper.evaluation.report import write_report
from shopkeeper.evaluation.report.charts import number, scatter, span, ticks
from shopkeeper.evaluation.report.facts import audit_rows
from shopkeeper.evaluation.report.figures import Model, Value
from shopkeeper.evaluation.report.gather import gather
from shopkeeper.evaluation.report.page import render
from shopkeeper.evaluation.report.words import answer
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.rows.labels import customer_table
from shopkeeper.evaluation.rows.slices import add_slices
from shopkeeper.evaluation.seeds import over_seeds, too_few
from shopkeeper.evaluation.table import KEY, metadata_of, summarise
from shopkeeper.models.about import About
from tiny import DAY, days, tiny_prepared

N = 320  # customers
ITEMS = 20
NASTY = "</script><script>alert('x')</script> & <b>Co</b>"


class Told:
    """Scores that know the target of a share of the requests; the rest is popularity."""

    def __init__(self, split: Split, right: np.ndarray, oracle: str = ""):
        self.about = About(oracle=oracle)
        requests, targets = split.part("test")
        self.target = dict(zip(requests.end.tolist(), targets.item.tolist(), strict=True))
        self.right = dict(zip(requests.end.tolist(), right.tolist(), strict=True))

    def score(self, requests: Requests) -> np.ndarray:
        scores_BV = np.tile(-np.arange(ITEMS + 1, dtype=np.float32), (len(requests), 1))
        for b, end in enumerate(requests.end.tolist()):
            if self.right[end]:
                scores_BV[b, self.target[end]] = 1
        return scores_BV


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    rng = np.random.default_rng(3)
    histories = [rng.integers(1, ITEMS + 1, 3 + u % 40).tolist() for u in range(N)]
    names = [NASTY, *(f"Thing {i}" for i in range(2, ITEMS + 1))]
    categories = ["tea", "garden"] * (ITEMS // 2)
    return tiny_prepared(
        tmp_path_factory.mktemp("shop") / "tiny",
        histories,
        days(histories, 19_000),
        items={"title": names, "category": categories},
        n_items=ITEMS,
    )


def section(shop: tuple[Prepared, Split], tables: Mapping[str, pa.Table], task: str = "next_item") -> dict[str, Any]:
    """What `pipeline.evaluate` hands over."""
    prepared, split = shop
    headline, lower = ("ndcg@10", False) if task == "next_item" else ("log_loss", True)
    metrics = {}
    for name, table in tables.items():
        about = {"dataset": "tiny", "split": "leave_one_out", "protocol": "published", "task": task, "model": name}
        metrics[name] = {
            **about,
            "seed": 1,
            "filter_seen": False,
            "target_hash": "abc",
            "test": summarise(table, resamples=200),
        }
    found = compare_family(tables, [headline], resamples=200) if len(tables) > 1 else []
    return {
        "task": task,
        "headline": headline,
        "lower_is_better": lower,
        "names": sorted(tables, key=lambda n: metrics[n]["test"][headline]["value"], reverse=not lower),
        "metrics": metrics,
        "tables": dict(tables),
        "comparisons": [c.as_dict() for c in found],
        "configs": {name: {"dataset": {"title": "Tiny shop", "licence": "CC0"}} for name in tables},
        "manifests": {name: {"commit": "0123abc"} for name in tables},
        "prepared": prepared,
        "split": split if task == "next_item" else None,
    }


def recommenders(shop: tuple[Prepared, Split], shares: Mapping[str, float | np.ndarray]) -> dict[str, Any]:
    prepared, split = shop
    n = len(split.part("test")[0])
    tables = {}
    for seed, (name, share) in enumerate(shares.items()):
        right = np.random.default_rng(seed).random(n) < share
        told = Told(split, right, "observable" if name == "oracle_observable" else "")
        table = evaluate_requests(told, split, "test", metadata={"model": name, "seed": 1})
        tables[name] = add_slices(table, prepared, split, "test")
    return section(shop, tables)


def churners(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    prepared, _ = shop
    rng = np.random.default_rng(0)
    risk = rng.random(N)
    label = (rng.random(N) < risk).astype(np.float64)
    rows = np.arange(N, dtype=np.int64)
    features = np.stack([1 + rows % 12, rng.random(N) * 80], axis=1).astype(np.float64)
    cohort = Cohort(
        (rows + 1).astype(np.int32),
        np.full(N, 19_100 * DAY, np.int64),
        features,
        ("orders", "days_since_order"),
        prepared.events,
        prepared.offsets[:-1],
        prepared.offsets[1:],
        np.full(N, 19_200 * DAY, np.int64),
        label,
        30.0,
    )
    about = {"dataset": "tiny", "split": "temporal", "protocol": "strict", "part": "test", "task": "churn", "seed": 1}
    said = {"logistic": risk, "base_rate": np.full(N, label.mean())}
    tables = {n: customer_table(prepared, cohort, Predictions(p), {**about, "model": n}) for n, p in said.items()}
    return section(shop, tables, "churn")


@pytest.fixture(scope="module")
def sections(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    found = recommenders(shop, {"sasrec": 0.7, "item_knn": 0.4, "popularity": 0.0, "oracle_observable": 0.95})
    return {"churn": churners(shop), "next_item": found}


@pytest.fixture(scope="module")
def page(sections: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        tmp_path_factory.mktemp("report"), gather(sections, {"customers": 12, "chosen": ["u7"], "resamples": 100})
    )


def told(sections: dict[str, Any], task: str) -> str:
    """The answer in plain text."""
    report = gather(sections, {"resamples": 100})
    a = answer(next(b for b in report.boards if b.task == task))
    return re.sub(r"<[^>]+>", "", " ".join([a.headline, *a.paragraphs]))


def test_the_answer_names_the_best_model_by_how_much_and_how_far_from_the_best_possible(
    sections: dict[str, Any],
) -> None:
    text = told(sections, "next_item")
    assert text.startswith("SASRec recommends best")
    assert re.search(r"SASRec is better than Item-kNN by 0\.\d+ NDCG@10 \(0\.\d+ to 0\.\d+\)", text)
    assert "SASRec is better than Popularity" in text
    assert re.search(r"SASRec reaches \d\d% of it", text)
    assert "another model significantly better" in text


def test_the_oracle_is_a_ceiling_and_never_the_answer(sections: dict[str, Any]) -> None:
    board = gather(sections, {"resamples": 100}).boards[0]
    assert board.models[-1].name == "oracle_observable"
    assert [m.name for m in board.rivals] == ["sasrec", "item_knn", "popularity"]
    assert 'class="ceiling"' in render(gather(sections, {"resamples": 100}))


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
    assert "⚠ Item-kNN better" in render(gather({"next_item": found}, {"resamples": 100}))


def test_less_log_loss_is_better_for_customers_too_and_nobody_loses_to_the_base_rate(sections: dict[str, Any]) -> None:
    text = told(sections, "churn")
    assert text.startswith("Logistic regression predicts best")
    assert re.search(r"Logistic regression is better than Base rate by 0\.\d+ log loss", text)
    assert "Base rate is better" not in text
    assert "Nothing speaks against its probabilities" in text


def test_a_single_model_is_not_called_the_best(shop: tuple[Prepared, Split]) -> None:
    assert told({"next_item": recommenders(shop, {"sasrec": 0.5})}, "next_item").startswith("SASRec stands alone")


def with_seeds(shop: tuple[Prepared, Split]) -> dict[str, Any]:
    """Two seeds of the winner, one run each of the others."""
    found = recommenders(shop, {"sasrec#1": 0.70, "sasrec#2": 0.71, "item_knn": 0.4, "popularity": 0.0})
    seeds = of_seeds({s: found["tables"][f"sasrec#{s}"] for s in (1, 2)})
    return {**found, "names": ["sasrec#1", "sasrec#2", "item_knn", "popularity"], "sanity": {"seeds": seeds}}


def of_seeds(tables: Mapping[int, pa.Table]) -> dict[str, Any]:
    told = [t.replace_schema_metadata({KEY: json.dumps({**metadata_of(t), "seed": s})}) for s, t in tables.items()]
    facts = {"seeds": list(tables), "runs": [f"sasrec#{s}" for s in tables], "too_few": too_few(len(tables))}
    return {"sasrec": over_seeds(told, "ndcg@10").as_dict() | facts}


def test_another_seed_of_the_winner_is_no_rival_of_it(shop: tuple[Prepared, Split]) -> None:
    found = with_seeds(shop)
    text = told({"next_item": found}, "next_item")
    assert text.startswith("SASRec recommends best")
    assert "is better than Item-kNN by" in text
    assert re.search(r"Trained with 2 seeds, SASRec has NDCG@10 0\.\d+ .* from seed to seed it moves by 0\.\d{4}", text)
    html = render(gather({"next_item": found}, {"resamples": 100}))
    assert "With 2 seeds a 95 % interval is too narrow where seeds matter" in html
    board = gather({"next_item": found}, {"resamples": 100}).boards[0]
    assert [m.colour for m in board.models[:3]] == [0, 0, 1]
    assert [m.name for m in board.models if board.like_the_best(m)] == []
    assert set(board.slices[0].rows[0].models) == {"sasrec#1", "item_knn", "popularity"}


def test_the_page_says_which_intervals_it_shows(sections: dict[str, Any]) -> None:
    asked = {task: {**s, "confidence": 0.9, "intervals": "bca", "test": "bootstrap"} for task, s in sections.items()}
    html = render(gather(asked, {"resamples": 100}))
    assert "with 90 % intervals over" in html
    assert "90 %, bias-corrected and accelerated (BCa) bootstrap over customers" in html
    assert "paired by request; joint bootstrap of customers, largest |t| of the family" in html
    assert "95 % intervals" not in html


def test_nothing_is_not_negative() -> None:
    assert [number(x) for x in (-0.0004, -0.0006, 0.0)] == ["0.000", "\u22120.001", "0.000"]


def test_a_name_in_a_chart_does_not_hide_a_mark_or_another_name() -> None:
    points = [(Model(f"m{i}", {}, i), Value(0.9 + i / 50), Value(0.30 - i / 100)) for i in range(4)]
    names = [m.at for m in scatter(points, "x", "y").marks if m.at["class"] == "name"]
    height = sorted(320 * float(at["y"].rstrip("%")) / 100 + float(at["dy"]) for at in names)
    assert len(height) == 4
    assert min(np.diff(height)) >= 14


def test_the_page_asks_no_network_and_stays_small(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", html)
    assert "default-src 'none'" in html
    assert page.stat().st_size < 2_000_000


def test_names_from_the_data_cannot_become_markup(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert NASTY not in html
    assert html.count("</script>") == 2


EVIL = """it's <img src=x onerror=alert(1)> & "`</script><b>`'"""


class Text(HTMLParser):
    """Every tag with its attributes, and the text in between."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            self.attributes.setdefault(name, set()).add(str(value))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_models_titles_kinds_and_customers_may_be_called_anything(shop: tuple[Prepared, Split]) -> None:
    found = recommenders(shop, {EVIL: 0.7, "item_knn": 0.4, "popularity": 0.0})
    named = np.where(np.arange(len(found["tables"][EVIL])) % 2, EVIL, "tea")
    for name, table in found["tables"].items():
        at = table.column_names.index("slice:category")
        found["tables"][name] = table.set_column(at, "slice:category", pa.array(named))
    found["configs"] = {name: {"dataset": {"title": EVIL, "licence": EVIL}} for name in found["tables"]}
    found["sanity"] = {"alarms": [EVIL]}
    report = gather({"next_item": found}, {"customers": 3, "resamples": 100})
    assert report.window is not None
    report.window["cases"][0]["user"] = EVIL
    calm = Text(render(gather({"next_item": recommenders(shop, {"a": 0.7, "popularity": 0.0})}, {"resamples": 100})))
    wild = Text(render(report))
    assert wild.tags - calm.tags <= {"code", "em"}  # no img, and no b where none was meant
    assert not [name for name in wild.attributes if name.startswith("on")]
    text = "".join(wild.text)
    assert text.count(EVIL) > 10  # title, licence, kind of request, leaderboard, legend, comparisons, …
    assert any(EVIL in said for said in wild.attributes["aria-label"])
    data = next(json.loads(t) for t in wild.text if t.startswith('{"models"'))
    assert data["cases"][0]["user"] == EVIL


def test_only_a_page_brings_jinja() -> None:
    code = (
        "import sys, shopkeeper.evaluation.report.figures; before = set(sys.modules); "
        "import shopkeeper.evaluation.report.page; print('jinja2' in before, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


class Shape(HTMLParser):
    """Collects what accessibility rests on."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.bare_headers = 0
        self.unnamed_pictures = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found.get("href")).removeprefix("#"))
        if tag == "th" and "scope" not in found:
            self.bare_headers += 1
        if tag == "svg" and found.get("aria-hidden") != "true" and not found.get("aria-label"):
            self.unnamed_pictures += 1


def test_headings_tables_and_pictures_can_be_read_out(page: Path) -> None:
    shape = Shape()
    shape.feed(page.read_text(encoding="utf-8"))
    assert shape.headings.count(1) == 1
    assert shape.headings[0] == 1
    assert shape.bare_headers == 0
    assert shape.unnamed_pictures == 0
    assert len(shape.ids) == len(set(shape.ids))
    assert set(shape.links) <= set(shape.ids)


def test_every_promised_part_is_there(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for anchor in ("answer", "board-next_item", "coverage", "slices-next_item", "board-churn", "slices-churn",
                   "reliability-churn", "shop", "protocol"):  # fmt: skip
        assert f'id="{anchor}"' in html, anchor
    assert "target_hash" not in html
    assert "Git commit" in html
    assert "CC0" in html


def test_the_shop_window_shows_what_each_model_gave_that_very_customer(sections: dict[str, Any]) -> None:
    window = gather(sections, {"customers": 12, "chosen": ["u7"], "resamples": 100}).window
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
        gather(sections, {"customers": 12, "chosen": ["u7", "nobody"], "resamples": 100})


def test_a_suggestion_counts_as_taken_also_when_the_order_was_too_long_to_be_listed(sections: dict[str, Any]) -> None:
    window = gather(sections, {"customers": 40, "resamples": 100}).window
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


def test_axes_hold_their_values_and_ticks_are_round() -> None:
    axis = span([Value(0.2, 0.1, 0.35), Value(0.31)])
    assert axis[0] == 0
    assert axis[1] > 0.35
    assert ticks(0, 0.4) == [0, 0.1, 0.2, 0.3, 0.4]
    assert ticks(0.513, 0.7) == [0.55, 0.6, 0.65, 0.7]
    assert ticks(1, 1) == [1]


@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_in_a_browser_without_a_console_message(page: Path, width: int) -> None:
    assert console_errors(page, width) == []


def test_a_console_message_would_be_noticed(page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("show(0);", "shw(0);"), encoding="utf-8")
    assert any("shw is not defined" in message for message in console_errors(broken))


def pressed(page: Path, copy: Path, script: str) -> str:
    """The document after a script ran on the finished page."""
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return document(copy)


def test_the_shop_window_turns_with_the_arrow_keys_and_fills_in_text_as_text(page: Path, tmp_path: Path) -> None:
    before = document(page)
    assert '<p class="shop-who" aria-live="polite"><strong>u7</strong>' in before
    assert "1 of 12" in before
    key = "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true})"
    after = pressed(page, tmp_path / "key.html", f"document.querySelector('.shop-bar button').dispatchEvent({key})")
    assert "2 of 12" in after
    assert "<strong>u7</strong>" not in after
    assert "&lt;b&gt;Co&lt;/b&gt;" in before


@pytest.mark.parametrize("opened", [False, True], ids=["as it opens", "all unfolded"])
def test_nothing_sticks_out_of_a_phones_screen(page: Path, tmp_path: Path, opened: bool) -> None:
    # A window of Chromium's is at least 500 pixels wide, whatever it is asked for; a frame is as narrow as a phone.
    text = page.read_text(encoding="utf-8")
    if opened:
        unfold = "<script>document.querySelectorAll('details').forEach(d => d.open = true)</script>"
        text = text.replace("</body>", f"{unfold}</body>")
    copy = tmp_path / "phone.html"
    measure = "document.title = f.contentDocument.documentElement.scrollWidth + ' of ' + f.contentWindow.innerWidth"
    inside = json.dumps(text).replace("<", "\\u003c")
    copy.write_text(
        f'<!doctype html><title>not yet</title><iframe id="f" style="width:390px;height:800px;border:0"></iframe>'
        f"<script>f.onload = () => {{ {measure} }}; f.srcdoc = {inside}</script>",
        encoding="utf-8",
    )
    assert "<title>390 of 390</title>" in document(copy)


def test_a_picture_can_be_taken(page: Path, tmp_path: Path) -> None:
    png = screenshot(page, tmp_path / "page.png", 800, 600)
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_shops_own_values_stand_beside_a_figure_of_profit(sections: dict[str, Any]) -> None:
    own = {"currency": "EUR", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.2}
    churn = dict(sections["churn"])
    churn["metrics"] = {name: {**m, "profit": own} for name, m in churn["metrics"].items()}
    said = dict(gather({"churn": churn}, {"resamples": 100}).protocol)["Expected maximum profit"]
    assert "EUR per customer" in said
    assert "worth 120, an offer that is taken costs 10, a contact 0.5; 20% of those" in said
    assert "Expected maximum profit" not in dict(gather({"churn": sections["churn"]}, {"resamples": 100}).protocol)


def test_a_campaigns_profit_is_a_figure_and_a_table_in_the_shops_own_money(sections: dict[str, Any]) -> None:
    own = {"currency": "EUR", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.3}
    churn = dict(sections["churn"])
    churn["metrics"] = {name: {**m, "profit": own} for name, m in churn["metrics"].items()}
    report = gather({"churn": churn}, {"resamples": 100})
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
    assert 'id="profit-churn"' not in render(gather({"churn": sections["churn"]}, {"resamples": 100}))


def test_halves_and_what_was_asked_for_stand_beneath_the_first_table(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    board = text[text.index('id="board-next_item"') :]
    board = board[: board.index("</section>")]
    assert "of what was taken had been bought before" in board
    assert board.index('class="board"') < board.index("Repeat half of NDCG@10") < board.index("Every pair compared")
    assert "Explore half of NDCG@10" in board
    assert "Revenue@10" not in board  # this shop has no prices
