"""Every YAML that is shipped composes, and what it configures takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shipped import CHECKS, CONF, EXPERIMENTS, FILES, GROUPED, VERBS, composed, group_of, words_of
from shopkeeper.errors import UserError


@pytest.mark.parametrize("path", GROUPED, ids=lambda p: str(p.relative_to(CONF)))
def test_every_choice_of_a_group_composes_and_is_taken_by_what_it_configures(path: Path):
    group = group_of(path)
    CHECKS[group](composed(VERBS.get(group, "train"), *words_of(path)), path.stem)


def holds(cfg: object, said: object) -> bool:
    """Whether all that is said stands in a configuration, block by block."""
    if isinstance(said, dict):
        return isinstance(cfg, dict) and all(key in cfg and holds(cfg[key], value) for key, value in said.items())
    return cfg == said


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_experiment_composes_is_taken_and_has_the_last_word(path: Path):
    name = path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    cfg, said = composed("train", f"experiment={name}"), yaml.safe_load(path.read_text())
    chosen = {key.removeprefix("override /"): word for each in said["defaults"] for key, word in each.items()}
    for group, word in chosen.items():
        assert cfg[group]["name"] == word
        CHECKS[group](cfg, word)
    for block, settings in said.items():
        if block != "defaults":
            assert holds(cfg[block], settings), block


@pytest.mark.parametrize("path", [p for p in FILES if p.parent == CONF], ids=lambda p: p.stem)
def test_every_file_of_a_verb_composes(path: Path):
    if path.stem == "pipeline":
        plan = yaml.safe_load(path.read_text())
        for model, task in plan["models"].items():
            cfg = composed("train", f"model={model}", f"dataset={plan['dataset']}", f"split={plan['split']}")
            assert cfg["task"]["name"] == task
        assert plan["export"] in ("best", *plan["models"])
        assert all((CONF / "tuning/space" / f"{model}.yaml").is_file() for model in plan["tune"])
        return
    cfg = composed(path.stem)
    assert {"dataset", "paths"} <= set(cfg)


# Models without a space, and why nothing of them is searched.
NOT_SEARCHED = {
    **dict.fromkeys(("oracle_latent", "oracle_latent_churn", "oracle_observable", "oracle_observable_churn"),
                    "knows the simulation"),
    **dict.fromkeys(("base_rate", "last_period", "usual_gap"), "a yardstick"),
    **dict.fromkeys(("bg_nbd", "pareto_nbd"), "its parameters are found by maximum likelihood"),
    **dict.fromkeys(("auto", "with_fallback"), "chooses among models with spaces of their own"),
    "blend_networks": "its parts have spaces of their own, and each trial would train a network six times",
    "item_to_item": "its settings say which relation is meant",
    "recbole": "its settings are RecBole's",
}  # fmt: skip


def test_every_model_that_can_be_tuned_has_a_space():
    models, spaces = ({path.stem for path in (CONF / group).glob("*.yaml")} for group in ("model", "tuning/space"))
    assert spaces <= models
    assert models - spaces == set(NOT_SEARCHED)


def test_a_wrong_setting_in_a_file_of_any_group_would_be_found():
    for group, word in {
        "dataset": "+dataset.colums={}", "model": "+model.wdith=3", "split": "+split.test_dyas=3",
        "trainer": "+trainer.devises=2", "loss": "+loss.negatvies=3", "tuning/space": "+tuning.space.neighbors.low=1",
        "tuning": "tuning.sampler=tpee", "engine": "+engine.memroy=3g", "features": "+features.recensy=true",
    }.items():  # fmt: skip
        name = "item_knn" if group == "tuning/space" else None
        words = [word, *(["model=item_knn"] if name else [])]

        def use(group: str = group, name: str | None = name, words: list[str] = words) -> None:
            cfg = composed(VERBS.get(group, "train"), *words)
            CHECKS[group](cfg, name or cfg[group]["name"])

        with pytest.raises(UserError, match=r"Did you mean"):
            use()


# What decides what a SASRec learns: other defaults of `conf/model/sasrec.yaml` leave results as they were measured.
LEARNED_BY = {"width", "blocks", "dropout", "lr", "weight_decay"}


@pytest.mark.parametrize("path", [
    *(p for p in EXPERIMENTS if "override /model: sasrec\n" in p.read_text()),
    *(p for p in GROUPED if "defaults: [sasrec, _self_]" in p.read_text()),
], ids=lambda p: p.stem)  # fmt: skip
def test_what_builds_on_sasrec_says_itself_what_it_was_measured_with(path: Path):
    said = yaml.safe_load(path.read_text())
    assert LEARNED_BY - set(said.get("model", said)) == set()
