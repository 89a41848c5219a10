#!/usr/bin/env bash
# ir_measures 0.4.3 with pytrec_eval-terrier 0.5.11: two measures of one call put tied documents in opposite orders.
# Expected: one ranking for all measures of a call, so that a document's reciprocal rank and its discount agree.
# Seen, for three documents with one score, the relevant one named first: RR@3 is 1.0, as if it stood at place 1, while
# nDCG@3 is 0.5 and AP@3 is 0.333, as if it stood at place 3. trec_eval sorts ties by the document's name backwards;
# RR@k comes from another provider, which takes them as given. With the relevant one last it is the other way round.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check ir_measures==0.4.3 pytrec_eval-terrier==0.5.11
"$place/venv/bin/python" - <<'PY'
import ir_measures as ir
from ir_measures import AP, RR, nDCG

run = [ir.ScoredDoc("q", name, 0.9) for name in ("a", "b", "c")]
seen = {}
for relevant in ("a", "c"):
    found = ir.calc_aggregate([RR @ 3, nDCG @ 3, AP @ 3], [ir.Qrel("q", relevant, 1)], run)
    seen[relevant] = [round(found[measure], 3) for measure in (RR @ 3, nDCG @ 3, AP @ 3)]
    print(f"three tied documents a, b, c; relevant {relevant}: RR@3, nDCG@3, AP@3 = {seen[relevant]}")
assert seen["a"] == [1.0, 0.5, 0.333], "the behaviour has changed"
assert seen["c"] == [0.333, 1.0, 1.0], "the behaviour has changed"
PY
