r"""List metrics from the places of the targets: one definition each, one value per request.

Every function takes `Hits` and returns float64 (B,). Notation: :math:`R` relevant items (the request's distinct
targets, those that cannot be ranked included), :math:`r_1 < r_2 < \dots` their ranks from 1, :math:`C` candidates.
All metrics are "higher is better" and lie in [0, 1]. A request without targets has the value NaN.

**Ties.** Where several candidates share one score, no order among them is the model's own. The value is then the
expectation over all orders of the tied block, each equally likely, in closed form [McSherry2008]_. It is not the
metric of the expected rank: four tied candidates give a single target HitRate@2 = 1/2, where its expected rank 2.5
would give 0. Only `percentile` and `auc`, which are linear in the rank, equal the metric of the expected rank. The
policies `optimistic` and `pessimistic` are applied by `Hits.of`, which then holds ranks without ties.

.. [McSherry2008] F. McSherry and M. Najork. Computing information retrieval performance measures efficiently in the
   presence of tied scores. ECIR 2008. https://doi.org/10.1007/978-3-540-78646-7_38

Shapes: B requests, G blocks of tied targets (`ranks.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from shopkeeper.errors import UserError, nearest
from shopkeeper.metrics.ranks import Hits

_DIRECT_TERMS = 4096  # longer sums over a tied block use the closed form


def _found(hits: Hits, k: int | np.ndarray) -> np.ndarray:
    """Expected number of targets within the first k, (B,)."""
    b = hits.blocks
    limit = k[b.request] if isinstance(k, np.ndarray) else k
    return hits.per_request(b.request, b.targets * b.inside(limit) / b.size)


def recall(hits: Hits, k: int) -> np.ndarray:
    r"""Recall: the share of the relevant items that are among the first k.

    .. math:: \mathrm{Recall@}k = \frac{1}{R} \sum_i [r_i \le k]

    Source: C. D. Manning, P. Raghavan and H. Schütze, Introduction to Information Retrieval (2008), section 8.3.

    >>> recall(Hits.at([[1, 4], [2], [0]]), 3)
    array([0.5, 1. , 0. ])
    """
    return _found(hits, k) / np.maximum(hits.n_relevant, 1)


def precision(hits: Hits, k: int) -> np.ndarray:
    r"""Precision: the share of the first k places that hold a relevant item (divided by k also for short lists).

    .. math:: \mathrm{P@}k = \frac{1}{k} \sum_i [r_i \le k]

    Source: Manning, Raghavan and Schütze (2008), section 8.3.

    >>> precision(Hits.at([[1, 4], [2]]), 2)
    array([0.5, 0.5])
    """
    return _found(hits, k) / k


def r_precision(hits: Hits, k: int | None = None) -> np.ndarray:
    r"""R-precision: precision at the number of relevant items, or at k where that is smaller.

    .. math:: \mathrm{RPrec} = \frac{1}{R} \sum_i [r_i \le R], \qquad
              \mathrm{RPrec@}k = \frac{1}{\min(R, k)} \sum_i [r_i \le \min(R, k)]

    Source: Manning, Raghavan and Schütze (2008), section 8.4.

    >>> r_precision(Hits.at([[1, 4], [2], [1]]))
    array([0.5, 0. , 1. ])
    >>> r_precision(Hits.at([[1, 4], [2], [1]]), 1)
    array([1., 0., 1.])
    """
    depth = hits.n_relevant if k is None else np.minimum(hits.n_relevant, k)
    return _found(hits, depth) / np.maximum(depth, 1)


def hit(hits: Hits, k: int) -> np.ndarray:
    r"""HitRate: whether any relevant item is among the first k.

    .. math:: \mathrm{HR@}k = [r_1 \le k]

    With ties, where m of the block's t places lie within k and it holds q targets,
    :math:`1 - \binom{t-m}{q} / \binom{t}{q}`.

    Source: M. Deshpande and G. Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22(1), 2004.

    >>> hit(Hits.at([[1, 4], [3], [0]]), 2)
    array([1., 0., 0.])
    >>> hit(Hits.at([[1]], tied=3), 2)
    array([0.5])
    """
    b = hits.blocks
    missed = np.ones(len(b.size))
    outside = b.size - b.inside(k)
    for i in range(int(b.targets[b.first].max(initial=0))):
        missed *= np.where(i < b.targets, np.maximum(outside - i, 0) / np.maximum(b.size - i, 1), 1.0)
    return hits.per_request(b.request, np.where(b.first, 1 - missed, 0.0))


def mrr(hits: Hits, k: int | None = None) -> np.ndarray:
    r"""Reciprocal rank of the best relevant item, over the whole catalogue unless k cuts it off.

    .. math:: \mathrm{RR} = 1 / r_1, \qquad \mathrm{RR@}k = [r_1 \le k] / r_1

    With ties the first of q targets stands at place i of its block of t with probability
    :math:`\binom{t-i}{q-1} / \binom{t}{q}`.

    Source: E. M. Voorhees, The TREC-8 question answering track report, TREC 1999.

    >>> mrr(Hits.at([[2, 5], [4]]))
    array([0.5 , 0.25])
    >>> mrr(Hits.at([[2, 5], [4]]), 3)
    array([0.5, 0. ])
    """
    b, value = hits.blocks, np.zeros(len(hits.blocks.size))
    inside = np.where(b.first, b.inside(k), 0).astype(np.int64)
    single = b.targets == 1
    harmonic = _cumulative(1 / np.arange(1, int((b.better + inside).max(initial=0)) + 1))
    value[single] = ((harmonic[b.better + inside] - harmonic[b.better]) / b.size)[single]
    several = np.flatnonzero(~single & (inside > 0))
    if len(several):
        cases, where = np.unique(
            np.stack([b.better, b.size, b.targets, inside])[:, several], axis=1, return_inverse=True
        )
        first = np.array([_reciprocal_of_first(*map(int, case)) for case in cases.T])
        value[several] = first[where.reshape(-1)]
    return hits.per_request(b.request, value)


def _reciprocal_of_first(better: int, size: int, targets: int, inside: int) -> float:
    """E[1 / rank of the first of several targets in a tied block], places beyond `inside` counting 0."""
    if inside == size and size > _DIRECT_TERMS and better <= size:
        # S_q = sum_i C(t-i, q-1) / (b+i) obeys (q-1) S_q = (t+b-q+2) S_(q-1) - C(t, q-1); here divided by C(t, q).
        value = float((1 / np.arange(better + 1, better + size + 1)).sum()) / size
        for q in range(2, targets + 1):
            value = q / (size - q + 1) * ((size + better - q + 2) * value - 1) / (q - 1)
        return value
    i = np.arange(1, min(inside, size - targets + 1) + 1)
    chance = targets / size * np.cumprod(np.concatenate([[1.0], (size - targets - i[1:] + 2) / (size - i[1:] + 1)]))
    return float((chance / (better + i)).sum())


def average_precision(hits: Hits, k: int | None = None) -> np.ndarray:
    r"""Average precision, whose mean over requests is MAP; divided by R also when k < R (as trec_eval does).

    .. math:: \mathrm{AP@}k = \frac{1}{R} \sum_i [r_i \le k] \, \frac{i}{r_i}

    Source: C. Buckley and E. M. Voorhees, Evaluating evaluation measure stability, SIGIR 2000.

    >>> average_precision(Hits.at([[1, 3], [2]]), 10)
    array([0.83333333, 0.5       ])
    """
    b = hits.blocks
    inside = b.inside(k).astype(np.int64)
    harmonic = _cumulative(1 / np.arange(1, int((b.better + inside).max(initial=0)) + 1))
    reciprocal = harmonic[b.better + inside] - harmonic[b.better]  # sum of 1 / (better + i)
    fellow = (b.targets - 1) / np.maximum(b.size - 1, 1)  # chance that a given other place holds a target
    value = (b.before + 1) * reciprocal + fellow * (inside - (b.better + 1) * reciprocal)
    return hits.per_request(b.request, value * b.targets / b.size) / np.maximum(hits.n_relevant, 1)


def ndcg(hits: Hits, k: int | None = None) -> np.ndarray:
    r"""Normalised discounted cumulative gain with binary relevance.

    .. math:: \mathrm{NDCG@}k = \frac{\sum_i [r_i \le k] / \log_2(r_i + 1)}{\sum_{j=1}^{\min(R, k)} 1 / \log_2(j + 1)}

    Source: K. Järvelin and J. Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002.

    >>> ndcg(Hits.at([[1], [2], [11]]), 10)
    array([1.        , 0.63092975, 0.        ])
    >>> ndcg(Hits.at([[1, 3]]), 10)
    array([0.91972079])
    """
    b = hits.blocks
    inside = b.inside(k).astype(np.int64)
    longest = max(int((b.better + inside).max(initial=0)), int(hits.n_relevant.max(initial=0)))
    gain = discounted(longest)
    value = b.targets * (gain[b.better + inside] - gain[b.better]) / b.size
    ideal = gain[hits.n_relevant if k is None else np.minimum(hits.n_relevant, k)]
    return hits.per_request(b.request, value) / np.where(ideal > 0, ideal, 1.0)


def percentile(hits: Hits) -> np.ndarray:
    r"""Rank percentile: the share of the other candidates that stand behind the target, mean over the targets.

    .. math:: \mathrm{PR} = \frac{1}{R} \sum_i \left(1 - \frac{r_i - 1}{C - 1}\right)

    1 is the top of the list (also that of a single candidate), 0 the bottom or not rankable; 1 - PR is the "expected
    percentile ranking" of Y. Hu, Y. Koren and C. Volinsky, Collaborative filtering for implicit feedback datasets,
    ICDM 2008.

    >>> percentile(Hits.at([[1], [51], [0]], candidates=101))
    array([1. , 0.5, 0. ])
    """
    ahead = hits.better + hits.tied / 2
    others = np.maximum(hits.candidates[hits.request] - 1, 1)
    value = np.where(hits.better >= 0, 1 - ahead / others, 0.0)
    return hits.per_request(hits.request, value) / np.maximum(hits.n_relevant, 1)


def auc(hits: Hits) -> np.ndarray:
    r"""AUC over the catalogue: the share of pairs (target, other candidate) in the right order, ties one half.

    .. math:: \mathrm{AUC} = \frac{1}{R \, (C - R)} \sum_i \big(C - R - (r_i - i)\big)

    A target that cannot be ranked loses all its pairs; where every candidate is a target the value is 1.

    Source: S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, BPR, UAI 2009.

    >>> auc(Hits.at([[1], [2, 3]], candidates=4))
    array([1. , 0.5])
    """
    b = hits.blocks
    ranked = hits.per_request(b.request, b.targets.astype(np.float64))
    others = hits.candidates - np.nan_to_num(ranked)
    # Ahead of a target: the better ones that are no targets, and half of those tied that are no targets.
    ahead = b.better - b.before + (b.size - b.targets) / 2
    won = hits.per_request(b.request, b.targets * (others[b.request] - ahead))
    pairs = hits.n_relevant * others
    value = np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan_to_num(ranked) / np.maximum(hits.n_relevant, 1))
    return np.where(hits.n_relevant > 0, value, np.nan)


def discounted(n: int) -> np.ndarray:
    """Sums of the discounts 1 / log2(j + 1) of the first 0, 1, …, n places: float64 (n+1,)."""
    return _cumulative(1 / np.log2(np.arange(2, n + 2)))


def _cumulative(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values)])


_AT_K: dict[str, Callable[..., np.ndarray]] = {
    "ndcg": ndcg,
    "recall": recall,
    "hit": hit,
    "precision": precision,
    "map": average_precision,
    "mrr": mrr,
    "r_precision": r_precision,
}
_WHOLE: dict[str, Callable[..., np.ndarray]] = {
    "mrr": mrr,
    "map": average_precision,
    "ndcg": ndcg,
    "r_precision": r_precision,
    "percentile": percentile,
    "auc": auc,
}


def metric_names(k: Iterable[int]) -> list[str]:
    """The columns of a table at the given cut-offs: `ndcg@10`, …, `mrr`, `auc`; R-precision needs no cut-off there."""
    return [f"{name}@{cut}" for cut in k for name in _AT_K if name != "r_precision"] + [
        "mrr",
        "r_precision",
        "percentile",
        "auc",
    ]


def is_share(name: str) -> bool:
    """Whether a metric of that name lies between 0 and 1 for every request: all of this file do."""
    return name.partition("@")[0] in {**_AT_K, **_WHOLE}


def compute(hits: Hits, name: str) -> np.ndarray:
    """The metric of that name (`recall@20`, `mrr`, …), float64 (B,).

    >>> compute(Hits.at([[3]]), "mrr@10")
    array([0.33333333])
    """
    base, _, cut = name.partition("@")
    if cut:
        if base not in _AT_K or not cut.isdigit() or int(cut) < 1:
            raise UserError(f"there is no metric '{name}'.{nearest(name, [f'{m}@10' for m in _AT_K])}")
        return _AT_K[base](hits, int(cut))
    if base not in _WHOLE:
        raise UserError(f"there is no metric '{name}'.{nearest(name, [*(f'{m}@10' for m in _AT_K), *_WHOLE])}")
    return _WHOLE[base](hits)
