#!/usr/bin/env bash
# Polars 2.1.0: std(ddof=0) of differences is 0.0 for a group of one row, where there is no difference, and null for the
# same row outside of a group. A customer with one order seems to come back with perfect regularity. So
# benchmarks/_features_polars.py asks how long the group is.
# Seen: in a group 0.0, alone None; the mean of the same differences is null in both.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$dir/venv/bin/python" - <<'PY'
import polars as pl

log = pl.DataFrame({"customer": [1, 2, 2, 2], "day": [5, 1, 4, 9]})
gap = pl.col("day").diff().cast(pl.Float64)
found = log.group_by("customer").agg(std=gap.std(ddof=0), mean=gap.mean()).sort("customer")
alone = log.filter(pl.col("customer") == 1).select(std=gap.std(ddof=0), mean=gap.mean())
print(found["std"].to_list(), found["mean"].to_list(), alone.rows())
assert found["std"].to_list() == [0.0, 1.0], "as outside of groups now; _features_polars.py need not ask"
assert found["mean"].to_list() == [None, 4.0]
assert alone.rows() == [(None, None)]
PY
