"""Searches for tests: a config, and training replaced by a function of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.pipeline import tune
from shopkeeper.pipeline.told import Train, Tune, settings
from shopkeeper.tuning import results

ROOT = Path(__file__).parents[1]
NEIGHBOURS = "{type: int, low: 10, high: 500, log: true}"  # in its YAML one of a few


def config(folder: Path, *words: str) -> Tune:
    """What `python tune.py …` would be given, its studies in `folder`; without a model's name: of item_knn."""
    named = any(word.startswith("model=") for word in words)
    numbers = ["model.neighbours=50", "~tuning.space.neighbours", f"+tuning.space.neighbours={NEIGHBOURS}"]
    first = [] if named else ["model=item_knn", *numbers]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("tune", [*first, "tracking=none", f"paths.studies={folder}", *words])
    return settings(cfg, Tune)


def stub(monkeypatch: pytest.MonkeyPatch, value: Callable[[Train, Any], Any]) -> list[Train]:
    """Replace training by a function of the config; no data, no plots. Gives the configs that were asked for."""
    seen: list[Train] = []

    def validate(cfg: Train, log: Any) -> float:
        seen.append(cfg)
        return float(value(cfg, log))

    monkeypatch.setattr(tune, "validate_model", validate)
    monkeypatch.setattr(tune, "data_of", lambda cfg: {"fingerprint": "none"})
    monkeypatch.setattr(results, "write_plots", lambda study, folder: [])  # a second each
    return seen


def trials(folder: Path) -> list[dict[str, Any]]:
    """`trials.json` of the one study in `folder`."""
    return json.loads(next(folder.glob("*/trials.json")).read_text())
