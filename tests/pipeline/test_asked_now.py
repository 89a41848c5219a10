"""What people write down of themselves, as a request: in order of time, and asked once all of it is past; last night's
demand for a model that reads it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.about import About
from shopkeeper.pipeline import audience, context
from shopkeeper.pipeline.recommend import asked_now, best
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.timeline import instant
from shopkeeper.training.batching.histories import Histories
from tiny import DAY, tiny_prepared

START = instant("2025-03-01", "here")
TODAY = instant("2026-11-28", "here")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory):
    histories = [[1, 2, 3], [2, 3, 4]]
    times = [[START + d * DAY for d in range(3)]] * 2
    return tiny_prepared(tmp_path_factory.mktemp("asked") / "t", histories, times)[1]


def asked(split, history, basket=None):
    return asked_now(history, basket, Recency(), split)


def test_a_history_is_put_in_order_of_its_times(split):
    told = asked(split, [[["i3", "view", "2026-11-28"], ["i1", "purchase", "2025-03-02"]], []])
    assert told.events.item.tolist() == [1, 3]
    assert told.events.event_type[0] != told.events.event_type[1]
    assert np.all(np.diff(told.events.timestamp) > 0)
    untimed = asked(split, [["i3", "i1"]])
    assert untimed.events.item.tolist() == [3, 1]
    assert untimed.events.timestamp is None


def test_who_has_no_history_leaves_no_time_out(split):
    """Models that read times answer them, too; only a history without times is refused."""
    assert asked(split, [[], []]).events.timestamp.tolist() == []
    assert asked(split, [[]], [["i2"]]).events.timestamp.tolist() == [START + 2 * DAY]  # a basket is of now
    assert asked(split, [["i1"], []]).events.timestamp is None


def test_nobody_is_asked_about_before_what_they_tell(split):
    told = asked(split, [[["i1", "view", "2026-11-28"]], [["i1", "view", "2025-03-01"]]])
    assert told.instant.tolist() == [TODAY + 1, START + 2 * DAY + 1]  # each their own; else the end of the log


def test_lines_of_a_basket_are_of_now_where_they_tell_no_time(split):
    told = asked(split, [[["i1", "view", "2026-11-28"]], []], [["i2"], ["i4"]])
    assert told.events.item.tolist() == [1, 2, 4]
    assert told.events.timestamp.tolist() == [TODAY, TODAY, START + 2 * DAY]
    assert asked(split, [["i1"]], [["i2"]]).events.timestamp is None
    with pytest.raises(UserError, match="some events have a time and others none"):
        asked(split, [[["i1", "view", "2026-11-28"], "i2"]], [["i4"]])


def test_what_else_a_line_tells_is_known_as_far_as_the_log_has_it(tmp_path):
    lists = [[1, 2, 3], [2, 3, 4]]
    columns = {"order": [[1, 1, 2], [3, 4, 4]], "price": [[1.0, 2.0, 3.0]] * 2, "channel": [[1, 2, 1]] * 2}
    split = tiny_prepared(tmp_path / "t", lists, columns=columns, channels=("shop", "web"))[1]
    one = [{"item_id": f"i{i}", "order_id": "o", "channel": "web", "session_id": "s"} for i in (1, 2)]
    told = asked(split, [[*one, {"item_id": "i3", "price": 2.5}], ["i4"]]).events
    assert told.order.tolist() == [1, 1, 0, 0]
    assert told.channel.tolist() == [2, 2, 0, 0]
    assert (told.price[2], np.isnan(told.price[[0, 1, 3]]).all()) == (2.5, True)
    assert told.session is told.quantity is None  # the log has none, or nobody told any
    assert asked(split, [["i1"]]).events.order is None
    both = asked(split, [one, one], [["i3", {"item_id": "i4", "order_id": "o"}], ["i4"]])
    assert both.events.order.tolist() == [1, 1, 2, 1, 1, 1, 2]  # lines that name no order are of the basket's


def test_prices_and_channels_that_a_model_reads_are_unknown_where_nobody_tells_them_as_in_a_bundle(tmp_path, caplog):
    columns = {"price": [[1.0, 2.0]] * 2, "channel": [[1, 2]] * 2}
    split = tiny_prepared(tmp_path / "t", [[1, 2], [2, 1]], columns=columns, channels=("shop", "web"))[1]
    reader = SimpleNamespace(about=About(reads=("event_type", "price", "channel", "order")))
    with caplog.at_level("INFO"):
        plain = asked_now([["i1", "i2"]], None, reader, split)
    assert np.isnan(plain.events.price).all()
    assert plain.events.channel.tolist() == [0, 0]
    assert plain.events.order is None
    assert "tells its price or channel, which this model reads: unknown to it, as to a bundle" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        told = asked_now([[{"item_id": "i1", "price": 2.0}]], None, reader, split)
    assert (told.events.price.tolist(), told.events.channel.tolist()) == ([2.0], [0])
    assert "tells its channel, which" in caplog.text
    asked = Histories.of(plain, np.array([False, True, True]), None, 9, ("price", "channel"))
    batch = asked.batch(np.array([0]), [9], torch.device("cpu"), ("price", "channel"))
    assert batch.price_P.sum() == batch.channel_P.sum() == 0


def test_nobody_may_be_asked_about(split):
    assert len(asked(split, [])) == len(asked(split, [], [])) == 0


class OfLastNight:
    """Scores items by what was bought until the midnight before the question."""

    about = About(reads_instant=True, needs=("nightly",))

    def score(self, requests: Requests) -> np.ndarray:
        at, item = requests.nightly.until(int(requests.nightly.nights(requests.instant)[0]))
        self.known = len(at)
        return np.tile(np.bincount(item, minlength=5).astype(np.float32), (len(requests), 1))


def test_a_model_that_reads_last_nights_demand_is_told_it_by_every_verb(split, monkeypatch):
    model = OfLastNight()
    listed, _ = best(model, split, asked(split, [["i1"]]), 2, False)
    assert (model.known, listed.tolist()) == (4, [[2, 1]])  # without the last day, in which the log ends
    run = SimpleNamespace(
        path="runs/nightly", about=SimpleNamespace(asks="requests"), model=lambda: model, config={},
        manifest={"dataset_fingerprint": split.prepared.fingerprint}, metrics={"filter_seen": False},
    )  # fmt: skip
    monkeypatch.setattr(audience, "open_run", lambda *_: run)
    monkeypatch.setattr(audience.places, "find", lambda *_: None)
    monkeypatch.setattr(context, "prepared_of", lambda manifest: split.prepared)
    monkeypatch.setattr(context, "split_of", lambda prepared, manifest: split)
    told = SimpleNamespace(recommender="nightly", placement=None, paths=SimpleNamespace(runs=None))
    recommend = audience._recommender(told, split.prepared, START + DAY, [])
    events, at = split.prepared.events, np.array([START + DAY])
    one = Requests(events, np.array([0]), np.array([1]), at, np.array([1], np.int32))
    assert recommend(one, 1).shape == (1, 1)
    assert model.known == 2  # of the first day
