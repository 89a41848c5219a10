"""Item vectors of ids and content."""

from __future__ import annotations

import copy

import torch
from torch import nn

from shopkeeper.nn.content import ContentShape, HybridItems


def test_vectors_that_were_made_on_one_device_are_not_those_of_a_copy_on_another():
    items = HybridItems(nn.Embedding(5, 4, padding_idx=0), ContentShape(n_tokens=3, n_entries=5, n_numbers=2)).eval()
    with torch.inference_mode():
        here = items(torch.tensor([1, 2]))
        other = copy.deepcopy(items).to("meta")
        assert other.weight.device.type == "meta"
        assert items.weight.device.type == here.device.type == "cpu"
        assert torch.equal(items(torch.tensor([1, 2])), here)
