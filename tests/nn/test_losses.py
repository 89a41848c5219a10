"""Losses over drawn negatives: equal to the full softmax where all are drawn, unbiased where few are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shopkeeper.errors import UserError
from shopkeeper.nn.loss_settings import Loss
from shopkeeper.nn.losses import Negatives, of_sequence, sampled_loss, smoothed

V = 40
DEVICE = torch.device("cpu")


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    h_ND, item_VD = torch.randn(25, 8, requires_grad=True), torch.randn(V, 8, requires_grad=True)
    return h_ND, item_VD, torch.randint(0, V, (25,))


def drawn(h_ND, item_VD, label_N, class_C, log_q_C, loss: Loss) -> torch.Tensor:
    return sampled_loss(h_ND, item_VD[label_N], item_VD[class_C], label_N, class_C, log_q_C, loss, V)


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


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gbce(r: float, s_C: np.ndarray, n_drawn: int) -> float:
    alpha, t = n_drawn / (V - 1), 0.75
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    return float(-np.log(sigmoid(r) ** beta) - np.log(1 - sigmoid(s_C)).sum()) / (len(s_C) + 1)


def bpr_max(r: float, s_C: np.ndarray, n_drawn: int) -> float:
    w_C = np.exp(s_C) / np.exp(s_C).sum()
    return float(-np.log((w_C * sigmoid(r - s_C)).sum()) + 0.5 * (w_C * s_C**2).sum())


BY_HAND = {
    "gbce": gbce,
    "bpr": lambda r, s_C, _: float(-np.log(sigmoid(r - s_C)).mean()),
    "bpr_max": bpr_max,
    "top1": lambda r, s_C, _: float((sigmoid(s_C - r) + sigmoid(s_C**2)).mean()),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_over_pairs_and_gbce_are_their_formulas_without_a_positions_own_label(name: str):
    h_ND, item_VD, label_N = example()
    class_C = torch.tensor([3, 17, 3, int(label_N[0]), 28, int(label_N[1])])
    got = drawn(h_ND, item_VD, label_N, class_C, torch.zeros(6), Loss(name, regularisation=0.5))
    score_NV = (h_ND @ item_VD.T).detach().double().numpy()
    want = 0.0
    for score_V, label in zip(score_NV, label_N.tolist(), strict=True):
        others = [c for c in class_C.tolist() if c != label]
        want += BY_HAND[name](score_V[label], score_V[others], len(class_C))
    assert got.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("name", ["bce", *BY_HAND])
def test_a_position_whose_negatives_are_all_its_label_breaks_nothing(name: str):
    h_ND, item_VD, _ = example()
    label_N = torch.tensor([5, *[7] * 24])
    alone = drawn(h_ND, item_VD, label_N, torch.tensor([5, 5]), torch.zeros(2), Loss(name))
    assert torch.isfinite(alone)
    for grad in torch.autograd.grad(alone, (h_ND, item_VD)):
        assert torch.isfinite(grad).all()
    assert (
        name in ("bce", "gbce")
        or not torch.autograd.grad(
            drawn(h_ND[:1], item_VD, label_N[:1], torch.tensor([5, 5]), torch.zeros(2), Loss(name)), item_VD
        )[0].any()
    )


def test_uncalibrated_gbce_is_bce_and_wholly_calibrated_a_share_of_the_positive_counts():
    h_ND, item_VD, label_N = example()
    every = torch.arange(V)
    first = drawn(h_ND, item_VD, label_N, every, torch.zeros(V), Loss("gbce", calibration=0))
    positive = F.softplus(-(h_ND * item_VD[label_N]).sum(1)).sum()
    r_N = (h_ND * item_VD[label_N]).sum(1)
    negatives = F.softplus(h_ND @ item_VD.T).sum() - F.softplus(r_N).sum()
    torch.testing.assert_close(first, (positive + negatives) / V, rtol=1e-5, atol=1e-5)
    some = torch.arange(13)
    parts = [
        drawn(h_ND[:1], item_VD, torch.tensor([20]), some, torch.zeros(13), Loss("gbce", calibration=t)) for t in (0, 1)
    ]
    r = (h_ND[0] * item_VD[20]).sum()
    torch.testing.assert_close(parts[0] - parts[1], (1 - 13 / (V - 1)) * F.softplus(-r) / 14)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "sampled_softmx"}, "Did you mean 'sampled_softmax'"),
        ({"negative": 3}, "unknown option `loss.negative`. Did you mean 'negatives'"),
        ({"negatives": 0}, "loss.negatives is 0; it must be a whole number of at least 1"),
        ({"draw": "often"}, "choose uniform or popularity"),
        ({"name": "bpr-max"}, "Did you mean 'bpr_max'"),
        ({"calibration": 1.5}, "loss.calibration is 1.5; it must be a number from 0 to 1"),
        ({"regularisation": -1}, "loss.regularisation is -1; it must be a number of at least 0"),
    ],
)
def test_a_misspelt_loss_is_named(values, said: str):
    with pytest.raises(UserError) as e:
        Loss.of(values)
    assert said in str(e.value)


def test_smoothed_labels_are_those_of_pytorch_gradients_included():
    h_ND, item_VD, label_N = example()
    full = F.cross_entropy(h_ND @ item_VD[2:].T, label_N.clamp(max=V - 3), reduction="sum")
    ours = full + 0.1 * smoothed(h_ND, item_VD, label_N.clamp(max=V - 3), 2)
    want = F.cross_entropy(h_ND @ item_VD[2:].T, label_N.clamp(max=V - 3), reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)
    grads = (torch.autograd.grad(x, (h_ND, item_VD)) for x in (ours, want))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_smoothed_labels_of_a_sampled_softmax_are_those_of_the_full_one_where_all_are_drawn():
    h_ND, item_VD, label_N = example()
    loss = Loss("sampled_softmax", logq=False, smoothing=0.1)
    ours = drawn(h_ND, item_VD, label_N, torch.randperm(V), torch.zeros(V), loss)
    want = F.cross_entropy(h_ND @ item_VD.T, label_N, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)


def test_labels_of_pairs_are_not_smoothed():
    with pytest.raises(UserError, match=r"loss\.smoothing=0\.1 is of the classes of a softmax, and loss=bpr has pairs"):
        Loss("bpr", smoothing=0.1)


def test_what_is_in_a_sequence_is_found_whichever_way_it_stands_there():
    rng = np.random.default_rng(0)
    item_P, row_P = rng.integers(1, 12, 30), np.sort(rng.integers(0, 6, 30))
    own_N, row_N, other_C = rng.integers(1, 12, 9), rng.integers(0, 6, 9), rng.integers(1, 14, 20)
    got = of_sequence(*(torch.from_numpy(x) for x in (other_C, item_P, own_N, row_P, row_N)), 6)
    inside = [{*item_P[row_P == b].tolist(), *own_N[row_N == b].tolist()} for b in range(6)]
    assert got.tolist() == [[item in inside[row] for item in other_C.tolist()] for row in row_N]
    assert got.any()
    assert not got.all()


def test_a_negative_that_is_left_out_counts_for_nothing():
    h_ND, item_VD, label_N = example()
    class_C = torch.tensor([1, 5, 5, 9, 30])
    taken_NC = torch.zeros(25, 5, dtype=torch.bool)
    taken_NC[:, [1, 2]] = True
    for name in ("sampled_softmax", "bce", "bpr", "bpr_max", "top1"):
        loss = Loss(name, logq=False)
        given = (h_ND, item_VD[label_N], item_VD[class_C], label_N, class_C, torch.zeros(5), loss, V, taken_NC)
        few = class_C[[0, 3, 4]]
        without = drawn(h_ND, item_VD, label_N, few, torch.zeros(3), loss)
        torch.testing.assert_close(sampled_loss(*given), without, rtol=1e-5, atol=1e-5)
