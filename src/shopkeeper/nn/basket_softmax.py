"""Full softmax cross-entropy against whole baskets, with some logits given, never holding all of them.

As in softmax.py rows are taken in chunks, and gradients are computed while a chunk's probabilities are in the cache.
The logits of a chunk are products first, some cells of which are then replaced; what a term gives all classes is added.

Shapes: Q queries, D width, V classes, R given cells, L labels of all queries, T tables, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shopkeeper.nn.softmax import chunk_rows


def basket_cross_entropy(
    h_QD: Tensor,
    item_VD: Tensor,
    trust: Tensor,
    given_R: Tensor,
    *,
    first: int,
    table_TV: Tensor,
    table_Q: Tensor,
    cell_R: tuple[Tensor, Tensor],
    label_L: tuple[Tensor, Tensor],
    weight_L: Tensor,
    near: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sum over labels of weight * -log softmax(logits of its query)[label]: a scalar in float32.

    logits(q, c) = (what `given_R` has for the cell (q, c), else h_q · item_{first + c}) + trust * table[table_Q[q], c];
    `near` (1,) times the product is added to what is given, from which no gradient goes to the product's two sides.
    `cell_R`, `label_L`: query and class, both sorted by query; a cell stands at most once in `cell_R`. Gradients go to
    `h_QD`, `item_VD` (float32), `trust` (1,), `given_R` and `near`.
    """
    chunk = chunk or chunk_rows(len(item_VD), h_QD.element_size(), h_QD.device.type)
    near = torch.zeros_like(trust) if near is None else near
    loss: Tensor = _Baskets.apply(
        h_QD, item_VD, trust, given_R, near, first, table_TV, table_Q, *cell_R, *label_L, weight_L, chunk
    )
    return loss


class _Baskets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h_QD: Tensor,
        item_VD: Tensor,
        trust: Tensor,
        given_R: Tensor,
        near: Tensor,
        first: int,
        table_TV: Tensor,
        table_Q: Tensor,
        cell_query_R: Tensor,
        cell_class_R: Tensor,
        query_L: Tensor,
        class_L: Tensor,
        weight_L: Tensor,
        chunk: int,
    ) -> Tensor:
        n, weight_VD = len(h_QD), item_VD[first:].to(h_QD.dtype)
        v = len(weight_VD)
        total_Q = torch.zeros(n, dtype=weight_L.dtype, device=h_QD.device).index_add_(0, query_L, weight_L)
        starts = torch.arange(0, n + chunk, chunk, device=h_QD.device)
        cell_edges, label_edges = (torch.searchsorted(q, starts).tolist() for q in (cell_query_R, query_L))
        loss = torch.zeros((), dtype=weight_L.dtype, device=h_QD.device)
        dh_QD, ditem_VD = torch.empty_like(h_QD), torch.zeros_like(item_VD)
        dgiven_R, dtrust, dnear = torch.zeros_like(given_R), torch.zeros_like(trust), torch.zeros_like(near)
        for i, start in enumerate(range(0, n, chunk)):
            h_CD = h_QD[start : start + chunk]
            logit_CV = (h_CD @ weight_VD.T).to(given_R.dtype)
            some = table_TV.index_select(0, table_Q[start : start + chunk])
            cells, labels = slice(*cell_edges[i : i + 2]), slice(*label_edges[i : i + 2])
            cell = (cell_query_R[cells] - start) * v + cell_class_R[cells]
            label = (query_L[labels] - start) * v + class_L[labels]
            flat = logit_CV.view(-1)
            product_R = flat.index_select(0, cell)
            flat.index_copy_(0, cell, torch.addcmul(given_R[cells], product_R, near))
            logit_CV.addcmul_(some, trust)
            own_L, w_L = flat.index_select(0, label), weight_L[labels]
            total_C1 = total_Q[start : start + chunk, None]
            loss += (torch.logsumexp(logit_CV, 1) * total_C1[:, 0]).sum() - (own_L * w_L).sum()
            p_CV = torch.softmax(logit_CV, 1, out=logit_CV).mul_(total_C1)
            flat.index_add_(0, label, -w_L)
            dgiven_R[cells] = flat.index_select(0, cell)
            dnear += torch.dot(dgiven_R[cells], product_R)
            dtrust += torch.dot(flat, some.view(-1))
            flat.index_fill_(0, cell, 0)  # no product stands there
            g_CV = p_CV.to(h_QD.dtype)
            torch.mm(g_CV, weight_VD, out=dh_QD[start : start + chunk])
            ditem_VD[first:] += g_CV.T @ h_CD
        ctx.save_for_backward(dh_QD, ditem_VD, dtrust, dgiven_R, dnear)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given = grads[0]
        scaled = (d * given.to(d.dtype) for d in ctx.saved_tensors)
        return (*scaled, *([None] * 9))
