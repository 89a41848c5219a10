"""The best items of a request's vector from an index, in place of a product with every item's vector.

Lists may lack items that the exact ones have; how often stands in `index` of the manifest. Scores are exact. What the
index gives is positions in `catalogue`: faiss fills the places that it cannot with -1, usearch with 0, which is the
first item's, so that both are asked how many they found.

Shapes: B requests, K list length, D width of the vectors, C items of the catalogue, V = n_items + 1 columns.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.integrity import AGAIN, read_arrays
from shopkeeper.errors import UserError
from shopkeeper.programs.ranking import best

FILES = {"faiss": "index.faiss", "usearch": "index.usearch"}
VECTOR, ARRAYS = "vector.onnx", "index.npz"
EXACT, BY_INDEX = ("model.onnx",), (*FILES.values(), VECTOR, ARRAYS)  # files of which either way of answering reads one
PART = 8  # where more than an eighth of the catalogue is asked for or hidden, all of it is looked through


@dataclass(frozen=True)
class Nearest:
    """An index, opened."""

    kind: str
    index: Any
    setting: int  # how far it looks: faiss, candidates for each item shown; usearch, `expansion_search`
    catalogue: np.ndarray  # int64 (C,): internal ids by position
    fallback_V: np.ndarray  # float32, the scores of who has no history

    @classmethod
    def of(cls, path: Path, manifest: Mapping[str, Any], content: Mapping[str, bytes]) -> Nearest:
        """From the checked files of a bundle; a `UserError` where it has no index or the index's package is missing."""
        told = manifest.get("index")
        if not told:
            raise UserError(f"{path} has no index; write one with `shopkeeper target faiss {path} --to <folder>`")
        kind, arrays = str(told["kind"]), read_arrays(content[ARRAYS])
        if kind not in FILES or FILES[kind] not in content:
            raise UserError(f"{path / 'manifest.json'} names an index '{kind}' that is not there; {AGAIN}")
        index = opened(kind, content[FILES[kind]])
        if len(index) != len(arrays["catalogue"]) or index.width != told["width"]:
            raise UserError(f"{path / FILES[kind]} does not fit {ARRAYS}: its items or their width differ; {AGAIN}")
        return cls(kind, index, int(told["setting"]), arrays["catalogue"], arrays["fallback"])

    def best(
        self, vector_BD: np.ndarray, blank_B: np.ndarray, hidden: Sequence[Sequence[int] | np.ndarray], k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that are not hidden and their scores, (B, K); 0 and -inf where there are fewer.

        `blank_B`: requests without a history, which get the fallback.
        """
        items_BK = np.zeros((len(vector_BD), k), np.int64)
        scores_BK = np.full((len(vector_BD), k), -np.inf, np.float32)
        for b, vector_D in enumerate(vector_BD):
            if blank_B[b]:
                found, scores = best(self.fallback_V[None], self.catalogue, [hidden[b]], k)
                items_BK[b], scores_BK[b] = found[0], scores[0]
                continue
            out = np.asarray(hidden[b], np.int64)
            wanted = k + len(out)  # so many at least, of which those that are hidden fall out
            if wanted * PART > len(self.catalogue):
                place = np.flatnonzero(~np.isin(self.catalogue, out))
                scores = self.index.vectors(place) @ vector_D
            else:
                place, scores = self.index.search(np.asarray(vector_D, np.float32), wanted, k, self.setting)
                kept = ~np.isin(self.catalogue[place], out)
                place, scores = place[kept], scores[kept]
            order = np.lexsort((place, -scores))[:k]  # equal scores: the lower id first
            items_BK[b, : len(order)], scores_BK[b, : len(order)] = self.catalogue[place[order]], scores[order]
        return items_BK, scores_BK


@dataclass(frozen=True)
class OfFaiss:
    """Vectors in 4 bits to two numbers, all looked through, the best compared anew in 32; or, of few, the latter."""

    index: Any
    faiss: Any

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def width(self) -> int:
        """D."""
        return int(self.index.d)

    def search(self, vector_D: np.ndarray, wanted: int, k: int, setting: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and inner products of about the `wanted` best, of which k are shown."""
        told = {}
        if setting:
            factor = (setting * k + wanted - k) / wanted
            told["params"] = self.faiss.IndexRefineSearchParameters(k_factor=factor)
        scores, places = self.index.search(vector_D[None], wanted, **told)
        found = places[0] >= 0
        return places[0][found], scores[0][found]

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """float32 (…, D)."""
        found: np.ndarray = self.index.reconstruct_batch(places)
        return found


@dataclass(frozen=True)
class OfUsearch:
    """A graph of neighbours over vectors with one number more, which makes all of them equally long.

    Then the nearest are those of the largest inner product (Y. Bachrach et al., RecSys 2014).
    """

    index: Any

    def __len__(self) -> int:
        return len(self.index)

    @property
    def width(self) -> int:
        """D, without the number more."""
        return int(self.index.ndim) - 1

    def search(self, vector_D: np.ndarray, wanted: int, k: int, setting: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and inner products of about the `wanted` best, of which k are shown."""
        self.index.expansion_search = max(setting, wanted)
        matches = self.index.search(np.append(vector_D, np.float32(0)), wanted, threads=1)
        places = np.asarray(matches.keys[: len(matches)], np.int64)
        return places, self.vectors(places) @ vector_D

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """float32 (…, D)."""
        found = np.asarray(self.index.get(places.astype(np.uint64)), np.float32)
        return found.reshape(*places.shape, self.width + 1)[..., :-1]  # of no place usearch gives no table


def faiss_package() -> Any:
    """The package, which tells at length which of its builds it has found."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    return importlib.import_module("faiss")


def opened(kind: str, content: bytes) -> OfFaiss | OfUsearch:
    """An index from its file's bytes."""
    try:
        if kind == "faiss":
            faiss = faiss_package()
            return OfFaiss(faiss.deserialize_index(np.frombuffer(content, np.uint8)), faiss)
        from usearch.index import Index

        return OfUsearch(Index.restore(content))
    except ImportError:
        raise UserError(f"this index needs {kind}: `pip install 'shopkeeper[index]'`") from None
