r"""What lists are like besides being right: how wide, how new, how varied, how well they match a customer's mix.

Lists are item ids, best first, int (B, K); 0 is an empty place and counts nowhere. Per-request metrics return float64
(B,), NaN where nothing can be said. Coverage and Gini are properties of a set of lists and grow with its size: compare
them at equal n (`rarefied_coverage`), not by a bootstrap interval.

Shapes: B requests, K places, V = n_items + 1, C items in the catalogue, F features or categories.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shopkeeper.metrics.ranks import Flat
from shopkeeper.metrics.sorted_keys import among, distinct

_ROWS = 4096  # requests worked on at once
_MANY = 1 << 18  # listed items whose categories SciPy adds up so much faster that it is worth bringing in


def exposure(list_BK: np.ndarray, n_columns: int) -> np.ndarray:
    """In how many places each item stands, int64 (V,); column 0 is always 0.

    >>> exposure(np.array([[1, 2], [1, 0]]), 4)
    array([0, 2, 1, 0])
    """
    count = np.bincount(list_BK.ravel(), minlength=n_columns)
    count[0] = 0
    return count


def coverage(exposure_V: np.ndarray, n_catalogue: int) -> float:
    r"""Catalogue coverage: the share of the catalogue that is recommended to anybody.

    .. math:: \mathrm{Coverage} = \frac{|\bigcup_b L_b|}{C}

    Source: M. Ge, C. Delgado-Battenfeld and D. Jannach, Beyond accuracy, RecSys 2010.

    >>> coverage(exposure(np.array([[1, 2], [1, 3]]), 7), 6)
    0.5
    """
    return float((exposure_V > 0).sum() / n_catalogue)


def rarefied_coverage(list_BK: np.ndarray, n_catalogue: int, sizes: Sequence[int]) -> np.ndarray:
    r"""Expected coverage of n of the lists drawn without replacement, for each n of `sizes`: the rarefaction curve.

    .. math:: \mathrm{E}[\mathrm{Coverage}(n)] = \frac{1}{C} \sum_i 1 - \binom{B - B_i}{n} \Big/ \binom{B}{n}

    where :math:`B_i` lists contain item i. Two sets of lists are compared at an n that both have.

    Source: S. H. Hurlbert, The nonconcept of species diversity, Ecology 52(4), 1971.

    >>> rarefied_coverage(np.array([[1, 2], [1, 3]]), 6, [1, 2])
    array([0.33333333, 0.5       ])
    """
    from scipy.special import gammaln

    n_lists = len(list_BK)
    row = np.repeat(np.arange(n_lists), list_BK.shape[1])
    pairs = np.unique(np.stack([row, list_BK.ravel()])[:, list_BK.ravel() > 0], axis=1)
    containing, items = np.unique(np.bincount(pairs[1])[1:] if pairs.size else np.zeros(0, int), return_counts=True)
    containing, items = containing[containing > 0], items[containing > 0]
    curve = []
    for n in sizes:
        assert 0 < n <= n_lists, "a rarefaction size lies between 1 and the number of lists"
        rest = n_lists - containing
        log = gammaln(rest + 1) - gammaln(np.maximum(rest - n, 0) + 1) - gammaln(n_lists + 1) + gammaln(n_lists - n + 1)
        missed = np.where(rest >= n, np.exp(log), 0.0)
        curve.append(float((items * (1 - missed)).sum() / n_catalogue))
    return np.array(curve)


def gini(exposure_V: np.ndarray, n_catalogue: int) -> float:
    r"""Gini coefficient of exposure over the catalogue: 0 when all items are shown equally often, near 1 when few are.

    .. math:: G = \frac{\sum_{i=1}^{C} (2 i - C - 1)\, x_{(i)}}{C \sum_i x_i}, \qquad x_{(1)} \le \dots \le x_{(C)}

    Source: D. Fleder and K. Hosanagar, Blockbuster culture's next rise or fall, Management Science 55(5), 2009.

    >>> gini(np.array([0, 2, 2, 2]), 3), round(gini(np.array([0, 6, 0, 0]), 3), 4)
    (0.0, 0.6667)
    """
    shown = np.sort(exposure_V[exposure_V > 0]).astype(np.float64)
    place = np.arange(n_catalogue - len(shown) + 1, n_catalogue + 1)
    total = shown.sum()
    return float(((2 * place - n_catalogue - 1) * shown).sum() / (n_catalogue * total)) if total else float("nan")


def average_popularity(list_BK: np.ndarray, popularity_V: np.ndarray) -> np.ndarray:
    r"""Average recommendation popularity: the mean training count of the listed items.

    .. math:: \mathrm{ARP} = \frac{1}{|L|} \sum_{i \in L} \phi(i)

    Source: H. Yin, B. Cui, J. Li, J. Yao and C. Chen, Challenging the long tail recommendation, VLDB 2012.

    >>> average_popularity(np.array([[1, 2], [2, 0]]), np.array([0, 10, 4]))
    array([7., 4.])
    """
    return _mean(popularity_V[list_BK].astype(np.float64), list_BK)


def novelty(list_BK: np.ndarray, popularity_V: np.ndarray) -> np.ndarray:
    r"""Novelty: the mean self-information of the listed items, in bits.

    .. math:: \mathrm{Nov} = \frac{1}{|L|} \sum_{i \in L} -\log_2 p(i), \qquad p(i) = \phi(i) / \sum_j \phi(j)

    An item that nobody took in training counts as taken once.

    Source: T. Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 107(10), 2010.

    >>> novelty(np.array([[1, 2]]), np.array([0, 2, 1, 1]))
    array([1.5])
    """
    share = np.maximum(popularity_V, 1) / max(float(popularity_V.sum()), 1.0)
    return _mean(-np.log2(share)[list_BK], list_BK)


def intra_list_diversity(list_BK: np.ndarray, feature_VF: np.ndarray) -> np.ndarray:
    r"""Intra-list diversity: the mean distance of all pairs of listed items; features are attributes or embeddings.

    .. math:: \mathrm{ILD} = \frac{2}{|L| (|L| - 1)} \sum_{i < j \in L} 1 - \cos(f_i, f_j)

    NaN for lists of fewer than two items; an item without features is unlike every other.

    Source: C.-N. Ziegler, S. M. McNee, J. A. Konstan and G. Lausen, Improving recommendation lists through topic
    diversification, WWW 2005.

    >>> intra_list_diversity(np.array([[1, 2], [1, 3]]), np.array([[0, 0], [1, 0], [2, 0], [0, 3]]))
    array([0., 1.])
    """
    length = np.sqrt((feature_VF.astype(np.float64) ** 2).sum(1))
    unit_VF = feature_VF / np.where(length > 0, length, 1.0)[:, None]
    unit_VF[0] = 0.0
    value = np.empty(len(list_BK))
    for a in range(0, len(list_BK), _ROWS):
        part = list_BK[a : a + _ROWS]
        total_BF = unit_VF[part].sum(1)
        alike = ((total_BF**2).sum(1) - ((length[part] > 0) & (part > 0)).sum(1)) / 2
        n = (part > 0).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            value[a : a + _ROWS] = np.where(n > 1, 1 - alike / (n * (n - 1) / 2), np.nan)
    return value


def category_mix(lists: Flat, category_VF: np.ndarray) -> np.ndarray:
    """Distribution over categories of lists of items, float64 (B, F): each item counts one, shared by its categories.

    Rows without a categorised item are 0.
    """
    share_VF = category_VF / np.maximum(category_VF.sum(1, keepdims=True).astype(np.float64), 1e-300)
    shape = (len(lists.offsets) - 1, len(category_VF))
    if len(lists.item) > _MANY:
        from scipy import sparse

        mix = sparse.csr_array((np.ones(len(lists.item)), lists.item, lists.offsets), shape=shape) @ share_VF
    else:
        mix = _added_up(lists, share_VF)
    return mix / np.maximum(mix.sum(1, keepdims=True), 1e-300)


def _added_up(lists: Flat, share_VF: np.ndarray) -> np.ndarray:
    """The sum of the rows of a list's items, float64 (B, F), added in the order of the list."""
    n_rows, width = len(lists.offsets) - 1, share_VF.shape[1]
    owner, category = np.nonzero(share_VF)  # by item
    share, n_V = share_VF[owner, category], np.bincount(owner, minlength=len(share_VF))
    n = n_V[lists.item]
    row = np.repeat(np.repeat(np.arange(n_rows), np.diff(lists.offsets)), n)
    at = np.repeat((np.cumsum(n_V) - n_V)[lists.item] - (np.cumsum(n) - n), n) + np.arange(len(row))
    return np.bincount(row * width + category[at], share[at], n_rows * width).reshape(n_rows, width)


def miscalibration(list_BK: np.ndarray, history: Flat, category_VF: np.ndarray, alpha: float = 0.01) -> np.ndarray:
    r"""Category miscalibration: how far the list's mix of categories is from the customer's own; lower is better.

    .. math:: \mathrm{KL}(p \,\|\, \tilde q) = \sum_c p(c) \log \frac{p(c)}{(1 - \alpha)\, q(c) + \alpha\, p(c)}

    with p the mix of the history and q that of the list. NaN without a categorised history or list.

    Source: H. Steck, Calibrated recommendations, RecSys 2018.

    >>> category = np.array([[0, 0], [1, 0], [0, 1]])
    >>> miscalibration(np.array([[1, 2], [1, 1]]), Flat.of([[1, 2], [1, 2]]), category).round(3)
    array([0.   , 1.959])
    """
    n, k = list_BK.shape
    category_VF = np.where(np.arange(len(category_VF))[:, None] > 0, category_VF, 0)
    own_BF = category_mix(history, category_VF)
    list_BF = category_mix(Flat(np.arange(n + 1, dtype=np.int64) * k, list_BK.ravel()), category_VF)
    mixed = (1 - alpha) * list_BF + alpha * own_BF
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(own_BF > 0, own_BF * np.log(own_BF / mixed), 0.0).sum(1)
    return np.where((own_BF.sum(1) > 0) & (list_BF.sum(1) > 0), np.maximum(value, 0.0), np.nan)


def serendipity(list_BK: np.ndarray, targets: Flat, obvious_BK: np.ndarray) -> np.ndarray:
    r"""Serendipity: the share of places that hold something right that the obvious list would not have shown.

    .. math:: \mathrm{Ser} = \frac{1}{K} \, |(L \setminus E) \cap T|

    with E the list of a primitive model (here the most popular items, see `obvious`) and T the targets.

    Source: M. Ge, C. Delgado-Battenfeld and D. Jannach, Beyond accuracy, RecSys 2010.

    >>> found = np.array([[1, 2], [3, 4]])
    >>> serendipity(found, Flat.of([[1, 2], [9]]), np.isin(found, [1, 5]))
    array([0.5, 0. ])
    """
    return (member(list_BK, targets) & ~obvious_BK).mean(1)


def obvious(list_BK: np.ndarray, place_V: np.ndarray, k: int, seen: Flat | None = None) -> np.ndarray:
    """Whether each listed item would stand among the k most popular: bool (B, K).

    `place_V` int64 (V,) is each item's place by popularity from 0, at least the catalogue's size for items outside it.
    The primitive model keeps the same rules as the others: where seen items are left out, `seen` holds them, and the
    next most popular ones move up. A popularity model has no serendipity, then.

    >>> obvious(np.array([[1, 3]]), np.array([9, 0, 1, 2]), 2)
    array([[ True, False]])
    >>> obvious(np.array([[1, 3]]), np.array([9, 0, 1, 2]), 2, Flat.of([[2]]))
    array([[ True,  True]])
    """
    place_BK = place_V[list_BK]
    if seen is None:
        return (place_BK < k) & (list_BK > 0)
    length = np.diff(seen.offsets)
    row = np.repeat(np.arange(len(list_BK), dtype=np.int64), length)
    near = place_V[seen.item] < k + length[row]  # no other seen item can let one move up to the first k
    width = len(place_V) + 1
    keys = distinct(row[near] * width + np.minimum(place_V[seen.item[near]], width - 1))
    first = np.arange(len(list_BK), dtype=np.int64)[:, None] * width
    before = np.searchsorted(keys, first + np.minimum(place_BK, width - 1)) - np.searchsorted(keys, first)
    return (place_BK - before < k) & (list_BK > 0) & ~member(list_BK, seen)


def member(list_BK: np.ndarray, lists: Flat) -> np.ndarray:
    """Whether each listed item is in the request's own list of items, bool (B, K); False for empty places.

    >>> member(np.array([[1, 2], [1, 0]]), Flat.of([[2, 3], [0]]))
    array([[False,  True],
           [False, False]])
    """
    width = int(max(list_BK.max(initial=0), lists.item.max(initial=0))) + 1
    row = np.repeat(np.arange(len(list_BK), dtype=np.int64), np.diff(lists.offsets))
    keys = np.sort(row * width + lists.item)
    wanted = np.arange(len(list_BK), dtype=np.int64)[:, None] * width + list_BK
    return among(keys, wanted) & (list_BK > 0)


def duplicates(list_BK: np.ndarray) -> np.ndarray:
    """How many places of each list repeat an item of the same list, int64 (B,).

    >>> duplicates(np.array([[1, 2, 1], [3, 0, 0]]))
    array([1, 0])
    """
    ordered = np.sort(list_BK, axis=1)
    return ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)).sum(1)


def _mean(value_BK: np.ndarray, list_BK: np.ndarray) -> np.ndarray:
    some = list_BK > 0
    with np.errstate(invalid="ignore"):
        return np.where(some, value_BK, 0.0).sum(1) / np.where(some.any(1), some.sum(1), np.nan)
