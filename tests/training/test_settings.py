"""A setting that cannot be is refused in one line that names it, before anything is trained."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from small_training import TRAINER, fit

from shopkeeper.errors import UserError
from shopkeeper.nn.networks.sasrec import SASRecShape
from shopkeeper.pipeline.shell.entry import explain_hydra
from shopkeeper.training.config import Plan, PlanByHand, Recipe, TrainerConfig

CONF = Path(__file__).parents[2] / "conf"
TRAINERS = sorted(p.stem for p in (CONF / "trainer").glob("*.yaml"))


def composed(*overrides: str) -> TrainerConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return TrainerConfig.of(compose("config", list(overrides)).trainer)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("micro_batch", [-4, 0, 2.5, True]),
        ("max_batches", [-3, 0]),
        ("overfit_batches", [-1, None]),
        ("max_epochs", ["two", -2, 0]),
        ("checkpoint_epochs", [0, None]),
        ("checkpoint_minutes", [-1, math.nan]),
        ("threads", [-1, 0]),
        ("memory_gib", ["much", -1, 0]),
        ("devices", [0, 1.5, "2"]),
        ("validation_requests", [-1, "all"]),
        ("deterministic", ["yes"]),
        ("resume", [None]),
        ("plan", [7, [1]]),
    ],
)
def test_what_a_trainer_cannot_be_set_to_is_refused(name: str, values: list[Any]):
    for value in values:
        with pytest.raises(UserError) as e:
            TrainerConfig.of({name: value})
        assert str(e.value).startswith(f"the configuration: trainer.{name} is {value!r}; ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("edges", [[], 12, [8, 4, 12], [4, 4], [0, 4], "12", [4.5]]),
        ("softmax", ["cce"]),
        ("precision", ["fp16"]),
        ("device", ["tpu"]),
        ("cores", [0]),
        ("micro_batch", [0, -1]),
        ("chunk", [-5, 0]),
        ("pad", [0]),
        ("threads", [0]),
        ("compile", ["on"]),
    ],
)
def test_what_a_plan_cannot_be_set_to_is_refused(name: str, values: list[Any]):
    for value in values:
        with pytest.raises(UserError) as e:
            TrainerConfig.of({"plan": {name: value}})
        assert str(e.value).startswith(f"the configuration: trainer.plan.{name} is {value!r}; ")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"device": "cuda"}, "trainer.plan.device=cuda, and training runs on the cpu here: set trainer.accelerator"),
        ({"softmax": "liger"}, "needs liger_kernel, which is not installed"),
    ],
)
def test_a_plan_for_another_machine_is_refused(tiny_shop, plan, said: str, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "liger_kernel" else find(name, *a))
    with pytest.raises(UserError) as e:
        fit(*tiny_shop, trainer={"plan": plan})
    assert said in str(e.value)


def test_buckets_set_by_hand_reach_up_to_the_longest_sequence(tiny_shop):
    plans = [fit(*tiny_shop, epochs=1, trainer={"plan": {"edges": e}}).trained.plan for e in ([4, 8], [8, 100])]
    assert [p.edges for p in plans] == [(4, 8, 12), (8, 12)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lr", [0, -1e-3, math.nan, math.inf, "abc"]),
        ("batch_size", [0, 2.5, "many"]),
        ("epochs", [0, 1.5]),
        ("beta2", [1.0, -0.1]),
        ("clip", [-1, math.nan]),
        ("patience", [-1, None]),
        ("validate_every", [0]),
    ],
)
def test_what_a_recipe_cannot_be_set_to_is_refused(name: str, values: list[Any]):
    for value in values:
        with pytest.raises(UserError) as e:
            Recipe(**{name: value})
        assert str(e.value).startswith(f"model.{name}={value} must be")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("heads", [0, 1.5]),
        ("blocks", [0, -1]),
        ("width", [0, "wide"]),
        ("max_length", [0]),
        ("dropout", [1.0, -0.1, math.nan]),
    ],
)
def test_what_a_network_cannot_be_made_of_is_refused(name: str, values: list[Any]):
    for value in values:
        with pytest.raises(UserError) as e:
            SASRecShape(30, **{name: value})
        assert str(e.value).startswith(f"model.{name}={value} must be")


def test_many_negatives_is_no_number():
    with pytest.raises(UserError, match=r"loss\.negatives is \'many\'; it must be a whole number"):
        Recipe(loss={"name": "bce", "negatives": "many"})


def test_every_setting_has_a_rule_and_every_default_keeps_it():
    for cls, without in (
        (TrainerConfig, {"name", "plan", "plain"}),
        (Plan, set()),
        (PlanByHand, set()),
        (Recipe, {"loss"}),
    ):
        assert {f.name for f in fields(cls)} - without == cls.RULES.keys()
    assert Plan.of(Plan(edges=(4, 8)).to_json()) == Plan(edges=(4, 8))
    assert [f.name for f in fields(PlanByHand)] == [f.name for f in fields(Plan)]
    assert TrainerConfig.of(TrainerConfig().to_json()) == TrainerConfig()


@pytest.mark.parametrize("override", ["trainer.plan={chunk: 64, edges: [50, 200]}", "trainer.plan.chunk=64"])
def test_the_plan_is_set_by_hand_in_the_form_that_the_messages_show(override: str):
    plan = composed(override).plan
    assert plan.chunk == 64
    assert plan.edges in (None, (50, 200))


def test_the_plan_offers_every_field_and_sets_none():
    values = yaml.safe_load((CONF / "trainer" / "auto.yaml").read_text())["plan"]
    assert values == dict.fromkeys(f.name for f in fields(Plan))
    assert all(composed(f"trainer={name}").plan == PlanByHand() for name in TRAINERS)
    assert composed("trainer.plan=null").plan == PlanByHand()


@pytest.mark.parametrize("override", ["trainer.plan={chunks: 64}", "trainer.plan.chunks=64"])
def test_a_misspelt_field_of_the_plan_is_named_with_the_nearest_one(override: str):
    with pytest.raises(Exception) as e:
        composed(override)  # one of Hydra's own errors
    said = explain_hydra(e.value)
    assert said is not None
    assert said.startswith("there is no option 'trainer.plan.chunks'. Did you mean 'chunk'?")


def test_a_loss_that_is_no_number_ends_the_training_with_the_settings_to_change(tiny_shop):
    with pytest.raises(
        UserError, match=r"the loss of epoch \d is (nan|inf).* smaller model\.lr than 1e\+20.*model\.clip"
    ):
        fit(*tiny_shop, lr=1e20, trainer=TRAINER)
