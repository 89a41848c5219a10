#!/usr/bin/env bash
# Polars 2.1.0: read_ndjson with a String column for a key whose values are JSON objects gives text that is no JSON.
# Quotes inside of the object's texts are escaped and backslashes are not, so that "back\\slash" comes out as
# "back\slash", which json.loads refuses, and a text that ends in a backslash cannot be told from one that goes on. Read as
# a struct of strings the same value is right. So this project reads a parameter's value as the record that it is.
# Seen: {"a": "back\slash"} -> Invalid \escape; as a struct: back\slash
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0
"$dir/venv/bin/python" - <<'PY'
import json

import polars as pl

line = json.dumps({"v": {"a": "back\\slash", "b": 'say "x"'}}).encode() + b"\n"
text = pl.read_ndjson(line, schema={"v": pl.String})["v"][0]
print(text)
try:
    json.loads(text)
except ValueError as e:
    print("refused:", e)
else:
    raise SystemExit("the text is JSON now; paths.with_records may go")
record = pl.read_ndjson(line, schema={"v": pl.Struct({"a": pl.String, "b": pl.String})})["v"][0]
print(record)
assert record == {"a": "back\\slash", "b": 'say "x"'}
PY
