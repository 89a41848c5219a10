"""The audit of models through `train`: each planted leak must end the training in one line that names the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.customers import build_cohort as cohorts
from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.logistic import Logistic
from shopkeeper.data.nightly import Nightly
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.evaluation.alarms.model_audit import audit_answers, elsewhere
from shopkeeper.models.about import LISTS, About
from shopkeeper.pipeline.forms import cohorts as asked
from shopkeeper.pipeline.forms import customers
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.told import Train, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.splits.audit import AuditError
from shopkeeper.timeline import DAY

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("audit")


def config(place: Path, *words: str) -> dict:
    words = ("dataset.simulate.customers=400", f"paths.prepared={place}", "tracking=none", "progress=false", *words)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        here = [f"paths.checkpoints={place / 'checkpoints'}", "evaluation.resamples=50"]
        return settings(compose("train", [*words, *here]), Train)


# Leaks in what a recommender answers: seen without `audit=full`.

_SCORE = Recency.score


def reads_one_row_too_far(self, requests):
    return _SCORE(self, replace(requests, end=np.minimum(requests.end + 1, len(requests.events.item))))


def reads_one_row_before_the_history(self, requests):
    return _SCORE(self, replace(requests, start=np.maximum(requests.start - 1, 0)))


def reads_the_log_that_it_was_fitted_on(self, requests):
    scores = _SCORE(self, requests)
    log = self.kept.events.item
    scores[np.arange(len(requests)), log[np.minimum(requests.end, len(log) - 1)]] += 1000
    return scores


def counts_what_others_ask(self, requests):
    _, rows = requests.flat()
    width = len(self.rest_V)
    asked = np.bincount(requests.events.item[rows], minlength=width)[:width]
    return _SCORE(self, requests) + asked.astype(np.float32)


def counts_what_others_bought_until_now(self, requests):
    sold_V = np.zeros(len(self.rest_V))
    if requests.nightly is not None:
        sold_V = np.bincount(requests.nightly.rows[1], minlength=len(sold_V))
    return _SCORE(self, requests) + sold_V.astype(np.float32)


ANSWERS = [
    counts_what_others_bought_until_now,
    reads_one_row_too_far,
    reads_one_row_before_the_history,
    reads_the_log_that_it_was_fitted_on,
    counts_what_others_ask,
]


@pytest.mark.parametrize("leak", ANSWERS)
def test_a_recommender_that_reads_what_it_was_not_given_is_named(leak, place, tmp_path, monkeypatch):
    fit = Recency.fit

    def remembers(self, prepared, split, how):
        self.kept = prepared
        fit(self, prepared, split, how)

    monkeypatch.setattr(Recency, "fit", remembers)
    monkeypatch.setattr(Recency, "score", leak)
    with pytest.raises(AuditError, match=r"model recency failed: .* answers to validation requests") as error:
        train_model(config(place, "model=recency"), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_recommender_that_reads_the_instant_has_to_say_so(place, tmp_path, monkeypatch):
    def by_the_hour(self, requests):
        scores = _SCORE(self, requests)
        scores[:, 1] += 10.0 * (requests.instant // DAY % 7)
        return scores

    monkeypatch.setattr(Recency, "score", by_the_hour)
    with pytest.raises(AuditError, match=r"change with the instant, which the model says it does not read"):
        train_model(config(place, "model=recency"), tmp_path / "run")
    monkeypatch.setattr(Recency, "about", replace(Recency.about, reads_instant=True))
    assert train_model(config(place, "model=recency"), tmp_path / "run").manifest["uses_instant"]


def test_a_recommender_that_reads_the_nights_has_to_say_so_and_reads_no_later_one(place, tmp_path, monkeypatch):
    def by_demand(self, requests):
        night_B = requests.nightly.nights(requests.instant)
        sold = {int(n): np.bincount(requests.nightly.until(int(n))[1], minlength=len(self.rest_V)) for n in night_B}
        return _SCORE(self, requests) + np.stack([sold[int(n)] for n in night_B]).astype(np.float32)

    monkeypatch.setattr(Recency, "score", by_demand)
    honest = replace(Recency.about, reads_instant=True, needs=("nightly",))
    monkeypatch.setattr(Recency, "about", honest)
    assert train_model(config(place, "model=recency"), tmp_path / "run").manifest["uses_instant"]

    until = Nightly.until
    monkeypatch.setattr(Nightly, "until", lambda self, night: until(self, night + DAY))
    with pytest.raises(AuditError, match="what other customers did from the midnight before the request on"):
        train_model(config(place, "model=recency"), tmp_path / "late")


# Leaks in what a recommender learns: `audit=full` sees them.


def _until(prepared: Prepared, split: Split, instant: int | None) -> Split:
    """The split with training rows up to an instant (None: all of them)."""
    p, ts = prepared, prepared.events.timestamp
    end = p.offsets[1:]
    if instant is not None:
        end = p.offsets[:-1] + np.bincount(p.event_user[ts < instant] - 1, minlength=p.n_users)
    return replace(split, train_end=end)


def _knn_up_to_the_test_cutoff(self, prepared, split, fit):
    _KNN(self, prepared, _until(prepared, split, split.timeline["cutoffs"]["test"]["us"]), fit)


def _knn_over_the_whole_log(self, prepared, split, fit):
    _KNN(self, prepared, _until(prepared, split, None), fit)


def _popularity_of_the_test_targets(self, prepared, split, fit):
    _POPULARITY(self, prepared, split, fit)
    self.scores_V = self.scores_V + np.bincount(split.part("test")[1].item, minlength=len(self.scores_V))


def _popularity_of_validation_rows(self, prepared, split, fit):
    _POPULARITY(self, prepared, split, fit)
    rows = prepared.events.timestamp >= split.timeline["cutoffs"]["validation"]["us"]
    self.scores_V = self.scores_V + np.bincount(prepared.events.item[rows], minlength=len(self.scores_V))


_KNN, _POPULARITY = ItemKNN.fit, Popularity.fit
LEARNED = {
    "item_knn over rows up to the test cutoff": (ItemKNN, "item_knn", _knn_up_to_the_test_cutoff),
    "item_knn over the whole log": (ItemKNN, "item_knn", _knn_over_the_whole_log),
    "popularity of the test targets": (Popularity, "popularity", _popularity_of_the_test_targets),
    "popularity of validation rows": (Popularity, "popularity", _popularity_of_validation_rows),
}


@pytest.mark.parametrize("leak", LEARNED)
def test_a_recommender_that_learns_from_the_future_is_named_by_the_full_audit(leak, place, tmp_path, monkeypatch):
    cls, name, wrong = LEARNED[leak]
    monkeypatch.setattr(cls, "fit", wrong)
    with pytest.raises(AuditError, match=f"model {name} failed"):
        train_model(config(place, f"model={name}", "audit=full"), tmp_path / "run")


SMALL = ("model.epochs=2", "model.width=8", "trainer=cpu", "model.max_length=10")


@pytest.mark.parametrize("words", [("model=item_knn",), ("model=recency",), ("model=ease",), ("model=sasrec", *SMALL)])
@pytest.mark.parametrize("split", ["temporal", "leave_one_out", "sessions"])
def test_honest_recommenders_pass_the_full_audit_on_every_kind_of_split(words, split, place, tmp_path):
    times = ["split.validation_days=60", "split.test_days=60"] if split == "sessions" else []
    cfg = config(place, *words, f"split={split}", "audit=full", *times)
    assert train_model(cfg, tmp_path / "run").metrics["split"] == split


def test_the_oracle_passes_the_full_audit(place, tmp_path):
    assert train_model(config(place, "model=oracle_observable", "audit=full"), tmp_path / "run").metrics["test"]


class ListsOfLargeIds:
    """Lists of a catalogue of 50,000 whose last id is one higher where the row after the history is of an even item."""

    about = About(answers=LISTS)

    def recommend(self, requests, k):
        items = requests.events.item
        after = items[np.minimum(requests.end, len(items) - 1)]
        lists = np.tile(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 40_000]), (len(requests), 1))
        lists[:, -1] += after % 2 == 0
        return lists[:, :k]


def test_a_list_whose_id_moves_by_one_is_another_list_however_large_the_ids_are(place):
    _, split = prepare_to_train(config(place, "dataset=demo_shop", "model=recency"))
    with pytest.raises(AuditError, match="answers to validation requests change with rows"):
        audit_answers(ListsOfLargeIds(), "lists", split)


def test_histories_stay_and_everything_around_them_changes(place):
    _, split = prepare_to_train(config(place, "model=recency"))
    requests, targets = split.part("test")
    other = elsewhere(requests, split.prepared.n_items, np.random.default_rng(0))
    (_, rows), (_, moved) = requests.flat(), other.flat()
    for name, column in vars(requests.events).items():
        if column is not None:
            np.testing.assert_array_equal(column[rows], getattr(other.events, name)[moved])
    first = targets.row[targets.offsets[:-1]]
    follows = first == requests.end  # the target is the very next row
    assert follows.any()
    assert (other.events.item[other.end[follows]] != requests.events.item[first[follows]]).all()
    assert (other.events.timestamp[other.end] >= requests.instant).all()


# Customer models.


def test_a_feature_that_sees_a_day_too_much_fails_without_the_full_audit(place, tmp_path, monkeypatch):
    honest = cohorts.customer_features
    monkeypatch.setattr(
        cohorts,
        "customer_features",
        lambda events, offsets, user, cutoff, *rest, **more: honest(events, offsets, user, cutoff + DAY, *rest, **more),
    )
    with pytest.raises(AuditError, match=r"orders.* change with what follows"):
        train_model(config(place, "model=base_rate"), tmp_path / "run")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_label_of_another_window_fails_without_the_full_audit(side, place, tmp_path, monkeypatch):
    honest = cohorts.build_cohort

    def wrong(*args, **kwargs):
        cohort = honest(*args, **kwargs)
        return replace(cohort, label=1 - cohort.label) if side == "left" else replace(cohort, end=cohort.end + 1)

    monkeypatch.setattr(asked, "build_cohort", wrong)
    with pytest.raises(AuditError, match="not what the log says" if side == "left" else "at or after the cutoff"):
        train_model(config(place, "model=base_rate"), tmp_path / "run")


def test_an_active_customer_who_is_not_asked_is_found(place, tmp_path, monkeypatch):
    honest = cohorts.build_cohort

    def every_other(*args, **kwargs):
        cohort = honest(*args, **kwargs)
        names = ("customer", "cutoff", "features", "start", "end", "observed_until", "label")
        return replace(cohort, **{name: getattr(cohort, name)[::2] for name in names})

    monkeypatch.setattr(asked, "build_cohort", every_other)
    with pytest.raises(AuditError, match="is not asked about"):
        train_model(config(place, "model=base_rate"), tmp_path / "run")


def _knows_the_label(self, cohort: Cohort) -> Predictions:
    said = _PREDICT(self, cohort)
    return said if cohort.label is None else replace(said, value=0.9 * cohort.label + 0.05)


def _reads_an_event_too_far(self, cohort: Cohort) -> Predictions:
    said = _PREDICT(self, cohort)
    following = cohort.events.item[np.minimum(cohort.end, len(cohort.events.item) - 1)]
    return replace(said, value=said.probability * 0.5 + following / 1e4)


_PREDICT = Logistic.predict


@pytest.mark.parametrize("leak", [_knows_the_label, _reads_an_event_too_far])
def test_a_customer_model_that_looks_past_the_cutoff_is_named(leak, place, tmp_path, monkeypatch):
    monkeypatch.setattr(Logistic, "predict", leak)
    with pytest.raises(AuditError, match=r"model logistic failed: .* answers change"):
        train_model(config(place, "model=logistic"), tmp_path / "run")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_calibrating_on_what_a_part_is_judged_by_fails_the_full_audit(part, place, tmp_path, monkeypatch):
    honest = customers.fitted

    def wrong(cfg, of, cohort, prepared, fit):
        if of == part:  # both are fitted with the cohort that they are judged on as their calibration
            cohort = {**cohort, "calibration": cohort[customers.JUDGED_ON[part]]}
            return honest(cfg, "test", cohort, prepared, fit)
        return honest(cfg, of, cohort, prepared, fit)

    monkeypatch.setattr(customers, "fitted", wrong)
    with pytest.raises(AuditError, match=rf"model logistic failed: .* \({part}, from"):
        train_model(config(place, "model=logistic", "audit=full"), tmp_path / "run")


def test_an_honest_customer_model_passes_the_full_audit(place, tmp_path):
    assert train_model(config(place, "model=logistic", "audit=full"), tmp_path / "run").task == "churn"


def test_prepare_audits_the_cohorts_of_a_customer_task(place, monkeypatch, caplog):
    cfg = config(place, "model=base_rate", "audit=full")
    with caplog.at_level("INFO"):
        customers.prepare(cfg, customers.prepare_data(cfg))
    assert [line for line in caplog.messages if "audit" in line]
    honest = cohorts.features_of

    def leaky(prepared, customer, cutoff, *declared):
        table = honest(prepared, customer, cutoff, *declared)
        return replace(table, values=table.values + prepared.events.price[-1000:].mean())

    monkeypatch.setattr(cohorts, "features_of", leaky)
    monkeypatch.setattr(asked, "audit_cohort", lambda *_, **__: None)  # the sample would find it, too
    with pytest.raises(AuditError, match="when events after"):
        customers.prepare(cfg, customers.prepare_data(cfg))


def test_a_refit_that_learns_from_the_test_window_fails_the_full_audit(place, tmp_path, monkeypatch):
    words = ("model=item_knn", "evaluation.refit=true", "audit=full")
    assert train_model(config(place, *words), tmp_path / "honest").manifest["refit"]
    honest = Split.until_test
    monkeypatch.setattr(Split, "until_test", lambda s: replace(honest(s), train_end=np.array(s.prepared.offsets[1:])))
    with pytest.raises(AuditError, match=r"model item_knn failed: .* answers change when it learns"):
        train_model(config(place, *words), tmp_path / "run")
