"""Memory: said before, refused when it cannot fit, halved when it runs out."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
import yaml
from small_training import assert_close, fit

from shopkeeper.errors import UserError
from shopkeeper.pipeline.shell.entry import one_line_errors
from shopkeeper.training.config import Plan, TrainerConfig
from shopkeeper.training.devices import execution, memory
from shopkeeper.training.module import SequenceModule

CONF = Path(__file__).parents[2] / "conf"
SIZES = {
    "data_bytes": 10**6, "n_parameters": 10**6, "n_classes": 10**5, "width": 64, "activations": 7_000,
    "length": 200,
}  # fmt: skip


def run_out(monkeypatch: pytest.MonkeyPatch, above: int, error: Exception) -> list[int]:
    """Every attempt at more than `above` sequences fails; gives the list of sizes tried."""
    tried: list[int] = []
    original = SequenceModule.loss

    def loss(self, users, network, scale):
        tried.append(len(users))
        if len(users) > above:
            raise error
        return original(self, users, network, scale)

    monkeypatch.setattr(SequenceModule, "loss", loss)
    return tried


def test_on_a_cpu_no_more_sequences_than_keep_half_a_gib_are_learned_at_a_time():
    plan, gib = Plan(device="cpu", micro_batch=512), 2**30
    assert execution.within(plan, TrainerConfig(), 0.5 * gib / 512) == plan
    assert execution.within(plan, TrainerConfig(), 0.51 * gib / 512).micro_batch == 256
    assert execution.within(plan, TrainerConfig(), gib).micro_batch == 1
    assert execution.within(Plan(device="cuda", micro_batch=512), TrainerConfig(), gib).micro_batch == 512
    assert execution.within(plan, TrainerConfig(micro_batch=512), gib).micro_batch == 512


def test_a_batch_that_keeps_too_much_is_learned_in_parts(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    plain = fit(*tiny_shop, dropout=0.0, epochs=2)
    monkeypatch.setattr(execution, "KEPT_BYTES", 40_000)
    parts = fit(*tiny_shop, dropout=0.0, epochs=2)
    assert parts.trained.plan.micro_batch < plain.trained.plan.micro_batch == 16
    assert_close(parts.trained.last_weights, plain.trained.last_weights)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(
    tiny_shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
):
    plain = fit(*tiny_shop, dropout=0.0, epochs=2)
    tried = run_out(monkeypatch, 5, error)
    with caplog.at_level(logging.WARNING):
        halved = fit(*tiny_shop, dropout=0.0, epochs=2)
    assert tried[:6] == [16, 8, 4, 4, 4, 4]
    assert "8 sequences at a time instead of 16; the effective batch stays 16" in caplog.text
    assert halved.trained.plan.micro_batch == 4
    assert_close(halved.trained.last_weights, plain.trained.last_weights)


def test_a_single_sequence_that_does_not_fit_ends_with_the_settings_to_change(
    tiny_shop, monkeypatch: pytest.MonkeyPatch
):
    run_out(monkeypatch, 0, MemoryError())
    with pytest.raises(UserError, match=r"one sequence at a time; choose a smaller model\.max_length"):
        fit(*tiny_shop)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    run_out(monkeypatch, 5, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(*tiny_shop)


@pytest.mark.parametrize(
    ("plan", "change", "part", "remedy"),
    [
        ({"chunk": 100_000}, {}, "softmax", "chunk"),
        ({"micro_batch": 4096}, {}, "activations", "micro_batch"),
        ({}, {"data_bytes": 10**11}, "data", "resident=mapped"),
        ({}, {"n_parameters": 10**10}, "optimizer", "width"),
    ],
)
def test_what_cannot_fit_is_refused_and_the_setting_to_change_is_named(plan, change, part, remedy):
    estimate = memory.estimate_memory(**{**SIZES, **change}, plan=Plan(**plan))
    with pytest.raises(UserError, match=rf"the largest part is {part}: .*{remedy}"):
        memory.refuse_if_too_big(estimate, 2**30)
    memory.refuse_if_too_big(estimate, 2**50)


def test_training_refuses_before_it_starts(tiny_shop):
    with pytest.raises(UserError, match=r"training would take .* may be used"):
        fit(*tiny_shop, trainer={"memory_gib": 1e-6})


def test_chunks_keep_the_softmax_small_whatever_the_batch():
    small, large = (memory.estimate_memory(**SIZES, plan=Plan(micro_batch=m)).softmax for m in (64, 4096))
    assert small == large
    full = memory.estimate_memory(**SIZES, plan=Plan(micro_batch=4096, chunk=10**9)).softmax
    assert full > 100 * large


def test_validation_that_runs_out_of_memory_takes_fewer_requests_at_a_time(
    tiny_shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    whole = fit(*tiny_shop, epochs=2).trained
    original = SequenceModule.encode
    tried: list[int] = []

    def encode(self, network, batch, last=None):
        if last is not None:
            tried.append(len(last))
            if len(last) > 20:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(self, network, batch, last)

    monkeypatch.setattr(SequenceModule, "encode", encode)
    halved = fit(*tiny_shop, epochs=2).trained
    assert max(tried) > 20 >= tried[-1]
    assert "16 validation requests at a time instead of 32" in caplog.text
    assert tried.count(60) == 4  # 512, 256, 128 and 64 at a time; not again after the second epoch
    assert [h["ndcg@10"] for h in halved.history] == [h["ndcg@10"] for h in whole.history]


def test_validation_that_never_fits_ends_with_the_settings_to_change(tiny_shop, monkeypatch: pytest.MonkeyPatch):
    def full(*args):
        raise MemoryError

    monkeypatch.setattr("shopkeeper.training.validation.encode_all", full)
    with pytest.raises(UserError, match=r"one validation request at a time; choose a smaller model\.max_length"):
        fit(*tiny_shop, epochs=1)


@pytest.mark.parametrize("place", ["torch.optim.AdamW.step", "shopkeeper.training.batching.batches.TrainingView.to"])
def test_out_of_memory_anywhere_else_is_said_in_one_line(tiny_shop, monkeypatch: pytest.MonkeyPatch, place: str):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand a page about fragments")

    monkeypatch.setattr(place, full)
    with pytest.raises(UserError, match=r"Tried to allocate 2 GiB\); choose a smaller trainer\.micro_batch") as e:
        fit(*tiny_shop, epochs=1)
    assert "\n" not in str(e.value)


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, dict[str, str]]) -> None:
    """A machine with 8 GiB free whose process is in this control group; `files` of the groups below the mount."""
    everything = {"proc": {"meminfo": "MemTotal: 9 kB\nMemAvailable: 8388608 kB\n"}, "proc/self": {"cgroup": group}}
    for place, contents in (everything | {f"cgroup/{k}": v for k, v in files.items()}).items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / place / name).write_text(text)
    monkeypatch.setattr(memory, "PROC", folder / "proc")
    monkeypatch.setattr(memory, "CGROUPS", folder / "cgroup")


V2 = {"memory.max": "3000\n", "memory.current": "2500\n", "memory.stat": "anon 2000\ninactive_file 400\n"}
V1 = {
    "memory.limit_in_bytes": "3000\n",
    "memory.usage_in_bytes": "2500\n",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 400\n",
}


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        ("0::/\n", {".": V2}, 900),  # a container's own view
        ("0::/a/b\n", {"a/b": V2 | {"memory.max": "max\n"}, "a": V2}, 900),  # the limit is that of the group above
        ("0::/a/b\n", {"a/b": V2 | {"memory.max": "max\n"}}, 8 << 30),
        ("3:cpu:/x\n2:memory:/docker/1\n1:name=systemd:/\n", {"memory": V1}, 900),
        ("2:memory:/docker/1\n", {"memory/docker/1": V1, "memory": V1 | {"memory.limit_in_bytes": f"{2**63}"}}, 900),
        ("", {}, 8 << 30),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group, files, free: int):
    machine(tmp_path, monkeypatch, group, files)
    assert memory.available(torch.device("cpu")) == free


def test_processes_on_a_cpu_share_what_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    rooms = [
        memory.room(TrainerConfig(devices=4, **more), torch.device(device))
        for more, device in (({}, "cpu"), ({"memory_gib": 1}, "cpu"), ({}, "cuda"))
    ]
    assert rooms == [250, memory.GIB // 4, 1000]


def test_the_settings_that_a_lack_of_memory_names_exist(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit), one_line_errors():
        raise MemoryError
    named = re.findall(r"(trainer|model)\.(\w+)", capsys.readouterr().err + memory.SMALLER)
    there = {
        g: yaml.safe_load((CONF / g / f"{n}.yaml").read_text()) for g, n in (("trainer", "auto"), ("model", "sasrec"))
    }
    assert len(named) >= 5
    assert [name for group, name in named if name not in there[group]] == []
