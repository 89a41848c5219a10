"""Our networks with RecBole's weights give RecBole's vectors; its own are made anew here (`reference.py`).

Where the designs differ, the weights are such that both are one. GRU4Rec: RecBole has a layer behind the states (the
identity here), and no biases (0 here). SASRec: RecBole's block is BERT's, ours is that of the SASRec paper, which norms
queries alone; with one block, relu, and embeddings that a norm leaves as they are, both compute the same. BERT4Rec is
the same in both, but for RecBole's output bias, which scores alone have.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_runs.shop import environment
from shopkeeper.nn.networks.bert4rec import BERT4RecNetwork, BERT4RecShape
from shopkeeper.nn.networks.gru4rec import GRU4RecNetwork, GRU4RecShape
from shopkeeper.nn.networks.sasrec import SASRecNetwork, SASRecShape

D, LENGTH, N_ITEMS = 16, 10, 20
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def theirs(name: str, settings: Mapping[str, Any], place: Path) -> dict[str, torch.Tensor]:
    script, out = Path(__file__).with_name("reference.py"), place / f"{name}.npz"
    command = [str(environment().python), "-I", str(script), name, json.dumps(settings), str(out)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=kept)
    assert done.returncode == 0, done.stderr
    with np.load(out, allow_pickle=False) as file:
        return {own: torch.from_numpy(file[own]) for own in file.files}


def left_padded(said: Mapping[str, torch.Tensor]) -> torch.Tensor:
    rows = zip(said["items"], said["lengths"].tolist(), strict=True)
    return torch.stack([torch.cat([torch.zeros(LENGTH - n, dtype=torch.int64), row[:n]]) for row, n in rows])


@pytest.mark.parametrize("layers", [1, 2])
def test_gru4rec_with_recboles_weights_gives_recboles_vectors(layers: int, tmp_path: Path):
    said = theirs("GRU4Rec", {"embedding_size": D, "hidden_size": D, "num_layers": layers}, tmp_path)
    network = GRU4RecNetwork(GRU4RecShape(N_ITEMS, D, layers, LENGTH)).eval()
    with torch.no_grad():
        network.item.weight.copy_(said["state/item_embedding.weight"])
        for place, layer in enumerate(network.layers):
            layer.weight_ih_l0.copy_(said[f"state/gru_layers.weight_ih_l{place}"])
            layer.weight_hh_l0.copy_(said[f"state/gru_layers.weight_hh_l{place}"])
            layer.bias_ih_l0.zero_()
            layer.bias_hh_l0.zero_()
        ours_BD = network.plain(left_padded(said))
    assert said["vectors"].std(0).min() > 0.01
    torch.testing.assert_close(ours_BD, said["vectors"], **NEAR)


@pytest.mark.parametrize("heads", [1, 4])
def test_sasrec_with_recboles_weights_gives_recboles_vectors(heads: int, tmp_path: Path):
    sizes = {"hidden_size": D, "inner_size": D, "n_layers": 1, "n_heads": heads}
    said = theirs("SASRec", sizes | {"hidden_act": "relu", "layer_norm_eps": 1e-6}, tmp_path)
    network = SASRecNetwork(SASRecShape(N_ITEMS, D, 1, heads, LENGTH)).eval()
    block, their = network.blocks[0], "state/trm_encoder.layer.0."
    with torch.no_grad():
        network.item.weight.copy_(said["state/item_embedding.weight"] / math.sqrt(D))
        for ours, name in (
            (block.q, "multi_head_attention.query"), (block.out, "multi_head_attention.dense"),
            (block.norm_ffn, "multi_head_attention.LayerNorm"), (block.up, "feed_forward.dense_1"),
            (block.down, "feed_forward.dense_2"), (network.norm, "feed_forward.LayerNorm"),
        ):  # fmt: skip
            for kind in ("weight", "bias"):
                getattr(ours, kind).copy_(said[f"{their}{name}.{kind}"])
        for kind in ("weight", "bias"):
            both = [said[f"{their}multi_head_attention.{name}.{kind}"] for name in ("key", "value")]
            getattr(block.kv, kind).copy_(torch.cat(both))
        assert said["vectors"].std(0).min() > 0.01
        for row, (item_L, n) in enumerate(zip(left_padded(said), said["lengths"].tolist(), strict=True)):
            # RecBole counts positions from the oldest event, this project from the newest.
            network.position.weight[:n] = said["state/position_embedding.weight"][:n].flip(0)
            torch.testing.assert_close(network.plain(item_L[None])[0], said["vectors"][row], **NEAR)


@pytest.mark.parametrize("heads", [1, 2])
def test_bert4rec_with_recboles_weights_gives_recboles_vectors(heads: int, tmp_path: Path):
    sizes = {"hidden_size": D, "inner_size": 4 * D, "n_layers": 2, "n_heads": heads}
    said = theirs("BERT4Rec", sizes, tmp_path)
    network = BERT4RecNetwork(BERT4RecShape(N_ITEMS, D, 2, heads, LENGTH + 1)).eval()
    with torch.no_grad():
        network.item.weight.copy_(said["state/item_embedding.weight"][: N_ITEMS + 1])
        network.hidden.weight.copy_(said["state/item_embedding.weight"][N_ITEMS + 1 :])
        same: list[tuple[Any, str]] = [
            (network.norm_x, "LayerNorm"), (network.out, "output_ffn"), (network.norm, "output_ln"),
        ]  # fmt: skip
        for place, block in enumerate(network.blocks):
            their = f"trm_encoder.layer.{place}."
            same += [
                (block.q, f"{their}multi_head_attention.query"), (block.out, f"{their}multi_head_attention.dense"),
                (block.norm_a, f"{their}multi_head_attention.LayerNorm"), (block.up, f"{their}feed_forward.dense_1"),
                (block.down, f"{their}feed_forward.dense_2"), (block.norm_f, f"{their}feed_forward.LayerNorm"),
            ]  # fmt: skip
            for kind in ("weight", "bias"):
                both = [said[f"state/{their}multi_head_attention.{name}.{kind}"] for name in ("key", "value")]
                getattr(block.kv, kind).copy_(torch.cat(both))
        for ours, name in same:
            for kind in ("weight", "bias"):
                getattr(ours, kind).copy_(said[f"state/{name}.{kind}"])
        assert said["vectors"].std(0).min() > 0.01
        for row, (item_L, n) in enumerate(zip(left_padded(said), said["lengths"].tolist(), strict=True)):
            network.position.weight[: n + 1] = said["state/position_embedding.weight"][: n + 1].flip(0)
            torch.testing.assert_close(network.plain(item_L[None])[0], said["vectors"][row], **NEAR)
