#!/usr/bin/env bash
# pyarrow 25.0.1: its JSON reader takes ISO times for times only where they have no fraction, and forgets their zone.
# Expected: as its CSV reader: with an offset timestamp[…, tz=UTC], with milliseconds a time of ns.
# Seen: "2025-11-05T14:03:11Z" becomes timestamp[s] without a zone, "…11+01:00" the same, moved to UTC; with ".249" the
# column is text. A log whose first block has whole seconds alone is of another type than its neighbour, and no type
# says that its hours are those of UTC.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==25.0.1
"$dir/venv/bin/python" - <<'PY'
import io

import pyarrow.csv
import pyarrow.json

seen = {}
for time in ("2025-11-05T14:03:11Z", "2025-11-05T14:03:11+01:00", "2025-11-05T14:03:11.249Z"):
    as_json = pyarrow.json.read_json(io.BytesIO(b'{"t": "%s"}' % time.encode()))["t"]
    as_csv = pyarrow.csv.read_csv(io.BytesIO(b"t\n%s\n" % time.encode()))["t"]
    seen[time] = (str(as_json.type), str(as_json[0]), str(as_csv.type))
    print(time, *seen[time])
assert [one[0] for one in seen.values()] == ["timestamp[s]", "timestamp[s]", "string"], "the JSON reader has changed"
assert seen["2025-11-05T14:03:11+01:00"][1] == "2025-11-05 13:03:11"
assert [one[2] for one in seen.values()] == ["timestamp[s, tz=UTC]"] * 2 + ["timestamp[ns, tz=UTC]"]
PY
