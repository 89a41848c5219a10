#!/usr/bin/env bash
# MLflow 3.17.2: the digest of a pandas or NumPy dataset, by which runs on the same data are found, does not see all of it.
# Expected: it changes with any value.
# Seen: the same digest where rows after the 10,000th differ, and where a column of times differs in every row. Two
# snapshots of one event log (another month, other customers at its end, as many rows) are one dataset.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2 pandas==3.1.1 numpy==2.4.6
cd "$dir"
"$dir/venv/bin/python" - <<'PY' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
import numpy as np
import pandas as pd
from mlflow.data.numpy_dataset import from_numpy
from mlflow.data.pandas_dataset import from_pandas

log = pd.DataFrame({"customer": np.arange(20_000), "time": pd.Timestamp("2024-01-01")})
later = log.assign(time=pd.Timestamp("2025-06-01"))
end, first = log.copy(), log.copy()
end.loc[10_000:, "customer"] = 7
first.loc[0, "customer"] = 7
digest = [from_pandas(one).digest for one in (log, later, end, first)]
print(digest)
assert digest[0] == digest[1], "times count now"
assert digest[0] == digest[2], "rows after the 10,000th count now"
assert digest[0] != digest[3]
values = np.arange(200_000.0)
assert from_numpy(values).digest == from_numpy(np.where(values < 100_000, values, 0.0)).digest, "arrays are read whole"
PY
