"""Customers at instants as an objective: what is read of whom, what the loss is; one pass serves all instants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from shopkeeper.errors import UserError
from shopkeeper.nn.days import HOURS, KNOTS, Days
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.nn.networks.gru import GRUNetwork, GRUShape
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape
from shopkeeper.nn.networks.transformer import TransformerNetwork, TransformerShape
from shopkeeper.schema import MICROSECONDS_PER_DAY as DAY
from shopkeeper.training.checkpoint import Resumable
from shopkeeper.training.config import Plan, Recipe, TrainerConfig
from shopkeeper.training.fit import Trained, train
from shopkeeper.training.module import SequenceModule
from shopkeeper.training.objectives.customer_heads import CustomerHeads, Questions, window_ends

CPU, EDGES = torch.device("cpu"), (2, 4, 6, 9)
PLAN = Plan(edges=EDGES)
TRAINER = {"accelerator": "cpu", "precision": "fp32", "threads": 1}
TASKS = ("leaves", "returns")


def questions(n_users: int = 40, heads: int = 2, seed: int = 0) -> Questions:
    """Customers with 1 to 9 events, each asked about at one to three instants; the more often they came lately, the
    less they leave."""
    rng = np.random.default_rng(seed)
    item, kind, time, start, end, instant, label = [], [], [], [], [], [], []
    for _ in range(n_users):
        n, first, rate = int(rng.integers(1, 10)), len(item), rng.exponential(20)
        at = np.cumsum(rng.exponential(rate, n) * DAY).astype(np.int64)
        item += rng.integers(1, 6, n).tolist()
        kind += rng.integers(1, 4, n).tolist()
        time += at.tolist()
        for known in np.unique(rng.integers(1, n + 1, 3)):
            start.append(first)
            end.append(first + known)
            instant.append(int(at[known - 1] + rng.integers(1, 9 * DAY)))
            label.append([float(rate > 15)] + [float(rng.integers(2)) if rng.random() < 0.5 else np.nan] * (heads - 1))
    columns = {"event_type": np.array(kind, np.int8), "timestamp": np.array(time, np.int64)}
    return Questions(np.array(item, np.int32), columns, np.array(start), np.array(end), np.array(instant),
                     np.array(label, np.float32))  # fmt: skip


def network(kind: type[Any] = GRUNetwork, **shape: Any) -> Any:
    torch.manual_seed(0)
    return kind(
        (TransformerShape if kind is TransformerNetwork else GRUShape)(
            **{"n_items": 6, "width": 8, "max_length": 6, "n_types": 4, **shape}
        )
    )


def opened(net: SequenceNetwork, asked: Questions, held_out: np.ndarray | None = None) -> CustomerHeads:
    objective = CustomerHeads(TASKS[: asked.label.shape[1]], asked, np.zeros(len(asked), bool) if held_out is None
                              else held_out)  # fmt: skip
    objective.furnish(net)
    objective.open(net, Recipe(), None)
    return objective


def said(net: SequenceNetwork, asked: Questions) -> torch.Tensor:
    """Logits of the questions, each asked alone."""
    histories = asked.alone(net.shape.max_length)
    rows = np.argsort(histories.length_R, kind="stable")
    batch = histories.batch(rows, EDGES, CPU, net.reads)
    vector = torch.zeros(len(asked), net.shape.width)
    at = torch.from_numpy(histories.request_R[rows])
    vector[at] = net(net.embed(batch), batch.layout.groups, False, batch.layout.last_B)
    return net.heads(vector, torch.from_numpy(asked.since()))


@pytest.mark.parametrize("kind", [GRUNetwork, TransformerNetwork, GRU4RecNetwork])
def test_asked_at_all_instants_in_one_pass_it_says_what_it_says_asked_alone_and_the_loss_is_by_the_book(kind: type):
    asked, net = questions(), network(kind, max_length=9)
    objective = opened(net, asked)
    net.eval()
    n_sequences = len(asked) if kind is GRU4RecNetwork else len(np.unique(asked.start))
    assert len(objective.length_U) == n_sequences < len(asked) + 1
    users = np.random.default_rng(1).permutation(n_sequences)
    with torch.no_grad():
        batch = objective.show(users, PLAN, 0, 0, CPU)
        got = objective.loss(net(net.embed(batch), batch.layout.groups), batch, net, PLAN, 0.5, 0)
        p = said(net, asked).double().sigmoid().numpy()
    y = asked.label
    lost = -np.where(y > 0.5, np.log(p), np.log1p(-p))[~np.isnan(y)]
    assert float(got) == pytest.approx(0.5 * lost.sum(), rel=1e-5)
    assert objective.labels_U.sum() == len(lost) < y.size
    assert objective.length_U.sum() == len(batch.layout.slot_N)


def test_a_label_that_is_not_known_reaches_no_gradient():
    asked, net = questions(), network()
    none = replace(asked, label=np.stack([asked.label[:, 0], np.full(len(asked), np.nan)], axis=1).astype(np.float32))
    objective = opened(net, none)
    batch = objective.show(np.arange(len(objective.length_U)), PLAN, 0, 0, CPU)
    objective.loss(net(net.embed(batch), batch.layout.groups), batch, net, PLAN, 1.0, 0).backward()
    gradient = net.heads.out.weight.grad
    assert torch.isfinite(gradient).all()
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


def test_questions_share_a_sequence_as_long_as_they_see_enough_there():
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 5, 60)) * 100
    end = start + rng.integers(1, 60, 60)
    for length in (1, 2, 7, 10, 200):
        found = window_ends(start, end, length)
        for first in np.unique(start):
            current = None
            for row in sorted(np.flatnonzero(start == first), key=lambda row: (-end[row], row)):
                low = None if current is None else max(first, current - length)
                if low is None or not (low == first or end[row] - low >= length / 2):
                    current = end[row]
                assert found[row] == current
    assert (window_ends(start, end, 200) == np.array([end[start == s].max() for s in start])).all()
    assert window_ends(start[:0], end[:0], 5).tolist() == []


class Claims(SASRecNetwork):
    """Says that it looks back alone, and counts positions from the newest event."""

    looks_ahead: ClassVar[bool] = False


def test_a_network_that_says_it_looks_back_alone_is_held_to_it():
    asked = questions()
    torch.manual_seed(0)
    shape = SASRecShape(6, width=8, blocks=1, max_length=6, n_types=4)
    opened(SASRecNetwork(shape), asked)
    with pytest.raises(UserError, match="Claims says looks_ahead = False, and its vectors change with what follows"):
        opened(Claims(shape), asked)


def test_days_are_told_apart_from_an_hour_to_years():
    torch.manual_seed(0)
    embed = Days(4)
    days = torch.tensor([0.0, 1 / HOURS, 1.0, 3.7, 40.0, 9000.0])
    x = np.minimum(np.log2(1 + HOURS * days.numpy()), KNOTS - 1)
    low = np.minimum(x.astype(int), KNOTS - 2)
    weight = embed.weight.detach().numpy()
    want = weight[low] * (low + 1 - x)[:, None] + weight[low + 1] * (x - low)[:, None]
    np.testing.assert_allclose(embed(days).detach().numpy(), want, atol=1e-5)


def trained(asked: Questions, folder: Path | None = None, held_out: np.ndarray | None = None, epochs: int = 4,
            net: SequenceNetwork | None = None, **trainer: Any) -> tuple[SequenceNetwork, Trained]:  # fmt: skip
    net = net or network()
    held = np.isin(asked.start, np.unique(asked.start)[::4]) if held_out is None else held_out
    objective = CustomerHeads(TASKS[: asked.label.shape[1]], asked, held)
    objective.furnish(net)
    recipe = Recipe(lr=0.02, batch_size=8, epochs=epochs, patience=0)
    config = TrainerConfig.of(TRAINER | trainer)
    result = train(net, objective, recipe=recipe, config=config, seed=3, identity={"model": "test"}, folder=folder,
                   progress=False)  # fmt: skip
    return net, result


def test_two_tasks_are_learned_at_once_and_judged_on_customers_who_are_held_out():
    asked = questions(120)
    held = np.isin(asked.start, np.unique(asked.start)[::4])
    net, result = trained(asked, held_out=held, epochs=12)
    with torch.no_grad():
        p = said(net, asked).double().sigmoid().numpy()
    y = asked.label
    lost = np.where(y > 0.5, -np.log(p), -np.log1p(-p))
    of_task = [lost[held & ~np.isnan(y[:, h]), h].mean() for h in (0, 1)]
    best = result.history[result.best_epoch - 1]
    assert result.headline == "log_loss"
    assert best["log_loss"] == min(row["log_loss"] for row in result.history) == result.best_value
    assert [best[f"log_loss_{name}"] for name in TASKS] == pytest.approx(of_task, abs=1e-6)
    assert best["log_loss"] == pytest.approx(np.mean(of_task), abs=1e-6)
    rate = y[held, 0].mean()
    of_the_rate = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
    assert best["log_loss_leaves"] < of_the_rate - 0.05  # the first is there to be learned: how often they came
    turned = replace(asked, label=np.where(held[:, None], 1 - y, y))  # nobody who is held out is learned from
    _, other = trained(turned, held_out=held, epochs=12)
    assert [row["loss"] for row in other.history] == [row["loss"] for row in result.history]
    assert [row["log_loss"] for row in other.history] != [row["log_loss"] for row in result.history]


class Killed(BaseException):
    """Stands for a kill: nothing of the training catches it."""


def test_stopped_at_any_step_and_resumed_the_weights_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = questions()
    net, whole = trained(asked)
    original, stops = SequenceModule.training_step, [9, 5, 2]

    def step(self: SequenceModule, *args: Any) -> None:
        if stops and self.step == stops[-1]:
            stops.pop()
            raise Killed
        original(self, *args)

    monkeypatch.setattr(SequenceModule, "training_step", step)
    inside = lambda self, trainer, module, *a: self.save(trainer, module) if module.step % 2 else None
    monkeypatch.setattr(Resumable, "on_train_batch_end", inside)
    for _ in range(3):
        with pytest.raises(Killed):
            trained(asked, tmp_path)
    resumed_net, resumed = trained(asked, tmp_path)
    for one, other in ((whole.last_weights, resumed.last_weights), (net.state_dict(), resumed_net.state_dict())):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    figures = [[(row["loss"], row["log_loss"]) for row in r.history] for r in (whole, resumed)]
    assert figures[0] == figures[1]
    turned = replace(asked, label=1 - asked.label)
    with pytest.raises(UserError, match="belongs to another training"):
        trained(turned, tmp_path)


def test_two_processes_learn_and_judge_what_one_does():
    asked = questions()
    shape = {"dropout": 0.0, "dropout_embed": 0.0}
    one_net, one = trained(asked, epochs=2, net=network(**shape))
    two_net, two = trained(asked, epochs=2, net=network(**shape), devices=2)
    for name in ("loss", "log_loss", "log_loss_returns"):
        assert [row[name] for row in two.history] == pytest.approx([row[name] for row in one.history], abs=1e-5)
    for name, weight in one_net.state_dict().items():
        torch.testing.assert_close(two_net.state_dict()[name], weight, atol=1e-4, rtol=0)
