#!/usr/bin/env bash
# pandas 2.3.3 and 3.0.0: read_json makes one visitor of two in Google Analytics 4's export as JSON lines.
# Its user_pseudo_id is text, a random number and the second of the first visit with a point between.
# Expected: what stands in quotes in JSON stays text, as in Polars and DuckDB.
# Seen: a column whose texts all look like numbers becomes float64, so that "….1767225600" and "….17672256" (and every
# pair beyond 16 digits) are one id, and user_id "00123" and "123" are one customer. `dtype=False` keeps the text.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
for version in 2.3.3 3.0.0; do
  python3.11 -m venv "$place/$version"
  "$place/$version/bin/pip" install --quiet --disable-pip-version-check "pandas==$version"
  "$place/$version/bin/python" - <<'PY'
import io
import json

import pandas as pd

events = [
    {"event_name": "purchase", "user_pseudo_id": "1153542311.1767225600", "user_id": "00123"},
    {"event_name": "view_item", "user_pseudo_id": "1153542311.1767225601", "user_id": "123"},
]
lines = "\n".join(map(json.dumps, events))
read, kept = (pd.read_json(io.StringIO(lines), lines=True, **how) for how in ({}, {"dtype": False}))
print(pd.__version__, read.dtypes.astype(str).to_dict(), "visitors:", read.user_pseudo_id.nunique(),
      "customers:", read.user_id.nunique(), "| dtype=False:", kept.user_pseudo_id.nunique(), kept.user_id.nunique())
assert (kept.user_pseudo_id.nunique(), kept.user_id.nunique()) == (2, 2)
assert (read.user_pseudo_id.nunique(), read.user_id.nunique()) == (1, 1), "the behaviour has changed"
PY
done
