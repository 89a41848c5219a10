#!/usr/bin/env bash
# Polars 2.1.0, DuckDB 2.0.1 and Python 3.11 read one time with one format, "%H:%M:%S %p", as three different times.
# Shop systems do write it (Magento's order export: the hour from 0 to 23, and AM or PM behind it); other rows of such a
# column may be of twelve hours.
# Expected: the same time from all, or a refusal from all.
# Seen: "13:05:00 PM" is 13:05 for Polars and Python and nothing for DuckDB; "01:05:00 PM" is nothing for Polars, 13:05
# for DuckDB and 01:05 for Python. Whoever moves a preparation from one to another loses or moves half of the day.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1
"$place/venv/bin/python" - <<'PY'
from datetime import datetime, time

import duckdb
import polars as pl

TEXT, FORMAT = ["09:05:00 AM", "13:05:00 PM", "01:05:00 PM"], "%H:%M:%S %p"
told = {
    "Polars": pl.Series(TEXT).str.to_time(FORMAT, strict=False).to_list(),
    "DuckDB": [at and at.time() for at in (duckdb.execute("select try_strptime(?, ?)", [t, FORMAT]).fetchone()[0] for t in TEXT)],
    "Python": [datetime.strptime(t, FORMAT).time() for t in TEXT],
}
for name, times in told.items():
    print(name, dict(zip(TEXT, map(str, times))))
assert {times[0] for times in told.values()} == {time(9, 5)}
assert told["Polars"][1:] == [time(13, 5), None], "the behaviour has changed"
assert told["DuckDB"][1:] == [None, time(13, 5)], "the behaviour has changed"
assert told["Python"][1:] == [time(13, 5), time(1, 5)], "the behaviour has changed"
PY
