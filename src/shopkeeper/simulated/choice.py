"""Which item is viewed or ordered: one mixture, drawn from by the generator and evaluated by the oracle.

A choice of a customer of type k is with probability `weights[k, c] * gate[c]` made from component c, else from the
type's taste in the month. The gates and the components see only what the log shows: the last view of this session,
the last views and carts since the last order, the first line of the last order, replenishable items bought before.

Shapes: n choices, K types, V = n_items + 1, C components, W width of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopkeeper.simulated.world import World


@dataclass
class Windows:
    """What the log shows before each of n choices. Items are world items, 0 = none, most recent last."""

    day: np.ndarray  # int (n,), day of the choice
    session: np.ndarray  # int (n,), last item viewed in this session
    views: np.ndarray  # int (n, 5), last views since the last order
    carts: np.ndarray  # int (n, 3), last carts since the last order
    first_line: np.ndarray  # int (n,), first line of the last order
    order_day: np.ndarray  # int (n,), its day
    due_item: np.ndarray  # int (n, 8), last purchases of replenishable items
    due_day: np.ndarray  # int (n, 8), their days

    def __getitem__(self, rows: np.ndarray) -> Windows:
        """Windows of some rows (a copy)."""
        return Windows(**{name: column[rows] for name, column in vars(self).items()})


@dataclass
class Pointers:
    """Gates, and where the components that point back into the history point to."""

    gate: np.ndarray  # float (n, C)
    views: np.ndarray  # float (n, 5), rows sum to 1 or are all 0
    carts: np.ndarray  # float (n, 3)
    due: np.ndarray  # float (n, 8)


def pointers(world: World, w: Windows) -> Pointers:
    """How far each component is open (0..1) and how it divides its weight over its window."""
    age = (w.day[:, None] - w.due_day) / np.maximum(world.cycle[w.due_item], 1.0)
    due = np.where(w.due_item > 0, np.clip(1.0 - np.abs(age - 1.0) / 0.4, 0.0, 1.0), 0.0)
    for position in range(due.shape[1] - 1):  # only the latest purchase of an item says when it is due
        later = w.due_item[:, position + 1 :] == w.due_item[:, position, None]
        due[later.any(axis=1), position] = 0.0
    echo = (w.first_line > 0) & (w.day - w.order_day <= world.follow_days)
    gate = np.stack(
        [w.session > 0, w.views[:, -1] > 0, w.carts[:, -1] > 0, echo, due.max(axis=1)], axis=1, dtype=np.float64
    )
    return Pointers(gate, _fading(w.views, world.decay), _fading(w.carts, world.decay), _shares(due))


def likelihood(world: World, w: Windows, item: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability of choosing `item` (n,) under each type: float (n, K). `weights` is the world's for view or order."""
    p = pointers(world, w)
    inside = np.stack(
        [
            world.alike[w.session, item],
            np.sum(p.views * (w.views == item[:, None]), axis=1),
            np.sum(p.carts * (w.carts == item[:, None]), axis=1),
            world.follow[w.first_line, item],
            np.sum(p.due * (w.due_item == item[:, None]), axis=1),
        ],
        axis=1,
    )  # (n, C)
    own = world.taste[:, world.month_of(w.day), item].T  # (n, K)
    return (p.gate * inside) @ weights.T + (1.0 - p.gate @ weights.T) * own


def mixture(world: World, w: Windows, posterior: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Distribution over items when the type is known with probabilities `posterior` (n, K): float (n, V)."""
    p = pointers(world, w)
    n = len(w.day)
    mass = (posterior @ weights) * p.gate  # (n, C)
    left = posterior * (1.0 - p.gate @ weights.T)  # (n, K)
    out = mass[:, 0, None] * world.alike[w.session] + mass[:, 3, None] * world.follow[w.first_line]
    month = world.month_of(w.day)
    for m in np.unique(month):
        rows = month == m
        out[rows] += left[rows] @ world.taste[:, m, :]
    rows = np.arange(n)[:, None]
    for column, items, share in ((1, w.views, p.views), (2, w.carts, p.carts), (4, w.due_item, p.due)):
        np.add.at(out, (np.broadcast_to(rows, items.shape), items), mass[:, column, None] * share)
    out[:, 0] = 0.0
    return out


class Drawer:
    """Draws items from the mixture for customers of known type."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._taste = _cumulative(world.taste.reshape(-1, world.n_items + 1))
        self._alike = _cumulative(world.alike)
        self._follow = _cumulative(world.follow)

    def draw(self, w: Windows, kind: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item for each of n choices, int (n,); `kind` (n,) are the types."""
        p = pointers(self.world, w)
        edges = np.cumsum(weights[kind] * p.gate, axis=1)
        u, v = rng.random(len(kind)), rng.random(len(kind))
        component = np.sum(u[:, None] >= edges, axis=1)  # C = taste
        item = _pick_row(self._taste, kind * 12 + self.world.month_of(w.day), v)
        for c, table, row in ((0, self._alike, w.session), (3, self._follow, w.first_line)):
            chosen = component == c
            item[chosen] = _pick_row(table, row[chosen], v[chosen])
        for c, items, share in ((1, w.views, p.views), (2, w.carts, p.carts), (4, w.due_item, p.due)):
            chosen = np.flatnonzero(component == c)
            place = np.sum(v[chosen, None] >= np.cumsum(share[chosen], axis=1), axis=1)
            # Rounding may leave the last edge a hair below 1: then the last place that has weight is meant.
            last = items.shape[1] - 1 - np.argmax(share[chosen, ::-1] > 0, axis=1)
            item[chosen] = items[chosen, np.minimum(place, last)]
        return item


def _fading(items: np.ndarray, decay: float) -> np.ndarray:
    age = np.arange(items.shape[1])[::-1]
    return _shares(np.where(items > 0, decay**age, 0.0))


def _shares(weight: np.ndarray) -> np.ndarray:
    total = weight.sum(axis=1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def _cumulative(table: np.ndarray) -> np.ndarray:
    """Cumulative rows, each shifted by its number, so that one `searchsorted` draws from any row."""
    edges = np.cumsum(table, axis=1)
    last = table.shape[1] - 1 - np.argmax(table[:, ::-1] > 0, axis=1)  # last item that can be drawn
    edges[np.arange(table.shape[1])[None, :] >= last[:, None]] = 1.0
    return edges + np.arange(len(table))[:, None]


def _pick_row(table: np.ndarray, row: np.ndarray, u: np.ndarray) -> np.ndarray:
    width = table.shape[1]
    found = np.searchsorted(table.ravel(), row + u, side="right") - row * width
    return np.minimum(found, width - 1)
