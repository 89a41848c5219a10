"""Every model of the project, of both families, keeps one contract: it is what it says (`models.about`).

One small simulated shop for all; a model is whatever a file of `conf/model/` names. What only recommenders can be asked
is in `recommenders/checks.py`, which is asked of all of them here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_runs.shop import environment
from recommenders.checks import check_odd_shops, check_recommender
from shopkeeper.customers.base import Cohort, CustomerModel
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.folds import rows_of
from shopkeeper.customers.window import ORDERS, WAIT
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events, Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.alarms.model_audit import another_future, audit_answers, audit_predictions
from shopkeeper.models.about import (
    COLUMNS,
    COUNTS,
    CUSTOMERS,
    DAYS,
    OF_CUSTOMERS,
    PROBABILITIES,
    REQUESTS,
    VECTORS,
    About,
)
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import declared, make
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train, plain
from shopkeeper.pipeline.told import settings as read_settings
from shopkeeper.recommenders.base import EmbeddingRecommender, Recommender
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.schema import EVENT_CODE, EVENT_TYPES
from shopkeeper.splits.perturb import perturb_after
from shopkeeper.timeline import CustomerSpec, customer_windows
from shopkeeper.training.config import TrainerConfig

FILES = sorted((Path(__file__).parents[1] / "conf" / "model").glob("*.yaml"))
# What makes a model small enough for a test; everything else is as shipped.
SMALL = {
    "sasrec": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=2", "model.batch_size=32"),
    "gru4rec": ("model.width=8", "model.max_length=12", "model.epochs=2", "model.batch_size=32"),
    "gsasrec": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=1", "model.batch_size=64"),
    "esasrec": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=1", "model.batch_size=64"),
    "hstu": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=1", "model.batch_size=64"),
    "narm": ("model.width=8", "model.max_length=12", "model.epochs=1", "model.batch_size=64"),
    "lrurec": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=1", "model.batch_size=64"),
    "bert4rec": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=2", "model.batch_size=64"),
    "two_tower": ("model.width=8", "model.hidden=8", "model.max_length=12", "model.epochs=2", "model.batch_size=32"),
    "sasrec_history": ("model.width=8", "model.max_length=12", "model.epochs=2"),
    "mlp": ("model.width=8", "model.embedding=4", "model.epochs=2", "model.batch_size=64", "model.min_positives=5"),
    "gru": ("model.width=8", "model.max_length=12", "model.epochs=2", "model.batch_size=32", "model.min_positives=5"),
    "transformer": ("model.width=8", "model.blocks=1", "model.max_length=12", "model.epochs=2", "model.batch_size=32",
                    "model.min_positives=5"),
    "two_stage": ("model.trees=5", "model.patience=null", "model.windows=1", "model.per_model=20",
                  "model.min_data_in_leaf=2"),
    "auto": ("model.candidates.two_stage=null",),
    "ials": ("model.width=8",),
    "bpr": ("model.width=8", "model.epochs=10"),
    "lightgbm": ("model.max_trees=20", "model.min_positives=5"),
    "logistic": ("model.min_positives=5",),
    "blend": ("model.folds=2", "model.members.lightgbm.max_trees=20", "model.members.lightgbm.min_positives=5",
              "model.members.logistic.min_positives=5"),
    "blend_networks": ("model.folds=2", *(f"model.members.{name}=null" for name in ("lightgbm", "extra_trees", "hazard",
                       "two_part", "bg_nbd", "pareto_nbd")), "model.members.logistic.min_positives=5",
                       "model.members.gru.min_positives=5", "model.members.gru.width=8", "model.members.gru.epochs=2"),
    "base_rate": ("model.min_positives=5",),
    "recbole": ("model.name=BPR", "model.epochs=1"),
}  # fmt: skip
# Options that make another model of one: what is asked of a file is asked of these, too.
ALSO = {
    "gru4rec+copy": "model.history=copy",
    "sasrec+content": "model.content=all",
    "sasrec+svd": "model.item_init=svd",
    "hstu+time": "model.time=true",
    "bert4rec+content": "model.content=all",
}
TRAINER = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
HORIZON, ACTIVE = 60, 90
OTHER = {COUNTS: ORDERS, DAYS: WAIT}  # what is asked of models that say no probability, and of what
SOME = 40  # questions


def reversed_keys(told: Any) -> Any:
    """The same settings, with the keys of every level in the reverse order."""
    return {k: reversed_keys(v) for k, v in reversed(told.items())} if isinstance(told, dict) else told


def settings(name: str) -> Mapping[str, Any]:
    file = name.partition("+")[0]
    words = ["dataset=demo_shop", f"model={file}", "tracking=none", *SMALL.get(file, ())]
    words += [ALSO[name]] if name in ALSO else []
    model: Mapping[str, Any] = plain(composed("train", words))["model"]
    return model


@dataclass
class Shop:
    """A simulated shop as both families are asked about it."""

    prepared: Prepared
    split: Split
    cohorts: dict[str, Cohort]  # who leaves
    other: dict[str, dict[str, Cohort]]  # how many orders, when the next one: for models that say no probability

    @classmethod
    def of(cls, prepared: Prepared, split: Split, cutoffs: Mapping[str, Any]) -> Shop:
        def asked(**told: Any) -> dict[str, Cohort]:
            return {part: build_cohort(prepared, t, HORIZON, ACTIVE, **told) for part, t in cutoffs.items()}

        other = {answers: asked(truth=as_it_is, of=of, answers=answers) for answers, of in OTHER.items()}
        return cls(prepared, split, asked(), other)

    def of_model(self, model: Any) -> dict[str, Cohort]:
        """What a customer model is asked."""
        return self.cohorts if model.about.answers == PROBABILITIES else self.other[model.about.answers]

    def trained(self, model: Any, folder: Path | None = None, earlier: bool = False) -> Any:
        """The model fitted on this shop, or for customers on its earlier half alone."""
        fit = Fit(seed=1, folder=folder, trainer=TRAINER, progress=False)
        if model.about.asks == REQUESTS:
            model.fit(self.prepared, self.split, fit)
            return model
        if "dataset" in model.about.needs:
            model.bind(self.prepared)
        train = self.of_model(model)["train"]
        some = rows_of(train, np.arange(len(train) // 2)) if earlier else train
        model.fit(some, self.of_model(model)["calibration"], fit)
        return model

    def questions(self, model: Any) -> Requests | Cohort:
        """Some of the test questions."""
        if model.about.asks == REQUESTS:
            return self.split.part("test")[0].take(np.arange(SOME))
        return rows_of(self.of_model(model)["test"], np.arange(SOME))


def answers(model: Any, asked: Requests | Cohort) -> np.ndarray:
    """What the evaluation reads, one row per question."""
    if model.about.asks == CUSTOMERS:
        return np.asarray(model.predict(asked).value, np.float64)[:, None]
    return np.asarray(model.score(asked), np.float64)


def with_events(asked: Requests | Cohort, events: Events) -> Any:
    return replace(asked, events=events)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    place = tmp_path_factory.mktemp("every")
    words = ("dataset=demo_shop", "dataset.simulate.customers=300", f"paths.prepared={place}", f"paths.raw={place}")
    prepared, split = prepare_to_train(read_settings(composed("train", [*words, "tracking=none"]), Train))
    spec = CustomerSpec.from_config({"horizon_days": HORIZON, "active_days": ACTIVE, "n_train": 2})
    return Shop.of(prepared, split, customer_windows(spec, *prepared.span).parts)


@pytest.fixture(scope="module", params=[*(path.stem for path in FILES), *ALSO])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trained, with a folder for checkpoints beside it."""
    folder = tmp_path_factory.mktemp(name)
    if name == "recbole":
        environment()
    made = shop.trained(make(settings(name)), folder)
    made.folder_of_this_test = folder
    return made


def test_it_says_what_it_is_and_has_what_that_promises(name: str, model: Any):
    about, task = declared(model), settings(name)["task"]
    assert about.asks == (REQUESTS if task == "next_item" else CUSTOMERS)
    contract = {VECTORS: EmbeddingRecommender, **dict.fromkeys(OF_CUSTOMERS, CustomerModel)}.get(
        about.answers, Recommender
    )
    assert isinstance(model, contract)
    assert name.startswith("oracle") == bool(about.oracle)
    assert not about.chooses or callable(model.choose)
    assert bool(list(model.folder_of_this_test.rglob("step-*"))) == about.resumes


def test_it_answers_every_question_alone_as_in_company(model: Any, shop: Shop):
    asked = shop.questions(model)
    whole = answers(model, asked)
    assert len(whole) == SOME
    assert np.isfinite(whole).all()
    cut = Requests.take if isinstance(asked, Requests) else rows_of
    alone = np.concatenate([answers(model, cut(asked, np.array([row]))) for row in range(5)])  # type: ignore[operator]
    np.testing.assert_allclose(alone, whole[:5], rtol=1e-4, atol=1e-5)


def test_who_has_no_history_gets_the_fallback_or_a_blank_with_its_reason(model: Any, shop: Shop):
    asked = shop.questions(model)
    none = replace(asked, end=asked.start)
    if model.about.asks != CUSTOMERS:
        said = answers(model, replace(none, user=None, instant=none.instant[:1].repeat(SOME)))
        assert np.isfinite(said).all()
        assert (said == said[0]).all() or model.about.reads_instant
        return
    found = model.predict(none)
    assert np.isnan(found.value).all()
    assert set(found.blank_reason) == {"no history before the cutoff"}


def test_saved_and_opened_it_says_the_same_to_the_last_bit(name: str, model: Any, shop: Shop, tmp_path: Path):
    model.save(tmp_path)
    opened = make(reversed_keys(settings(name)))  # a file's keys have no order
    opened.load(tmp_path)
    asked = shop.questions(model)
    assert answers(opened, asked).tobytes() == answers(model, asked).tobytes()
    assert opened.about == model.about


def test_a_damaged_or_missing_file_is_one_line(name: str, model: Any, tmp_path: Path):
    model.save(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".npz", ".safetensors", ".txt", ".json")]
    kept = [path for path in kept if path.name != "training.json"]  # for people
    for path in kept:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=path.name.replace(".", r"\.")) as error:
            make(settings(name)).load(tmp_path)
        assert "\n" not in str(error.value)
        path.write_bytes(whole)
    with pytest.raises(UserError, match=r"is missing|cannot be read"):
        make(settings(name)).load(tmp_path / "nothing here")


def test_the_second_fit_forgets_the_first(name: str, model: Any, shop: Shop):
    again = make(settings(name))
    if model.about.asks == REQUESTS:
        short = replace(shop.split, train_end=(shop.prepared.offsets[:-1] + shop.split.train_end) // 2)
        shop_before = replace(shop, split=short)
        shop_before.trained(again)
    else:
        shop.trained(again, earlier=True)
    shop.trained(again)
    asked = shop.questions(model)
    np.testing.assert_array_equal(answers(again, asked), answers(model, asked))


def test_what_comes_later_changes_nothing_that_it_learned(name: str, model: Any, shop: Shop):
    again = make(settings(name))
    if model.about.asks == REQUESTS:
        other = another_future(shop.split, name)
        replace(shop, prepared=other.prepared, split=other).trained(again)
    else:
        test = int(shop.cohorts["test"].cutoff.min())
        changed = perturb_after(shop.prepared, test, grow=False)
        cutoffs = {part: np.unique(c.cutoff).tolist() for part, c in shop.cohorts.items() if part != "test"}
        Shop.of(changed, shop.split, cutoffs).trained(again)
    asked = shop.questions(model)
    np.testing.assert_array_equal(answers(again, asked), answers(model, asked))


def test_it_reads_its_history_alone_and_says_whether_it_reads_the_instant(name: str, model: Any, shop: Shop):
    if model.about.asks == REQUESTS:
        audit_answers(model, name, shop.split)
    else:
        audit_predictions(model, name, shop.of_model(model)["test"])


def check_reads(model: Any, asked: Requests | Cohort) -> None:
    """No column that it does not name, and no event of a type that it does not count, changes an answer."""
    said, rng, events = answers(model, asked), np.random.default_rng(0), asked.events
    for column in COLUMNS:
        values = getattr(events, column)
        if column in model.about.reads or values is None:
            continue
        # Times come closer together and keep their order.
        other = values.min() + (values - values.min()) // 3 if column == "timestamp" else rng.permutation(values)
        now = answers(model, with_events(asked, replace(events, **{column: other})))
        np.testing.assert_array_equal(now, said, err_msg=f"it reads {column} and does not say so (about.reads)")
    if model.about.types is not None:
        assert "event_type" in model.about.reads
        counted = np.isin(events.event_type, [EVENT_CODE[name] for name in model.about.types])
        item = np.where(counted, events.item, np.roll(events.item, 1))
        now = answers(model, with_events(asked, replace(events, item=item)))
        np.testing.assert_array_equal(now, said, err_msg="it counts other types than it says (about.types)")


def test_what_it_reaches_stands_above_the_rest_and_is_its_score(model: Any, shop: Shop):
    if not model.about.reaches:
        return
    asked = shop.questions(model)
    score_BV, table_BV = model.score(asked), model.reached(asked).toarray()
    above = table_BV > 0
    np.testing.assert_array_equal(score_BV, np.where(above, table_BV, model.rest_V))
    assert not above.any() or table_BV[above].min() > model.rest_V.max()


def test_no_column_that_it_does_not_name_changes_an_answer(model: Any, shop: Shop):
    check_reads(model, shop.questions(model))


@pytest.mark.parametrize("said", [{"reads": ()}, {"types": ("purchase",)}])
def test_a_model_that_does_not_say_what_it_reads_is_found_out(said: dict[str, Any], shop: Shop):
    model = shop.trained(ItemKNN(half_life_days=5.0))
    check_reads(model, shop.questions(model))
    model.__class__ = type("Says", (ItemKNN,), {"about": replace(model.about, **said)})
    with pytest.raises(AssertionError, match=r"about\.(reads|types)|event_type"):
        check_reads(model, shop.questions(model))


def test_a_recommender_keeps_what_only_recommenders_promise(name: str, model: Any, tmp_path: Path):
    if model.about.asks != REQUESTS or model.about.oracle or name == "recbole":
        pytest.skip("no recommender, or one of a simulated shop alone, or it takes seconds to start: recbole_runs/")
    # No validation: it would choose the epoch, and sees rows after the training end.
    fit = Fit(seed=1, trainer=replace(TRAINER, validation_requests=0), progress=False)
    if name in ("sasrec_history", "gru4rec+copy"):  # a clock is not for data that have only an order
        check_odd_shops(lambda: make(settings(name)), tmp_path, fit)  # the rest: training/history/
        return
    check_recommender(lambda: make(settings(name)), tmp_path, fit, clock=name == "hstu+time")


def test_a_declaration_that_is_none_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"About\.reads: there is no 'type'\. Did you mean 'event_type'\?"):
        About(reads=("type",))
    with pytest.raises(UserError, match=r"About\.answers: there is no 'score'\. Did you mean 'scores'\?"):
        About(answers="score")

    class Silent:
        pass

    with pytest.raises(UserError, match=r"Silent does not say what it is: give the class `about = About"):
        declared(Silent())
    assert set(COLUMNS) < set(Events.__dataclass_fields__)
    assert EVENT_TYPES[0] == "view"
