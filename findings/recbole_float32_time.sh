#!/usr/bin/env bash
# RecBole 1.2.1 turns time stamps into float32 before it sorts by them: at today's Unix seconds, steps of 128 s.
# Expected: leave-one-out with order "TO" holds out each customer's newest event.
# Seen: events within two minutes have one time, and come back in another order than their times; the
# event that is held out as the newest is then whichever of them stands last, here the oldest one of all.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check recbole==1.2.1 torch==2.13.0 numpy==1.26.4 \
  pandas==2.3.3 scipy==1.12.0 setuptools==80.10.2
cd "$place"
"$place/venv/bin/python" - <<'PY' 2>/dev/null
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset

START, N = 1_700_000_000, 40
Path("data/log").mkdir(parents=True)
rows = [f"u\ti{n}\t{START + n}" for n in range(N)]  # one event a second, item i39 last
lines = ["user_id:token\titem_id:token\ttimestamp:float", *rows[::-1], ""]  # the file has the newest first
Path("data/log/log.inter").write_text("\n".join(lines))
config = Config("SASRec", "log", config_dict={
    "data_path": "data", "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None,
    "use_gpu": False, "state": "ERROR",
})
dataset = create_dataset(config)
tokens = dataset.field2id_token["item_id"]
_, _, test = dataset.build()
times = sorted(set(test.inter_feat["timestamp_list"][0][: N - 1].tolist()))
held_out = str(tokens[int(test.inter_feat["item_id"][0])])
print("times that are left of", N, "seconds:", [int(t) - START for t in times])
print("newest event: i39; held out as the newest one:", held_out)
assert len(times) < 3, "the behaviour has changed"
assert held_out != "i39", "the behaviour has changed"
PY
