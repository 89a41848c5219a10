"""What every recommender must do, as functions that each model's test calls (see test_item_knn.py).

    from recommenders.checks import check_recommender

`make` gives a new, untrained model each time, with settings that learn the tiny data in a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.about import REQUESTS
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make as make_model
from shopkeeper.recommenders.base import Recommender
from shopkeeper.schema import EVENT_CODE
from tiny import DAY, cycle_histories, days, tiny_prepared

FIT = Fit(seed=1, progress=False)
N_ITEMS = 7
# Item popularity is 7 > 6 > … > 1 without ties, and nobody's history tells the whole order.
SHOPPERS = [[7, 6, 5, 7], [7, 6, 7, 5], [6, 7, 5, 4, 7], [5, 6, 4, 3, 7], [4, 7, 6, 2, 3], [3, 5, 1, 7, 6], [7, 2, 4]]


def shoppers(path: Path, timestamps: bool = True) -> tuple[Prepared, Split]:
    """A small shop of `N_ITEMS` items whose training popularity differs for each item that was bought at all."""
    bought = [h + [h[0], h[1]] for h in SHOPPERS]  # two more events per customer, which leave_one_out takes away
    return tiny_prepared(path, bought, days(bought) if timestamps else None, n_items=N_ITEMS)


def asked(history: list[tuple[int, int]], *on: int) -> Requests:
    """The same history of (day, item), all bought, asked on several days."""
    n = len(on)
    return Requests.from_histories(
        [[item for _, item in history]] * n,
        [[EVENT_CODE["purchase"]] * len(history)] * n,
        [[day * DAY for day, _ in history]] * n,
        [day * DAY for day in on],
    )


def check_recommender(make: Callable[[], Any], path: Path, fit: Fit = FIT, clock: bool = False) -> None:
    """All checks that hold for any model. `clock`: it learns from times alone, and refuses data that have none."""
    prepared, split = shoppers(path / "shoppers")
    check_answers(make, prepared, split, fit)
    check_saving(make, prepared, split, path, fit)
    check_refit(make, prepared, split, path, fit)
    check_training_rows_only(make, path, fit)
    if clock:
        with pytest.raises(UserError, match=r"has only their order; set model\.time=false or take"):
            check_orders_without_time(make, path, fit)
    else:
        check_orders_without_time(make, path, fit)
    check_odd_shops(make, path, fit)


def check_answers(make: Callable[[], Any], prepared: Prepared, split: Split, fit: Fit = FIT) -> None:
    """Finite scores of the right shape for strangers, for known customers, and for an empty history."""
    model = fitted(make, prepared, split, fit)
    assert isinstance(model, Recommender)
    assert model.about.asks == REQUESTS
    strangers = stranger([[3], [1, 2, 3, 4, 5, 6, 7], [], [2, 2, 2]])
    for requests in (strangers, split.part("test")[0]):
        scores = model.score(requests)
        assert scores.dtype == np.float32
        assert scores.shape == (len(requests), prepared.n_items + 1)
        assert np.isfinite(scores).all()
        alone = np.concatenate([model.score(requests[b : b + 1]) for b in range(len(requests))])
        np.testing.assert_allclose(alone, scores, rtol=1e-4, atol=1e-5, err_msg="an answer depends on its neighbours")
    assert len(model.score(strangers[0:0])) == 0
    fallback = model.score(stranger([[]]))[0, 1:]
    counts = np.bincount(prepared.events.item[split.training_rows()[1]], minlength=prepared.n_items + 1)[1:]
    assert len(np.unique(counts)) == len(counts), "the check needs popularity without ties"
    assert np.argsort(-fallback, kind="stable").tolist() == np.argsort(-counts, kind="stable").tolist()


def check_saving(make: Callable[[], Any], prepared: Prepared, split: Split, path: Path, fit: Fit = FIT) -> None:
    """A model that was saved and opened gives bit-equal scores; a damaged or missing file is a one-line error."""
    model = fitted(make, prepared, split, fit)
    folder = path / "saved"
    model.save(folder)
    names = {p.name for p in folder.iterdir()}
    assert names & {"weights.npz", "weights.safetensors"}, names
    opened = make()
    opened.load(folder)
    requests = split.part("test")[0]
    np.testing.assert_array_equal(opened.score(requests), model.score(requests))
    weights = next(p for p in folder.iterdir() if p.name.startswith("weights."))
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(UserError, match="weights"):
        make().load(folder)
    with pytest.raises(UserError, match="missing"):
        make().load(path / "nothing here")


def check_refit(make: Callable[[], Any], prepared: Prepared, split: Split, path: Path, fit: Fit = FIT) -> None:
    """The second fit of a model forgets the first: same scores as a new model's."""
    other, other_split = tiny_prepared(path / "other", cycle_histories(4, 3, 5), days(cycle_histories(4, 3, 5)))
    model = fitted(make, other, other_split, fit)
    model.fit(prepared, split, fit)
    requests = split.part("test")[0]
    np.testing.assert_array_equal(model.score(requests), fitted(make, prepared, split, fit).score(requests))


def check_training_rows_only(make: Callable[[], Any], path: Path, fit: Fit = FIT) -> None:
    """What customers do after their training rows changes nothing (models that stop by validation: set epochs)."""
    scores = []
    for name, later in (("one", [1, 2]), ("another", [6, 4])):
        bought = [h + later for h in SHOPPERS]
        prepared, split = tiny_prepared(path / name, bought, days(bought), n_items=N_ITEMS, catalogue=range(1, 8))
        scores.append(fitted(make, prepared, split, fit).score(stranger([[3], [7, 6], []])))
    np.testing.assert_array_equal(scores[0], scores[1], err_msg="the model has seen rows after the training end")


def check_orders_without_time(make: Callable[[], Any], path: Path, fit: Fit = FIT) -> None:
    """Data that has only an order (no time stamps) trains and answers as well."""
    prepared, split = shoppers(path / "order-only", timestamps=False)
    scores = fitted(make, prepared, split, fit).score(Requests.from_histories([[3], [1, 2], []]))
    assert np.isfinite(scores).all()


def check_odd_shops(make: Callable[[], Any], path: Path, fit: Fit = FIT) -> None:
    """A catalogue of one; histories of items that the model never saw; a basket of 3,000 lines: finite answers."""
    prepared, split = tiny_prepared(path / "one item", [[1] * 5, [1] * 4], days([[1] * 5, [1] * 4]))
    model = fitted(make, prepared, split, fit)
    basket = Requests.from_histories([[1] * 3000], [[EVENT_CODE["purchase"]] * 3000], [[DAY] * 3000], [2 * DAY])
    for requests in (stranger([[1], [], [9, 10]]), basket):
        scores = model.score(requests)
        assert scores.shape == (len(requests), 2)
        assert np.isfinite(scores).all()
    check_bare_shop(make, path, fit)


def check_bare_shop(make: Callable[[], Any], path: Path, fit: Fit = FIT) -> None:
    """Dates without a time of day, orders whose lines they tie, unknown prices, items without attributes: finite."""
    bought = [h + [h[0], h[1]] for h in SHOPPERS]
    dates = [[DAY * (1 + n // 3) for n in range(len(h))] for h in bought]  # two orders on some days
    columns = {
        "order": [[100 * u + n // 2 + 1 for n in range(len(h))] for u, h in enumerate(bought)],
        "price": [[np.nan] * len(h) for h in bought],
        "quantity": [[np.nan] * len(h) for h in bought],
    }
    known = {"category": ["tea", *[None] * 6], "brand": pa.array([None] * 7, pa.string()), "price": [2.5, *[None] * 6]}
    prepared, split = tiny_prepared(path / "bare", bought, dates, columns=columns, items=known, n_items=N_ITEMS)
    model = fitted(make, prepared, split, fit)
    basket = stranger([[1 + n % N_ITEMS for n in range(3000)], [7]])
    told = {"order": np.ones(3001, np.int32), "price": np.full(3001, np.nan), "quantity": np.full(3001, np.nan)}
    basket = replace(basket, events=replace(basket.events, timestamp=np.full(3001, DAY), **told))
    for requests in (split.part("test")[0], basket):
        scores = model.score(requests)
        assert scores.shape == (len(requests), N_ITEMS + 1)
        assert np.isfinite(scores).all()


def check_learns_a_cycle(make: Callable[[], Any], path: Path, fit: Fit = FIT, length: int = 12) -> None:
    """Order-aware models only: where 1, 2, …, 7, 1, … is all that anyone does, the next step is ranked first."""
    histories = cycle_histories(4 * N_ITEMS, N_ITEMS, length)
    prepared, split = tiny_prepared(path / "cycle", histories, days(histories))
    scores = fitted(make, prepared, split, fit).score(stranger([[1, 2, 3], [5, 6, 7], [3, 4, 5]]))
    assert (scores[:, 1:].argmax(axis=1) + 1).tolist() == [4, 1, 6]


def check_goes_on_after_a_kill(fit: Callable[[Path | None], Any], path: Path, step: int = 9) -> None:
    """Networks only: killed at a step and gone on with, a training has the losses and weights of one that was not.

    `fit` trains a new model with this folder for its checkpoints.
    """
    import torch

    from shopkeeper.training.module import SequenceModule

    whole = fit(None)
    original = SequenceModule.training_step

    def dies(self: SequenceModule, *args: Any) -> None:
        if self.step == step:
            raise RuntimeError("killed")
        original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceModule, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            fit(path)
    again = fit(path)
    assert [h["loss"] for h in again.trained.history] == [h["loss"] for h in whole.trained.history]
    for name, value in whole.trained.last_weights.items():
        assert torch.equal(value, again.trained.last_weights[name]), name


def fitted(make: Callable[[], Any], prepared: Prepared, split: Split, fit: Fit = FIT) -> Any:
    """A new model, trained."""
    model = make()
    model.fit(prepared, split, fit)
    return model


def shipped(name: str) -> Callable[[], Any]:
    """`make` for the settings that `conf/model/<name>.yaml` ships."""
    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml").read_text("utf-8"))
    assert config["name"] == name
    return lambda: make_model(config)


def stranger(histories: list[list[int]]) -> Requests:
    """Requests of people who are in no data: one purchase a day, asked a day after the last."""
    asked = [len(h) * DAY for h in histories]
    return Requests.from_histories(
        histories, [[EVENT_CODE["purchase"]] * len(h) for h in histories], days(histories), asked
    )
