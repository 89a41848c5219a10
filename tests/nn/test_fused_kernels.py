"""The installed CUDA kernels themselves, without a GPU: Triton's interpreter runs them on the CPU, slowly.

`make kernels` puts them into .venv-kernels; they run in a process of their own, because the interpreter is chosen
when Triton is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / ".venv-kernels"
CODE = """
import json, sys
import torch
import triton.language as tl
from triton.language.extra import libdevice
libdevice.log1p = lambda x: tl.log(x + 1)  # CUDA's own function is nothing to the interpreter
from shopkeeper.nn.softmax import softmax_cross_entropy
kernel, dtype, n, v, first = sys.argv[1], getattr(torch, sys.argv[2]), *map(int, sys.argv[3:])
torch.manual_seed(0)
h_ND = torch.randn(n, 64).to(dtype).requires_grad_()
item_VD = (torch.randn(v + first, 64) * 0.3).requires_grad_()
label_N = torch.randint(0, v, (n,))
found = []
for name in (kernel, "full"):
    loss = softmax_cross_entropy(h_ND, item_VD, label_N, kernel=name, scale=0.3, first=first)
    found.append([loss.detach(), *(g.float() for g in torch.autograd.grad(loss, (h_ND, item_VD)))])
print(json.dumps([float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found)]))
"""


@pytest.mark.parametrize(
    ("kernel", "dtype", "apart"),
    [
        ("liger", "float32", 1e-5),
        ("liger", "bfloat16", 0.02),
        ("cut_cross_entropy", "float16", 0.02),  # the interpreter (3.9.0) does not read this kernel's bf16 right
    ],
)
@pytest.mark.parametrize(("n", "v", "first"), [(40, 200, 1), (128, 256, 0)])
def test_the_real_kernel_gives_loss_and_gradients_of_the_reference(
    kernel: str, dtype: str, apart: float, n: int, v: int, first: int
):
    if not KERNELS.is_dir():
        reason = "the fused softmax kernels are not there (make kernels)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(KERNELS)}
    command = [sys.executable, "-c", CODE, kernel, dtype, *map(str, (n, v, first))]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    loss, dh, ditem = json.loads(done.stdout.strip().splitlines()[-1])
    assert loss < apart / 10
    assert dh < apart
    assert ditem < apart
