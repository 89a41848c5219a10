"""Settings that say `auto`: chosen by questions inside of the training rows, right where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shoppers
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders import inside
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.inside import Open
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.knn.session_knn import SessionKNN
from shopkeeper.recommenders.knn.tifu_knn import TIFUKNN
from shopkeeper.recommenders.windows import earlier_windows, windows_as_asked
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.write import write_split
from tiny import DAY, days, tiny_prepared

OPEN: dict[str, partial[Any]] = {
    "popularity": partial(Popularity, window_days="auto"),
    "personal_frequency": partial(PersonalFrequency, "auto", "auto"),
    "item_knn": partial(ItemKNN, "auto", "auto", "auto", "auto", "auto"),
    "ease": partial(EASE, 3.0, half_life_events="auto", self_similarity="auto", every_time="auto"),
    "tifu_knn": partial(TIFUKNN, half_life_days="auto"),
    "vstan": partial(SessionKNN, "vstan", "auto", "auto", "auto", "auto", "auto"),
}
PURCHASE = [EVENT_CODE["purchase"]]
FIRST_DAY = 20_000


def daily(path: Path, bought: np.ndarray, window: float = 5) -> tuple[Prepared, Split]:
    """Everybody takes something every day; validation begins with the last two days and is said to be `window` long."""
    histories = bought.tolist()
    prepared, split = tiny_prepared(path, histories, days(histories))
    end = (bought.shape[1] - 2) * DAY
    spec = {"validation_days": window, "target_events": ["purchase"]}
    return prepared, replace(split, timeline={**split.timeline, "spec": spec, "cutoffs": {"validation": {"us": end}}})


@pytest.mark.parametrize("name", list(OPEN))
def test_a_model_whose_settings_are_open_keeps_the_promises_of_every_recommender(tmp_path: Path, name: str) -> None:
    check_recommender(OPEN[name], tmp_path)


def test_where_bestsellers_change_few_days_count_and_where_they_stay_many_do(tmp_path: Path) -> None:
    day, rng = np.arange(60), np.random.default_rng(1)
    changing = np.tile(1 + day // 3 % 20, (12, 1))
    model = fitted(OPEN["popularity"], *daily(tmp_path / "changing", changing))
    assert model.settings["window_days"] == 3
    share = np.arange(20, 0, -1) / 210
    staying = rng.choice(np.arange(1, 21), (12, 200), p=share)
    model = fitted(OPEN["popularity"], *daily(tmp_path / "staying", staying, 20))
    assert model.settings["window_days"] is None or model.settings["window_days"] >= 30


def test_who_turns_to_another_brand_is_known_by_recent_purchases_and_who_is_loyal_by_all(tmp_path: Path) -> None:
    u, rng = np.arange(20)[:, None], np.random.default_rng(1)
    turned = np.where(np.arange(60)[None, :] < 33, 1 + u % 5, 6 + u % 5)
    model = fitted(OPEN["personal_frequency"], *daily(tmp_path / "turned", turned))
    assert model.settings["half_life_days"] == 14
    assert model.about.reads == ("event_type", "timestamp")
    loyal = np.where(rng.random((20, 60)) < 0.3, 1 + u % 5, rng.integers(6, 30, (20, 60)))
    model = fitted(OPEN["personal_frequency"], *daily(tmp_path / "loyal", loyal))
    assert model.settings["half_life_days"] is None or model.settings["half_life_days"] >= 60


def test_customers_who_turn_one_after_the_other_are_known_by_their_newest_baskets(tmp_path: Path) -> None:
    u = np.arange(20)[:, None]
    turned = np.where(np.arange(60)[None, :] < 10 + 2 * u, 1 + u % 5, 6 + u % 5)
    assert fitted(OPEN["tifu_knn"], *daily(tmp_path / "turned", turned)).settings["half_life_days"] == 30
    loyal = np.tile(1 + u % 5, (1, 60))
    assert fitted(OPEN["tifu_knn"], *daily(tmp_path / "loyal", loyal)).settings["half_life_days"] == 90  # all alike


def test_questions_of_a_window_are_right_or_wrong_together() -> None:
    window_B = np.repeat(np.arange(3), 100)
    gain_B = np.repeat([0.3, -0.1, -0.1], 100) + np.tile([-0.01, 0.01], 150)  # one window says it all
    assert gain_B.mean() > gain_B.std(ddof=1) / np.sqrt(300)
    assert inside.standard_error(gain_B, window_B) == pytest.approx(np.std([0.3, -0.1, -0.1], ddof=1) / np.sqrt(3))
    alike_B = np.tile([0.3, -0.1], 150)  # each window the same: as question by question
    assert inside.standard_error(alike_B, window_B) == pytest.approx(alike_B.std(ddof=1) / np.sqrt(300))


def of_tastes(rng: np.random.Generator, first: int, then: int, again: int = 0) -> list[int]:
    """`first` items of one taste, `then` of another one, `again` of the first; a taste has 8 items."""
    a, b = ((8 * taste + rng.permutation(8) + 1).tolist() for taste in rng.permutation(6)[:2])
    return [*a[:first], *b[:then], *a[first : first + again]]


def test_where_taste_has_moved_the_last_item_counts_and_else_the_whole_history_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    settled = [of_tastes(rng, 8, 0) for _ in range(60)]  # who says what belongs together
    make, fit = partial(ItemKNN, half_life_events="auto"), Fit(filter_seen=True)
    moved = [of_tastes(rng, 6, 4) for _ in range(120)]  # asked for the second one of the new taste
    assert fitted(make, *tiny_prepared(tmp_path / "moved", settled + moved), fit).settings["half_life_events"] <= 1
    strayed = [of_tastes(rng, 5, 3, 3) for _ in range(120)]  # asked for what follows a stray
    chosen = fitted(make, *tiny_prepared(tmp_path / "stray", settled + strayed), fit).settings["half_life_events"]
    assert chosen is None or chosen >= 10


class Fixed:
    """Gives the target the first place on the first `right` questions, the last place on all others."""

    def __init__(self, right: int, item: np.ndarray, width: int) -> None:
        self.right, self.item, self.width = right, item, width

    def score(self, requests: Requests) -> np.ndarray:
        scores = np.tile(np.arange(self.width, 0, -1, dtype=np.float32), (len(requests), 1))
        at = np.arange(len(requests))
        scores[at, self.item] = np.where(at < self.right, self.width + 1, 0)
        return scores


@pytest.mark.parametrize(("right", "chosen"), [(0, 1.0), (1, 1.0), (12, 2.0)])
def test_an_option_takes_the_first_ones_place_where_it_gains_more_than_a_standard_error(
    tmp_path: Path, right: int, chosen: float
) -> None:
    bought = [[1 + (u + t) % 24 for t in range(5)] for u in range(24)]
    prepared, split = tiny_prepared(tmp_path, bought)
    (window,) = windows_as_asked(split, PURCHASE, 3, 100)
    found = Open({"it": "auto", "other": 7}, {"it": (1.0, 2.0), "other": (3, 4)}).chosen(
        lambda some, _: Fixed(0 if some["it"] == 1 else right, window.targets.item, prepared.n_items + 1), split, Fit()
    )
    assert found == {"it": chosen, "other": 7}


def test_a_model_that_answers_slowly_is_asked_few_questions(tmp_path: Path) -> None:
    prepared, split = tiny_prepared(tmp_path, [[1 + (u + t) % 24 for t in range(5)] for u in range(24)])
    asked = list[int]()

    class Counts(Fixed):
        def score(self, requests: Requests) -> np.ndarray:
            asked.append(len(requests))
            return super().score(requests)

    settings = Open({"it": "auto"}, {"it": (1.0, 2.0)})
    settings.chosen(lambda *_: Counts(0, np.ones(5, int), prepared.n_items + 1), split, Fit(), most=5)
    assert asked == [5, 5]


def test_the_first_option_is_taken_where_the_data_say_nothing_of_a_setting(tmp_path: Path) -> None:
    prepared, split = shoppers(tmp_path / "order", timestamps=False)
    model = fitted(OPEN["personal_frequency"], prepared, split)
    assert (model.settings["half_life_days"], model.settings["popularity_half_life_days"]) == (None, 30)
    lonely = tiny_prepared(tmp_path / "lonely", [[1], [2]])
    assert fitted(OPEN["item_knn"], *lonely).settings["shrinkage"] == 10


@pytest.mark.parametrize("name", list(OPEN))
def test_a_fit_tells_what_every_open_setting_has_become_and_no_other(tmp_path: Path, name: str) -> None:
    prepared, split = shoppers(tmp_path)
    model = OPEN[name]()
    learned = model.fit(prepared, split, Fit())
    left = [setting for setting, value in model.open.told.items() if value == "auto"]
    assert left
    assert learned.left_open == {setting: model.settings[setting] for setting in left}


def test_what_was_chosen_is_saved_with_the_model_null_as_null(tmp_path: Path) -> None:
    prepared, split = shoppers(tmp_path / "shop")
    model = fitted(OPEN["item_knn"], prepared, split)
    model.settings |= {"half_life_events": None, "neighbours": 3}
    model.save(tmp_path / "saved")
    again = OPEN["item_knn"]()
    again.load(tmp_path / "saved")
    assert again.settings == model.settings
    assert type(again.settings["neighbours"]) is int


@pytest.mark.parametrize("name", list(OPEN))
def test_a_word_that_is_no_setting_is_refused_with_what_is_one(name: str) -> None:
    told = {"popularity": "window_days", "ease": "half_life_events"}.get(name, "half_life_days")
    with pytest.raises(UserError, match=rf"model\.{told}=soon must be a number above 0(, or null)?, or auto"):
        OPEN[name].func(**{told: "soon"})


def test_windows_are_as_long_as_validation_and_ask_everybody_once(tmp_path: Path) -> None:
    prepared, split = daily(tmp_path, np.tile(np.arange(30) % 7 + 1, (4, 1)), window=6)
    windows = windows_as_asked(split, PURCHASE, count=2, most=100)
    assert [np.asarray(w.requests.user).tolist() for w in windows] == [[1, 2, 3, 4]] * 2
    assert [set((np.asarray(w.requests.instant) // DAY).tolist()) for w in windows] == [
        {22},
        {16},
    ]  # validation begins on day 28
    few = windows_as_asked(split, PURCHASE, count=2, most=4)
    assert [np.asarray(w.requests.user).tolist() for w in few] == [[1, 4]] * 2
    np.testing.assert_array_equal(few[0].targets.item, prepared.events.item[few[0].targets.row])


def test_days_on_which_the_shop_is_closed_are_no_windows_and_end_none(tmp_path: Path) -> None:
    """Every seventh day nobody buys, and the day before validation is such a one."""
    day = [n for n in range(58) if n % 7 != 6]
    prepared, split = tiny_prepared(tmp_path, [[n % 7 + 1 for n in day]] * 3, [[n * DAY for n in day]] * 3)
    spec, cutoffs = {"validation_days": 1, "target_events": ["purchase"]}, {"validation": {"us": 56 * DAY}}
    split = replace(split, timeline={**split.timeline, "spec": spec, "cutoffs": cutoffs})
    windows = windows_as_asked(split, PURCHASE, count=8, most=100)
    found = [set((np.asarray(w.requests.instant) // DAY).tolist()) for w in windows]
    assert found == [{54}, {53}, {52}, {51}, {50}, {49}, {47}, {46}]  # neither 55 nor 48
    for window, (asked,) in zip(windows, found, strict=True):
        rows = window.split.training_rows()[1]
        assert (np.asarray(prepared.events.timestamp)[rows] // DAY).max() < asked


def test_a_catalogue_that_is_too_large_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Open, "chosen", lambda *_: pytest.fail("asked"))
    with pytest.raises(UserError, match="need a dense inverse"):
        fitted(partial(EASE, max_items=3, half_life_events="auto"), *shoppers(tmp_path))


@pytest.mark.parametrize(("asks", "known"), [("cart", {1: 2, 2: 1, 4: 1}), ("checkout", {1: 2, 2: 2, 4: 1})])
def test_where_part_of_an_order_is_known_so_it_is_in_the_windows(
    tmp_path: Path, asks: str, known: dict[int, int]
) -> None:
    """The fourth customer's order has an item twice, the third's has one item alone, of which nothing can be known."""
    orders = {1: [7, 5, 6], 2: [7, 5, 6], 3: [7], 4: [5, 5, 6, 5]}
    histories = [[1, 2, *order, 3, 3] for order in orders.values()]  # the last two are held out
    times = [[DAY, 2 * DAY, *[9 * DAY] * len(order), 20 * DAY, 21 * DAY] for order in orders.values()]
    numbers = [[10 * u + 1, 10 * u + 2, *[10 * u + 3] * len(o), 10 * u + 4, 10 * u + 5] for u, o in orders.items()]
    prepared, split = tiny_prepared(tmp_path, histories, times, columns={"order": numbers})
    spec = {"validation_days": 3, "target_events": ["purchase"], "asks": asks}
    split = replace(split, timeline={**split.timeline, "spec": spec, "cutoffs": {"validation": {"us": 10 * DAY}}})
    (window,) = windows_as_asked(split, PURCHASE, count=1, most=100)
    requests, targets = window.requests, window.targets
    assert np.asarray(requests.user).tolist() == [1, 2, 4]
    offsets, rows = requests.flat()
    barred = requests.hidden(False)
    assert barred is not None
    for n, (user, many) in enumerate(known.items()):
        first = list(dict.fromkeys(orders[user]))[:many]
        basket = [item for item in orders[user] if item in first]
        assert requests.events.item[rows[offsets[n] : offsets[n + 1]]].tolist() == [1, 2, *basket]
        assert barred[1][barred[0][n] : barred[0][n + 1]].tolist() == basket
        wanted = slice(*targets.offsets[n : n + 2])
        assert targets.item[wanted].tolist() == [item for item in orders[user] if item not in first]
        assert prepared.events.item[targets.row[wanted]].tolist() == targets.item[wanted].tolist()
    assert fitted(OPEN["item_knn"], prepared, split).settings["neighbours"] == 50


def test_with_order_alone_everybody_is_asked_for_the_last_step(tmp_path: Path) -> None:
    _, split = tiny_prepared(tmp_path, [[1, 2, 3, 4, 5], [3, 1, 2, 2, 1]])  # two of each are held out
    (window,) = windows_as_asked(split, PURCHASE, count=3, most=10)
    assert window.targets.item.tolist() == [3, 2]


def test_nothing_after_the_training_rows_moves_a_choice(tmp_path: Path) -> None:
    bought = np.tile(1 + np.arange(60) // 3 % 20, (12, 1))
    found: list[Any] = []
    for n, later in enumerate((1, 9)):
        other = bought.copy()
        other[:, -2:] = later
        found.append(fitted(OPEN["popularity"], *daily(tmp_path / str(n), other)).settings)
    assert found[0] == found[1]


def test_a_linear_model_learns_whether_people_buy_the_same_again(tmp_path: Path) -> None:
    u, rng = np.arange(40)[:, None], np.random.default_rng(1)
    same = np.where(rng.random((40, 30)) < 0.6, 1 + u % 10, rng.integers(11, 30, (40, 30)))
    assert fitted(OPEN["ease"], *daily(tmp_path / "same", same)).settings["self_similarity"] in (None, 3.0)
    on = 1 + (u + np.arange(30)[None, :]) % 29  # one after the other, nothing twice
    assert fitted(OPEN["ease"], *daily(tmp_path / "on", on)).settings["self_similarity"] == 0.1


def test_a_linear_model_learns_whether_how_often_or_how_lately_says_what_comes(tmp_path: Path) -> None:
    u, rng = np.arange(40)[:, None], np.random.default_rng(1)
    staples = 1 + (7 * u + rng.geometric(0.4, (40, 30))) % 25  # each has a few, the first of them in two of five days
    assert fitted(OPEN["ease"], *daily(tmp_path / "staples", staples)).settings["every_time"] is True
    lately = 1 + (u + np.arange(30)[None, :] // 5) % 25  # five days each, and never again
    assert fitted(OPEN["ease"], *daily(tmp_path / "lately", lately)).settings["every_time"] is False


def test_a_half_life_that_hid_what_own_items_are_worth_is_asked_again(tmp_path: Path) -> None:
    u, rng = np.arange(40)[:, None], np.random.default_rng(1)
    staples, others = 1 + (7 * u + rng.integers(0, 6, (40, 80))) % 60, np.minimum(rng.zipf(1.4, (40, 80)), 60)
    bought = np.where(rng.random((40, 80)) < 0.5, staples, others)  # six staples each, in no order
    chosen = fitted(OPEN["item_knn"], *daily(tmp_path, bought)).settings
    assert (chosen["half_life_events"], chosen["self_similarity"]) == (None, 10.0)


def test_of_a_long_log_fewer_windows_are_asked_and_of_a_very_long_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, split = daily(tmp_path, np.tile(np.arange(60) % 7 + 1, (4, 1)), window=6)  # 232 training rows
    found = []
    for rows, longest in ((10**6, 10**6), (500, 10**6), (1, 10**6), (10**6, 231)):
        monkeypatch.setattr(inside, "ROWS", rows)
        monkeypatch.setattr(inside, "LONGEST", longest)
        asked: list[Split] = []

        def made(some: dict[str, Any], window: Split, asked: list[Split] = asked) -> Fixed:
            asked.append(window)
            return Fixed(0, np.ones(4, int), prepared.n_items + 1)

        Open({"it": "auto"}, {"it": (1.0, 2.0)}).chosen(made, split, Fit())
        found.append(len(asked) // 2)
    assert found == [6, 2, 1, 0]


def visits(rng: np.random.Generator) -> tuple[list[int], list[int], list[int]]:
    """Items, times and session numbers (0: none told) of one customer: some visits in twelve days."""
    begins = np.sort(rng.choice(12 * 24, rng.integers(1, 9), replace=False)) * (DAY // 24)
    items, times, sessions = list[int](), list[int](), list[int]()
    for number, begin in enumerate(begins.tolist()):
        n = int(rng.integers(1, 6))
        items += rng.integers(1, 9, n).tolist()
        times += (FIRST_DAY * DAY + begin + np.arange(n) * 60_000_000).tolist()
        sessions += [number % 3] * n  # a third is cut at pauses
    return items, times, sessions


@pytest.mark.parametrize(("targets", "history"), [("all", "session"), ("first", "user"), ("last", "session")])
def test_a_window_asks_what_the_split_would_have_asked_then(tmp_path: Path, targets: str, history: str) -> None:
    rng = np.random.default_rng(3)
    every = [visits(rng) for _ in range(40)]
    base = 3 * np.arange(40)  # a session's number is of one customer
    columns = {"session": [[s and base[u] + s for s in of] for u, (_, _, of) in enumerate(every)]}
    kinds = [["view"] * len(items) for items, _, _ in every]
    items, times = [x for x, _, _ in every], [x for _, x, _ in every]
    prepared, _ = tiny_prepared(tmp_path / "tiny", items, times, event_types=kinds, columns=columns)

    def split(last_day: int) -> Split:
        end = datetime.fromtimestamp((FIRST_DAY + last_day) * 86_400, UTC).isoformat()
        told = {
            "name": "sessions",
            "validation_days": 2,
            "test_days": 2,
            "target_events": ["view"],
            "end": end,
            "protocol": "published",
        }
        write_split(prepared, {**told, "targets": targets, "history": history})
        return Split.open(
            prepared, max((prepared.path / "splits").glob("sessions-*"), key=lambda p: p.stat().st_mtime_ns)
        )

    asked, wanted = split(12), split(10)
    window = earlier_windows(asked, [EVENT_CODE["view"]], 2, 1)[0]
    requests, answers = wanted.part("validation")
    order = np.lexsort((requests.instant, requests.user))
    requests, answers = requests.take(order), answers.take(order)
    assert len(requests) > 10
    for name in ("start", "end", "instant", "user"):
        np.testing.assert_array_equal(getattr(window.requests, name), getattr(requests, name))
    assert window.targets.item.tolist() == answers.item.tolist()
    np.testing.assert_array_equal(window.split.train_end, wanted.train_end)
    assert len(windows_as_asked(asked, [EVENT_CODE["view"]], 1, 10**6)[0].requests) == len(
        requests
    )  # nobody is asked once alone
