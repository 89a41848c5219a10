#!/usr/bin/env bash
# torchmetrics 1.9.0: average precision at k is divided by the hits among the k, not by how many items are relevant (as
# trec_eval's map_cut is) or by k where more are.
# Expected: one hit on place 1 of two, three items relevant: 1/3, or 1/2 with the smaller of k and 3 below.
# Seen: 1.0. A list that finds one of three as its first is perfect; one that finds a second on place 4 of k=4 is worse
# than it was: a longer list with more hits has less.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision

score, relevant = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), torch.tensor([1, 0, 0, 1, 1])
at = {k: retrieval_average_precision(score, relevant, top_k=k).item() for k in (1, 2, 4, 5)}
print(at)
assert at[1] == at[2] == 1.0, "not divided by the hits alone any more"
assert at[4] == 0.75, at
PY
