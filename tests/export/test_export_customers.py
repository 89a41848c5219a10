"""Churn models travel as arrays and answer from raw events, without the library that trained them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from by_readme import wrong_by_the_readme

from customers.toyshop import CUTOFFS, toy_shop
from javascript import node
from shopkeeper.bundles.answer import Answer, Bundle, verify
from shopkeeper.bundles.answer.events import write_instant
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.golden_customers import Person, external, invented_people, trained_answers
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.customers.base_rate import BaseRate
from shopkeeper.customers.build_cohort import as_it_is, build_cohort
from shopkeeper.customers.lightgbm import LightGBM
from shopkeeper.customers.logistic import Logistic
from shopkeeper.customers.networks.gru import GRU
from shopkeeper.customers.networks.mlp import MLP
from shopkeeper.customers.networks.transformer import Transformer
from shopkeeper.customers.window import MONEY
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Events
from shopkeeper.errors import UserError
from shopkeeper.models.about import AMOUNTS
from shopkeeper.models.fit import Fit
from shopkeeper.schema import NO_HISTORY
from shopkeeper.timeline import CustomerSpec, customer_windows
from shopkeeper.training.config import TrainerConfig

CONF = Path(__file__).parents[2] / "conf"
MODELS = {"base_rate": BaseRate, "logistic": Logistic, "lightgbm": lambda: LightGBM(max_trees=60),
          "mlp": lambda: MLP(width=8, embedding=4, epochs=3, batch_size=64),
          "gru": lambda: GRU(width=8, max_length=12, epochs=3, lr=0.01, batch_size=32),
          "transformer": lambda: Transformer(width=8, max_length=12, epochs=3, lr=0.01, batch_size=32)}  # fmt: skip
INACTIVE = "no purchase in the 90 days before the cutoff"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, list[Any]]:
    prepared = toy_shop(tmp_path_factory.mktemp("toys") / "toys")
    return prepared, [build_cohort(prepared, t, 60, 90) for t in CUTOFFS]


@pytest.fixture(scope="module", params=MODELS)
def exported(request: pytest.FixtureRequest, toys: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    prepared, (train, calibration, test) = toys
    model: Any = MODELS[request.param]()
    model.fit(train, calibration, Fit(seed=0, trainer=TrainerConfig(precision="fp32"), progress=False))
    out = tmp_path_factory.mktemp("exports") / request.param
    return model, export_bundle(model, prepared, test, MadeFrom(model=request.param, task="churn"), out)


def asked(prepared: Prepared, people: list[Any]) -> dict[str, Any]:
    ids, channels = prepared.items["item_id"].to_pylist(), prepared.manifest.get("channels") or ()
    return {
        "histories": [external(p, ids, channels) for p in people],
        "as_of": [write_instant(p.instant) for p in people],
    }


def test_new_customers_get_the_probability_of_the_trained_model(exported: Any, toys: Any) -> None:
    model, path = exported
    prepared, (_, _, test) = toys
    people = invented_people(prepared, test, 120, seed=9)
    wanted = trained_answers(model, prepared, test, people)
    got = Bundle.load(path).answer(**asked(prepared, people))
    assert [g.reason for g in got] == [w.reason for w in wanted]
    assert {g.reason for g in got} == {"", NO_HISTORY, INACTIVE}
    pairs = [(g.probability, w.probability) for g, w in zip(got, wanted, strict=True) if w.probability is not None]
    assert len(pairs) > 60
    times = [e["timestamp"] for h in asked(prepared, people)["histories"] for e in h]
    assert len(times) > len(set(times)) + 100  # several lines of a basket
    exact = 1e-6 if type(model) in (GRU, Transformer) else 1e-9  # a graph adds up in 32 bits
    assert max(abs(a - b) for a, b in pairs) < exact
    if type(model) is not BaseRate:
        assert len({a for a, _ in pairs}) > 5


@pytest.mark.parametrize("made", [BaseRate, lambda: LightGBM(max_trees=30)])
def test_a_bundle_says_how_much_is_expected_where_amounts_are_asked_for(toys: Any, tmp_path: Path, made: Any) -> None:
    prepared, _ = toys
    told: dict[str, Any] = {"truth": as_it_is, "of": MONEY, "answers": AMOUNTS}
    train, calibration, test = (build_cohort(prepared, t, 60, 90, **told) for t in CUTOFFS)
    model = made()
    model.fit(train, calibration, Fit(seed=0))
    path = export_bundle(
        model, prepared, test, MadeFrom(model="totals", task="spend", currency="EUR"), tmp_path / "spend"
    )
    assert verify(path, repeat=1).ok
    assert "`expected`: What is paid in the 60 days after `as_of`" in (path / "README.md").read_text(encoding="utf-8")
    assert "Money is in EUR." in (path / "README.md").read_text(encoding="utf-8")
    people = invented_people(prepared, test, 60, seed=9)
    wanted = trained_answers(model, prepared, test, people)
    got = Bundle.load(path).answer(**asked(prepared, people))
    pairs = [(g.expected, w.expected) for g, w in zip(got, wanted, strict=True) if w.expected is not None]
    assert len(pairs) > 30
    assert {g.probability for g in got} == {None}
    assert max(b for _, b in pairs) > 1.5
    np.testing.assert_allclose(*np.array(pairs).T, rtol=1e-9)
    other = json.loads((path / "golden.json").read_text())["requests"][-1]["expected"]
    assert other["expected"] > 1.5


def test_a_network_s_readme_is_enough_and_of_other_models_it_says_who_answers(exported: Any) -> None:
    if type(exported[0]) in (GRU, Transformer):
        assert wrong_by_the_readme(exported[1]) == []
        assert node("verify.mjs", str(exported[1])).stdout == "100 golden requests, 0 answered differently\n"
    else:
        assert "```python" not in (exported[1] / "README.md").read_text(encoding="utf-8")
        assert "put JSON lines through `shopkeeper answer`" in (exported[1] / "README.md").read_text(encoding="utf-8")


def test_customers_and_what_is_said_of_them_fit_the_schemas(exported: Any) -> None:
    request, response = (json.loads((exported[1] / f"{n}.schema.json").read_text()) for n in ("request", "response"))
    asked = [{key: one[key] for key in ("history", "as_of")}
             for one in json.loads((exported[1] / "golden.json").read_text())["requests"]]  # fmt: skip
    for one, answer in zip(asked, answered(Bundle.load(exported[1]), asked), strict=True):
        jsonschema.validate(one, request)
        jsonschema.validate(answer, response)
    with pytest.raises(jsonschema.ValidationError, match="as_of"):
        jsonschema.validate({"history": []}, request)
    text = (exported[1] / "statement.md").read_text(encoding="utf-8")
    assert "how probable it is that you buy nothing within the next 60 days" in text
    assert "вероятность того, что вы ничего не купите" in text
    assert "ймовірність того, що ви нічого не купите" in text
    text = (exported[1] / "README.md").read_text(encoding="utf-8")
    assert "It answers one question: Who is about to leave?" in text
    assert (
        "`probability` is that of this: Who had bought in the 90 days before `as_of`, and did not buy in the 60" in text
    )
    assert "`unknown_items`" in text


def test_golden_customers_are_replayed(exported: Any) -> None:
    found = verify(exported[1], repeat=1)
    assert found.ok
    assert found.requests == 100


@pytest.mark.parametrize("exported", ["lightgbm"], indirect=True)
def test_events_may_come_as_tuples_in_any_order_with_any_offset(exported: Any) -> None:
    bundle = Bundle.load(exported[1])
    day = {"item_id": "i1", "event_type": "purchase", "price": 4.0}
    one = [day | {"timestamp": "1971-01-10T10:00:00Z"}, day | {"timestamp": "1971-01-20T10:00:00Z"}]
    other = [("i1", "purchase", "1971-01-20T12:00:00+02:00", 4.0), ("i1", None, "1971-01-10T10:00:00", 4)]
    a, b, late, nothing = bundle.answer([one, other, [*one, ("i2", "purchase", "1971-02-04")], []], as_of="1971-02-04")
    assert a == b == late
    assert a.probability is not None
    assert nothing == Answer(reason=NO_HISTORY)
    assert bundle.seen["future_events"] == 1
    assert bundle.answer([one], as_of="1971-05-01T00:00:00")[0] == Answer(reason=INACTIVE)


@pytest.mark.parametrize("exported", ["base_rate"], indirect=True)
@pytest.mark.parametrize(
    ("customers", "as_of", "said"),
    [
        ([["i1"]], "1971-02-04", "history 0: the event 'i1' has no timestamp"),
        ([[{"item": "i1"}]], "1971-02-04", "history 0: an event has no 'item'. Did you mean 'item_id'"),
        ([[("i1", "purchase", "tomorrow")]], "1971-02-04", "history 0: 'tomorrow' is no time; write text such as"),
        ([[("i1", "purchase", 34e15)]], "1971-02-04", "is no time; write text such as"),
        ([[("i1", "buy", "1971-02-01")]], "1971-02-04", "history 0: unknown event type 'buy'"),
        ([[("i1", "purchase", "1971-02-01", "4,50")]], "1971-02-04", "history 0: price is '4,50', not a number"),
        ([[(1, "purchase", "1971-02-01")]], "1971-02-04", "ids are text"),
        ([[]], None, "this model needs to know when it is asked; give as_of="),
        ([[]], ["1971-02-04"] * 2, "as_of has 2 instants for 1 histories"),
        ([{"events": []}], "1971-02-04", "history 0 must be a list of events"),
    ],
)
def test_what_cannot_be_scored_is_said_in_a_line(exported: Any, customers: Any, as_of: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Bundle.load(exported[1]).answer(customers, as_of=as_of)


@pytest.mark.parametrize("exported", ["base_rate"], indirect=True)
def test_each_family_says_which_call_is_its_own(exported: Any) -> None:
    with pytest.raises(UserError, match="holds a churn model, which lists no items; use `answer`"):
        Bundle.load(exported[1]).recommend([["i1"]])


def test_arrays_that_score_differently_are_refused(toys: Any, tmp_path: Path) -> None:
    prepared, (train, calibration, test) = toys
    model = Logistic()
    model.fit(train, calibration, Fit())
    predict = model.predict
    model.predict = lambda c: type(p := predict(c))(p.probability + 1e-3, p.blank_reason)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="was not written"):
        export_bundle(model, prepared, test, MadeFrom(), tmp_path / "bad")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_scores_is_refused_with_its_reason(toys: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no scores to export: not fitted"):
        export_bundle(Logistic(), toys[0], toys[1][2], MadeFrom(), tmp_path / "bad")


def test_a_bundle_of_the_first_format_says_what_to_do(toys: Any, tmp_path: Path) -> None:
    from shopkeeper.bundles.write.seal import seal

    model = BaseRate()
    model.fit(toys[1][0], toys[1][1], Fit())
    old = export_bundle(model, toys[0], toys[1][2], MadeFrom(task="churn"), tmp_path / "old", golden=5)
    seal(old, json.loads((old / "manifest.json").read_text()), version=1)
    with pytest.raises(UserError, match="format 1, whose customer models wanted finished features; export the model"):
        Bundle.load(old)


WITHOUT = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'polars', 'pyarrow', 'lightgbm', 'sklearn', 'scipy', 'pandas', 'onnx'):
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Blocked())
from shopkeeper.serving import Bundle
from shopkeeper.training.config import TrainerConfig
print(json.dumps(Bundle.load(sys.argv[1]).answer(**json.load(sys.stdin))))
"""


def test_a_churn_bundle_answers_from_raw_histories_as_evaluation_did_where_no_learner_is_installed(
    tmp_path: Path,
) -> None:
    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.evaluation.rows.labels import customer_table

    config = yaml.safe_load((CONF / "dataset" / "demo_shop.yaml").read_text())
    config["simulate"]["customers"] = 3400
    prepared = Prepared.open(prepare_dataset(config, tmp_path / "raw", tmp_path / "demo_shop", progress=False))
    churn, (first, last) = config["churn"], prepared.span
    windows = customer_windows(CustomerSpec.from_config(churn), first, last)
    train, calibration, test = (
        build_cohort(prepared, windows.parts[part], churn["horizon_days"], churn["active_days"])
        for part in ("train", "calibration", "test")
    )
    model = LightGBM(max_trees=80)
    model.fit(train, calibration, Fit(seed=1))
    bundle = export_bundle(model, prepared, test, MadeFrom(model="lightgbm", task="churn"), tmp_path / "churn")
    table = customer_table(prepared, test, model.predict(test), {"model": "lightgbm"})
    users = np.random.default_rng(5).permutation(len(prepared.offsets) - 1)[:1000]
    people = []
    for user in users:  # with what they did after the cutoff: nobody reads that
        span = slice(prepared.offsets[user], prepared.offsets[user + 1])
        own = {name: None if column is None else column[span] for name, column in vars(prepared.events).items()}
        people.append(Person(Events(**own), int(test.cutoff[0])))
    question = asked(prepared, people)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(bundle)], input=json.dumps(question), capture_output=True, text=True,
        env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = dict(zip((users + 1).tolist(), json.loads(done.stdout), strict=True))
    rows = dict(zip(test.customer.tolist(), table["probability"].to_pylist(), strict=True))
    scored = [user for user in got if user in rows]
    assert max(abs(got[user][1] - rows[user]) for user in scored) <= 1e-6
    assert {got[user][2] for user in scored} == {""}
    # Whom evaluation asks nothing about is blank here, with the reason.
    others = [got[user] for user in got if user not in rows]
    assert {(one[0], one[1], one[3]) for one in others} == {(None, None, None)}
    assert {one[2] for one in others} == {NO_HISTORY, INACTIVE}
    assert min(len(scored), len(others)) > 100
    assert len({got[user][1] for user in scored}) > 100
