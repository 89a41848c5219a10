"""A recommender written in a cell is trained, audited, asked and compared as the package's own are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import shopkeeper as sk
from api.shoplog import COLUMNS, frame
from shopkeeper.splits.audit_error import AuditError

QUICK = {"evaluation": {"resamples": 50}}


class Counted(sk.Model):
    """How often each item was taken before the cutoff: the package's popularity, without its half-life."""

    def __init__(self, since: str | None = None) -> None:
        self.since = since

    def fit(self, events: pd.DataFrame) -> Counted:
        known = events[events["item"] >= 0]
        if self.since is not None:
            known = known[known["timestamp"] >= pd.Timestamp(self.since, tz="UTC")]
        self.count_ = np.bincount(known["item"], minlength=len(self.items_)).astype(float)
        self.by_id_ = known["item_id"].value_counts()
        self.days_ = {"last": str(events["timestamp"].max())}
        return self

    def score(self, histories: sk.Histories) -> np.ndarray:
        return np.tile(self.count_, (len(histories), 1))


class LastAgain(sk.Model):
    """What the customer took last, again."""

    def fit(self, events: pd.DataFrame) -> LastAgain:
        return self

    def score(self, histories: sk.Histories) -> np.ndarray:
        found = np.zeros((len(histories), len(self.items_)))
        known = histories.frame[histories.frame["item"] >= 0]
        place = known.groupby("request").cumcount() + 1.0
        found[known["request"], known["item"]] = place  # of an item taken twice the later one stays
        return found


@pytest.fixture(scope="module")
def data() -> sk.Dataset:
    return sk.Dataset.from_pandas(frame().assign(n=lambda f: 1 + f["price"] % 2), **COLUMNS, quantity="n")


def test_it_has_the_figures_of_the_packages_model_that_does_the_same(data: sk.Dataset):
    mine = sk.fit(Counted(), data, **QUICK)
    theirs = sk.fit("popularity", data, half_life_days=None, **QUICK)
    pd.testing.assert_frame_equal(mine.metrics(), theirs.metrics())
    listed = [m.recommend([7, 14], k=12)["item_id"].tolist() for m in (mine, theirs)]
    assert listed[0] == listed[1]
    assert sk.compare(mine, theirs).pairs[0].difference == 0
    last = sk.fit(LastAgain, data, **QUICK)
    pd.testing.assert_frame_equal(last.metrics(), sk.fit("recency", data, **QUICK).metrics(), atol=0.05)


def test_it_stands_in_the_report_beside_others_and_is_opened_again_from_data(data: sk.Dataset, tmp_path: Path):
    mine = sk.fit(Counted(since="2024-02-01"), data, **QUICK)
    report = sk.evaluate([mine, sk.fit("item_knn", data, **QUICK)], out=tmp_path / "report")
    assert "counted" in set(report.to_pandas()["model"])
    again = sk.load(mine.path, Counted)
    assert again.get_params()["since"] == "2024-02-01"
    assert again.fit(data).run.config["model"]["since"] == "2024-02-01"  # its settings, trained anew
    again = sk.load(mine.path, Counted)
    pd.testing.assert_frame_equal(again.recommend(k=3).astype({"user_id": int}), mine.recommend(k=3))
    own = again.run.model().own
    assert own.by_id_.to_dict() == mine.run.model().own.by_id_.to_dict()
    assert own.days_["last"] < "2024-03-31"
    assert own.by_id_.sum() == own.count_.sum()
    with pytest.raises(sk.UserError, match="which no bundle holds"):
        mine.export(tmp_path / "bundle")


def test_a_run_of_somebody_elses_program_is_opened_by_who_gives_the_class_alone(data: sk.Dataset):
    from shopkeeper.models import targets

    mine = sk.fit(LastAgain(), data, **QUICK)
    target = mine.run.config["model"]["target"]
    given = targets._handed_over.pop(target)
    try:
        with pytest.raises(sk.UserError, match="neither a model of this package nor named by"):
            sk.load(mine.path)
        assert sk.load(mine.path, LastAgain).recommend(7, k=1).shape[0] == 1
    finally:
        targets.hand_over(target, given)


def test_only_what_was_known_before_the_cutoff_is_handed_over(data: sk.Dataset):
    seen: list[pd.DataFrame] = []

    class Watching(LastAgain):
        def fit(self, events: pd.DataFrame) -> Watching:
            seen.append(events)
            return self

    fitted = sk.fit(Watching, data, evaluation={"resamples": 20, "refit": False})
    cutoff = pd.Timestamp("2024-03-17", tz="UTC")  # 7 + 7 days before its end: they buy every third day
    expected = frame()[frame()["bought"].dt.tz_localize("UTC") < cutoff]
    assert len(seen[0]) == len(expected)
    assert seen[0]["timestamp"].max() < cutoff
    assert set(seen[0].columns) == {"user_id", "item", "item_id", "event_type", "timestamp", "price", "quantity"}
    assert seen[0].groupby("item_id").size().to_dict() == expected.groupby("sku").size().to_dict()
    assert fitted.run.config["model"]["name"] == "watching"


class Moody(LastAgain):
    """Answers otherwise each time that it is asked."""

    calls = 0

    def score(self, histories: sk.Histories) -> np.ndarray:
        type(self).calls += 1
        return super().score(histories) + np.arange(len(self.items_)) * type(self).calls


def test_a_model_whose_answers_move_is_refused_by_the_audit(data: sk.Dataset):
    with pytest.raises(AuditError, match=r"moody failed: .*not the same when asked twice"):
        sk.fit(Moody, data, **QUICK)


class Ranked(sk.Model):
    """Keeps what people keep: a ranking as a dict, in its order, NumPy's numbers, and a mean of nothing."""

    def fit(self, events: pd.DataFrame) -> Ranked:
        known = events.loc[events["item"] >= 0, "item_id"].value_counts()
        self.rank_ = dict(zip(known.index, known.to_numpy(), strict=True))
        self.mean_, self.most_ = float("nan"), np.float64("inf")
        return self

    def score(self, histories: sk.Histories) -> np.ndarray:
        place = {item: -n for n, item in enumerate(self.rank_)}
        return np.tile([place.get(item, -99) for item in self.items_], (len(histories), 1))


def test_what_is_kept_comes_back_as_it_was(data: sk.Dataset):
    fitted = sk.fit(Ranked(), data, **QUICK)
    own = fitted.run.model().own
    counts = list(own.rank_.values())
    assert counts == sorted(counts, reverse=True)
    assert {type(n) for n in counts} == {int}
    assert np.isnan(own.mean_)
    assert own.most_ == np.inf


def bad(**methods: Any) -> type[sk.Model]:
    return type("Bad", (LastAgain,), methods)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (bad(score=lambda self, h: h), "score gives a Histories, which is no array of numbers"),
        (bad(score=lambda self, h: np.zeros((len(h), 3))), r"array of shape \(\d+, 3\); give one row"),
        (bad(score=lambda self, h: np.full((len(h), len(self.items_)), np.nan)), "scores must be finite"),
        (bad(fit=lambda self, e: None), "Bad.fit returns None; return self, as scikit-learn does"),
        (bad(fit=lambda self, e: setattr(self, "rule_", lambda: 1) or self), "Bad.rule_ is a function, which"),
        (bad(fit=lambda self, e: setattr(self, "set_", {1, 2}) or self), "Bad.set_ is a set, which cannot be written"),
        (bad(fit=lambda self, e: setattr(self, "by_", {"x": np.nan}) or self), "Bad.by_ .* finite numbers"),
        (bad(__init__=lambda self, name="x": setattr(self, "name", name))(), "Bad has a setting 'name', which"),
        (bad(__init__=lambda self, *rest: None)(), r"Bad.__init__ takes \*rest; name each setting"),
        (bad(__init__=lambda self, log=None: setattr(self, "log", log))(frame()), "Bad.log is a DataFrame, and"),
        (pd.DataFrame, "DataFrame does not say what it is"),
        (object(), "a object is no model; give a name such as 'sasrec'"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_said_in_one_line(data: sk.Dataset, model: Any, words: str):
    with pytest.raises(sk.UserError, match=words) as e:
        sk.fit(model, data, **QUICK)
    assert "\n" not in str(e.value)


def test_settings_of_ones_own_model_are_got_and_set(data: sk.Dataset):
    one = Counted(since="2024-01-01")
    assert one.get_params() == {"since": "2024-01-01"}
    assert one.set_params(since=None) is one
    assert one.get_params() == {"since": None}
    with pytest.raises(sk.UserError, match=r"Counted has no setting 'sinse'. Did you mean 'since'"):
        one.set_params(sinse=3)
    fitted = sk.fit(one, data, **QUICK)
    assert fitted.set_params(since="2024-02-01").fit(data).run.config["model"]["since"] == "2024-02-01"
