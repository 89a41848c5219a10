#!/usr/bin/env bash
# Cornac 2.2.2: TIFUKNN's neighbours are one number, the same for every item, so that they never change a ranking.
# Expected: score = alpha * own vector + (1 - alpha) * mean vector of the nearest customers (Hu et al., SIGIR 2020), so
# that what only neighbours took stands above what nobody like the customer took.
# Seen: the mean is taken over customers and items at once; scores less alpha * own vector are equal for all items.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check cornac==2.2.2 numpy==1.26.4
"$place/venv/bin/python" - <<'PY'
import numpy as np
from cornac.data import BasketDataset
from cornac.models import TIFUKNN

# Customers 0 to 4 take a, then b, then c; 5 to 9 take x, y, z. Customer 0 comes back for a: b is what those like her took.
orders = [(u, f"{u}-{n}", item, n) for u in range(10) for n, item in enumerate("abcd" if u < 5 else "xyzw")]
data = BasketDataset.from_ubit(orders)
model = TIFUKNN(n_neighbors=4, alpha=0.7).fit(data)
history = [[data.iid_map["a"]]]
own = model._compute_user_vector(history)
score = model.score(0, history)
rest = score - model.alpha * own
by_item = {item: round(float(score[number]), 6) for item, number in sorted(data.iid_map.items())}
print("cornac 2.2.2, scores after [a]:", by_item)
print("what neighbours add, smallest and largest over the items:", float(rest.min()), float(rest.max()))
near = np.asarray(model.user_vectors)[model.tree.query([own], k=4)[1].squeeze()]
print("what the mean of their vectors would add:", np.round(0.3 * near.mean(axis=0), 4).tolist())
assert np.ptp(rest) < 1e-6 and np.ptp(near.mean(axis=0)) > 0.01, "the behaviour has changed"
PY
