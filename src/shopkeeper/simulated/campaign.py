"""A randomised campaign with logged propensities, and the uplift that only the generator knows.

On one day a mail goes to some of the known customers; `propensity` says with what probability each would get it (it
depends on what the log shows: higher without an order in 60 days). `converted` is what the till notes in the next 14
days, by voucher and outside of the event log, so that the shop's log stays the frozen one. With p_0 the probability
of an order in 14 days (type k, state s on that day),

    logit p_1(k, s) = logit p_0(k, s) + effect(k, s),        uplift = p_1 - p_0.

Mail wins drifting customers back, hardly moves the active, cannot move the gone, and puts off the last type.

`uplift_table` with the filter of `filtering` gives the exact expected uplift given the log.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.simulated.customers import ORDER, Hidden, SimulatedLog
from shopkeeper.simulated.filtering import survival
from shopkeeper.simulated.world import World

OUTCOME_DAYS = 14
LAPSED_DAYS = 60
PROPENSITY = {"recent": 0.5, "lapsed": 0.7}
EFFECT_ACTIVE, EFFECT_DRIFTING, EFFECT_GONE, EFFECT_PUT_OFF = 0.15, 0.9, 0.02, -0.4


def campaign_day(world: World) -> int:
    """The day of the mail: two thirds of the way through the log."""
    return 2 * world.days // 3


def uplift_table(world: World, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability to convert without and with mail by type and state on the day: two float (K, S)."""
    without = np.clip(1.0 - survival(world, day, OUTCOME_DAYS), 0.002, 0.998)
    effect = np.full(world.initial.shape, EFFECT_DRIFTING)
    effect[:, 0], effect[:, -1] = EFFECT_ACTIVE, EFFECT_GONE
    effect[-1] += EFFECT_PUT_OFF
    logit = np.log(without / (1.0 - without)) + effect
    return without, 1.0 / (1.0 + np.exp(-logit))


def campaign(
    world: World, hidden: Hidden, log: SimulatedLog, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The campaign's table and its hidden truth for the customers of a chunk, by column; `customer` counts from 0."""
    day = campaign_day(world)
    instant = (world.first_day + day) * MICROSECONDS_PER_DAY
    who = np.flatnonzero(hidden.first < day)
    n = len(who)
    recent = (log.event_type == ORDER) & (log.timestamp < instant)
    recent &= log.timestamp >= instant - LAPSED_DAYS * MICROSECONDS_PER_DAY
    bought = np.bincount(log.customer[recent], minlength=len(hidden.kind))[who] > 0
    propensity = np.where(bought, PROPENSITY["recent"], PROPENSITY["lapsed"])
    treated = rng.random(n) < propensity
    without, mailed = (table[hidden.kind[who], hidden.state[who, day]] for table in uplift_table(world, day))
    converted = rng.random(n) < np.where(treated, mailed, without)
    spend = np.where(converted, np.round(np.exp(3.0 + 0.6 * rng.standard_normal(n)), 2), 0.0)
    table = {
        "customer": who, "timestamp": np.full(n, instant), "treated": treated, "propensity": propensity,
        "converted": converted, "spend": spend,
    }  # fmt: skip
    truth = {"customer": who, "p_control": without, "p_treated": mailed, "uplift": mailed - without}
    return table, truth
