"""GRU4Rec through the contract of all recommenders, and what only a recurrent network must be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.checks import check_goes_on_after_a_kill, check_learns_a_cycle, check_recommender, shoppers
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.nn.loss_settings import NAMES
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.training.config import PlanByHand, TrainerConfig
from tiny import cycle_histories, days, tiny_prepared

CPU = TrainerConfig(accelerator="cpu", precision="fp32", threads=1)
FIT = Fit(seed=1, trainer=CPU, progress=False)
SMALL: dict[str, Any] = {
    "width": 16, "max_length": 10, "dropout": 0.1, "dropout_embed": 0.1, "lr": 0.02, "batch_size": 16, "patience": 0,
}  # fmt: skip


def test_it_keeps_the_contract_of_all_recommenders(tmp_path: Path):
    # No validation: it would choose the epoch, and sees rows after the training end.
    fit = Fit(seed=1, trainer=replace(CPU, validation_requests=0), progress=False)
    check_recommender(lambda: GRU4Rec(**SMALL, epochs=3), tmp_path, fit)


@pytest.mark.parametrize(
    "loss", ["softmax", *({"name": name, "negatives": 4, "regularisation": 0.1} for name in NAMES if name != "softmax")]
)
def test_it_learns_a_cycle_with_each_loss(tmp_path: Path, loss):
    check_learns_a_cycle(lambda: GRU4Rec(**SMALL, loss=loss, epochs=30), tmp_path, FIT)


def test_the_shipped_settings_are_its_own():
    import yaml

    settings = yaml.safe_load((Path(__file__).parents[2] / "conf/model/gru4rec.yaml").read_text("utf-8"))
    model = GRU4Rec(**{k: v for k, v in settings.items() if k not in ("name", "task", "target", "loss")})
    assert model.settings == GRU4Rec().settings
    shipped = {"patience_steps": 100, "average": "best", "average_epochs": 3}  # as of SASRec, in what is shipped alone
    assert model.recipe == replace(GRU4Rec().recipe, **shipped)


@pytest.mark.parametrize("cores", [1, 2])
def test_killed_and_gone_on_with_it_has_the_weights_of_a_run_that_was_not(tmp_path: Path, cores: int):
    histories = cycle_histories(60, 9, 12)
    prepared, split = tiny_prepared(tmp_path / "data", histories, days(histories))
    trainer = replace(CPU, threads=cores, plan=PlanByHand(cores=cores), checkpoint_minutes=0.0)

    def fit(folder: Path | None) -> GRU4Rec:
        model = GRU4Rec(**SMALL, epochs=4, layers=2)
        model.fit(prepared, split, Fit(seed=1, trainer=trainer, progress=False, folder=folder))
        return model

    check_goes_on_after_a_kill(fit, tmp_path / "run")


def test_half_the_precision_learns_it_too(tmp_path: Path):
    fit = Fit(seed=1, trainer=replace(CPU, precision="bf16"), progress=False)
    check_learns_a_cycle(lambda: GRU4Rec(**SMALL, epochs=30), tmp_path, fit)


def test_a_run_of_sasrec_is_no_run_of_gru4rec(tmp_path: Path):
    from shopkeeper.recommenders.networks.sasrec import SASRec

    prepared, split = shoppers(tmp_path / "data")
    other = SASRec(width=8, blocks=1, epochs=1)
    other.fit(prepared, split, FIT)
    other.save(tmp_path / "run")
    with pytest.raises(UserError, match=r"holds shopkeeper\.sasrec/1, not shopkeeper\.gru4rec/1"):
        GRU4Rec().load(tmp_path / "run")


def test_a_warm_start_knows_the_old_items(tmp_path: Path):
    histories = cycle_histories(40, 9, 12)
    prepared, split = tiny_prepared(tmp_path / "data", histories, days(histories))
    old = GRU4Rec(**SMALL, epochs=20)
    old.fit(prepared, split, FIT)
    old.save(tmp_path / "run")
    warm = GRU4Rec(**{**SMALL, "lr": 1e-9}, epochs=1)
    warm.fit(prepared, split, Fit(seed=2, trainer=CPU, progress=False, init_from=tmp_path / "run"))
    asked = Requests.from_histories([[3, 4, 5], [9, 1]])
    np.testing.assert_allclose(warm.score(asked), old.score(asked), atol=1e-4)
    with pytest.raises(UserError, match=r"layers=1, this model has 2; set model\.layers=1"):
        GRU4Rec(**SMALL, layers=2).fit(prepared, split, Fit(trainer=CPU, progress=False, init_from=tmp_path / "run"))
