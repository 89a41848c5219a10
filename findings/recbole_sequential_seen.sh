#!/usr/bin/env bash
# RecBole 1.2.1: one evaluation hides what a customer had before from general models, and shows it to sequential ones.
# Expected: models of one split and one evaluation answer one question, so that their tables can be laid side by side.
# Seen, leave-one-out over the whole catalogue with equal settings: of a customer with seven earlier items the list of a
# general model has none of them, while nothing is masked for a sequential model, which gets as many more wrong answers
# to choose from. Where customers do not buy again, its numbers are lower for that alone.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check recbole==1.2.1 torch==2.13.0 numpy==1.26.4 \
  pandas==2.3.3 scipy==1.12.0 setuptools==80.10.2
cd "$place"
"$place/venv/bin/python" - <<'PY' 2>/dev/null
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset, data_preparation

Path("data/log").mkdir(parents=True)
rows = [f"u{user}\ti{(user + n) % 12}\t{n}" for user in range(4) for n in range(8)]  # eight items each, none twice
Path("data/log/log.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows, ""]))
hidden = {}
for model in ("Pop", "GRU4Rec"):
    config = Config(model, "log", config_dict={
        "data_path": "data", "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "use_gpu": False, "state": "ERROR",
    })
    _, _, test = data_preparation(config, create_dataset(config))
    _, history, *_ = next(iter(test))
    hidden[model] = 0 if history is None else len(history[1])
    print(model, "| items that are hidden from the lists of four customers:", hidden[model])
assert hidden["Pop"] == 4 * 7, "the behaviour has changed"
assert hidden["GRU4Rec"] == 0, "the behaviour has changed"
PY
