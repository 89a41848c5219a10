"""From a prepared dataset back to the world that it was simulated in: items, channels, histories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.data.prepared import Prepared
from shopkeeper.data.queries import is_query
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.simulated.customers import CART, ORDER, VIEW
from shopkeeper.simulated.filtering import STORE, UNKNOWN, WEB, Histories
from shopkeeper.simulated.presets import FROZEN, world_of
from shopkeeper.simulated.shop import hidden_chunks
from shopkeeper.simulated.world import CHANNELS, World
from shopkeeper.simulated.write import item_ids


@dataclass(frozen=True)
class Link:
    """Which world, and what its items and channels are called inside of a prepared dataset."""

    preset: str
    parameters_hash: str
    item: np.ndarray  # int64 (n_items + 1,): internal id -> world item; 0 = padding
    channel: np.ndarray  # int64: code in the arrays -> WEB, STORE or UNKNOWN

    @classmethod
    def of(cls, prepared: Prepared) -> Link:
        """The link of a simulated dataset; a `UserError` says why any other has none."""
        truth = prepared.manifest.get("simulation")
        if not truth:
            raise UserError(
                f"dataset '{prepared.name}' is not simulated, so nobody knows its truth: oracles need demo_shop "
                f"or another simulated dataset"
            )
        preset, found = str(truth.get("preset")), str(truth.get("parameters_hash") or truth.get("hash"))
        check_frozen(preset, found, f"dataset '{prepared.name}'")
        number = {name: i for i, name in enumerate(item_ids(world_of(preset)), start=1)}
        external = prepared.items["item_id"].to_pylist()
        if prepared.queries is not None:  # what was typed is no item of the world
            number |= {name: 0 for name in external if is_query(name)}
        unknown = [name for name in external if name not in number]
        if unknown:
            raise UserError(
                f"dataset '{prepared.name}' has the item '{unknown[0]}', which the simulated shop '{preset}' does not: "
                f"prepare it again without pseudonyms or foreign rows"
            )
        names = [str(c) for c in prepared.manifest.get("channels") or []]
        code = {CHANNELS[WEB]: WEB, CHANNELS[STORE]: STORE}
        channel = [UNKNOWN, *(code.get(name, UNKNOWN) for name in names)]
        return cls(preset, found, np.array([0, *(number[name] for name in external)]), np.array(channel))

    def world(self) -> World:
        """The world's tables."""
        return world_of(self.preset)

    def histories(self, requests: Requests) -> Histories:
        """The views, carts and purchases of requests, in the world's terms."""
        events = requests.events
        if events.timestamp is None:
            raise UserError("the oracle needs the time stamps of the events: give them, or use another model")
        offsets, rows = requests.flat((VIEW, CART, ORDER))
        n = len(rows)
        item = np.asarray(events.item)[rows] if n else np.zeros(0, np.int64)
        kind = np.asarray(events.event_type)[rows] if n else np.zeros(0, np.int64)
        at = np.asarray(events.timestamp)[rows] if n else np.zeros(0, np.int64)
        return Histories(offsets, self.item[item], kind.astype(np.int64), at.astype(np.int64), self.channels(
            None if events.channel is None else np.asarray(events.channel)[rows], n))  # fmt: skip

    def channels(self, code: np.ndarray | None, n: int) -> np.ndarray:
        """WEB, STORE or UNKNOWN for the channel codes of the arrays."""
        if code is None:
            return np.full(n, UNKNOWN)
        return self.channel[np.where(code < len(self.channel), code, 0)]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a model file keeps."""
        return {
            "preset": np.array(self.preset),
            "hash": np.array(self.parameters_hash),
            "item": self.item,
            "channel": self.channel,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], where: str) -> Link:
        """The link from what a model file kept; a `UserError` when the preset has changed since."""
        preset, found = str(arrays["preset"]), str(arrays["hash"])
        check_frozen(preset, found, where)
        return cls(preset, found, arrays["item"], arrays["channel"])


def hidden_truth(prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """What the generator gave each customer: type int64 (n_users + 1,) and state int8 (n_users + 1, D) at day's end.

    By internal id; -1 for id 0 and before the first day. Lived again from the seed, since no file holds it.
    """
    truth = prepared.manifest["simulation"]
    preset, seed, customers = str(truth["preset"]), int(truth["seed"]), int(truth["customers"])
    parts = [hidden for _, hidden, _ in hidden_chunks(world_of(preset), preset, seed, customers)]
    kind, state = np.concatenate([h.kind for h in parts]), np.concatenate([h.state for h in parts])
    number = np.array([int(name[1:]) for name in prepared.users["user_id"].to_pylist()], np.int64) - 1
    return np.concatenate([[-1], kind[number]]), np.concatenate([np.full((1, state.shape[1]), -1), state[number]])


def check_frozen(preset: str, found: str, where: str) -> None:
    """A `UserError` when `found` is not the hash of the preset's frozen parameters."""
    if preset not in FROZEN:
        raise UserError(f"{where} comes from the simulated shop '{preset}', which is not known here; prepare it again")
    if FROZEN[preset] != found:
        raise UserError(
            f"{where} comes from '{preset}' with other parameters (hash {found[:8]}, here {FROZEN[preset][:8]}): "
            f"delete its prepared folder and run `shopkeeper prepare` again"
        )
