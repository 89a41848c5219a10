#!/usr/bin/env bash
# implicit 0.7.2: what stands in a list that cannot be filled depends on the model and on how it is asked.
# Expected: a list ends, or is padded in one way that no item has.
# Seen, for a catalogue of 4 items: factor models pad with item 0 and score 0, which is a real item and stands above
# real ones of negative score; items of the customer's own come back in the list they were to be left out of, with score
# -3.4e38 from ALS and 0 from item-kNN; kNN asked for several customers at once pads with -1.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check implicit==0.7.2 numpy==1.26.4 scipy==1.13.1
OPENBLAS_NUM_THREADS=1 "$place/venv/bin/python" - <<'PY'
import numpy as np
from scipy import sparse
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender

x = sparse.csr_matrix(np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 1, 0]], np.float32))
als = AlternatingLeastSquares(factors=2, iterations=3, random_state=0, num_threads=1)
als.fit(x, show_progress=False)
knn = CosineRecommender(K=3, num_threads=1)
knn.fit(x, show_progress=False)
long, similar = als.recommend(0, x[0], N=7, filter_already_liked_items=False), als.similar_items(3, N=7)
own_als, own_knn = (m.recommend(0, x[0], N=4, filter_already_liked_items=True) for m in (als, knn))
together = knn.recommend(np.arange(3), x, N=4, filter_already_liked_items=True)
print("ALS, 7 of 4 items:", long[0].tolist(), np.round(long[1], 3).tolist())
print("ALS, 7 similar to item 3:", similar[0].tolist(), np.round(similar[1], 3).tolist())
print("ALS without the own items 0, 1, 2:", own_als[0].tolist(), own_als[1].tolist())
print("item-kNN without the own items 0, 1, 2:", own_knn[0].tolist(), own_knn[1].tolist())
print("item-kNN, three customers:", together[0].tolist())
assert long[0].tolist()[4:] == [0, 0, 0] and long[1][4:].tolist() == [0, 0, 0], "the behaviour has changed"
assert similar[0].tolist()[4:] == [0, 0, 0] and (similar[1][:4] < similar[1][4]).any(), "the behaviour has changed"
assert {0, 1, 2} <= set(own_als[0].tolist()) and own_als[1].min() < -1e38, "the behaviour has changed"
assert {0, 1, 2} <= set(own_knn[0].tolist()) and own_knn[1].min() == 0, "the behaviour has changed"
assert -1 in together[0], "the behaviour has changed"
PY
