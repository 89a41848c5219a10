#!/usr/bin/env bash
# onnxmltools 1.16.0 converts some LightGBM 4.7.0 models without a word into graphs that give other numbers.
# Expected: the graph's answers are the model's (to 1e-5, as for the usual boosted trees), or the conversion is refused.
# Seen: a random forest's come out divided by its number of trees once more; linear trees lose their lines; with
# zero_as_missing zeros go the other way; another `sigmoid` is taken as 1; reg_sqrt's square is left out. Poisson,
# Tweedie, gamma, quantiles and DART are right.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check onnxmltools==1.16.0 skl2onnx==1.20.0 onnx==1.23.2 \
  onnxruntime==1.32.0 lightgbm==4.7.0 scikit-learn==1.9.1 numpy==2.4.6
"$place/venv/bin/python" - <<'PY' 2>/dev/null
import lightgbm as lgb
import numpy as np
import onnxruntime as ort
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 4)).astype(np.float32)
x[rng.random(x.shape) < 0.3] = 0
amount = 2 * x[:, 0] + np.where(x[:, 1] == 0, 1, -1) + 0.1 * rng.normal(size=2000)
count = rng.poisson(np.exp(0.3 * x[:, 0]))


def apart(label, **settings):
    """Largest difference between the model's answers and the graph's, and the ratio of their means."""
    classes = settings.get("objective") == "binary"
    kind = lgb.LGBMClassifier if classes else lgb.LGBMRegressor
    model = kind(n_estimators=10, verbose=-1, **settings).fit(x, label)
    graph = convert_lightgbm(model, initial_types=[("x", FloatTensorType([None, 4]))], zipmap=False, target_opset=15)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    out = session.run(None, {"x": x})
    got, want = (out[1][:, 1], model.predict_proba(x)[:, 1]) if classes else (out[0][:, 0], model.predict(x))
    return float(np.abs(got - want).max()), float(got.mean() / want.mean())


right = {
    "boosted trees": apart(amount), "dart": apart(amount, boosting_type="dart"),
    "poisson": apart(count, objective="poisson"), "tweedie": apart(count, objective="tweedie"),
    "gamma": apart(count + 1.0, objective="gamma"), "quantile": apart(amount, objective="quantile", alpha=0.9),
}
wrong = {
    "random forest": apart(amount, boosting_type="rf", bagging_fraction=0.5, bagging_freq=1),
    "linear trees": apart(amount, linear_tree=True), "zero as missing": apart(amount, zero_as_missing=True),
    "sigmoid .5": apart((amount > 0).astype(int), objective="binary", sigmoid=0.5), "reg_sqrt": apart(amount, reg_sqrt=True),
}
for name, (difference, ratio) in (right | wrong).items():
    print(f"{name}: apart by up to {difference:.2g}, mean of the graph / of the model {ratio:.3f}")
assert max(difference for difference, _ in right.values()) < 1e-5
assert min(difference for difference, _ in wrong.values()) > 0.05, "the behaviour has changed"
assert abs(wrong["random forest"][1] - 0.1) < 0.001, "the behaviour has changed"
PY
