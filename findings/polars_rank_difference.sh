#!/usr/bin/env bash
# Polars 2.1.0: how many places an item fell from one list to the next, as a difference of ranks, is 4,294,967,295 where
# it rose by one: ranks by position have no sign, and subtraction wraps without a word.
# Expected: -1, as rank("average") gives, whose ranks are floating point, and as diff() of the very same column does.
# Seen: rank("ordinal"), rank("min") and rank("dense") are UInt32; b - a wraps, its mean is two billion, and diff() of
# such a column is right, since it widens first.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$dir/venv/bin/python" - <<'PY'
import polars as pl

lists = pl.DataFrame({"before": [0.9, 0.7], "now": [0.2, 0.8]})
fell = {}
for method in ("ordinal", "min", "dense", "average"):
    rank = {name: pl.col(name).rank(method, descending=True) for name in lists.columns}
    fell[method] = lists.select(rank["now"] - rank["before"])["now"].to_list()
print(fell)
assert fell["average"] == [1.0, -1.0]
assert all(fell[method] == [1, 4_294_967_295] for method in ("ordinal", "min", "dense")), "ranks have a sign now"
assert pl.Series([2, 1], dtype=pl.UInt32).diff().to_list() == [None, -1]
PY
