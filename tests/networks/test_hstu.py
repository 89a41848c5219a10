"""HSTU: learns an order, and with `time` what is due when it is asked; killed, exported, refused without times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import check_goes_on_after_a_kill, check_learns_a_cycle, shoppers
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.write.bundle import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.hstu import HSTU
from shopkeeper.schema import EVENT_CODE, MICROSECONDS_PER_DAY
from shopkeeper.training.config import TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

DAY = MICROSECONDS_PER_DAY
FIT = Fit(seed=1, trainer=TrainerConfig(accelerator="cpu", precision="fp32", threads=1), progress=False)
SMALL: dict[str, Any] = {
    "width": 16, "blocks": 1, "max_length": 10, "dropout": 0.1, "lr": 0.02, "batch_size": 16, "patience": 0,
}  # fmt: skip
DUE, OTHERS = 6, 5  # bought again ten days after it was; the others at any time


def shop_of_habits(path: Path) -> Any:
    """Item `DUE` comes with the first visit ten days after it came before, others by chance at each visit before."""
    rng, histories, times = np.random.default_rng(3), [], []
    for _ in range(80):
        bought, when, day = [DUE], [0.0], 0.0
        while len(bought) < 24:
            day += rng.choice([0.5, 1, 2, 4])
            due = day - when[len(bought) - 1 - bought[::-1].index(DUE)] >= 10
            bought.append(DUE if due else int(rng.integers(1, OTHERS + 1)))
            when.append(day)
        histories.append(bought)
        times.append([int(d * DAY) for d in when])
    return tiny_prepared(path, histories, times)


@pytest.fixture(scope="module")
def habits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return shop_of_habits(tmp_path_factory.mktemp("habits"))


def fitted(habits: Any, **settings: Any) -> HSTU:
    model = HSTU(**{**SMALL, "max_length": 24, "epochs": 25, **settings})
    model.fit(*habits, FIT)
    return model


@pytest.fixture(scope="module")
def timed(habits: Any) -> HSTU:
    return fitted(habits, time=True)


def asked(last: list[float], instant: list[float]) -> Requests:
    """One bought `DUE` on day 0 and three others since, which ended on day `last`; asked on day `instant`."""
    times = [[0, int((d - 2) * DAY), int((d - 1) * DAY), int(d * DAY)] for d in last]
    n = len(last)
    return Requests.from_histories(
        [[DUE, 1, 2, 3]] * n, [[EVENT_CODE["purchase"]] * 4] * n, times, [int(d * DAY) for d in instant]
    )


def test_it_learns_a_cycle(tmp_path: Path):
    check_learns_a_cycle(lambda: HSTU(**SMALL, epochs=30), tmp_path, FIT)


def test_with_time_it_tells_due_from_not_due_and_without_it_does_not(habits: Any, timed: HSTU):
    due, not_due = asked([9.0, 10.5], [10.5, 14.0]), asked([3.0, 5.0], [4.0, 6.0])
    assert (timed.score(due).argmax(1) == DUE).all()
    assert (timed.score(not_due).argmax(1) != DUE).all()
    # The same history is due as time goes by: it reads the instant, and says so.
    assert timed.score(asked([9.0], [9.1]))[0, DUE] < timed.score(asked([9.0], [12.0]))[0, DUE]
    assert timed.about.reads_instant
    assert "timestamp" in timed.about.reads
    blind = fitted(habits, epochs=3)
    np.testing.assert_array_equal(blind.score(due), blind.score(not_due))
    assert not blind.about.reads_instant
    assert "timestamp" not in blind.about.reads


def test_a_bundle_of_it_knows_what_is_due(habits: Any, timed: HSTU, tmp_path: Path):
    run = MadeFrom(model="hstu", metrics={}, commit="abc")
    bundle = Bundle.load(export_bundle(timed, *habits, run, tmp_path / "bundle", golden=10))
    requests = asked([9.0, 3.0], [10.5, 4.0])
    events = [
        [(f"i{i}", "purchase", f"1970-01-{1 + d:02}") for i, d in zip([DUE, 1, 2, 3], at, strict=True)]
        for at in ([0, 7, 8, 9], [0, 1, 2, 3])
    ]
    answers = bundle.recommend(events, as_of=["1970-01-11T12:00:00", "1970-01-05"], k=3)
    for answer, score_V in zip(answers, timed.score(requests), strict=True):
        best = np.argsort(-score_V[1:], kind="stable")[:3] + 1
        assert [item for item, _ in answer] == [f"i{i}" for i in best]
        np.testing.assert_allclose([score for _, score in answer], score_V[best], rtol=1e-4, atol=1e-4)


def test_data_without_times_are_refused_with_the_way_out(tmp_path: Path):
    prepared, split = shoppers(tmp_path / "order-only", timestamps=False)
    with pytest.raises(UserError, match=r"has only their order; set model\.time=false or take data with time stamps"):
        HSTU(**SMALL, time=True, epochs=1).fit(prepared, split, FIT)


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(UserError, match=r"model\.width=16 is not divisible by model\.heads=3"):
        HSTU(**SMALL, heads=3)


def test_killed_and_gone_on_with_it_has_the_weights_of_a_run_that_was_not(tmp_path: Path):
    histories = cycle_histories(60, 9, 12)
    prepared, split = tiny_prepared(tmp_path / "data", histories, days(histories))
    trainer = replace(FIT.trainer, checkpoint_minutes=0.0)

    def fit(folder: Path | None) -> HSTU:
        model = HSTU(**SMALL, epochs=4, time=True)
        model.fit(prepared, split, Fit(seed=1, trainer=trainer, progress=False, folder=folder))
        return model

    check_goes_on_after_a_kill(fit, tmp_path / "run")


def test_half_the_precision_learns_it_too(habits: Any):
    model = HSTU(**{**SMALL, "max_length": 24, "epochs": 25, "time": True})
    model.fit(*habits, Fit(seed=1, trainer=replace(FIT.trainer, precision="bf16"), progress=False))
    assert model.score(asked([9.0], [10.5])).argmax() == DUE
    assert model.score(asked([3.0], [4.0])).argmax() != DUE
