#!/usr/bin/env bash
# LensKit 2025.8.1: what its NDCG is 1 for, and whom its means are over.
# Expected: NDCG 1 for the best list alone; a customer without a list counts as 0 (nothing was found), and one of whom
# nothing is to be found is left out, or both are left out.
# Seen: a list whose only relevant item stands at place 2 has NDCG@3 = 1.0, since the first two places are discounted
# alike. In the summary's mean a customer who has test items and no list is left out, while a list of a customer without
# test items, whose value is NaN in the table per list, counts as 0.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 lenskit==2025.8.1
"$place/venv/bin/python" - <<'PY'
import math

from lenskit.data import ItemList, ItemListCollection, UserIDKey
from lenskit.metrics import NDCG, RunAnalysis

lists, test = ItemListCollection(UserIDKey), ItemListCollection(UserIDKey)
for user in ("second place", "nothing to find"):
    lists.add(ItemList(["a", "b", "c"], ordered=True), user_id=user)
test.add(ItemList(["b"]), user_id="second place")
test.add(ItemList(["b"]), user_id="no list")
analysis = RunAnalysis()
analysis.add_metric(NDCG(3), label="ndcg")
result = analysis.measure(lists, test)
per_list = result.list_metrics(fill_missing=False)["ndcg"]
each = {key[0] if isinstance(key, tuple) else key: value for key, value in per_list.items()}
mean = float(result.list_summary()["mean"]["ndcg"])
print("NDCG@3 per list:", each)
print("mean:", mean)
assert each["second place"] == 1.0, "the behaviour has changed"
assert "no list" not in each and math.isnan(each["nothing to find"]), "the behaviour has changed"
assert mean == 0.5, "the behaviour has changed"
PY
