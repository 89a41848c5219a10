#!/usr/bin/env bash
# pyarrow 25.0.1: a nested text column is read as a dictionary from one row group, and not from a batch of several.
# Expected: read_dictionary of a leaf inside of a list works for any file, as it does for columns that are not nested.
# Seen: ParquetFile.iter_batches over two row groups ends in NotImplementedError, "Nested data conversions not
# implemented for chunked array outputs"; with one row group, and without read_dictionary, the same rows are read.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==25.0.1
"$place/venv/bin/python" - "$place" <<'PY'
import sys
import pyarrow as pa
import pyarrow.parquet as pq

table = pa.table({"items": [[{"id": f"x{n}"}] for n in range(20)]})
said = {}
for groups in (1, 2):
    path = f"{sys.argv[1]}/{groups}.parquet"
    pq.write_table(table, path, row_group_size=20 // groups)
    for dictionary in ([], ["items.list.element.id"]):
        try:
            with pq.ParquetFile(path, read_dictionary=dictionary) as file:
                rows = sum(len(batch) for batch in file.iter_batches(100))
            said[groups, bool(dictionary)] = f"{rows} rows"
        except Exception as e:
            said[groups, bool(dictionary)] = f"{type(e).__name__}: {e}"
for (groups, dictionary), what in said.items():
    print(f"pyarrow {pa.__version__}, {groups} row group(s), {'dictionary' if dictionary else 'plain'}: {what}")
plain = all(said[key] == "20 rows" for key in ((1, False), (2, False), (1, True)))
if not plain or "chunked array outputs" not in said[2, True]:
    sys.exit("the behaviour has changed")
PY
