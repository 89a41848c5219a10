"""A training starts from another run's weights only where these know nothing of what it is asked."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from test_bad_input import HEAD, ROWS, config, write_raw

from shopkeeper.errors import UserError
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.told import but
from shopkeeper.pipeline.train import train_model

SMALL = (
    "model.width=8", "model.max_length=8", "model.patience=0", "trainer.max_epochs=1", "trainer.precision=fp32",
    "evaluation.refit=false",
)  # fmt: skip
NEW = [f"{300 + i},NEW,plate,1,2010-10-{26 + i // 5} 09:00:00,2.5,{i % 5},France\n" for i in range(10)]
LOO, STRICT = "split=leave_one_out", "split.protocol=strict"


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("yesterday")
    write_raw(place, HEAD + "".join(ROWS[:240]))
    return place


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("today")
    write_raw(place, HEAD + "".join(ROWS + NEW))
    return place


def run(place: Path, name: str, *words: str) -> RunFolder:
    return train_model(config(place, "train", "model=sasrec", *SMALL, *words), place / "models" / name)


def test_what_yesterday_taught_is_gone_on_with_on_the_data_of_today(
    yesterday: Path, today: Path, caplog: pytest.LogCaptureFixture
):
    before = run(yesterday, "temporal")
    gone = yesterday / "prepared"
    gone.rename(yesterday / "away")  # `prepare` has written today's over it
    try:
        with caplog.at_level(logging.INFO):
            after = run(today, "warm", f"init_from={before.path}")
    finally:
        (yesterday / "away").rename(gone)
    assert "warm start from" in caplog.text
    assert "7 of 8 items were known there" in caplog.text
    said = {"run": str(before.path), "split": "temporal", "protocol": "strict", "checked": True}
    assert open_run(after.path).manifest["init_from"] == said
    assert json.loads((after.path / "metrics.json").read_text())["init_from"] == said


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ([LOO], [], "is of protocol=published .*this training of protocol=strict"),
        ([LOO, STRICT], [], r"trained on events \(split=leave_one_out\) that split=temporal asks about"),
        (["split=held_out_users"], [LOO, STRICT], r"events \(split=held_out_users\) that split=leave_one_out asks"),
    ],
)
def test_a_run_that_saw_what_this_split_asks_about_is_refused(
    there: list[str], here: list[str], expected: str, today: Path
):
    source = run(today, "source", *there)
    with pytest.raises(UserError, match=expected):
        run(today, "leaky", *here, f"init_from={source.path}")


def test_a_run_from_the_future_is_refused(yesterday: Path, today: Path):
    source = run(today, "temporal")
    with pytest.raises(UserError, match="or that come after its cutoff; start from an earlier run"):
        run(yesterday, "leaky", f"init_from={source.path}")


def test_where_it_cannot_be_told_a_published_result_says_so_and_a_strict_one_is_refused(
    yesterday: Path, today: Path, caplog: pytest.LogCaptureFixture
):
    source = run(yesterday, "loo", LOO)
    after = run(today, "warm loo", LOO, f"init_from={source.path}")
    assert after.metrics["init_from"]["checked"] is False
    assert "whether its training saw what split=leave_one_out asks about cannot be told" in caplog.text
    source = run(yesterday, "strict loo", LOO, STRICT)
    with pytest.raises(UserError, match="protocol=strict does not guess"):
        run(today, "leaky", LOO, STRICT, f"init_from={source.path}")


@pytest.mark.parametrize("model", ["popularity", "logistic"])
def test_a_model_that_would_not_read_the_weights_says_so(model: str, today: Path):
    cfg = config(today, "train", f"model={model}", f"init_from={today}")
    with pytest.raises(UserError, match=f"model={model} cannot start from another run, model=sasrec can"):
        train_model(cfg, today / "models" / model)


def test_a_folder_without_such_a_run_is_named_with_what_it_holds(today: Path):
    with pytest.raises(UserError, match="init_from=nowhere is no run of model=sasrec: there is no run folder"):
        run(today, "new", "init_from=nowhere")
    other = train_model(config(today, "train", "model=popularity"), today / "models" / "popularity")
    with pytest.raises(UserError, match=r"popularity is a run of model=popularity, not of model=sasrec"):
        run(today, "new", f"init_from={other.path}")


def test_a_model_under_another_name_may_start_from_the_same_kind(today: Path):
    cfg = config(today, "train", "model=sasrec", *SMALL)
    source = train_model(cfg, today / "models" / "ours")
    ours = but(cfg, model={**cfg.model.plain, "name": "ours"}, init_from=str(source.path))
    assert train_model(ours, today / "models" / "ours warm").metrics["init_from"]
    shutil.rmtree(source.path)
