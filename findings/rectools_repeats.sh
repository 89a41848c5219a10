#!/usr/bin/env bash
# RecTools 0.19.0: a test purchase that was made twice counts twice, so that NDCG passes 1 and Precision its own share.
# Expected: an item that the customer buys again within the test period is one relevant item, or the call says that the
# pairs of customer and item repeat.
# Seen: A on place 1 of [A, B], A bought twice, B not: NDCG@2 is 1.226 and Precision@2 is 1.0; with the second purchase
# taken out, .613 and .5. Shops where people buy again look better than shops where they do not.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check rectools==0.19.0 numpy==1.26.4 pandas==2.3.3
"$place/venv/bin/python" - <<'PY'
import pandas as pd
from rectools.metrics import NDCG, Precision, Recall

lists = pd.DataFrame({"user_id": [1, 1], "item_id": ["A", "B"], "rank": [1, 2]})
bought = pd.DataFrame({"user_id": [1, 1], "item_id": ["A", "A"], "datetime": ["2026-01-01", "2026-01-08"], "weight": 1})
once = bought.drop_duplicates(["user_id", "item_id"])
measures = {"NDCG@2": NDCG(k=2), "Precision@2": Precision(k=2), "Recall@2": Recall(k=2)}
twice = {name: round(float(m.calc(lists, bought)), 3) for name, m in measures.items()}
single = {name: round(float(m.calc(lists, once)), 3) for name, m in measures.items()}
print("bought twice:", twice)
print("the same, once:", single)
assert single == {"NDCG@2": 0.613, "Precision@2": 0.5, "Recall@2": 1.0}
assert twice["NDCG@2"] > 1 and twice["Precision@2"] == 1.0, "the behaviour has changed"
PY
