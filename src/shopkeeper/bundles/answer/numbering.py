"""Item ids -> their numbers where there are very many of them: an eighth of a dictionary's memory.

A dictionary of a million ids takes about 40 MiB and the numbers in it 30 MiB more. Here the numbers alone lie in a
hash table with open places (linear probing; D. E. Knuth, The Art of Computer Programming 3, 6.4), and ids are compared
where they are kept anyway. A look-up takes a few times as long, which is nothing beside a product with as many items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, overload

import numpy as np

T = TypeVar("T")
MANY = 200_000  # ids: with fewer a dictionary is small


def different(ids: Sequence[str]) -> bool:
    """Whether no id is given twice: surely where no hash is; a set of very many takes three times as long."""
    hashes = np.sort(np.fromiter(map(hash, ids), np.int64, len(ids)))
    return not (hashes[1:] == hashes[:-1]).any() or len({*ids}) == len(ids)


class Numbering(Mapping[str, int]):
    """The number of each of some different ids, from 1, in their order."""

    def __init__(self, ids: Sequence[str]):
        self.ids = ids
        places = 1 << (2 * len(ids)).bit_length()
        self._last = places - 1
        table = np.zeros(places, np.int32)  # the number that stands at each place; 0: none
        number = np.arange(1, len(ids) + 1, dtype=np.int32)
        place = np.fromiter(map(hash, ids), np.int64, len(ids)) & self._last
        while len(number):
            free = table[place] == 0
            table[place[free]] = number[free]  # of several for one place the last one gets it
            left = table[place] != number
            number, place = number[left], (place[left] + 1) & self._last
        self._table = table.data  # gives whole numbers of Python at once

    @classmethod
    def of(cls, ids: Sequence[str]) -> Mapping[str, int]:
        """A dictionary where ids are few."""
        return cls(ids) if len(ids) >= MANY else {item_id: i for i, item_id in enumerate(ids, start=1)}

    @overload
    def get(self, item_id: str, default: None = None, /) -> int | None: ...
    @overload
    def get(self, item_id: str, default: int, /) -> int: ...
    @overload
    def get(self, item_id: str, default: T, /) -> int | T: ...
    def get(self, item_id: str, default: object = None, /) -> object:
        """The number of an id, or what stands for none."""
        table, ids, last = self._table, self.ids, self._last
        place = hash(item_id) & last
        while number := table[place]:
            if ids[number - 1] == item_id:
                return number
            place = (place + 1) & last
        return default

    def __getitem__(self, item_id: str) -> int:
        number = self.get(item_id)
        if number is None:
            raise KeyError(item_id)
        return number

    def __reduce__(self) -> tuple[type[Numbering], tuple[Sequence[str]]]:
        return type(self), (self.ids,)  # another process has other hashes: its table is made anew

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)
