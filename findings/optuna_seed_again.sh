#!/usr/bin/env bash
# Optuna 5.0.0: a study with a seeded sampler that is continued from its storage asks the same trials again.
# Expected: what was tried stands in the storage, so that five more trials look at five more places.
# Seen: five trials, the process ended and started again, five more: the second five are the first five, parameter by
# parameter, since the sampler's numbers begin anew with its seed. A search that is killed and resumed spends its first
# trials on what it knows; with one seed for several workers of a study all of them ask the same.
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
cd "$place"
for run in 1 2; do
  "$place/venv/bin/python" - <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage="sqlite:///study.db", study_name="search", load_if_exists=True,
                            sampler=optuna.samplers.TPESampler(seed=1))
study.optimize(lambda trial: (trial.suggest_float("dropout", 0, 0.5) - 0.2) ** 2, n_trials=5)
tried = [round(trial.params["dropout"], 6) for trial in study.trials]
print(tried)
if len(tried) == 10:
    assert tried[:5] == tried[5:], "the behaviour has changed"
PY
done
