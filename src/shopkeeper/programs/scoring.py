"""Customer models as plain arrays and the NumPy that reads them: one function per family, and the calibration.

Shapes: n rows (customers), F features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from shopkeeper.programs import processes
from shopkeeper.programs.base import GRAPH
from shopkeeper.programs.trees import tree_sums

LEAST_SPREAD, MOST_LOG = 0.05, 8.0  # as in `nn.heads`
FLOOR = 1e-6  # as in `customers.correction.calibration`: probabilities stay within [FLOOR, 1 - FLOOR]
Arrays = Mapping[str, np.ndarray]


def constant(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The base rate for everybody."""
    return np.full(len(features_nF), arrays["probability"][0])


def logistic(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Logistic regression on log(1 + x), clipped to the training range and standardised; undefined counts as mean."""
    return _sigmoid(standardised(features_nF, arrays) @ arrays["weight"] + arrays["intercept"][0])


def standardised(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """log(1 + x), clipped to what was seen in training, minus the mean over the scale; undefined is 0: (n, F)."""
    x_nF = np.clip(np.log1p(features_nF), arrays["low"], arrays["high"])
    return np.nan_to_num((x_nF - arrays["mean"]) / arrays["scale"], nan=0.0)


def two_part(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Whether, by logistic regression, times how much if so, the exponential of a linear one."""
    z_n = standardised(features_nF, arrays) @ arrays["more_weight"] + arrays["more_intercept"][0]
    return logistic(features_nF, arrays) * np.exp(np.minimum(z_n, arrays["most"][0]))


def trees(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Gradient-boosted trees."""
    return _sigmoid(tree_sums(features_nF, arrays))


def trees_log(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Gradient-boosted trees for the logarithm of a mean."""
    return np.exp(tree_sums(features_nF, arrays))


def hazards(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Trees for the hazard of each period: that no order comes in the window or, where `turned` is 0, that one does."""
    nothing = lasting(features_nF, arrays)[:, -1]
    return nothing if arrays["turned"][0] else 1 - nothing


def lasting(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """The probability that no order has come by the end of each of `periods` periods: float64 (n, K)."""
    hazard = [
        _sigmoid(tree_sums(np.column_stack([features_nF, np.full(len(features_nF), float(k))]), arrays))
        for k in range(int(arrays["periods"][0]))
    ]
    return np.cumprod(1 - np.stack(hazard, axis=1), axis=1)


def blended(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Several programs as one: `scorers` and `calibrators` name them, their arrays are `<number>/<name>`; see `mixed`.

    Arrays without a number are also every member's: what is asked of which window. What a graph says is `said`.
    """
    shared = {name: values for name, values in arrays.items() if "/" not in name}
    said = []
    for k, (scorer, calibrator) in enumerate(zip(arrays["scorers"], arrays["calibrators"], strict=True)):
        own = {name.removeprefix(f"{k}/"): a for name, a in arrays.items() if name.startswith(f"{k}/")}
        drawn, how = str(scorer) == GRAPH, json.loads(str(calibrator))
        raw_n = own["said"] if drawn else PROBABILITY_SCORERS[str(scorer)](features_nF, {**shared, **own})
        said.append(raw_n if how is None else calibrated(raw_n, how))
    told = [float(arrays[name][0]) for name in ("offset", "power", "factor")]
    return mixed(np.stack(said, axis=1), arrays["weight"], bool(arrays["probabilities"][0]), *told)


def mixed(
    said_nK: np.ndarray,
    weight: np.ndarray,
    probabilities: bool,
    offset: float = 0.0,
    power: float = 1.0,
    factor: float = 1.0,
) -> np.ndarray:
    """Answers of K members as one, as `customers.blend` has it: float64 (n,); NaN where a member's is.

    Probabilities by their logits, means as they are; what comes of means is f m^g.
    """
    if not probabilities:
        value = np.exp(offset) * (said_nK @ weight)
        return np.asarray(value if power == factor == 1.0 else factor * value**power)
    p = np.clip(said_nK, FLOOR, 1 - FLOOR)
    z = offset + (np.log(p) - np.log1p(-p)) @ weight
    return np.asarray(np.clip(_sigmoid(z), FLOOR, 1 - FLOOR))


def perceptron(features_nF: np.ndarray, arrays: Arrays) -> np.ndarray:
    """`nn.networks.mlp` and the head of what is asked, `nn.heads`: a probability, or a mean in the labels' unit."""
    missing_nF = np.isnan(features_nF)
    low_FT, high_FT = arrays["low"], arrays["high"]
    piece_nFT = np.clip((np.nan_to_num(features_nF)[..., None] - low_FT) / (high_FT - low_FT), 0, 1)
    x_nFE = np.maximum(np.einsum("nft,fte->nfe", piece_nFT, arrays["weight"]) + arrays["bias"], 0)
    x_nFE = np.where(missing_nF[..., None], arrays["undefined"], x_nFE)
    x_nD = x_nFE.reshape(len(features_nF), arrays["undefined"].size)  # of nobody, too
    K = int(arrays["layers"][0])
    for k in range(K + 2):  # the layers, the head's own, its outputs
        x_nD = (x_nD + arrays["since"] if k == K else x_nD) @ arrays[f"layer{k}_weight"].T + arrays[f"layer{k}_bias"]
        x_nD = np.maximum(x_nD, 0) if k <= K else x_nD
    kind = str(arrays["kind"][0])
    if kind == "probabilities":
        return _sigmoid(x_nD[:, 0])
    if kind == "counts":
        return np.asarray(np.exp(np.minimum(x_nD[:, 0], MOST_LOG)) * arrays["unit"][0])
    spread = np.logaddexp(0, x_nD[:, 2]) + LEAST_SPREAD
    mean = _sigmoid(x_nD[:, 0]) * np.exp(np.minimum(x_nD[:, 1] + spread**2 / 2, MOST_LOG))
    return np.asarray(mean * arrays["unit"][0])


PROBABILITY_SCORERS: dict[str, Callable[[np.ndarray, Arrays], np.ndarray]] = {
    "constant": constant,
    "logistic": logistic,
    "trees": trees,
    "trees_log": trees_log,
    "hazards": hazards,
    "two_part": two_part,
    "mlp": perceptron,
    "blend": blended,
    **processes.SCORERS,
}


def calibrated(probability_n: np.ndarray, calibrator: Mapping[str, Any]) -> np.ndarray:
    """Temperature, Platt, beta, isotonic, a factor or nothing, as fitted by `customers.correction.calibration`."""
    if calibrator["method"] == "scale":
        return np.asarray(probability_n * calibrator["parameters"]["factor"][0])
    p = np.clip(probability_n, FLOOR, 1 - FLOOR)
    method, parameters = calibrator["method"], calibrator["parameters"]
    if method == "isotonic":
        p = np.interp(p, parameters["x"], parameters["y"])
    elif method == "beta":
        a, b, c = (parameters[name][0] for name in ("low", "high", "intercept"))
        p = _sigmoid(np.clip(a * np.log(p) - b * np.log1p(-p) + c, -50, 50))
    elif method != "identity":
        z = parameters["slope"][0] * (np.log(p) - np.log1p(-p)) + parameters["intercept"][0]
        p = _sigmoid(np.clip(z, -50, 50))
    return np.clip(p, FLOOR, 1 - FLOOR)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))
