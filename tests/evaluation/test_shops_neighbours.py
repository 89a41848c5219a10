"""What `benchmarks/shops.py --neighbours` adds to a network: to items that the history does not hold, to no other."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

ROOT = Path(__file__).parents[2]


def test_own_items_keep_the_networks_score_and_others_get_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from shops import Beside, median_of_best

    class Asked:  # one request, whose history holds the items 1 and 3
        events = SimpleNamespace(item=np.array([1, 3]))
        flat = staticmethod(lambda types: (np.array([0, 2]), np.array([0, 1])))
        __len__ = lambda self: 1

    network = SimpleNamespace(about=None, score=lambda asked: np.array([[0, 5, 1, 4, 2]], np.float32))
    near = SimpleNamespace(reached=lambda asked: sparse.csr_array(np.array([[0, 9, 0.5, 0, 0]], np.float32)))
    assert median_of_best(near, Asked()) == 0.5  # not the 9 of an own item
    score_V = Beside(network, near, 2.0, 0.5).score(Asked())[0]
    assert score_V[1:] == pytest.approx([5, 1 + 2 * np.log(1.01), 4, 2 + 2 * np.log(0.01)], abs=1e-5)
    assert Beside(network, near, 0.0, 0.5).score(Asked())[0].tolist() == [0, 5, 1, 4, 2]
