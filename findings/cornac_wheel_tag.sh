#!/usr/bin/env bash
# Cornac 2.3.0: its Linux wheel is tagged manylinux1, and its libraries ask for a libstdc++ of 2023.
# Expected: manylinux1 promises symbols up to GLIBCXX_3.4.9 (PEP 513), so that pip installs what can be imported.
# Seen: GLIBCXX_3.4.32 (GCC 13) is asked for; pip installs it on older systems (Debian 12 has 3.4.30), where `import
# cornac` ends in an ImportError. 2.2.2 is the last version before.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform manylinux1_x86_64 \
  --python-version 3.11 --dest "$place" cornac==2.3.0
"$place/venv/bin/python" - "$place"/*.whl <<'PY'
import re, sys, zipfile

wheel = sys.argv[1]
with zipfile.ZipFile(wheel) as file:
    asked = {name: re.findall(rb"GLIBCXX_3\.4\.(\d+)", file.read(name)) for name in file.namelist() if name.endswith(".so")}
newest = {name.rsplit("/", 1)[-1].split(".")[0]: max(map(int, found)) for name, found in asked.items() if found}
print(wheel.rsplit("/", 1)[-1])
print({name: f"GLIBCXX_3.4.{n}" for name, n in sorted(newest.items())})
assert "manylinux1_x86_64" in wheel and max(newest.values()) > 9, "the behaviour has changed"
PY
