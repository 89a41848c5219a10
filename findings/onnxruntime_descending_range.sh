#!/usr/bin/env bash
# ONNX Runtime 1.32.0: a table that is looked up at positions L-1, L-2, ... 0 comes back empty with its usual settings.
# Expected: Range(L-1, -1, -1) and Gather give L rows, the last one first, whatever the level of optimization: how a
# sequence model counts positions from the newest event.
# Seen: four rows with no or basic optimization, none with all (the default), and no error: the two are fused into a
# Slice that ends where it begins. `L-1 - Range(0, L, 1)` is left alone, and right.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2
"$place/venv/bin/python" - <<'PY'
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, checker, helper

table = np.arange(12, dtype=np.float32).reshape(6, 2)
whole = {"axis": 1, "one": 1, "down": -1}
nodes = [
    helper.make_node("Shape", ["history"], ["shape"]),
    helper.make_node("Gather", ["shape", "axis"], ["length"], axis=0),
    helper.make_node("Sub", ["length", "one"], ["oldest"]),
    helper.make_node("Range", ["oldest", "down", "down"], ["position"]),
    helper.make_node("Gather", ["table", "position"], ["vector"], axis=0),
]
graph = helper.make_graph(
    nodes, "positions",
    [helper.make_tensor_value_info("history", TensorProto.INT64, ["B", "L"])],
    [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["L", 2])],
    [helper.make_tensor(name, TensorProto.INT64, [], [value]) for name, value in whole.items()]
    + [helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.ravel().tolist())],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
checker.check_model(model, full_check=True)
rows = {}
for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows[level] = session.run(None, {"history": np.zeros((1, 4), np.int64)})[0]
    print(level, rows[level].tolist())
assert (rows["ORT_DISABLE_ALL"] == table[3::-1]).all() and (rows["ORT_ENABLE_BASIC"] == table[3::-1]).all()
assert len(rows["ORT_ENABLE_ALL"]) == 0, "the behaviour has changed"
PY
