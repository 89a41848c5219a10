"""Losses over drawn negatives: equal to the full softmax where all are drawn, unbiased where few are."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from shopkeeper.errors import UserError
from shopkeeper.nn.losses import Loss, Negatives, sampled_loss

V = 40
DEVICE = torch.device("cpu")


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    h_ND, item_VD = torch.randn(25, 8, requires_grad=True), torch.randn(V, 8, requires_grad=True)
    return h_ND, item_VD, torch.randint(0, V, (25,))


def drawn(h_ND, item_VD, label_N, class_C, log_q_C, loss: Loss) -> torch.Tensor:
    return sampled_loss(h_ND, item_VD[label_N], item_VD[class_C], label_N, class_C, log_q_C, loss)


def test_with_the_whole_catalogue_as_negatives_it_is_the_full_softmax_gradients_included():
    h_ND, item_VD, label_N = example()
    full = F.cross_entropy(h_ND @ item_VD.T, label_N, reduction="sum")
    want = torch.autograd.grad(full, (h_ND, item_VD))
    every = torch.randperm(V)
    for loss in (Loss("sampled_softmax", logq=False), Loss("sampled_softmax", logq=True)):
        # q = 1 / V and C = V draws: the correction is 0, too
        ours = drawn(h_ND, item_VD, label_N, every, torch.full((V,), -math.log(V)), loss)
        torch.testing.assert_close(ours, full, rtol=1e-5, atol=1e-5)
        for a, b in zip(torch.autograd.grad(ours, (h_ND, item_VD)), want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("draw", ["uniform", "popularity"])
def test_corrected_for_the_draw_few_negatives_estimate_the_sum_over_the_catalogue(draw: str):
    h_ND, item_VD, label_N = example()
    count_V = torch.arange(1, V + 1)
    loss = Loss("sampled_softmax", negatives=60_000, draw=draw)
    class_C, log_q_C = Negatives(loss, V, count_V).draw(3, DEVICE)
    full = F.cross_entropy(h_ND @ item_VD.T, label_N, reduction="sum")
    corrected = drawn(h_ND, item_VD, label_N, class_C, log_q_C, loss)
    torch.testing.assert_close(corrected, full, rtol=0.02, atol=0)
    bare = drawn(h_ND, item_VD, label_N, class_C, log_q_C, Loss("sampled_softmax", 60_000, draw, logq=False))
    assert bare > 1.5 * full


def test_popular_items_are_drawn_in_proportion_and_others_never():
    count_V = torch.tensor([0, 3, 0, 1])
    class_C, log_q_C = Negatives(Loss("bce", 8_000, "popularity"), 4, count_V).draw(1, DEVICE)
    share = torch.bincount(class_C, minlength=4) / 8_000
    assert share[0] == share[2] == 0
    assert share[1].item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(log_q_C.exp(), (count_V / 4)[class_C])


def test_the_same_seed_draws_the_same_and_another_one_others():
    negatives = Negatives(Loss("bce", 50), 1000, None)
    assert torch.equal(negatives.draw(5, DEVICE)[0], negatives.draw(5, DEVICE)[0])
    assert not torch.equal(negatives.draw(5, DEVICE)[0], negatives.draw(6, DEVICE)[0])


def test_binary_cross_entropy_by_hand_leaves_out_a_negative_that_is_the_label():
    h_ND, item_VD = torch.tensor([[1.0]]), torch.tensor([[2.0], [-1.0], [0.5]])
    got = drawn(h_ND, item_VD, torch.tensor([0]), torch.tensor([0, 1, 2]), torch.zeros(3), Loss("bce"))
    want = math.log1p(math.exp(-2)) + (math.log1p(math.exp(-1)) + math.log1p(math.exp(0.5))) / 2
    assert got.item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "sampled_softmx"}, "Did you mean 'sampled_softmax'"),
        ({"negative": 3}, "loss.negative is not known. Did you mean 'negatives'"),
        ({"negatives": 0}, "loss.negatives=0 must be a whole number of at least 1"),
        ({"draw": "often"}, "choose uniform or popularity"),
    ],
)
def test_a_misspelt_loss_is_named(values, said: str):
    with pytest.raises(UserError) as e:
        Loss.of(values)
    assert said in str(e.value)
