"""Killed anywhere and resumed, a training ends with the weights of the uninterrupted one."""

from __future__ import annotations

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import fit

from shopkeeper.errors import UserError
from shopkeeper.training import checkpoint as checkpoint_module
from shopkeeper.training.checkpoint import SafeCheckpointIO, newest_good
from shopkeeper.training.module import SequenceModule

CHILD = Path(__file__).with_name("child.py")
STEPS = 20  # 60 customers, 4 batches an epoch, 5 epochs


class Killed(BaseException):
    """Stands for a kill: nothing of the training catches it."""


def weights(model) -> dict[str, torch.Tensor]:
    assert model.trained is not None
    return model.trained.last_weights


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [k for k in a if not torch.equal(a[k], b[k])]
    assert not different, f"differ: {different}"


@pytest.fixture(scope="module")
def whole(tiny_shop):
    return fit(*tiny_shop)


def test_the_same_seed_and_plan_give_the_same_numbers(tiny_shop, whole):
    again = fit(*tiny_shop)
    assert_same(weights(whole), weights(again))
    assert [h["loss"] for h in whole.trained.history] == [h["loss"] for h in again.trained.history]
    other = fit(*tiny_shop, beta2=0.99)
    assert not torch.equal(weights(whole)["item.weight"], weights(other)["item.weight"])


@pytest.mark.parametrize("every_epochs", [1, 3])
def test_stopped_at_any_step_and_resumed_the_weights_are_the_same(
    tiny_shop, whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_epochs: int
):
    original = SequenceModule.training_step
    stops = iter([2, 5, 9, 12, 13])
    stop = next(stops)

    def step(self: SequenceModule, *args) -> None:
        if self.step == stop:
            raise Killed
        original(self, *args)

    monkeypatch.setattr(SequenceModule, "training_step", step)
    # A checkpoint within the epoch, every other step, beside those at its end.
    monkeypatch.setattr(
        checkpoint_module.Resumable,
        "on_train_batch_end",
        lambda self, trainer, module, *a: self.save(trainer, module) if module.step % 2 else None,
    )
    while True:
        try:
            resumed = fit(*tiny_shop, folder=tmp_path, trainer={"checkpoint_epochs": every_epochs})
            break
        except Killed:
            stop = next(stops, -1)
    assert_same(weights(whole), weights(resumed))
    assert [h["loss"] for h in resumed.trained.history] == [h["loss"] for h in whole.trained.history]
    assert resumed.trained.best_epoch == whole.trained.best_epoch
    assert_same(whole.network.state_dict(), resumed.network.state_dict())


def test_a_finished_training_that_is_asked_for_again_is_not_repeated(tiny_shop, whole, tmp_path: Path):
    first = fit(*tiny_shop, folder=tmp_path)
    again = fit(*tiny_shop, folder=tmp_path)
    assert_same(weights(first), weights(again))
    assert_same(weights(whole), weights(again))
    assert again.trained.history == first.trained.history


def test_patience_survives_a_kill(tiny_shop, tmp_path: Path):
    settings = {"epochs": 40, "patience": 2, "lr": 0.05}
    whole = fit(*tiny_shop, **settings)
    n = len(whole.trained.history)
    assert n < 40
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": n - 1}, **settings)
    resumed = fit(*tiny_shop, folder=tmp_path, **settings)
    assert len(resumed.trained.history) == n
    assert_same(weights(whole), weights(resumed))


def kill_and_resume(whole, folder: Path, kills: int, seed: int, epochs: int) -> None:
    draw = random.Random(seed)
    command = [sys.executable, str(CHILD), str(folder / "data"), str(folder / "run"), str(epochs)]
    survived = 0
    while survived < kills:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(draw.randint(1, 12)):  # the child prints at each step, at each save and while it writes
            process.stdout.readline()
        time.sleep(draw.random() * 0.02)
        assert process.poll() is None, "the training ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        survived += 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert_same(weights(whole), SafeCheckpointIO().load_checkpoint(folder / "run" / "last")["weights"])


def test_killed_for_real_it_ends_the_same(whole, tmp_path: Path):
    kill_and_resume(whole, tmp_path, kills=1, seed=1, epochs=5)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_the_same(tiny_shop, tmp_path: Path):
    kill_and_resume(fit(*tiny_shop, epochs=30), tmp_path, kills=20, seed=2, epochs=30)


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tiny_shop, whole, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 3})
    steps = sorted((tmp_path / "checkpoint").glob("step-*"))
    assert [p.name for p in steps] == ["step-0000000008", "step-0000000012"]
    file = steps[-1] / "state.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert newest_good(tmp_path / "checkpoint") == steps[0]
    assert_same(weights(whole), weights(fit(*tiny_shop, folder=tmp_path)))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_where_no_checkpoint_is_whole_training_says_so_and_starts_afresh(
    name: str, tiny_shop, whole, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 2})
    for folder in (tmp_path / "checkpoint").glob("step-*"):
        (folder / name).write_text("{")
    assert_same(weights(whole), weights(fit(*tiny_shop, folder=tmp_path)))
    assert f"training starts afresh: no checkpoint in {tmp_path / 'checkpoint'} is whole" in caplog.text
    assert newest_good(tmp_path / "checkpoint") is not None


def test_a_checkpoint_whose_state_was_edited_is_passed_over(
    tiny_shop, whole, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 2})
    before, last = sorted((tmp_path / "checkpoint").glob("step-*"))
    state = json.loads((last / "state.json").read_text())
    edited = json.dumps(state).replace('"lr": 0.01', '"lr": 0.05', 1)
    assert edited != json.dumps(state)
    (last / "state.json").write_text(edited)
    assert newest_good(tmp_path / "checkpoint") == before
    assert f"{last / 'state.json'} was changed or damaged" in caplog.text
    assert_same(weights(whole), weights(fit(*tiny_shop, folder=tmp_path)))
    newest = sorted((tmp_path / "checkpoint").glob("step-*"))[-1]
    whole_state = json.loads((newest / "state.json").read_text())
    (newest / "state.json").write_text(json.dumps({k: v for k, v in whole_state.items() if k != "seal"}))
    assert newest_good(tmp_path / "checkpoint") == newest, "those of earlier versions have no seal"


def test_a_torn_newest_checkpoint_is_replaced_when_training_comes_by_again(tiny_shop, whole, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 3})
    steps = sorted((tmp_path / "checkpoint").glob("step-*"))
    (steps[-1] / "state.json").write_text("{")
    assert_same(weights(whole), weights(fit(*tiny_shop, folder=tmp_path)))


def test_a_checkpoint_of_another_training_is_refused_by_what_differs(tiny_shop, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 1})
    with pytest.raises(UserError, match=r"lr: 0\.01 there, 0\.02 here"):
        fit(*tiny_shop, folder=tmp_path, lr=0.02)
    assert fit(*tiny_shop, folder=tmp_path, lr=0.02, trainer={"resume": False}).trained is not None


def test_the_plan_of_the_checkpoint_is_used_again(tiny_shop, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 1})
    resumed = fit(*tiny_shop, folder=tmp_path, trainer={"plan": {"edges": [12], "chunk": 8}})
    assert resumed.trained.plan.edges == (4, 8, 12)
    assert resumed.trained.plan.chunk == 64


def test_a_resumed_training_takes_the_threads_of_its_plan(tiny_shop, tmp_path: Path):
    before = torch.get_num_threads()
    try:
        fit(*tiny_shop, folder=tmp_path, trainer={"threads": 2, "max_epochs": 1})
        torch.set_num_threads(1)  # another machine, another environment
        resumed = fit(*tiny_shop, folder=tmp_path, trainer={"threads": None, "max_epochs": 2})
        assert (resumed.trained.plan.threads, resumed.trained.plan.cores) == (2, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_full_disk_while_saving_leaves_the_last_good_checkpoint(
    tiny_shop, whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    saves = []

    def full(tensors, path, *args):
        saves.append(path)
        if len(saves) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path, *args)

    real = checkpoint_module.save_file
    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(UserError, match="No space left"):
        fit(*tiny_shop, folder=tmp_path)
    names = sorted(p.name for p in (tmp_path / "checkpoint").iterdir())
    assert names == ["step-0000000004", "step-0000000008"]
    assert_same(weights(whole), weights(fit(*tiny_shop, folder=tmp_path)))
    shutil.rmtree(tmp_path)


def test_a_longer_training_goes_on_from_the_shorter_one(tiny_shop, whole, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, epochs=3)
    prolonged = fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 5})
    assert_same(weights(whole), weights(prolonged))
    seconds = [h["seconds"] for h in prolonged.trained.history]
    assert len(seconds) == 5


def test_a_cosine_decay_that_is_to_last_longer_starts_afresh_and_says_so(
    tiny_shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fit(*tiny_shop, folder=tmp_path, decay="cosine", trainer={"max_epochs": 2})
    with caplog.at_level(logging.WARNING):
        longer = fit(*tiny_shop, folder=tmp_path, decay="cosine", trainer={"max_epochs": 4})
    assert "starts afresh: the cosine decay" in caplog.text
    assert "planned for 2 epochs, now there are 4" in caplog.text
    assert_same(weights(fit(*tiny_shop, decay="cosine", epochs=4)), weights(longer))


def test_the_cosine_ends_at_the_last_epoch_that_the_trainer_allows(tiny_shop):
    by_recipe = fit(*tiny_shop, decay="cosine", epochs=2)
    by_trainer = fit(*tiny_shop, decay="cosine", epochs=50, trainer={"max_epochs": 2})
    assert_same(weights(by_recipe), weights(by_trainer))


def test_what_started_over_is_not_mixed_with_what_was_there(tiny_shop, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path)
    over = {"resume": False, "max_epochs": 1}
    fit(*tiny_shop, folder=tmp_path, lr=0.02, trainer=over)
    # The newest checkpoint by number would be that of the first training.
    assert [p.name for p in (tmp_path / "checkpoint").iterdir()] == ["step-0000000004"]
    assert_same(weights(fit(*tiny_shop, lr=0.02)), weights(fit(*tiny_shop, folder=tmp_path, lr=0.02)))


def test_a_longer_patience_counts_for_a_resumed_training(tiny_shop, tmp_path: Path):
    settings = {"epochs": 40, "lr": 0.05}
    short = fit(*tiny_shop, folder=tmp_path, patience=2, **settings)
    n = len(short.trained.history)
    longer = fit(*tiny_shop, patience=8, **settings)
    assert n < len(longer.trained.history)
    resumed = fit(*tiny_shop, folder=tmp_path, patience=8, **settings)
    assert len(resumed.trained.history) == len(longer.trained.history)
    assert_same(weights(longer), weights(resumed))


def test_an_epoch_of_fewer_batches_is_another_training(tiny_shop, tmp_path: Path):
    fit(*tiny_shop, folder=tmp_path, trainer={"max_epochs": 1, "max_batches": 2})
    with pytest.raises(UserError, match=r"max_batches: 2 there, none here"):
        fit(*tiny_shop, folder=tmp_path)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """From now on a training is killed after so many steps."""
    original, left = SequenceModule.training_step, iter(range(steps))

    def step(self, batch, batch_idx):
        if next(left, None) is None:
            raise Killed
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SequenceModule, "training_step", step)


@pytest.mark.parametrize("what", ["code", "torch"])
def test_a_training_whose_code_or_library_has_changed_says_so_and_starts_afresh(
    tiny_shop, whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
):
    from shopkeeper.recommenders.networks import sasrec
    from shopkeeper.training import resume, sequence_model

    with monkeypatch.context() as patch:
        if what == "code":
            other = sequence_model.code_of(sasrec.__name__) | {"nn/networks/sasrec.py": "the code of then"}
            patch.setattr(sequence_model, "code_of", lambda *_: other)
        else:
            patch.setattr(resume.torch, "__version__", "1.0")
        stop_after(patch, 9)
        with pytest.raises(Killed):
            fit(*tiny_shop, folder=tmp_path)
    assert newest_good(tmp_path / "checkpoint") is not None
    with caplog.at_level(logging.INFO):
        again = fit(*tiny_shop, folder=tmp_path)
    assert "starts afresh" in caplog.text
    assert ("nn/networks/sasrec.py" if what == "code" else "torch 1.0 then") in caplog.text
    assert "going on from" not in caplog.text
    assert_same(weights(whole), weights(again))
    assert len(again.trained.history) == 5


def test_the_same_weights_give_the_same_bytes_in_every_process(tiny_shop, tmp_path: Path):
    """Several entries of a header would be written in an order that differs from process to process."""
    model = fit(*tiny_shop, epochs=1)
    model.save(tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from shopkeeper.recommenders.networks.sasrec import SASRec\n"
        "m = SASRec()\n"
        "m.load(Path(sys.argv[1]))\nfor i in range(8): m.save(Path(f'{sys.argv[2]}{i}'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "here"), str(tmp_path / "there")])
    assert done.returncode == 0
    files = [p / "weights.safetensors" for p in tmp_path.iterdir()]
    assert len(files) == 9
    assert len({p.read_bytes() for p in files}) == 1
    with open(files[0], "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little")).decode()
    assert header.count('"shopkeeper"') == 1
    assert '"spec"' not in header.partition("shopkeeper")[0]
