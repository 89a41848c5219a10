"""How a training ends: by patience, on Ctrl-C, by fewer epochs than it had before, by a loss that is no number."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_training import MODEL, TRAINER, fit

from shopkeeper.errors import UserError
from shopkeeper.recommenders.base import Fit
from shopkeeper.recommenders.sasrec import SASRec
from shopkeeper.training.module import SequenceModule

CHILD = Path(__file__).with_name("child.py")


def test_epochs_without_a_validation_neither_end_the_training_nor_use_up_patience(tiny_shop):
    trained = fit(*tiny_shop, epochs=6, patience=2, validate_every=3, lr=1e-4).trained
    assert ["ndcg@10" in row for row in trained.history] == [False, False, True] * 2


def test_patience_counts_validations(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SequenceModule, "validate", lambda self: {"ndcg@10": 0.1})
    trained = fit(*tiny_shop, epochs=40, patience=2, validate_every=3).trained
    assert len(trained.history) == 9  # the first validation, and two that were no better
    assert trained.best_epoch == 3


def test_stopped_by_patience_and_asked_for_again_it_trains_no_further(tiny_shop, tmp_path: Path):
    """Killed after the last epoch, before the run folder is written, the same command must find the same weights."""
    settings = {"epochs": 40, "patience": 2, "lr": 0.05}
    first = fit(*tiny_shop, folder=tmp_path, **settings)
    assert len(first.trained.history) < 40
    for _ in range(2):
        again = fit(*tiny_shop, folder=tmp_path, **settings)
        assert again.trained.history == first.trained.history
        assert again.trained.best_epoch == first.trained.best_epoch
        for ours, theirs in (
            (again.network.state_dict(), first.network.state_dict()),
            (again.trained.last_weights, first.trained.last_weights),
        ):
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_ctrl_c_comes_out_as_an_interrupt_and_the_next_one_is_heard(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    original, before = SequenceModule.training_step, signal.getsignal(signal.SIGINT)

    def step(self: SequenceModule, *args) -> None:
        if self.step == 5:
            raise KeyboardInterrupt
        original(self, *args)

    monkeypatch.setattr(SequenceModule, "training_step", step)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(*tiny_shop)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_process_says_how_to_go_on_and_ends_with_130(tmp_path: Path):
    code = (
        "import sys, runpy; from shopkeeper.pipeline.entry import one_line_errors; sys.argv = sys.argv[1:]\n"
        "with one_line_errors(): runpy.run_path(sys.argv[0])"
    )
    command = [sys.executable, "-c", code, str(CHILD), str(tmp_path / "data"), str(tmp_path / "run"), "100000"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(8):  # it prints at each step
        child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == 130
    assert said.splitlines()[-1].startswith("error: interrupted; run the same command again")


def test_an_error_closes_the_bar(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    bars = []

    def step(self: SequenceModule, *args) -> None:
        bars.extend(c.bar for c in self.trainer.callbacks if hasattr(c, "bar"))
        raise RuntimeError("broken")

    monkeypatch.setattr(SequenceModule, "training_step", step)
    with pytest.raises(RuntimeError, match="broken"):
        SASRec(**MODEL).fit(*tiny_shop, Fit(seed=3, trainer=TRAINER, progress=True))
    assert bars[0].disable  # as tqdm says that a bar is closed


def test_fewer_epochs_than_were_done_is_said_in_one_line(tiny_shop, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 3})
    with pytest.raises(UserError, match=r"has 3 epochs done .* only 2: .*trainer\.max_epochs.*trainer\.resume=false"):
        fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 2})


def test_an_epoch_begun_is_not_handed_out_as_the_end_of_the_one_before(
    tiny_shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = SequenceModule.training_step

    def step(self: SequenceModule, *args) -> None:
        if self.step == 10:
            raise RuntimeError("power cut")
        original(self, *args)

    monkeypatch.setattr(SequenceModule, "training_step", step)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(*tiny_shop, folder=tmp_path, trainer={"checkpoint_minutes": 0.0})
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"is in epoch 3 .* only 2"):
        fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 2})
