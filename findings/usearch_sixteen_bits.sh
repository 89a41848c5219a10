#!/usr/bin/env bash
# usearch 2.26.6: an index that is given 32-bit vectors keeps 16 bits of each number (bfloat16) unless `dtype` says
# otherwise, so that distances and vectors that it gives back are not those of what was put in; and a batch of searches
# fills the places for which there are no items with key 0, which may be an item's: only `counts` tells them apart.
# Fails when either changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install -q usearch==2.26.6 numpy==2.4.6
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from usearch.index import Index

vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
keys = np.arange(1, 6)
print("usearch", version("usearch"))
for told in ({}, {"dtype": "f32"}):
    index = Index(ndim=8, metric="ip", **told)
    index.add(keys, vectors)
    kept = np.asarray(index.get(keys), np.float32)
    print(told or "unless told", index.dtype, "largest error of a number that was put in:", np.abs(kept - vectors).max())
    assert (np.abs(kept - vectors).max() == 0) == bool(told)
found = index.search(vectors[:2], 9)
print("keys of a batch:", found.keys.tolist(), "counts:", found.counts.tolist())
assert (found.keys[:, 5:] == 0).all()
assert found.counts.tolist() == [5, 5]
PYTHON
