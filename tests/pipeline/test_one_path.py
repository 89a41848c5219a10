"""What is asked of requests and what is asked of customers take the same way through a training, step by step."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import pytest

from house import House, small_shop
from shopkeeper.pipeline.forms import form_of, learn
from shopkeeper.pipeline.forms.form import Form, task_of

SPLIT = ("dataset=shop", "split=temporal", "split.test_days=10", "split.validation_days=10")
CHURN = ("task.windows.horizon_days=7", "task.windows.active_days=30", "task.windows.n_train=1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place := tmp_path_factory.mktemp("house"))
        house = House(Path(place))
        house.dataset("shop", small_shop())
        yield house


def taken(house: House, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], *words: str) -> list[str]:
    """The steps of a training, each with the parts that it is about."""
    cfg, steps = house.config("train", *SPLIT, *words), []
    form = form_of(task_of(cfg), cfg.dataset)

    def noted(name: str):
        def step(*given):
            about = [x for x in given if isinstance(x, str | tuple)]
            steps.append(" ".join([name, *("+".join(x) if isinstance(x, tuple) else x for x in about)]))
            return getattr(form, name)(*given)

        return step

    seen = replace(form, **{field.name: noted(field.name) for field in fields(Form)})
    monkeypatch.setattr(learn, "form_of", lambda task, dataset: seen)
    with ExitStack() as held:
        done = learn.learn(cfg, parts, lambda values, epoch: None, held)
    assert set(done.tables) == set(parts)
    assert {"seed", "target_hash", "confidence", *parts} <= set(done.metrics)
    return steps


@pytest.mark.parametrize(
    ("words", "of_both"),
    [
        (("model=popularity",), False),
        (("model=popularity", "evaluation.refit=true"), True),
        (("model=base_rate", "model.min_positives=1", *CHURN), True),
    ],
)
def test_a_model_is_audited_before_it_is_asked_and_one_that_learns_more_is_audited_again(
    house, monkeypatch, words, of_both
):
    steps = taken(house, monkeypatch, ("validation", "test"), *words)
    each = [f"{step} {part}" for part in ("validation", "test") for step in ("fitted", "audit", "answered")]
    if of_both:
        assert steps == ["ask validation+test", *each[:3], "further", *each[3:], "alarm"]
    else:
        both = ["fitted validation+test", "audit validation+test", "answered validation", "answered test"]
        assert steps == ["ask validation+test", *both, "alarm"]


@pytest.mark.parametrize("words", [("model=popularity",), ("model=base_rate", "model.min_positives=1", *CHURN)])
def test_a_trial_of_a_search_looks_at_nothing_of_test(house, monkeypatch, words):
    steps = taken(house, monkeypatch, ("validation",), *words)
    assert steps == ["ask validation", "fitted validation", "audit validation", "answered validation"]
