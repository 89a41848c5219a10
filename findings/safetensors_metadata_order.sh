#!/usr/bin/env bash
# safetensors 0.8.0: a file with several metadata entries has other bytes from process to process.
# Expected: equal tensors and equal metadata (given in one order) give equal bytes, as with one entry or none.
# Seen: the header lists the entries in an order that changes; hashes of files that hold the same differ.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
for i in $(seq 12); do
  "$place/venv/bin/python" - "$place" <<'PY'
import hashlib, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file

for n in (1, 6):
    path = Path(sys.argv[1]) / f"{n}.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path, {f"key{i}": str(i) for i in range(n)})
    with open(Path(sys.argv[1]) / f"hashes{n}", "a") as f:
        print(hashlib.sha256(path.read_bytes()).hexdigest(), file=f)
PY
done
one=$(sort -u "$place/hashes1" | wc -l); six=$(sort -u "$place/hashes6" | wc -l)
echo "safetensors 0.8.0, 12 processes: $one hash(es) with one entry, $six with six entries"
[ "$one" = 1 ] && [ "$six" -gt 1 ] || { echo "the behaviour has changed"; exit 1; }
