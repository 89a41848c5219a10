#!/usr/bin/env bash
# OpenVINO 2026.4.1: a model in 32 bits that is compiled for the CPU computes in bfloat16 where the processor has it
# (avx512_bf16, AMX), unless INFERENCE_PRECISION_HINT says f32. Who compiles without that hint, as RePlay 0.22.0 does in
# SasRecCompiled.compile, gets scores of 8 bits' precision, and lists that are not those of the model that was trained.
# On a processor without bfloat16 it says so and ends. Fails when the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install -q openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

print("openvino", version("openvino"))
core = openvino.Core()
if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    print("this processor has no bfloat16: nothing to see")
    raise SystemExit
rng = np.random.default_rng(0)
items, vectors = rng.normal(size=(64, 50_000)).astype(np.float32), rng.normal(size=(100, 64)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["vector", "items"], ["scores"])], "scores",
    [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 64])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 50_000])], [numpy_helper.from_array(items, "items")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
read = core.read_model(model.SerializeToString(), b"")
right = vectors @ items
best = [{*np.argsort(-scores)[:10].tolist()} for scores in right]
for told, exact in (({}, False), ({"INFERENCE_PRECISION_HINT": "f32"}, True)):
    compiled = core.compile_model(read, "CPU", told)
    found = np.concatenate([compiled(vector[None])[0] for vector in vectors])
    off = np.abs(found - right).max()
    recall = np.mean([len(one & {*np.argsort(-scores)[:10].tolist()}) / 10 for one, scores in zip(best, found)])
    print(told or "unless told", compiled.get_property("INFERENCE_PRECISION_HINT"), f"largest error {off:.6f}",
          f"recall@10 {recall:.3f}")
    assert (off < 1e-4) == exact
PYTHON
