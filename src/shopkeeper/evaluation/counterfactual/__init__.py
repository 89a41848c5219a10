"""What another policy would have earned, from a log of what was shown, with which probability, and what came of it."""

from shopkeeper.evaluation.counterfactual.estimators import (
    clipped_ips,
    direct_method,
    doubly_robust,
    dr_optimistic_shrinkage,
    importance_weights,
    snips,
    switch_dr,
)
from shopkeeper.evaluation.counterfactual.evaluate import PolicyValue, evaluate_policy
from shopkeeper.evaluation.counterfactual.log import LoggedRounds
from shopkeeper.evaluation.counterfactual.obd import evaluate_obd
from shopkeeper.evaluation.counterfactual.reward_model import cross_fitted_rewards

__all__ = [
    "LoggedRounds",
    "PolicyValue",
    "clipped_ips",
    "cross_fitted_rewards",
    "direct_method",
    "doubly_robust",
    "dr_optimistic_shrinkage",
    "evaluate_obd",
    "evaluate_policy",
    "importance_weights",
    "snips",
    "switch_dr",
]
