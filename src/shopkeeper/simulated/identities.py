"""One customer, many keys: the log under the keys that a shop really sees, the links between them, and who was who.

A web visit is logged under the account when the customer is logged in, else under the device; a store order under
the loyalty card; a return under its order's key. Keys merge (a device and an account at the first login on it, a card
registered later, a second account that turns out to have the first one's phone) and split (a device that is handed
on belongs to its first owner until then and to the next customer after).

Keys are texts `account:…`, `device:…`, `card:…`, `phone:…`. A link says that an account owns a key
from an instant until another (null: for good); whoever connects them as of a cutoff may use only those known by then.

Shapes: n customers of a chunk, M rows of its log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.schema import MICROSECONDS_PER_DAY
from shopkeeper.simulated.customers import Hidden, SimulatedLog
from shopkeeper.simulated.world import World

KINDS = ("account", "account", "device", "device", "card", "phone")  # blocks of n keys each: two accounts, two devices
ACCOUNT, SECOND_ACCOUNT, DEVICE, NEW_DEVICE, CARD, PHONE = range(6)
LOGGED_IN, CHANGES_DEVICE, HANDS_ON, SECOND, REGISTERS_CARD = 0.6, 0.5, 0.15, 0.1, 0.6
NEVER = np.int64(2**62)


@dataclass(frozen=True)
class Identities:
    """Keys of a chunk are numbers block * n + customer; -1 as time means null."""

    key: np.ndarray  # int64 (M,), key that each row of the log is under
    links: dict[str, np.ndarray]  # account, key, valid_from, valid_until (µs, -1 = for good)
    persons: dict[str, np.ndarray]  # the truth: key, customer, valid_from, valid_until (µs, -1 = always / for good)


def key_names(keys: np.ndarray, n: int, first: int) -> list[str]:
    """Texts of keys; the number in a key says nothing about the customer."""
    block, customer = keys // n, keys % n
    # An odd multiplier shuffles numbers below 2^32 one to one; the block keeps a customer's keys apart.
    number = ((first + customer) * 6 + block) * 2_654_435_761 % 2**32
    return [f"{KINDS[b]}:{x:08x}" for b, x in zip(block.tolist(), number.tolist(), strict=True)]


def identities(world: World, hidden: Hidden, log: SimulatedLog, rng: np.random.Generator) -> Identities:
    """Give every row its key, and say what links become known when."""
    n = len(hidden.kind)
    begin, end = world.first_day * MICROSECONDS_PER_DAY, (world.first_day + world.days) * MICROSECONDS_PER_DAY

    def some_time(share: float) -> np.ndarray:
        drawn = begin + ((0.2 + 0.7 * rng.random(n)) * (end - begin)).astype(np.int64)
        return np.where(rng.random(n) < share, drawn, NEVER)

    changes, second = some_time(CHANGES_DEVICE), some_time(SECOND)
    handed_on = (rng.random(n) < HANDS_ON) & (changes < NEVER) & (n > 1)
    giver = np.roll(np.arange(n), 1)  # customer c may get the old device of customer c - 1

    visit, row = np.unique(log.session[log.session > 0], return_index=True)
    row = np.flatnonzero(log.session > 0)[row]
    who, at = log.customer[row].astype(np.int64), log.timestamp[row]
    account = np.where(at >= second[who], SECOND_ACCOUNT, ACCOUNT) * n + who
    device = np.where(at >= changes[who], NEW_DEVICE, DEVICE) * n + who
    from_giver = handed_on[giver[who]] & (at >= changes[giver[who]]) & (rng.random(len(visit)) < 0.5)
    device = np.where(from_giver, DEVICE * n + giver[who], device)
    logged_in = rng.random(len(visit)) < LOGGED_IN
    of_visit = np.full(int(log.session.max(initial=0)) + 1, -1, np.int64)
    of_visit[visit] = np.where(logged_in, account, device)

    key = np.where(log.session > 0, of_visit[log.session], CARD * n + log.customer)
    of_order = np.zeros(int(log.order.max(initial=0)) + 1, np.int64)
    bought = (log.order > 0) & ((log.session > 0) | (log.channel == 1))
    of_order[log.order[bought][::-1]] = key[bought][::-1]  # the first row of an order is its purchase
    key = np.where((log.session == 0) & (log.order > 0), of_order[log.order], key)

    # Links: login on a device …
    pair, earliest = np.unique(account[logged_in] * (6 * n) + device[logged_in], return_index=True)
    left, right = pair // (6 * n), pair % (6 * n)
    known = at[logged_in][earliest]
    owner = right % n
    gone = handed_on[owner] & (right // n == DEVICE) & (left % n == owner)
    until = np.where(gone, changes[owner], -1)
    # … a card that is registered some time after it was first used …
    in_store = np.flatnonzero((log.channel == 1) & (log.session == 0) & (log.order > 0))
    carded, first_use = np.unique(log.customer[in_store], return_index=True)
    wait = (60 * MICROSECONDS_PER_DAY * rng.exponential(size=len(carded))).astype(np.int64)
    registered = log.timestamp[in_store][first_use] + wait
    keep = (rng.random(len(carded)) < REGISTERS_CARD) & (registered < end)
    carded, registered = carded[keep].astype(np.int64), registered[keep]
    # … and a phone number that two accounts turn out to share.
    twice = np.flatnonzero(second < NEVER)
    told = second[twice] + (20 * MICROSECONDS_PER_DAY * rng.random(len(twice))).astype(np.int64)
    links = {
        "account": np.concatenate([left, ACCOUNT * n + carded, ACCOUNT * n + twice, SECOND_ACCOUNT * n + twice]),
        "key": np.concatenate([right, CARD * n + carded, PHONE * n + twice, PHONE * n + twice]),
        "valid_from": np.concatenate([known, registered, second[twice], told]),
        "valid_until": np.concatenate([until, np.full(len(carded) + 2 * len(twice), -1)]),
    }
    order = np.argsort(links["valid_from"], kind="stable")
    used = np.unique(np.concatenate([key, links["account"], links["key"]]))
    split = used[(used // n == DEVICE) & handed_on[used % n]]
    next_owner = (split % n + 1) % n
    persons = {
        "key": np.concatenate([used, split]),
        "customer": np.concatenate([used % n, next_owner]),
        "valid_from": np.concatenate([np.full(len(used), -1), changes[split % n]]),
        "valid_until": np.concatenate([np.where(np.isin(used, split), changes[used % n], -1), np.full(len(split), -1)]),
    }
    return Identities(key, {name: column[order] for name, column in links.items()}, persons)
