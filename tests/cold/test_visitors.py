"""A visitor without a history gets what sells where and when they ask, shrunk by how much is known of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shopkeeper.bundles.write.bundle import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.evaluation.table import values_of
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.recommenders.cold.segment_popularity import SegmentPopularity
from shopkeeper.recommenders.cold.with_fallback import WithFallback
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.serving import Bundle
from shopkeeper.timeline import DAY, instant
from tiny import tiny_prepared

TREE, SCARF, BALL, BREAD = 1, 2, 3, 4
WEB, STORE = 1, 2
FIT = Fit(seed=1, progress=False)


def season_shop(path: Path) -> tuple[Prepared, Split]:
    """Bread all year, trees in December on the web, scarves in December in the store, balls in July on the web; 40
    customers who come once in each of these months, the first half in the north, and who buy bread at last."""
    histories, times, channels = [], [], []
    for u in range(40):
        winter, summer = (instant(f"{day}T{u % 24:02d}:00", "day") for day in ("2022-12-10", "2023-07-10"))
        north = u < 20
        histories.append([TREE if north else SCARF, BREAD, BALL if north else BREAD, BREAD, BREAD, BREAD])
        times.append([winter, winter + DAY, summer, summer + DAY, summer + 2 * DAY, summer + 3 * DAY])
        channels.append([WEB if north else STORE, WEB, WEB, 0, WEB, WEB])
    where = ["north"] * 20 + ["south"] * 20
    return tiny_prepared(
        path, histories, times, columns={"channel": channels}, users={"town": where}, channels=["web", "store"]
    )


def visitors(*days: str, channels: Sequence[int] | None = None, users: Sequence[int] | None = None) -> Requests:
    """People of whom nothing is known but what a request says."""
    n = len(days)
    asked = Requests.from_histories([[]] * n, [[]] * n, [[]] * n, [instant(day, "day") for day in days])
    given = None if channels is None else np.array(channels, np.int8)
    return replace(asked, channel=given, user=np.array(users or [0] * n, np.int32))


def best(model: SegmentPopularity, requests: Requests) -> list[int]:
    """The item with the highest lift over what sells anyway: bread."""
    scores_BV = model.score(requests)
    base_V = model.score(replace(requests, channel=None, instant=None, user=None))[:1]
    return (scores_BV / np.maximum(base_V, 1e-9))[:, 1:].argmax(1).__add__(1).tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    return season_shop(tmp_path_factory.mktemp("seasons") / "shop")


def fitted(shop: tuple[Prepared, Split], **settings: object) -> SegmentPopularity:
    model = SegmentPopularity(**settings)  # type: ignore[arg-type]
    model.fit(*shop, FIT)
    return model


def test_in_december_the_tree_comes_up_on_the_web_and_the_scarf_in_the_store_and_in_july_the_ball(shop):
    model = fitted(shop, prior=1.0)
    asked = visitors("2023-12-24", "2023-12-24", "2023-07-20", channels=[WEB, STORE, WEB])
    assert best(model, asked) == [TREE, SCARF, BALL]
    assert best(fitted(shop, by=["month"], prior=1.0), visitors("2023-07-01", "2022-12-01"))[0] == BALL
    assert model.about.reads_instant
    assert not fitted(shop, by=["channel"]).about.reads_instant


def test_shares_are_shrunk_by_the_events_that_would_be_expected(shop):
    # 160 training events: 20 of each tree, scarf, ball, and 100 of bread; 80 of them in December.
    model = fitted(shop, by=["month"], prior=20.0)
    december = model.score(visitors("2023-12-01"))[0]
    expected = {TREE: 20 * (20 + 20) / (10 + 20), BALL: 20 * (0 + 20) / (10 + 20), BREAD: 100 * (40 + 20) / (50 + 20)}
    np.testing.assert_allclose(december[list(expected)], list(expected.values()), rtol=1e-6)
    almost_nothing = fitted(shop, by=["month"], prior=1e9).score(visitors("2023-12-01"))
    np.testing.assert_allclose(almost_nothing, visits_of(shop), rtol=1e-5)


def visits_of(shop: tuple[Prepared, Split]) -> np.ndarray:
    popular = Popularity()
    popular.fit(*shop, FIT)
    return popular.score(visitors("2023-12-01"))


def test_what_a_request_does_not_say_changes_nothing(shop):
    model = fitted(shop, by=["channel", "month", "weekday", "town"])
    silent = replace(visitors("2023-12-01"), instant=None)
    np.testing.assert_array_equal(model.score(silent), visits_of(shop))
    strange = replace(silent, channel=np.array([0], np.int8), user=np.array([4711], np.int32))
    np.testing.assert_array_equal(model.score(strange), visits_of(shop))
    np.testing.assert_array_equal(fitted(shop, by=["month"]).score(silent), visits_of(shop))


def test_a_kind_of_customer_counts_where_the_table_tells_it(shop, tmp_path: Path):
    model = fitted(shop, by=["town"], prior=1.0)
    assert best(model, visitors("2023-03-01", "2023-03-01", users=[3, 33])) == [TREE, SCARF]
    with pytest.raises(UserError, match=r"model.by: customers of tiny have no 'twon'; .* Did you mean 'town'\?"):
        fitted(shop, by=["twon"])
    histories = [[1, 2, 3, 1]] * 4
    bare = tiny_prepared(tmp_path / "bare", histories)  # no times, channels and attributes
    plain = fitted(bare, by=["channel", "month", "weekday", "town"])
    np.testing.assert_array_equal(plain.score(visitors("2023-03-01"))[0, 1:], [4, 4, 0])
    model.save(tmp_path)
    again = SegmentPopularity(by=["town"])
    again.load(tmp_path)
    asked = visitors("2023-03-01", "2023-03-01", users=[3, 33])
    np.testing.assert_array_equal(again.score(asked), model.score(asked))


def test_weekdays_and_months_are_those_of_the_shop():
    from shopkeeper.programs.visitors import of_time

    at = np.array([instant("2024-01-31T23:30", "t"), instant("2024-02-04T12:00", "t")])
    assert of_time(at, "month", "UTC").tolist() == [1, 2]
    assert of_time(at, "month", "Europe/Berlin").tolist() == [2, 2]
    assert of_time(at, "weekday", "UTC").tolist() == [3, 7]
    assert of_time(at, "weekday", "Europe/Berlin").tolist() == [4, 7]


FIRST = {"name": "recency", "target": "shopkeeper.recommenders.counting.recency.Recency"}
OTHERWISE = {
    "name": "segment_popularity",
    "target": "shopkeeper.recommenders.cold.segment_popularity.SegmentPopularity",
    "by": ["month"],
    "prior": 1.0,
}


@pytest.fixture(scope="module")
def both(shop: tuple[Prepared, Split]) -> WithFallback:
    model = WithFallback(FIRST, OTHERWISE)
    model.fit(*shop, FIT)
    return model


def test_every_model_takes_it_for_visitors_without_a_history_and_answers_all_others_itself(shop, both: WithFallback):
    prepared, split = shop
    requests, _ = split.part("test")
    gone = replace(requests, end=np.where(np.arange(len(requests)) % 2, requests.end, requests.start))
    said = both.score(gone)
    for rest, settings in ((1, FIRST), (0, OTHERWISE)):
        alone = make(settings)
        alone.fit(prepared, split, FIT)
        np.testing.assert_array_equal(said[rest::2], alone.score(gone)[rest::2])
    # Of a type that recency does not count:
    views = replace(gone.events, event_type=np.full_like(gone.events.event_type, 4))
    none = both.score(replace(requests, events=views))
    np.testing.assert_array_equal(none, both.models["otherwise"].score(requests))


def test_requests_without_a_history_are_answered_better_than_by_popularity(shop, both: WithFallback):
    """Asked in July for what is bought in July: a ball, in the north."""
    prepared, split = shop
    requests, targets = split.part("validation")
    rows = np.arange(20)
    july = replace(requests.take(rows), start=requests.start[rows] + 2, end=requests.start[rows] + 2)
    truth = replace(targets[0:20], item=prepared.events.item[july.end], row=july.end)

    class OfJuly(Split):
        def part(self, name: str):
            return july, truth

    asked = OfJuly(split.path, prepared, split.timeline, split.train_end, split.catalogue)
    popular = Popularity()
    popular.fit(prepared, split, FIT)
    found = {m: values_of(evaluate_requests(m, asked, k=(2,)), "ndcg@2").mean() for m in (both, popular)}
    assert (july.lengths == 0).all()
    assert found[both] > 0.6 > found[popular]


def test_a_bundle_of_both_answers_visitors_and_customers_alike(shop, both: WithFallback, tmp_path: Path):
    prepared, split = shop
    run = MadeFrom(model="with_fallback", metrics={}, commit="abc")
    bundle = Bundle.load(export_bundle(both, prepared, split, run, tmp_path / "bundle", golden=20))
    lists = bundle.recommend([[]], as_of="2023-07-20T00:00:00Z", k=2)
    assert [item for item, _ in lists[0]] == [f"i{BREAD}", f"i{BALL}"]
    graph = {"name": "sasrec", "target": "shopkeeper.recommenders.networks.sasrec.SASRec", "width": 4, "epochs": 1}
    model = WithFallback(graph, OTHERWISE)
    model.fit(prepared, split, FIT)
    with pytest.raises(UserError, match=r"with_fallback: model.first is no program of arrays"):
        model.program(True)
