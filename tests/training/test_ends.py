"""How a training ends: by patience, on Ctrl-C, by fewer epochs than it had before, by a loss that is no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import MODEL, TRAINER, fit

from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.training.config import TrainerConfig
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.next_item import NextItem

CHILD = Path(__file__).with_name("child.py")


def test_epochs_without_a_validation_neither_end_the_training_nor_use_up_patience(tiny_shop):
    trained = fit(*tiny_shop, epochs=6, patience=2, validate_every=3, lr=1e-4).trained
    assert ["ndcg@10" in row for row in trained.history] == [False, False, True] * 2


def test_patience_counts_validations(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SequenceModule, "validate", lambda self: {"ndcg@10": 0.1})
    trained = fit(*tiny_shop, epochs=40, patience=2, validate_every=3).trained
    assert len(trained.history) == 9  # the first validation, and two that were no better
    assert trained.best_epoch == 3


@pytest.mark.parametrize("sign", [1, -1])
def test_patience_waits_on_while_validation_rises(tiny_shop, tmp_path: Path, monkeypatch, sign: int):
    """An early epoch that was good by chance ended a training that had only begun to learn."""
    said = iter([0.16, 0.05, 0.06, 0.08, 0.1, 0.13, 0.17, 0.12, 0.11])
    monkeypatch.setattr(SequenceModule, "validate", lambda self: {"ndcg@10": sign * next(said)})
    monkeypatch.setattr(NextItem, "lower_is_better", sign < 0)
    begun = fit(*tiny_shop, folder=tmp_path, epochs=5, patience=2).trained
    assert (begun.best_epoch, len(begun.history)) == (1, 5)
    trained = fit(*tiny_shop, folder=tmp_path, epochs=40, patience=2).trained  # goes on, too
    assert (trained.best_epoch, len(trained.history)) == (7, 9)


def test_patience_takes_as_many_steps_as_are_set_where_an_epoch_has_few(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(SequenceModule, "validate", lambda self: {"ndcg@10": 0.1})
    trained = fit(*tiny_shop, epochs=40, patience=2, patience_steps=9).trained  # an epoch has four
    assert len(trained.history) == 1 + 3


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


ENTRY = (
    "import sys, runpy; from shopkeeper.pipeline.shell.entry import one_line_errors; sys.argv = sys.argv[1:]\n"
    "with one_line_errors(): runpy.run_path(sys.argv[0])"
)


def started(place: Path, **trainer: object) -> subprocess.Popen[str]:
    """A training in a process of its own (and a group of its own) that has begun its steps."""
    settings = json.dumps({"checkpoint_minutes": 1000.0, "checkpoint_epochs": 10**6, **trainer})
    command = [sys.executable, "-c", ENTRY, str(CHILD), str(place / "data"), str(place / "run"), "100000", settings]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_training_that_a_signal_ends_has_a_checkpoint_of_its_last_step_and_another_exit_code(
    number: signal.Signals, tmp_path: Path
):
    child = started(tmp_path)
    assert child.stdout is not None
    for _ in range(8):  # it prints at each step
        child.stdout.readline()
    child.send_signal(number)
    assert child.stderr is not None
    out, said = child.stdout.read(), child.stderr.read()  # `communicate` loses what `readline` has read ahead
    child.wait()
    assert child.returncode == 128 + number
    assert said.splitlines()[-1].startswith(f"error: stopped by {number.name}; ")
    steps = [line for line in out.splitlines() if line.startswith("step")]
    (saved,) = (tmp_path / "run" / "checkpoint").glob("step-*")
    last = int(steps[-1].split()[1]) if steps else 7
    assert int(saved.name.removeprefix("step-")) == last + 1


def test_processes_that_share_a_training_end_with_a_checkpoint_when_all_are_sent_sigterm(tmp_path: Path):
    child = started(tmp_path, devices=2, accelerator="cpu")
    errors = []
    assert child.stderr is not None
    for line in child.stderr:
        errors.append(line)
        if line.startswith("execution plan"):
            break
    time.sleep(1.0)  # its steps take thousandths of a second
    os.killpg(child.pid, signal.SIGTERM)
    said = "".join(errors) + child.communicate()[1]
    assert child.returncode == 143, said
    assert said.splitlines()[-1].startswith("error: stopped by SIGTERM; ")
    assert list((tmp_path / "run" / "checkpoint").glob("step-*")), said


SECOND = """
import os, signal, sys, time
from shopkeeper import stopping
from shopkeeper.training.config import TrainerConfig
with stopping.listening(), stopping.held_back():
    os.kill(os.getpid(), signal.SIGTERM)
    print("held", flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("not reached", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_on_the_spot(number: signal.Signals):
    done = subprocess.run([sys.executable, "-c", SECOND, str(int(number))], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert done.stdout == "held\n"
    assert done.stderr == f"error: stopped by {number.name}, at once; run the same command again\n"


def test_what_the_parent_had_ignored_stays_ignored():
    code = (
        "import os, signal; from shopkeeper import stopping; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with stopping.listening(): os.kill(os.getpid(), signal.SIGHUP)\nprint('on')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "on\n"


def test_an_error_closes_the_bar(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    bars = []

    def step(self: SequenceModule, *args) -> None:
        bars.extend(c.bar for c in self.trainer.callbacks if hasattr(c, "bar"))
        raise RuntimeError("broken")

    monkeypatch.setattr(SequenceModule, "training_step", step)
    with pytest.raises(RuntimeError, match="broken"):
        SASRec(**MODEL).fit(*tiny_shop, Fit(seed=3, trainer=TrainerConfig.of(TRAINER), progress=True))
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
