"""The model that `prepare` proposes, and that messages name, answers what is asked."""

from __future__ import annotations

import sys

import pytest

from shipped import composed
from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.pipeline.comparing.commands import train_next
from shopkeeper.pipeline.forms.form import model_of, task_of
from shopkeeper.pipeline.told import Prepare, Train, settings


def proposed(monkeypatch: pytest.MonkeyPatch, n_items: int, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["prepare.py", *words])
    cfg = settings(composed("prepare", *words), Prepare)
    return train_next(cfg, task_of(cfg), n_items)[2:]  # without `python train.py`


@pytest.mark.parametrize("task", configuration.names("task"))
def test_the_proposed_model_answers_what_the_task_asks(monkeypatch: pytest.MonkeyPatch, task: str):
    words = proposed(monkeypatch, 9, "dataset=demo_shop", f"task={task}")
    assert f"task={task}" in words
    model_of(settings(composed("train", *words), Train))  # a UserError where it does not


@pytest.mark.parametrize(
    ("n_items", "typed", "expected"),
    [
        (2, ("dataset=demo_shop",), ["model=item_knn", "dataset=demo_shop"]),
        (1, ("dataset=demo_shop",), ["model=logistic", "dataset=demo_shop"]),
        (1, ("dataset=demo_shop", "task=spend"), ["model=two_part", "dataset=demo_shop", "task=spend"]),
        (1, ("dataset=telco_churn",), ["task=churn", "model=logistic", "dataset=telco_churn"]),
    ],
)
def test_of_one_item_nothing_is_recommended(
    monkeypatch: pytest.MonkeyPatch, n_items: int, typed: tuple[str, ...], expected: list[str]
):
    assert proposed(monkeypatch, n_items, *typed) == expected


def test_where_a_model_answers_something_else_the_message_names_one_that_fits():
    cfg = settings(composed("train", "dataset=demo_shop", "model=logistic", "task=next_order"), Train)
    with pytest.raises(
        UserError, match=r"task=next_order asks for days; choose another model, such as quantile_trees$"
    ):
        model_of(cfg)
