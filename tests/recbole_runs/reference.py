"""What RecBole's own network says for weights drawn here: `python reference.py MODEL SETTINGS OUT`, in its environment.

Run by `test_recbole_weights.py`. `OUT` (.npz) gets the weights, histories (B, L) with padding behind, their lengths and
the vectors (B, D) of the network.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.utils import get_model

N_ITEMS, LENGTHS = 20, (1, 2, 4, 7, 10, 10)


class Data:
    """As much of a data set as a network asks for."""

    def num(self, field: str) -> int:
        return N_ITEMS + 1


def drawn(model: torch.nn.Module, name: str) -> None:
    """Weights of any size, also those that begin at 0 or 1; where a model needs it, such that ours can have them."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for own, weight in model.named_parameters():
            near = 1.0 if own.endswith("LayerNorm.weight") or own.endswith("output_ln.weight") else 0.0
            weight.copy_(near + 0.3 * torch.randn(weight.shape, generator=generator))
        model.item_embedding.weight[0] = 0
        if name == "GRU4Rec":  # ours has no layer behind the states
            model.dense.weight.copy_(torch.eye(*model.dense.weight.shape))
            model.dense.bias.zero_()
        if name == "SASRec":  # ours norms the query alone: the two are one where a norm changes nothing
            model.LayerNorm.weight.fill_(1.0)
            model.LayerNorm.bias.zero_()
            half = model.hidden_size // 2
            for table, part in ((model.item_embedding, slice(0, half)), (model.position_embedding, slice(half, None))):
                rows = table.weight[:, part] - table.weight[:, part].mean(1, keepdim=True)
                table.weight.zero_()
                table.weight[:, part] = rows * (half / rows.square().sum(1, keepdim=True).clamp(min=1e-12)).sqrt()


def main(name: str, settings: dict[str, Any], out: str) -> None:
    sys.argv = sys.argv[:1]  # RecBole reads settings there
    masked = name == "BERT4Rec"  # it is asked by a mask behind the history
    usual = {
        "MAX_ITEM_LIST_LENGTH": max(LENGTHS) + masked,
        "train_neg_sample_args": None,
        "use_gpu": False,
        "state": "WARNING",
    }
    usual |= {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
    model = get_model(name)(Config(name, "none", config_dict=usual | settings), Data()).eval()
    drawn(model, name)
    items = np.random.default_rng(3).integers(1, N_ITEMS + 1, (len(LENGTHS), max(LENGTHS)))
    items[np.arange(max(LENGTHS)) >= np.array(LENGTHS)[:, None]] = 0
    with torch.no_grad():
        given, n = torch.from_numpy(items), torch.tensor(LENGTHS)
        if masked:
            given = torch.nn.functional.pad(given, (0, 1))
            given[torch.arange(len(n)), n] = model.mask_token
            vectors = model(given)[torch.arange(len(n)), n]
        else:
            vectors = model(given, n)
    state = {f"state/{own}": weight.numpy() for own, weight in model.state_dict().items()}
    np.savez(out, items=items, lengths=np.array(LENGTHS), vectors=vectors.numpy(), **state)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
