"""Two processes with half of each batch learn what one process learns."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_training import assert_close, fit

from shopkeeper.errors import UserError
from shopkeeper.evaluation.alarms.sanity import shuffled_training
from shopkeeper.locks import Held
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.devices import execution
from shopkeeper.training.devices.distributed import _failure, room

CHILD = Path(__file__).with_name("child.py")


def test_two_processes_give_the_loss_curve_and_the_ranks_of_one(tiny_shop, tmp_path: Path):
    # 51 customers to learn from: the last batch of an epoch is uneven, and so are its two halves.
    settings = {"dropout": 0.0, "epochs": 3, "clip": 1.0}
    one = fit(*tiny_shop, **settings)
    told = []
    two = SASRec(
        **{**{"width": 8, "blocks": 1, "max_length": 12, "lr": 0.01, "batch_size": 16, "patience": 0}, **settings}
    )
    trainer = {"accelerator": "cpu", "precision": "fp32", "threads": 1, "devices": 2}
    trainer["plan"] = {"edges": [4, 8, 12], "chunk": 64}
    prepared, split = tiny_shop
    log = lambda metrics, epoch: told.append((epoch, metrics["loss"]))
    two.fit(prepared, split, Fit(seed=3, folder=tmp_path, trainer=TrainerConfig.of(trainer), progress=False, log=log))
    alone, together = one.trained.history, two.trained.history
    assert [h["epoch"] for h in together] == [1, 2, 3]
    np.testing.assert_allclose([h["loss"] for h in together], [h["loss"] for h in alone], atol=1e-5, rtol=0)
    for name in ("ndcg@10", "recall@10", "mrr"):
        assert [h[name] for h in together] == [h[name] for h in alone]  # rows are gathered, in order
    assert told == [(h["epoch"], h["loss"]) for h in together]
    assert_close(two.network.state_dict(), one.network.state_dict())
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir())[-1].startswith("step-")
    # What went wrong in a process is said in the parent's one line.
    with pytest.raises(UserError, match="belongs to another training"):
        SASRec(**{**settings, "width": 4}).fit(
            prepared, split, Fit(seed=3, folder=tmp_path, trainer=TrainerConfig.of(trainer), progress=False)
        )


def test_resumed_within_an_epoch_two_processes_report_the_loss_of_all_of_it_and_what_each_warns_of(
    tiny_shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    trainer = {"devices": 2, "checkpoint_minutes": 0.0}
    whole = fit(*tiny_shop, folder=tmp_path, epochs=1, trainer=trainer)
    within, end = sorted((tmp_path / "checkpoint").iterdir())
    assert within.name == "step-0000000003"  # of four
    # That memory ran out is known to the process alone; a damaged checkpoint is what both can be made to warn of.
    (end / "state.json").write_text('{"tree": {}}')
    with caplog.at_level(logging.WARNING):
        resumed = fit(*tiny_shop, folder=tmp_path, epochs=1, trainer=trainer)
    assert resumed.trained.history[0]["loss"] == whole.trained.history[0]["loss"]
    assert f"training process 1: checkpoint {end} cannot be used" in caplog.text


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"devices=2 needs as many GPUs, and 1 can be seen.*trainer\.accelerator=cpu"):
        execution.device_of(TrainerConfig(devices=2), 0)
    assert execution.device_of(TrainerConfig(devices=2, accelerator="cpu"), 1).type == "cpu"


def test_a_process_that_dies_without_a_word_is_named(tmp_path: Path):
    (tmp_path / "stderr-1").write_text("Traceback\nKilled by the kernel\n")
    assert "process 1 ended with exit code -9 Killed by the kernel" in _failure(tmp_path, [None, -9])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_parent_is_killed_its_processes_end_and_leave_nothing_behind(tiny_shop, tmp_path: Path, how):
    (tmp_path / "tmp").mkdir()
    trainer = json.dumps({"devices": 2, "validation_requests": 0})
    command = [sys.executable, str(CHILD), str(tiny_shop[0].path), str(tmp_path / "run"), "150", trainer]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")})
    while not list((tmp_path / "run" / "checkpoint").glob("step-*")):
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(how)
    parent.wait()
    parent.communicate()  # the processes share the parent's stdout: it ends when the last of them has
    steps = 150 * 4  # what they would have come to without the parent
    assert not (tmp_path / "run" / "checkpoint" / f"step-{steps:010d}").exists()
    assert list((tmp_path / "tmp").glob("shopkeeper-ddp-*")) == []


def test_what_a_killed_training_has_left_goes_when_the_next_begins_and_what_another_works_in_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("shopkeeper-ddp-left", "shopkeeper-ddp-held", "shopkeeper-ddp-new", "somebodys"):
        (tmp_path / name).mkdir()
        if name != "shopkeeper-ddp-new":  # which another process has made a moment ago
            (tmp_path / name / "start.safetensors").write_text("weights")
    working = Held(tmp_path / "shopkeeper-ddp-held")
    with room() as here:
        (here / "start.safetensors").write_text("weights")
        with room():  # of a training beside it
            assert here.is_dir()
    left = {place.name for place in tmp_path.iterdir()}
    assert left == {"shopkeeper-ddp-held", "shopkeeper-ddp-new", "somebodys"}
    assert working


def test_a_split_that_is_only_in_memory_is_not_taken_for_the_one_on_disk(tiny_shop):
    mixed = shuffled_training(tiny_shop[1])
    with pytest.raises(AssertionError, match="read the split from disk"):
        fit(mixed.prepared, mixed, trainer={"devices": 2})
