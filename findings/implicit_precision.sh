#!/usr/bin/env bash
# implicit 0.7.3: precision of `ranking_metrics_at_k` is neither precision nor a mean over customers.
# Expected: hits / k, averaged over the customers.
# Seen: all hits / the sum of min(k, items to be found). One hit of one possible and two of three places where four were
# Seen: all hits / the sum of min(k, items to be found), over all customers at once: .714 where the mean of hits / k is
# .556 and the mean of recalls .722. Customers with many purchases weigh more, up to k times.
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check implicit==0.7.3 numpy==1.26.4 scipy==1.17.1
"$place/venv/bin/python" - <<'PY' 2>/dev/null
import numpy as np
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix


class Lists:
    """A model that gives everybody items 0, 1, 2."""

    def recommend(self, users, rows, N=10, **_):
        lists = np.tile(np.arange(3, dtype=np.int32), (len(users), 1))[:, :N]
        return lists, np.ones(lists.shape, np.float32)


train = csr_matrix((3, 6), dtype=np.float32)
bought = np.zeros((3, 6), np.float32)
bought[0, 0] = 1  # one to find, found
bought[1, [1, 2, 3, 4]] = 1  # four, two of them found
bought[2, [0, 1, 4]] = 1  # three, two of them found
found = ranking_metrics_at_k(Lists(), train, csr_matrix(bought), K=3, show_progress=False)
hits, size = bought[:, :3].sum(1), bought.sum(1)
by_customer, pooled = float((hits / 3).mean()), float(hits.sum() / np.minimum(3, size).sum())
print("precision@3 of implicit:", found["precision"], "| mean of hits / 3:", by_customer,
      "| mean of recalls:", float((hits / size).mean()), "| hits / sum of min(3, to be found):", pooled)
assert abs(found["precision"] - pooled) < 1e-6, "the behaviour has changed"
assert abs(found["precision"] - by_customer) > 0.1 and abs(found["precision"] - (hits / size).mean()) > 0.001
PY
