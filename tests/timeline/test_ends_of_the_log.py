"""The last event is not taken for the end of observation without a word, and a setting puts it right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.errors import UserError
from shopkeeper.pipeline.preparing import split as verb
from shopkeeper.pipeline.told import Train, but, plain, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.timeline import CustomerSpec, customer_windows, instant, iso

ROOT = Path(__file__).parents[2]
DATASET = {
    "name": "shop",
    "target_events": ["purchase"],
    "filter_seen": False,
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
    "event_type": "purchase",
    "filters": {},
    "temporal": {"validation_days": 28, "test_days": 28},
    "churn": {"horizon_days": 30, "active_days": 60},
}


@pytest.fixture(scope="module")
def rows() -> list[str]:
    """120 customers in 2022 who come every 8 to 45 days; some leave for good."""
    rng, found = np.random.default_rng(7), []
    for customer in range(120):
        at, gap, until = rng.uniform(0, 60), rng.uniform(8, 45), rng.uniform(60, 520)
        while at < min(until, 364):
            time = np.datetime64("2022-01-01T00:00:00") + np.timedelta64(int(at * 86400), "s")
            found.append((at, f"c{customer},s{rng.integers(20)},{time}"))
            at += rng.exponential(gap)
    return [row for _, row in sorted(found)]


def config(folder: Path, rows: list[str], *words: str, dataset: dict | None = None) -> Train:
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text("who,what,when\n" + "\n".join(rows) + "\n")
    words = ("tracking=none", "progress=false", f"paths.raw={folder}", f"paths.prepared={folder}/prepared", *words)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        here = [f"paths.checkpoints={folder / 'checkpoints'}", "evaluation.resamples=50"]
        cfg = plain(compose("train", [*words, *here]))
    return settings({**cfg, "dataset": yaml.safe_load(yaml.safe_dump(DATASET | (dataset or {})))}, Train)


@pytest.fixture(autouse=True)
def _forget():
    verb.warn_once.cache_clear()


def churn(cfg: Train, folder: Path) -> tuple[str, int, float]:
    table = train_model(cfg, folder).table()
    return str(table["instant"][0].as_py())[:10], len(table), float(np.mean(table["label"].to_numpy()))


STRAYS = [["c1,s1,2023-01-27 10:00:00"], [f"c{d},s1,2023-0{1 + d // 20}-{d % 20 + 5:02} 10:00:00" for d in (5, 20, 33)]]


@pytest.mark.parametrize("stray", STRAYS)
def test_stray_rows_after_the_end_are_said_and_the_setting_gives_the_right_figure(stray, rows, tmp_path, caplog):
    whole = "timeline.observed_until=2022-12-31"  # without it a log counts as watched until its last midnight, the 30th
    clean = churn(config(tmp_path / "clean", rows, "model=base_rate", whole), tmp_path / "run-clean")
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    cfg = config(tmp_path / "stray", rows + stray, "model=base_rate")
    wrong = churn(cfg, tmp_path / "run-stray")
    assert wrong[2] > clean[2] + 0.3  # nobody comes where nothing was watched
    said = next(r.message for r in caplog.records if r.levelname == "WARNING")
    assert f"the last {len(stray)} event" in said
    assert said.endswith("set timeline.observed_until=2022-12-31")  # what a split in time is told
    caplog.clear()
    for place in ("timeline", "churn", "dataset"):
        day = {"observed_until": "2022-12-31"}
        mended = {
            "timeline": but(cfg, timeline={**cfg.plain["timeline"], **day}),
            "churn": but(cfg, task={**cfg.task.plain, "windows": {**cfg.task.windows.given, **day}}),
            "dataset": config(tmp_path / "stray", rows + stray, "model=base_rate", dataset=day),
        }[place]
        assert churn(mended, tmp_path / f"run-{place}") == clean
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("stray", STRAYS)
def test_the_same_for_a_split_in_time(stray, rows, tmp_path, caplog):
    clean = verb.prepare_to_train(config(tmp_path / "clean", rows, "model=recency"))[1]
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    if len(stray) == 1:  # one request is left
        verb.prepare_to_train(config(tmp_path / "stray", rows + stray, "model=recency"))
        said = [r.message for r in caplog.records if r.levelname == "WARNING"]
        assert said[0].endswith("set timeline.observed_until=2022-12-31")
        assert "1 requests for test from 2022-12-31" in said[1]
    else:  # and here a window is empty: more days of nearly nothing would not help
        with pytest.raises(UserError, match=r"no purchase event .*; the log: the last 3 events lie") as error:
            verb.prepare_to_train(config(tmp_path / "stray", rows + stray, "model=recency", "split.validation_days=2"))
        assert "raise split" not in str(error.value)
    words = ("model=recency", "timeline.observed_until=2022-12-31")
    caplog.clear()
    mended = verb.prepare_to_train(config(tmp_path / "stray", rows + stray, *words))[1]
    assert mended.target_hash() == clean.target_hash()
    assert mended.target_hash("validation") == clean.target_hash("validation")
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_stray_rows_before_the_beginning_stop_no_training_and_are_said(rows, tmp_path, caplog):
    early = ["c1,s1,1999-01-27 10:00:00", "c2,s1,2015-06-01 10:00:00"]
    cfg = config(tmp_path / "log", early + rows, "model=base_rate")
    clean = churn(config(tmp_path / "clean", rows, "model=base_rate"), tmp_path / "run-clean")
    assert churn(cfg, tmp_path / "run") == clean
    said = next(r.message for r in caplog.records if r.levelname == "WARNING")
    assert "the first 2 events lie in" in said
    assert said.endswith("set timeline.observed_from=2022-01-01")
    caplog.clear()
    verb.warn_once.cache_clear()
    run = train_model(but(cfg, timeline={**cfg.plain["timeline"], "observed_from": "2022-01-01"}), tmp_path / "again")
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    assert min(run.manifest["windows"]["train"]) >= "2022-03-02"


def test_a_day_that_was_cut_off_does_not_become_the_test_window(tmp_path, caplog):
    rng = np.random.default_rng(3)
    days = [*np.repeat(np.arange(9), 400), *[9] * 5]  # the tenth day ends at ten to one
    seconds = [86400 * int(d) + int(rng.integers(0, 86400 if d < 9 else 3000)) for d in days]
    times = [np.datetime64("2022-03-01T00:00:00") + np.timedelta64(s, "s") for s in seconds]
    rows = [f"c{rng.integers(60)},s{rng.integers(20)},{t}" for t in times]
    cfg = config(tmp_path / "log", rows, "model=recency", dataset={"temporal": {"validation_days": 1, "test_days": 1}})
    with caplog.at_level("INFO"):
        prepared, split = verb.prepare_to_train(cfg)
    assert split.timeline["cutoffs"]["end"]["iso"] == "2022-03-10T00:00:00Z"
    n = split.timeline["n_requests"]
    assert n["test"] * 2 > n["validation"]
    assert "shop: the last day is not whole, windows end at its midnight, 2022-03-10T00:00:00Z" in caplog.messages
    by_hand = but(cfg, split={**cfg.split.plain, "test": "2022-03-10"})
    split = verb.prepare_split(by_hand, prepared)  # who wants that day gets it, and is told what it is
    assert split.timeline["cutoffs"]["end"]["iso"] == "2022-03-11T00:00:00Z"
    assert [m for m in caplog.messages if f"{split.timeline['n_requests']['test']} requests for test" in m]


def test_more_training_cutoffs_than_fit_are_refused():
    first, last = instant("2022-01-01", "first"), instant("2022-07-01T12:00", "last")
    assert len(customer_windows(CustomerSpec(30, 30), first, last).train) == 3
    assert len(customer_windows(CustomerSpec(30, 30, n_train=2), first, last).train) == 2
    with pytest.raises(UserError, match=r"n_train=4, but only 3 training cutoffs fit between 2022-01-31"):
        customer_windows(CustomerSpec(30, 30, n_train=4), first, last)


def test_an_end_outside_of_the_log_is_refused():
    first, last = instant("2022-01-01", "first"), instant("2022-07-01T12:00", "last")
    for day in ("2021-12-01", "2023-01-01"):
        with pytest.raises(UserError, match=r"observed_until=.* lies outside of the log"):
            customer_windows(CustomerSpec(30, 30, observed_until=day), first, last)
    assert (
        iso(customer_windows(CustomerSpec(30, 30, observed_until="2022-06-01"), first, last).test)[:10] == "2022-05-02"
    )
