"""Open Bandit Dataset: both policies ran, so an estimate from one log can be held against the other log's own clicks.

Saito, Aihara, Matsutani & Narita, "Open Bandit Dataset and Pipeline", NeurIPS 2021 (datasets track). A round is one
item at one of three positions; `propensity_score` is the probability of that item at that position.

- `bts -> random`: the uniform policy from the Thompson-sampling log. Exact: the target's probabilities are 1/A at
  each position, and the log holds its own propensities.
- `random -> bts`: Thompson sampling changed from hour to hour and its probabilities for items that it did not show
  were not logged. The target is a STATIONARY APPROXIMATION, the share of each item per position in its own log, and
  every row says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from shopkeeper.errors import UserError
from shopkeeper.evaluation.counterfactual.evaluate import PolicyValue, evaluate_policy
from shopkeeper.evaluation.counterfactual.log import LoggedRounds
from shopkeeper.evaluation.counterfactual.reward_model import cross_fitted_rewards
from shopkeeper.evaluation.intervals import resampled_means

CAMPAIGNS = ("men", "women")
DIRECTIONS = {
    ("bts", "random"): "exact",
    ("random", "bts"): "stationary approximation: the target's item shares per position in its own log",
}


def evaluate_obd(folder: Path, resamples: int = 2000, seed: int = 0) -> pa.Table:
    """Estimate both policies of both campaigns from the other's log: one row per campaign, direction and estimator.

    Columns: campaign, logged (policy), target (policy), kind (`exact` or the approximation), estimator, value, low,
    high (clicks per shown item), n, parameter, own_value, own_low, own_high (click rate in the target's own log),
    difference, difference_low, difference_high (estimate minus own, both logs resampled), agrees (the interval of
    the difference holds 0), effective_sample_size, overlap, mean_weight, max_weight, warnings. `folder` holds
    `<policy>/<campaign>/<campaign>.csv.gz`; a `UserError` names what is missing.
    """
    rows = []
    for campaign in CAMPAIGNS:
        logs = {policy: read_obd(folder / policy / campaign / f"{campaign}.csv.gz") for policy in ("random", "bts")}
        for (logged, target), kind in DIRECTIONS.items():
            n_actions = max(int(log["item_id"].max()) for log in logs.values()) + 1
            result = _from_other_log(logs[logged], logs[target], n_actions, kind == "exact", resamples, seed)
            click_n = logs[target]["click"].astype(np.float64)
            own_R = resampled_means(click_n[:, None], np.ones((len(click_n), 1)), resamples, seed + 1)[:, 0]
            own = _interval(own_R, "own", float(click_n.mean()))
            for name, estimate in result.estimates.items():
                gap = _interval(result.resamples[name] - own_R, "difference", estimate["value"] - click_n.mean())
                row: dict[str, Any] = {"campaign": campaign, "logged": logged, "target": target, "kind": kind}
                row |= {"estimator": name} | estimate | own | gap
                row["agrees"] = gap["difference_low"] <= 0 <= gap["difference_high"]
                for key in ("effective_sample_size", "overlap", "mean_weight", "max_weight"):
                    row[key] = result.diagnostics[key]
                rows.append(row | {"warnings": result.warnings})
    return pa.Table.from_pylist(rows)


def read_obd(path: Path) -> dict[str, np.ndarray]:
    """Columns of one log as arrays: item_id, position, click, propensity_score, user (n, 4) str, affinity (n, A)."""
    if not path.is_file():
        raise UserError(f"{path} is missing; get the Open Bandit Dataset, which has it as <policy>/<campaign>/")
    table = csv.read_csv(path)
    needed = ("item_id", "position", "click", "propensity_score")
    users = [f"user_feature_{k}" for k in range(4)]
    missing = [c for c in (*needed, *users) if c not in table.column_names]
    if missing:
        raise UserError(
            f"{path} lacks column '{missing[0]}' (it has {', '.join(table.column_names[:10])}, …); take the file as it "
            f"was published"
        )
    affinities = [c for c in table.column_names if c.startswith("user-item_affinity_")]
    columns = {c: table[c].to_numpy() for c in needed}
    columns["user"] = np.stack([table[c].to_numpy().astype(str) for c in users], axis=1)
    columns["affinity"] = (
        np.stack([table[c].to_numpy() for c in affinities], axis=1) if affinities else np.zeros((0, 0))
    )
    return columns


def _from_other_log(
    logged: dict[str, np.ndarray],
    target: dict[str, np.ndarray],
    n_actions: int,
    exact: bool,
    resamples: int,
    seed: int,
) -> PolicyValue:
    action_n, position_n = logged["item_id"].astype(np.int64), logged["position"].astype(np.int64)
    if exact:
        target_nA = np.full((len(action_n), n_actions), 1 / n_actions)
    else:
        shares = np.zeros((int(max(position_n.max(), target["position"].max())) + 1, n_actions))
        np.add.at(shares, (target["position"].astype(np.int64), target["item_id"].astype(np.int64)), 1)
        target_nA = (shares / np.maximum(shares.sum(axis=1, keepdims=True), 1))[position_n]
    log = LoggedRounds(
        reward=logged["click"].astype(np.float64),
        action=action_n,
        propensity=logged["propensity_score"],
        target=target_nA,
        stratum=position_n,
    )
    context_nF = np.concatenate([_one_hot(position_n), *(_one_hot(column) for column in logged["user"].T)], axis=1)
    pair_nAP = logged["affinity"][:, :, None] if logged["affinity"].shape[1:] == (n_actions,) else None
    predicted_nA = cross_fitted_rewards(log.reward, action_n, n_actions, context_nF, pair_nAP, seed=seed)
    return evaluate_policy(log, predicted_nA, resamples=resamples, seed=seed)


def _one_hot(column: np.ndarray) -> np.ndarray:
    values, code = np.unique(column, return_inverse=True)
    return np.eye(len(values))[code]


def _interval(draws_R: np.ndarray, name: str, value: float) -> dict[str, Any]:
    low, high = np.nanquantile(draws_R, [0.025, 0.975])
    return {
        name if name != "own" else "own_value": float(value),
        f"{name}_low": float(low),
        f"{name}_high": float(high),
    }
