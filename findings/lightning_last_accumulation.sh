#!/usr/bin/env bash
# Lightning 2.6.6: with accumulate_grad_batches the last step of an epoch, made of what batches are left, is too small.
# Expected: each optimizer step has the mean gradient of its batches.
# Seen: six batches of gradient 1, four a step: the steps have gradients of 1 and 0.5. Each loss is divided by four also
# where two are left, so that a training on a small card is not the one with four times the batch: with 5 batches an
# epoch every second step has a quarter of the learning rate.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6
cd "$dir"
"$dir/venv/bin/python" - <<'PY' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

seen = []


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return (self.weight * batch[0]).mean()  # of gradient 1

    def on_before_optimizer_step(self, optimizer):
        seen.append(self.weight.grad.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = pl.Trainer(max_epochs=1, accumulate_grad_batches=4, accelerator="cpu", **quiet)
trainer.fit(Model(), DataLoader(TensorDataset(torch.ones(6, 1)), batch_size=1))
print(seen)
assert seen == [1.0, 0.5], "the behaviour has changed"
PY
