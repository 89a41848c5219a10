#!/usr/bin/env bash
# torch 2.13.0: what MultiheadAttention gives at a position that may see nothing depends on how it is called.
# Expected: one output, whether it is in training or in eval, and whether it is asked for its weights, too.
# Seen, for a history padded on the left under a causal mask: padded positions give the bias of the output while training
# without weights, and NaN when asked for weights or in eval without gradients; other positions are equal. A sequential
# recommender that trains well is NaN at validation, in whatever is added up over positions.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$place/venv/bin/python" - <<'PY'
import torch

torch.manual_seed(0)
attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
torch.nn.init.constant_(attention.out_proj.bias, 0.25)
x = torch.randn(1, 5, 8)
hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)  # what comes later
padding = torch.tensor([[True, True, False, False, False]])
with torch.no_grad():
    for training in (True, False):
        attention.train(training)
        plain, _ = attention(x, x, x, key_padding_mask=padding, attn_mask=hidden, need_weights=False)
        looked, _ = attention(x, x, x, key_padding_mask=padding, attn_mask=hidden, need_weights=True)
        print("training" if training else "eval", "| padded, without weights:", plain[0, 0, 0].item(),
              "| with:", looked[0, 0, 0].item())
        assert torch.allclose(plain[:, 2:], looked[:, 2:], atol=1e-6)
        assert looked[:, :2].isnan().all(), "the behaviour has changed"
        as_seen = (plain[:, :2] == 0.25).all() if training else plain[:, :2].isnan().all()
        assert as_seen, "the behaviour has changed"
PY
