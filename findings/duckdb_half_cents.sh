#!/usr/bin/env bash
# DuckDB 2.0.0: a half is rounded in three ways, by the type and by who rounds.
# Expected: 2.5 becomes one whole number, 3 or (half to even) 2.
# Seen: CAST of the literal, a DECIMAL, gives 3, of a column of DOUBLE 2; round() gives 3 for both. Amounts that a file
# holds as floating point lose a cent where the same amounts as DECIMAL, or typed into the query to try it, gain one.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.0
"$dir/venv/bin/python" - <<'PY'
import duckdb

found = duckdb.sql(
    "select cast(2.5 as int), cast(x as int), round(x), cast(round(x) as int), cast(x::decimal(9, 2) as int) "
    "from (values (2.5::double)) t(x)"
).fetchall()[0]
print(found)
assert found == (3, 2, 3.0, 3, 3), "the behaviour has changed"
PY
