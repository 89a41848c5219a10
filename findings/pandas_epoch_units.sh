#!/usr/bin/env bash
# pandas 3.1.1: in what unit to_datetime(…, unit="s") counts depends on the values: microseconds, but nanoseconds as soon
# as one of them has a fraction.
# Expected: one dtype for one call, or that of the input's dtype.
# Seen: whole seconds, as int64 or float64 and with a missing value, become datetime64[us]; the same column with one half
# second datetime64[ns]. Whoever takes its int64 apart has epochs that differ by 1,000 between two files of one shop.
# And Timestamp.value and Timedelta.value are nanoseconds whatever the unit says: 1,000 times the int64 of the column.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
"$dir/venv/bin/python" - <<'PY'
import numpy as np
import pandas as pd

columns = {"whole": [1_700_000_000, 1_700_000_060], "float": [1_700_000_000.0, np.nan],
           "one half": [1_700_000_000.0, 1_700_000_060.5]}
unit = {name: str(pd.to_datetime(pd.Series(values), unit="s").dtype) for name, values in columns.items()}
one = pd.to_datetime(pd.Series(columns["whole"]), unit="s")
print(unit, one.astype("int64")[0], one[0].value, one[0].unit)
assert unit == {"whole": "datetime64[us]", "float": "datetime64[us]", "one half": "datetime64[ns]"}, "changed"
assert one[0].unit == "us"
assert one[0].value == 1_000 * one.astype("int64")[0], "value follows the unit now"
PY
