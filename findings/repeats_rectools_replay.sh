#!/usr/bin/env bash
# RecTools 0.19.0, RePlay 0.22.0: a test purchase that was made twice counts twice, upwards in one, downwards in the other.
# Expected: an item that the customer buys again within the test period is one relevant item, or the call says that the
# pairs of customer and item repeat.
# Seen: A on place 1 of [A, B], A bought twice, B not. RecTools: NDCG@2 is 1.226 and Precision@2 1.0; with the second
# purchase taken out .613 and .5. RePlay: the best list there is has NDCG@2 .613 and MAP@2 .5, with the second purchase
# taken out 1 and 1. So shops where people buy again cannot be compared across them, nor with shops where they do not.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
for peer in rectools==0.19.0 replay-rec==0.22.0; do
  python3.11 -m venv "$place/$peer"
  "$place/$peer/bin/pip" install --quiet --disable-pip-version-check "$peer" numpy==1.26.4 pandas==2.3.3
done
"$place/rectools==0.19.0/bin/python" - <<'PY' 2>/dev/null
import pandas as pd
from rectools.metrics import NDCG, Precision

lists = pd.DataFrame({"user_id": [1, 1], "item_id": ["A", "B"], "rank": [1, 2]})
bought = pd.DataFrame({"user_id": [1, 1], "item_id": ["A", "A"], "datetime": ["2026-01-01", "2026-01-08"], "weight": 1})
twice, once = (
    [round(float(m.calc(lists, some)), 3) for m in (NDCG(k=2), Precision(k=2))]
    for some in (bought, bought.drop_duplicates(["user_id", "item_id"]))
)
print("RecTools, NDCG and Precision: bought twice", twice, "| once", once)
assert once == [0.613, 0.5]
assert twice == [1.226, 1.0], "the behaviour has changed"
PY
"$place/replay-rec==0.22.0/bin/python" - <<'PY' 2>/dev/null
import pandas as pd
from replay.metrics import MAP, NDCG

lists = pd.DataFrame({"query_id": [1, 1], "item_id": [10, 11], "rating": [2.0, 1.0]})
bought = pd.DataFrame({"query_id": [1, 1], "item_id": [10, 10]})
twice, once = (
    [round(float(value), 3) for m in (NDCG(2), MAP(2)) for value in m(lists, some).values()]
    for some in (bought, bought.drop_duplicates())
)
print("RePlay, NDCG and MAP: bought twice", twice, "| once", once)
assert once == [1.0, 1.0]
assert twice == [0.613, 0.5], "the behaviour has changed"
PY
