"""The parameters of each simulated shop, frozen by hash before any model was tuned on it.

Change nothing here: a change makes another shop, on which earlier results say nothing. A new shop is a new name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.files import sha256_json
from shopkeeper.simulated.world import COMPONENTS, World, build

_DRIFT = [[0.994, 0.006, 0.0], [0.006, 0.974, 0.02], [0.0006, 0.0, 0.9994]]

DEMO_SHOP: dict[str, Any] = {
    "world_seed": 20240101,
    "first_date": "2024-01-01",
    "days": 547,
    "n_items": 400,
    "categories": [
        "coffee",
        "tea",
        "sweets",
        "kitchen",
        "bath",
        "skincare",
        "haircare",
        "garden",
        "tools",
        "toys",
        "books",
        "pets",
    ],
    "category_price": [9.0, 7.0, 4.5, 28.0, 12.0, 18.0, 11.0, 16.0, 35.0, 20.0, 14.0, 13.0],
    "category_replenished": [0.7, 0.6, 0.3, 0.0, 0.4, 0.6, 0.6, 0.1, 0.0, 0.0, 0.0, 0.7],
    "category_return_rate": [0.01, 0.01, 0.01, 0.08, 0.03, 0.05, 0.03, 0.06, 0.1, 0.09, 0.04, 0.02],
    "category_partner": [2, 2, 1, 0, 5, 6, 4, 8, 7, 10, 9, 3],
    "category_peak_month": [0, 11, 11, 10, 1, 5, 6, 4, 3, 11, 10, 7],
    "season_strength": 0.6,
    "zipf": 0.9,
    "price_spread": 0.6,
    "item_taste": 0.9,
    "cycle_days": [14, 56],
    "sale_factor": 0.8,
    "sale_months": [1, 7],
    "weekday": [0.9, 0.9, 0.95, 1.0, 1.15, 1.2, 0.9],
    "month": [0.95, 0.9, 0.95, 1.0, 1.0, 0.95, 0.9, 0.9, 1.0, 1.05, 1.25, 1.35],
    "tastes": [
        {"share": 0.30, "loves": {"coffee": 6.0, "sweets": 4.0, "kitchen": 3.0}, "elsewhere": 0.25},
        {"share": 0.27, "loves": {"skincare": 6.0, "haircare": 4.0, "bath": 3.0, "tea": 1.5}, "elsewhere": 0.2},
        {"share": 0.23, "loves": {"garden": 5.0, "tools": 4.0, "pets": 4.0}, "elsewhere": 0.25},
        {"share": 0.20, "loves": {"toys": 5.0, "books": 5.0, "sweets": 2.0}, "elsewhere": 0.3},
    ],
    "tempos": [
        {"share": 0.35, "web": 0.15, "store": 0.012, "buy": 0.4, "initial": [1.0, 0.0, 0.0], "transition": _DRIFT},
        {"share": 0.65, "web": 0.06, "store": 0.005, "buy": 0.25, "initial": [1.0, 0.0, 0.0], "transition": _DRIFT},
    ],
    "state_factors": {"web": [1.0, 0.2, 0.0], "store": [1.0, 0.1, 0.0], "buy": [1.0, 0.4, 0.0]},
    "view_weights": {"session": 0.4, "views": 0.08, "carts": 0.05, "follow": 0.12, "due": 0.15},
    "order_weights": {"session": 0.04, "views": 0.16, "carts": 0.3, "follow": 0.16, "due": 0.2},
    "follow_within": "partner",
    "follow_popular": 0.7,
    "follow_shares": [0.5, 0.3, 0.2],
    "follow_days": 60,
    "addon_shares": [0.22, 0.12, 0.06],
    "alike_within": 6,
    "steps_order": [0.12, 0.26, 0.25, 0.17, 0.11, 0.06, 0.03],
    "steps_browse": [0.0, 0.38, 0.27, 0.17, 0.1, 0.05, 0.03],
    "cart_probability": 0.22,
    "decay": 0.6,
    "start_early": 0.4,
}

# First-order Markov: purchases only, one type of customer, and the next item depends on the last one alone:
# P(i | j) = 0.9 follow[j, i] + 0.1 popularity[i]. Nothing that looks further back can gain anything.
MARKOV: dict[str, Any] = {
    **DEMO_SHOP,
    "world_seed": 20240102,
    "n_items": 200,
    "category_replenished": [0.0] * 12,
    "season_strength": 0.0,
    "zipf": 0.6,
    "tastes": [{"share": 1.0, "loves": {}, "elsewhere": 1.0}],
    "item_taste": 0.0,
    "tempos": [{"share": 1.0, "web": 0.0, "store": 0.11, "buy": 0.0, "initial": [1.0, 0.0, 0.0], "transition": _DRIFT}],
    "state_factors": {"web": [1.0, 1.0, 1.0], "store": [1.0, 0.15, 0.0], "buy": [1.0, 1.0, 1.0]},
    "view_weights": {"session": 0.0, "views": 0.0, "carts": 0.0, "follow": 0.0, "due": 0.0},
    "order_weights": {"session": 0.0, "views": 0.0, "carts": 0.0, "follow": 0.9, "due": 0.0},
    "follow_within": "any",
    "follow_popular": 0.3,
    "follow_shares": [0.3, 0.2, 0.14, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03],
    "follow_days": 100_000,
    "addon_shares": [],
}

# Seasons and repeat cycles: half of what is bought is bought again when it is used up, the rest goes with the month.
SEASONAL: dict[str, Any] = {
    **DEMO_SHOP,
    "world_seed": 20240103,
    "n_items": 300,
    "category_replenished": [0.9, 0.9, 0.5, 0.0, 0.8, 0.8, 0.8, 0.2, 0.0, 0.0, 0.0, 0.9],
    "category_peak_month": [0, 10, 11, 11, 2, 6, 7, 4, 3, 11, 9, 1],
    "season_strength": 0.95,
    "cycle_days": [20, 60],
    "tastes": [
        {"share": 0.40, "loves": {"coffee": 4.0, "pets": 3.0, "garden": 3.0}, "elsewhere": 0.5},
        {"share": 0.35, "loves": {"tea": 4.0, "skincare": 4.0, "bath": 3.0}, "elsewhere": 0.5},
        {"share": 0.25, "loves": {"toys": 4.0, "haircare": 3.0, "books": 3.0}, "elsewhere": 0.5},
    ],
    "tempos": [
        {"share": 0.5, "web": 0.09, "store": 0.03, "buy": 0.55, "initial": [1.0, 0.0, 0.0], "transition": _DRIFT},
        {"share": 0.5, "web": 0.04, "store": 0.012, "buy": 0.4, "initial": [1.0, 0.0, 0.0], "transition": _DRIFT},
    ],
    "view_weights": {"session": 0.2, "views": 0.0, "carts": 0.0, "follow": 0.05, "due": 0.3},
    "order_weights": {"session": 0.0, "views": 0.08, "carts": 0.12, "follow": 0.05, "due": 0.55},
}

# Buy till you die: purchases only; a customer alive buys at his own steady rate and dies for good at his own hazard
# (beta-geometric / beta-Bernoulli, Fader, Hardie & Shang 2010, with rate and hazard on a grid of 7 x 3 types).
_RATES = {0.004: 0.14, 0.008: 0.17, 0.014: 0.18, 0.024: 0.18, 0.04: 0.15, 0.065: 0.11, 0.1: 0.07}
_HAZARDS = {0.0008: 0.3, 0.003: 0.4, 0.01: 0.3}
BTYD: dict[str, Any] = {
    **DEMO_SHOP,
    "world_seed": 20240104,
    "n_items": 150,
    "category_replenished": [0.0] * 12,
    "season_strength": 0.0,
    "month": [1.0] * 12,
    "weekday": [1.0] * 7,
    "tastes": [{"share": 1.0, "loves": {}, "elsewhere": 1.0}],
    "tempos": [
        {
            "share": rate_share * hazard_share,
            "web": 0.0,
            "store": rate,
            "buy": 0.0,
            "initial": [1.0, 0.0],
            "transition": [[1.0 - hazard, hazard], [0.0, 1.0]],
        }
        for rate, rate_share in _RATES.items()
        for hazard, hazard_share in _HAZARDS.items()
    ],
    "state_factors": {"web": [1.0, 1.0], "store": [1.0, 0.0], "buy": [1.0, 1.0]},
    "view_weights": {"session": 0.0, "views": 0.0, "carts": 0.0, "follow": 0.0, "due": 0.0},
    "order_weights": {"session": 0.0, "views": 0.0, "carts": 0.0, "follow": 0.4, "due": 0.0},
    "follow_days": 100_000,
}

PRESETS = {"demo_shop": DEMO_SHOP, "markov": MARKOV, "seasonal": SEASONAL, "btyd": BTYD}

FROZEN = {
    "demo_shop": "0d5b10ee00d40e44370a4a8f6b04d768d33e0937c55134c433548f3848e515a1",
    "markov": "a89aed76606ec70cc347e86293b2fe133dae4bb2197fa7d062e6a6c9e90f5b58",
    "seasonal": "303c1fd0d5f2be7be4c7ce123075a123908fc56234fe55b1dbf88d3c6b93ce68",
    "btyd": "346f568ac991c9b194a6917e91ff8d800cbe5feeb47838a5874d26059542e193",
}


def parameters_hash(preset: str) -> str:
    """SHA-256 of a preset's parameters in canonical JSON."""
    return sha256_json(PRESETS[preset])


@cache
def world_of(preset: str) -> World:
    """The world of a preset, built once; a `UserError` names an unknown preset and its nearest neighbour."""
    if preset not in PRESETS:
        raise UserError(f"simulate.preset: there is no simulated shop '{preset}'.{nearest(preset, PRESETS)}")
    return build(PRESETS[preset])


def transition_matrix(world: World) -> np.ndarray:
    """The markov shop's P(next item | last item): float (V, V), row and column 0 unused."""
    weight = world.order_weights[0, COMPONENTS.index("follow")]
    return weight * world.follow + (1.0 - weight) * world.taste[0, 0]
