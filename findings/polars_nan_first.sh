#!/usr/bin/env bash
# Polars 2.1.0: the best of some scores is another one by max() and arg_max() than by top_k(1) and sort().
# Expected: one answer: NaN is the greatest of all, or it is left out.
# Seen: max() and arg_max() leave NaN out (3.0), top_k(1) and a descending sort put it first, and is_in and unique() hold
# NaN equal to itself. A model whose score of one item is NaN recommends that item first where lists are cut by top_k,
# and checks by max() see nothing.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$dir/venv/bin/python" - <<'PY'
import math

import polars as pl

score = pl.Series("score", [3.0, float("nan"), 1.0])
first = (score.top_k(1)[0], score.sort(descending=True)[0])
print(score.max(), score.arg_max(), first)
assert (score.max(), score.arg_max()) == (3.0, 0), "max has changed"
assert all(math.isnan(one) for one in first), "top_k has changed"
grouped = score.to_frame().group_by(pl.lit(1)).agg(best=pl.col("score").max(), top=pl.col("score").top_k(1).first())
assert grouped["best"][0] == 3.0 and math.isnan(grouped["top"][0])
PY
