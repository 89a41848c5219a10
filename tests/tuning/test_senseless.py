"""A search that makes no sense is refused in one line, before it takes hours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from searches import ROOT, config
from shopkeeper.errors import UserError
from shopkeeper.pipeline import tune


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+tuning.space.neighbors={type: int, low: 1, high: 3}"], "Did you mean 'neighbours'"),
        (["tuning.space.neighbours.type=integer"], "Did you mean 'int'"),
        (["tuning.space.neighbours=5"], "'neighbours' is 5"),
        (["tuning.space.neighbours.low=a"], "low=a, which is no int"),
        (["tuning.space.neighbours.low=900"], "low=900 above high=500"),
        (["tuning.space.neighbours.low=0"], "needs low above 0"),
        (["tuning.space.neighbours.high=null"], "lacks high"),
        (["+tuning.space.neighbours.logg=true"], "Did you mean 'log'"),
        (["+tuning.space.event_weights={type: categorical, choices: []}"], "choices"),
        (["+tuning.space.trainer.max_epoch={type: int, low: 1, high: 3}"], "Did you mean 'max_epochs'"),
        (["+tuning.space.split.k_core={type: int, low: 1, high: 3}"], "would answer different requests"),
        (["model=item_to_item"], "conf/tuning/space/item_to_item.yaml"),
        (["tuning.sampler=tpee"], "Did you mean 'tpe'"),
        (["tuning.pruner=medain"], "Did you mean 'median'"),
        (["tuning.trials=0"], "tuning.trials=0 must be a whole number from 1"),
        (["tuning.trials=many"], "tuning.trials=many"),
        (["tuning.hours=-1"], "tuning.hours=-1 must be a number above 0"),
        (["tuning.trials=null"], "needs an end"),
        (["tuning.seeds=[]"], "tuning.seeds"),
        (["tuning.name=../../elsewhere"], "tuning.name"),
        (["tuning.storage=postgresql://u:secret@127.0.0.1:1/none"], "cannot open the study at 127.0.0.1:1/none"),
    ],
)
def test_a_senseless_search_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
):
    monkeypatch.setattr(tune, "data_of", lambda cfg: {})
    with pytest.raises(UserError) as e:
        tune.tune_model(config(tmp_path / "studies", *words))
    assert expected in str(e.value)
    assert "secret" not in str(e.value)
    assert "storage" in words[0] or not (tmp_path / "studies").exists()


def test_all_models_of_a_command_are_looked_at_before_the_first_search():
    words = ["tuning.models=[item_knn,item_to_item]", "tracking=none"]
    done = subprocess.run([sys.executable, "tune.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "nothing to search for model=item_to_item" in done.stderr
    assert "study" not in done.stderr
