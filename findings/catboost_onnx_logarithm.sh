#!/usr/bin/env bash
# CatBoost 1.2.10: models of counts and amounts that are saved as ONNX give the logarithm of what the model predicts.
# Expected: `save_model(format="onnx")` gives what `predict` gives, as it does for RMSE, quantiles and probabilities.
# Seen: of Poisson and Tweedie, whose `predict` is exp of the trees' sum, the graph gives the sum, and nothing in it says
# so. Expected orders of .2 a quarter are served as -1.6.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check catboost==1.2.10 onnxruntime==1.32.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" - <<'PY' 2>/dev/null
import catboost
import numpy as np
import onnxruntime as ort

rng = np.random.default_rng(0)
x = rng.normal(size=(1000, 3)).astype(np.float32)
orders = rng.poisson(np.exp(0.5 * x[:, 0]))
for loss in ("RMSE", "Quantile:alpha=0.9", "Poisson", "Tweedie:variance_power=1.5"):
    model = catboost.CatBoostRegressor(iterations=20, loss_function=loss, verbose=0, allow_writing_files=False)
    model.fit(x, orders).save_model("model.onnx", format="onnx")
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    graph = session.run(None, {session.get_inputs()[0].name: x})[0].ravel()
    said = model.predict(x)
    same, logarithm = np.abs(graph - said).max(), np.abs(np.exp(graph) - said).max()
    print(f"{loss}: graph - predict up to {same:.2g}, exp(graph) - predict up to {logarithm:.2g}")
    if loss.startswith(("RMSE", "Quantile")):
        assert same < 1e-5
    else:
        assert logarithm < 1e-5 and same > 0.5, "the behaviour has changed"
PY
