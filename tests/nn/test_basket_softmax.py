"""Cross-entropy against whole baskets with some logits given, held against the textbook in float64."""

from __future__ import annotations

import pytest
import torch

from shopkeeper.nn.basket_softmax import basket_cross_entropy
from shopkeeper.nn.softmax import softmax_cross_entropy


def problem(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """7 queries over 11 classes: some with own items, some without, one without a label."""
    torch.manual_seed(0)
    return {
        "h_QD": torch.randn(7, 4, dtype=dtype),
        "item_VD": torch.randn(12, 4, dtype=dtype),
        "trust": torch.tensor([0.7], dtype=dtype),
        "given_R": torch.randn(6, dtype=dtype),
        "near": torch.tensor([0.3], dtype=dtype),
        "table_TV": torch.randn(3, 11, dtype=dtype),
        "table_Q": torch.tensor([0, 2, 1, 1, 0, 2, 2]),
        "query_R": torch.tensor([0, 0, 1, 4, 4, 6]),
        "class_R": torch.tensor([10, 3, 3, 0, 5, 9]),
        "query_L": torch.tensor([0, 0, 1, 2, 2, 2, 4, 5, 6]),
        "class_L": torch.tensor([3, 1, 3, 8, 8, 2, 7, 0, 10]),
        "weight_L": torch.tensor([0.5, 0.5, 1, 0.25, 0.25, 0.5, 2, 1, 1], dtype=dtype),
    }


def fast(p: dict[str, torch.Tensor], chunk: int) -> torch.Tensor:
    return basket_cross_entropy(
        p["h_QD"], p["item_VD"], p["trust"], p["given_R"], first=1, table_TV=p["table_TV"], table_Q=p["table_Q"],
        cell_R=(p["query_R"], p["class_R"]), label_L=(p["query_L"], p["class_L"]), weight_L=p["weight_L"],
        near=p["near"], chunk=chunk,
    )  # fmt: skip


def textbook(p: dict[str, torch.Tensor]) -> torch.Tensor:
    """All logits at once, and autograd."""
    product_QV, cell = p["h_QD"] @ p["item_VD"][1:].T, (p["query_R"], p["class_R"])
    logit_QV = product_QV.index_put(cell, p["given_R"] + p["near"] * product_QV[cell].detach())
    logit_QV = logit_QV + p["trust"] * p["table_TV"][p["table_Q"]]
    log_p_QV = torch.log_softmax(logit_QV, 1)
    return -(log_p_QV[p["query_L"], p["class_L"]] * p["weight_L"]).sum()


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_loss_and_gradients_are_those_of_the_textbook(chunk: int):
    found = {}
    for way in (lambda p: fast(p, chunk), textbook):
        p = problem()
        learned = [p[name].requires_grad_() for name in ("h_QD", "item_VD", "trust", "given_R", "near")]
        loss = way(p) * 3
        loss.backward()
        found[way] = (loss.detach(), *(x.grad for x in learned))
    one, other = found.values()
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_without_given_logits_and_with_one_label_each_it_is_the_usual_softmax():
    p = problem(torch.float32)
    label_N = torch.tensor([3, 1, 8, 0, 10, 2, 7])
    p |= {"query_L": torch.arange(7), "class_L": label_N, "weight_L": torch.ones(7)}
    p |= {"trust": torch.zeros(1), "given_R": torch.zeros(0), "query_R": label_N[:0], "class_R": label_N[:0]}
    usual = softmax_cross_entropy(p["h_QD"], p["item_VD"], label_N, first=1)
    torch.testing.assert_close(fast(p, 3), usual, atol=1e-5, rtol=1e-6)


def test_an_item_that_cannot_be_meant_gets_no_gradient():
    p = problem()
    p["table_TV"][:, 4] = -1000.0  # nobody has seen it yet
    p["item_VD"].requires_grad_()
    fast(p, 3).backward()
    assert p["item_VD"].grad[5].abs().max() < 1e-100
    assert p["item_VD"].grad[6].abs().max() > 0
