r"""What lists are worth to a shop: money found, what is bought again and what is discovered, what is not in stock.

Per-request metrics return float64 (B,), NaN where nothing can be said. Ties count by expectation, as in `ranking`.

Shapes: B requests, K places, N distinct targets, V = n_items + 1.
"""

from __future__ import annotations

import numpy as np

from shopkeeper.metrics.beyond_accuracy import member
from shopkeeper.metrics.ranking import discounted
from shopkeeper.metrics.ranks import Flat, Hits


def weighted_ndcg(hits: Hits, weight_N: np.ndarray, k: int) -> np.ndarray:
    r"""NDCG with a gain per target: its price gives price-weighted, its margin margin-weighted NDCG.

    .. math:: \mathrm{NDCG}_w@k = \frac{\sum_i w_i [r_i \le k] / \log_2(r_i + 1)}
              {\sum_{j \le \min(R, k)} w_{(j)} / \log_2(j + 1)}, \qquad w_{(1)} \ge w_{(2)} \ge \dots

    Negative and unknown weights count 0; a request in which nothing has a weight is NaN.

    Source: Järvelin and Kekäläinen (2002) with graded gains; for prices: C. Pei et al., Value-aware recommendation
    based on reinforcement profit maximization, WWW 2019.

    >>> weighted_ndcg(Hits.at([[1, 2]]), np.array([1.0, 3.0]), 10).round(4)
    array([0.7967])
    """
    weight = np.maximum(np.nan_to_num(weight_N), 0.0)
    value = hits.per_request(hits.request, weight * _discount(hits, k))
    order = np.lexsort((-weight, hits.request))
    place = np.arange(len(weight)) - np.repeat(hits.offsets[:-1], hits.n_relevant)
    gain = np.diff(discounted(k))
    ideal = np.bincount(
        hits.request, np.where(place < k, weight[order] * gain[np.minimum(place, k - 1)], 0.0), len(hits.n_relevant)
    )
    return np.where(ideal > 0, value / np.where(ideal > 0, ideal, 1.0), np.nan)


def ndcg_share(hits: Hits, chosen_N: np.ndarray, k: int) -> np.ndarray:
    r"""The part of NDCG@k that comes from some of the targets, such as those bought before (repeat) or not (explore).

    .. math:: \frac{\sum_{i \in S} [r_i \le k] / \log_2(r_i + 1)}{\sum_{j \le \min(R, k)} 1 / \log_2(j + 1)}

    The parts of a division of the targets add up to NDCG@k.

    Source: M. Li et al., A next basket recommendation reality check, ACM TOIS 41(4), 2023.

    >>> ndcg_share(Hits.at([[1, 3]]), np.array([True, False]), 10).round(4)
    array([0.6131])
    """
    value = hits.per_request(hits.request, np.where(chosen_N, _discount(hits, k), 0.0))
    ideal = discounted(k)[np.minimum(hits.n_relevant, k)]
    return value / np.where(ideal > 0, ideal, 1.0)


def revenue(hits: Hits, money_N: np.ndarray, k: int) -> np.ndarray:
    r"""Revenue@k: the money that the customer then spent on what stood among the first k; unknown prices count 0.

    .. math:: \mathrm{Rev@}k = \sum_i [r_i \le k] \; \mathrm{price}_i \, \mathrm{quantity}_i

    Source: D. Jannach and M. Jugovac, Measuring the business value of recommender systems, ACM TMIS 10(4), 2019.

    >>> revenue(Hits.at([[1, 12], [3]]), np.array([5.0, 7.0, 2.5]), 10)
    array([5. , 2.5])
    """
    inside = np.clip(k - hits.better, 0, hits.tied + 1) / (hits.tied + 1)
    return hits.per_request(hits.request, np.where(hits.better >= 0, np.nan_to_num(money_N) * inside, 0.0))


def basket_size(offsets: np.ndarray, order_N: np.ndarray) -> np.ndarray:
    """Different items of the order that each request's first target belongs to; an event without an order is one.

    `offsets` int64 (B+1,) into the targets' order codes, 0 = none.

    >>> basket_size(np.array([0, 3, 5]), np.array([7, 7, 8, 0, 0]))
    array([2., 1.])
    """
    first = np.repeat(offsets[:-1], np.diff(offsets))
    same = (order_N == order_N[first]) & (order_N > 0) | (np.arange(len(order_N)) == first)
    return np.bincount(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), same, len(offsets) - 1)


def repeat_share(list_BK: np.ndarray, bought: Flat) -> np.ndarray:
    r"""Share of the listed items that the customer has bought before; NaN for an empty list.

    .. math:: \mathrm{Repeat@}k = \frac{|L \cap H|}{|L|}

    with L the list and H what was bought before; 1 minus it is the share of exploration.

    Source: M. Li et al., A next basket recommendation reality check, ACM TOIS 41(4), 2023.

    >>> repeat_share(np.array([[1, 2], [3, 0]]), Flat.of([[2, 2], [1]]))
    array([0.5, 0. ])
    """
    return _share(member(list_BK, bought), list_BK)


def unavailable_share(list_BK: np.ndarray, available_V: np.ndarray) -> np.ndarray:
    r"""Share of the listed items that cannot be bought, by a bool per item (V,); NaN for an empty list.

    .. math:: \mathrm{Unavailable@}k = \frac{|\{i \in L : \text{not available}\}|}{|L|}

    A constraint rather than a measure of quality: a shop wants 0.

    >>> unavailable_share(np.array([[1, 2], [1, 0]]), np.array([False, True, False]))
    array([0.5, 0. ])
    """
    return _share(~available_V[list_BK] & (list_BK > 0), list_BK)


def _share(flag_BK: np.ndarray, list_BK: np.ndarray) -> np.ndarray:
    n = (list_BK > 0).sum(1)
    with np.errstate(invalid="ignore"):
        return flag_BK.sum(1) / np.where(n > 0, n, np.nan)


def _discount(hits: Hits, k: int) -> np.ndarray:
    """Expected 1 / log2(rank + 1) of each target, 0 beyond k or without rank: float64 (N,)."""
    size = hits.tied + 1
    better = np.clip(hits.better, 0, k)
    inside = np.clip(k - hits.better, 0, size)
    gain = discounted(k)
    return np.where(hits.better >= 0, (gain[np.minimum(better + inside, k)] - gain[better]) / size, 0.0)
