"""The parameters of each simulated shop, frozen by hash before any model was tuned on it.

Change nothing here: a change makes another shop, on which earlier results say nothing. A new shop is a new name.
"""

from __future__ import annotations

from typing import Any

from shopkeeper.errors import UserError, nearest
from shopkeeper.events.simulated.world import World, build
from shopkeeper.files import sha256_json

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

PRESETS = {"demo_shop": DEMO_SHOP}

FROZEN = {"demo_shop": "0d5b10ee00d40e44370a4a8f6b04d768d33e0937c55134c433548f3848e515a1"}


def parameters_hash(preset: str) -> str:
    """SHA-256 of a preset's parameters in canonical JSON."""
    return sha256_json(PRESETS[preset])


def world_of(preset: str) -> World:
    """The world of a preset; a `UserError` names an unknown one and its nearest neighbour."""
    if preset not in PRESETS:
        raise UserError(f"simulate.preset: there is no simulated shop '{preset}'.{nearest(preset, PRESETS)}")
    return build(PRESETS[preset])
