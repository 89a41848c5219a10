#!/usr/bin/env bash
# fsspec 2026.9.0: of an HTTP server that does not answer it says that the file is not there.
# Expected: exists() and info() of a URL whose server refuses the connection end in an error of the connection, as a
# read of the same URL does: "I could not ask" is not "no".
# Seen: exists() is False and info() raises FileNotFoundError, with the refused connection as its cause. Whoever asks
# exists() before a nightly load takes a server that is down for a day without data.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5
"$place/venv/bin/python" - <<'PY'
import aiohttp
import fsspec

url = "http://127.0.0.1:9/orders.csv"  # nobody listens there
store = fsspec.filesystem("http")
there = store.exists(url)
try:
    store.info(url)
except FileNotFoundError as e:
    told, cause = type(e).__name__, type(e.__cause__).__name__
    refused = isinstance(e.__cause__, aiohttp.ClientConnectorError)
try:
    store.cat(url)
except Exception as e:
    read = type(e).__name__
print(f"fsspec {fsspec.__version__}: exists() is {there}; info() raises {told}, caused by {cause}; cat() raises {read}")
assert there is False and told == "FileNotFoundError" and refused, "the behaviour has changed"
PY
