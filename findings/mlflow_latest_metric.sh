#!/usr/bin/env bash
# MLflow 3.17.2: the value of a run's metric is not the one that was logged last, but the greatest triple of step,
# instant in milliseconds and value.
# Expected: a loss of .5 and then of .4 leaves .4, and the last epoch of a training that went back to an earlier step
# is what run.data.metrics shows.
# Seen: .5 both times. Two values of one step in one millisecond leave the larger one, also where less is better; what
# is logged later at a lower step (a training resumed from its checkpoint) is in the history alone.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3.11 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cd "$dir"
"$dir/venv/bin/python" - <<'PY' 2>"$dir/log" || { cat "$dir/log"; exit 1; }
from mlflow import MlflowClient

client = MlflowClient("sqlite:///runs.db")
run = client.create_run(client.create_experiment("shop")).info.run_id
for value in (0.5, 0.4):
    client.log_metric(run, "same_instant", value, timestamp=1_000, step=0)
for value, instant, step in ((0.5, 1_000, 10), (0.4, 2_000, 5)):
    client.log_metric(run, "resumed", value, timestamp=instant, step=step)
shown = client.get_run(run).data.metrics
print(shown, [one.value for one in client.get_metric_history(run, "resumed")])
assert shown == {"same_instant": 0.5, "resumed": 0.5}, "the behaviour has changed"
PY
