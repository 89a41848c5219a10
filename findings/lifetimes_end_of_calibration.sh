#!/usr/bin/env bash
# lifetimes 0.11.3: with times of day, purchases of the last calibration day are holdout.
# Expected: `calibration_period_end="2020-03-31"` closes with that day, as `observation_period_end` does: both are
# said to be days, and days are the unit of what comes back.
# Seen: the end is that day's midnight. The same purchases without their hours are calibration, with them holdout, so
# that frequency, recency and both money columns differ; the whole-log summary is the same either way.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check lifetimes==0.11.3 pandas==2.3.3 numpy==1.26.4
"$place/venv/bin/python" -W ignore - <<'PY'
import pandas as pd
from lifetimes.utils import calibration_and_holdout_data, summary_data_from_transaction_data

log = pd.DataFrame({"id": ["a"] * 3, "paid": [10.0, 20.0, 30.0]})
hours = pd.to_datetime(["2020-01-01 10:00", "2020-03-31 12:00", "2020-04-20 09:00"])
found = {}
for name, at in (("with hours", hours), ("days alone", hours.normalize())):
    log["at"] = at
    split = calibration_and_holdout_data(
        log, "id", "at", calibration_period_end="2020-03-31", observation_period_end="2020-06-30",
        monetary_value_col="paid",
    )
    found[name] = split.loc["a"].to_dict()
    print(name, found[name])
    print("  whole log:", summary_data_from_transaction_data(log, "id", "at", observation_period_end="2020-06-30").loc["a"].to_dict())
with_hours, days = found["with hours"], found["days alone"]
assert (days["frequency_cal"], days["frequency_holdout"]) == (1, 1), "the behaviour has changed"
assert (with_hours["frequency_cal"], with_hours["frequency_holdout"]) == (0, 2), "the behaviour has changed"
PY
