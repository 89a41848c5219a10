"""The chunked softmax against autograd through the full one."""

from __future__ import annotations

import pytest
import torch

from shopkeeper.nn.softmax import chunk_rows, softmax_cross_entropy


def example(n: int, v: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    h_ND = torch.randn(n, 16, dtype=dtype, requires_grad=True)
    item_VD = torch.randn(v, 16, requires_grad=True)
    return h_ND, item_VD, torch.randint(0, v, (n,))


@pytest.mark.parametrize(("n", "v", "chunk"), [(50, 30, 7), (50, 30, 50), (1, 5, 32), (64, 1, 16)])
def test_loss_and_gradients_equal_the_full_softmax(n: int, v: int, chunk: int):
    h_ND, item_VD, label_N = example(n, v)
    full = torch.nn.functional.cross_entropy(h_ND @ item_VD.T, label_N, reduction="sum") * 0.3
    want = torch.autograd.grad(full, (h_ND, item_VD))
    ours = softmax_cross_entropy(h_ND, item_VD, label_N, chunk=chunk) * 0.3
    got = torch.autograd.grad(ours, (h_ND, item_VD))
    torch.testing.assert_close(ours, full, rtol=1e-6, atol=1e-6)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-6)


def test_rows_before_the_first_class_get_no_gradient_and_the_scale_is_in_it():
    h_ND, item_VD, label_N = example(20, 9)
    sliced = softmax_cross_entropy(h_ND, item_VD[2:], label_N % 7, chunk=8) * 0.25
    want = torch.autograd.grad(sliced, (h_ND, item_VD))
    ours = softmax_cross_entropy(h_ND, item_VD, label_N % 7, scale=0.25, first=2, chunk=8)
    got = torch.autograd.grad(ours, (h_ND, item_VD))
    assert ours.item() == pytest.approx(sliced.item(), rel=1e-6)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert (got[1][:2] == 0).all()


def test_an_impossible_label_costs_its_true_finite_price():
    h_ND = torch.tensor([[1000.0]])
    item_VD = torch.tensor([[1.0], [-1.0]])
    assert softmax_cross_entropy(h_ND, item_VD, torch.tensor([1]), chunk=8).item() == 2000.0


def test_bf16_stays_close_and_gives_the_master_weights_a_float32_gradient():
    h_ND, item_VD, label_N = example(300, 200)
    h16_ND = h_ND.detach().bfloat16().requires_grad_()
    want = torch.autograd.grad(softmax_cross_entropy(h_ND, item_VD, label_N, chunk=64), item_VD)[0]
    loss = softmax_cross_entropy(h16_ND, item_VD, label_N, chunk=64)
    got = torch.autograd.grad(loss, item_VD)[0]
    assert got.dtype == torch.float32
    assert (got - want).norm() / want.norm() < 0.02
    torch.testing.assert_close(loss, softmax_cross_entropy(h_ND, item_VD, label_N), rtol=5e-3, atol=0)


def test_no_gradient_is_computed_where_none_is_asked_for():
    h_ND, item_VD, label_N = example(10, 5)
    with torch.no_grad():
        loss = softmax_cross_entropy(h_ND, item_VD, label_N, chunk=4)
    assert not loss.requires_grad


def test_a_chunk_is_never_empty_however_large_the_catalogue():
    assert chunk_rows(10_000_000, 4, "cpu") == 128


@pytest.mark.parametrize(("items", "rows"), [(1_000, 2_080), (12_101, 512), (131_072, 512), (1_000_000, 128)])
def test_a_chunk_of_a_catalogue_beyond_the_cache_is_wide_until_its_logits_take_128_mib(items: int, rows: int):
    """Then the gradient of all items is added up seldom; with a million items memory counts for more."""
    assert chunk_rows(items, 2, "cpu") == rows
