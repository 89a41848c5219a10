"""The randomised campaign: its propensities are true, its hidden uplift is what an experimenter would estimate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shopkeeper.data.requests import Requests
from shopkeeper.files import sha256_file
from shopkeeper.simulated.campaign import campaign_day, uplift_table
from shopkeeper.simulated.filtering import filter_days, replay, visits
from shopkeeper.simulated.link import Link
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate
from simulated.shop import Shop, shop


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, dict[str, np.ndarray], dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("campaign")
    s = shop(folder, preset="btyd", seed=4, customers=8000, campaign=True)
    table, truth = pq.read_table(folder / "campaign.parquet"), pq.read_table(folder / "hidden" / "uplift.parquet")
    return s, *({n: t[n].to_numpy(zero_copy_only=False) for n in t.column_names} for t in (table, truth))


def test_the_campaign_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    for name, asked in (("with", True), ("without", False)):
        simulate(Simulation(preset="demo_shop", seed=3, customers=100, campaign=asked), tmp_path / name)
    assert sha256_file(tmp_path / "with" / "events.parquet") == sha256_file(tmp_path / "without" / "events.parquet")
    assert not (tmp_path / "without" / "campaign.parquet").exists()


def test_mail_went_out_with_the_logged_propensities(sold: tuple) -> None:
    _, table, _ = sold
    assert set(np.unique(table["propensity"])) == {0.5, 0.7}
    for p in (0.5, 0.7):
        treated = table["treated"][table["propensity"] == p]
        assert abs(treated.mean() - p) < 3.5 * np.sqrt(p * (1 - p) / len(treated))


def test_an_experimenter_would_find_the_hidden_uplift(sold: tuple) -> None:
    _, table, truth = sold
    assert (table["user_id"] == truth["user_id"]).all()
    p, t, y = table["propensity"], table["treated"], table["converted"].astype(float)
    effect = y * t / p - y * ~t / (1 - p)
    assert abs(effect.mean() - truth["uplift"].mean()) < 3.5 * effect.std() / np.sqrt(len(y))
    said = np.where(t, truth["p_treated"], truth["p_control"])
    assert abs(y.sum() - said.sum()) < 3.5 * np.sqrt(np.sum(said * (1 - said)))
    assert truth["uplift"].min() < 0 < truth["uplift"].max(), "somebody must be put off and somebody won"
    assert (table["spend"] > 0).astype(bool).tolist() == table["converted"].tolist()


def test_the_uplift_that_the_log_lets_expect_is_right_on_average(sold: tuple) -> None:
    s, table, truth = sold
    link = Link.of(s.prepared)
    world, day = link.world(), campaign_day(link.world())
    without, mailed = uplift_table(world, day)
    number = {u: i for i, u in enumerate(s.prepared.users["user_id"].to_pylist())}
    user = np.array([number[u] for u in table["user_id"]])
    r = replay(
        world, link.histories(Requests(s.prepared.events, s.prepared.offsets[user], s.prepared.offsets[user + 1]))
    )
    before = filter_days(world, visits(world, r), np.full(len(user), day - 1))
    expected = np.einsum("bks,kst,kt->b", before, world.transition, mailed - without)
    for rows in np.array_split(np.argsort(expected, kind="stable"), 6):
        error = truth["uplift"][rows] - expected[rows]
        assert abs(error.mean()) < 3.5 * error.std() / np.sqrt(len(rows)) + 1e-12
    assert np.corrcoef(expected, truth["uplift"])[0, 1] > 0.5
