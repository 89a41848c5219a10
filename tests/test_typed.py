"""A composed config becomes classes: what has no place in them is named before anything begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from shopkeeper.errors import UserError
from shopkeeper.pipeline.context import split_spec
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import VERBS, Evaluate, Train, but, of_run, plain, settings
from shopkeeper.typed import held, read

CONF = Path(__file__).parents[1] / "conf"


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Block:
    name: str
    share: float = 0.5
    folder: Path | None = None
    sizes: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)
    other: Mapping[str, Any] | None = None
    most: int = held(("must be below 5", lambda x: x < 5), 1)
    plain: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Open:
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def test_values_arrive_as_what_the_class_says_and_the_block_as_it_was():
    block = {"name": "a", "share": 1, "folder": "x/y", "sizes": [1, 2], "inner": {"depth": 3}}
    found = read(Block, block)
    assert found == Block("a", 1, Path("x/y"), (1, 2), Inner(3), None, 1, block)
    assert read(Open, {"name": "a", "width": 3}) == Open("a", {"width": 3})
    assert read(Inner, None) == Inner()


@dataclass(frozen=True)
class Named:
    inner: Mapping[str, Inner] = field(default_factory=dict)
    open: Open | None = None  # which needs a name
    free: Inner | None = None  # which needs nothing


def test_a_block_of_named_blocks_becomes_a_class_each_and_an_empty_one_of_a_class_that_needs_something_is_none():
    assert read(Named, {"inner": {"a": {"depth": 2}, "b": {"depth": 1}}}) == Named({"a": Inner(2), "b": Inner()})
    assert read(Named, {"open": {}, "free": {}}) == Named({}, None, Inner())
    with pytest.raises(UserError, match=r"unknown option `at\.inner\.a\.width`\."):
        read(Named, {"inner": {"a": {"width": 2}}}, "at")


@dataclass(frozen=True)
class Ruled:
    depth: int = 1

    RULES: ClassVar[dict[str, Any]] = {"depth": ("must be below 5", lambda x: x < 5)}


def test_a_class_says_its_rules_by_name_too():
    with pytest.raises(UserError, match=r"b\.depth is 9; it must be below 5"):
        read(Ruled, {"depth": 9}, "b")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"name": "a", "shar": 1}, "unknown option `b.shar`. Did you mean 'share'? Valid: "),
        ({"name": "a", "inner": {"dept": 1}}, "unknown option `b.inner.dept`. Did you mean 'depth'? Valid: depth."),
        ({"share": 1}, "b lacks `name`; set it"),
        ({}, "b is empty; set it"),
        ({"name": 1}, "b.name is 1; it must be text"),
        ({"name": "a", "share": True}, "b.share is True; it must be a number"),
        ({"name": "a", "share": "1"}, "b.share is '1'; it must be a number"),
        ({"name": "a", "folder": 3}, "b.folder is 3; it must be text"),
        ({"name": "a", "sizes": 3}, "b.sizes is 3; give a list"),
        ({"name": "a", "sizes": [1, 2.0]}, "b.sizes[1] is 2.0; it must be a whole number"),
        ({"name": "a", "inner": 3}, "b.inner is 3; give options and their values"),
        ({"name": "a", "other": []}, "b.other is []; give options and their values"),
        ({"name": "a", "most": 9}, "b.most is 9; it must be below 5"),
    ],
)
def test_what_has_no_place_is_one_line_that_names_it(block: dict[str, Any], said: str):
    with pytest.raises(UserError) as e:
        read(Block, block, "b")
    assert str(e.value).startswith(f"the configuration: {said}")
    assert "\n" not in str(e.value)


def test_what_another_version_wrote_down_is_left_aside_where_that_is_asked_for():
    assert read(Block, {"name": "a", "gone": 1, "inner": {"gone": 2}}, lenient=True).inner == Inner()
    config = plain(composed("train", ["model=popularity"]))
    old = {**config, "evaluation": {"k": [5], "gone": True}, "trainer": {}, "gone": {}}
    assert of_run(old).evaluation.k == (5,)
    with pytest.raises(UserError, match=r"there is no option 'gone'\."):
        settings({**config, "gone": {}}, Train)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_reads_its_own_config_whole(verb: str):
    words = {"recommend": ["run=models/x", "history=[a]"], "score": ["run=models/x"]}.get(verb, [])
    config = composed(verb, words)
    told = settings(config, VERBS[verb])
    assert told.plain == plain(config)
    names = {f.name for f in fields(told)}
    own = set(yaml.safe_load((CONF / f"{verb}.yaml").read_text())) - {"defaults", "hydra"}
    assert own <= names


def test_a_class_and_the_shipped_file_say_the_same_where_nothing_is_said():
    config = plain(composed("evaluate", []))
    told = settings(config, Evaluate)
    shipped = settings(composed("train", []), Train)
    for block in (told.evaluation, shipped.timeline, told.report, shipped.paths):
        assert is_dataclass(block)
        bare = type(block)()
        skip = {"plain", "baselines", "shop_baselines", "parameters", "raw"}  # models and the machine's own folder
        for f in fields(block):
            if f.name not in skip:
                assert getattr(bare, f.name) == getattr(block, f.name), f.name


def test_blocks_are_replaced_and_read_again():
    told = settings(composed("train", ["model=popularity"]), Train)
    other = but(told, seed=7, evaluation={**told.plain["evaluation"], "k": [3]})
    assert (other.seed, other.evaluation.k, other.model) == (7, (3,), told.model)
    with pytest.raises(UserError, match=r"seed is 'x'; it must be a whole number"):
        but(told, seed="x")


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("evaluate", "+report.cutsomers=3", ("report.cutsomers", "'customers'")),
        ("evaluate", "report.intervals=bc", ("report.intervals", "percentile")),
        ("evaluate", "evaluation.confidence=95", ("evaluation.confidence", "95")),
        ("evaluate", "runs=models/x", ("runs", "models/x")),
        ("prepare", "+timeline.observed=2020-01-01", ("timeline.observed",)),
        ("prepare", "audit=[a]", ("audit",)),
        ("train", "+trackng.uri=x", ("there is no option 'trackng'. Did you mean 'tracking'?",)),
        ("train", "task.direction=minimum", ("task.direction", "minimize")),
        ("export", "golden=many", ("golden", "many")),
        ("tune", "tuning.sampler=tpee", ("tuning.sampler", "Did you mean 'tpe'?")),
    ],
)
def test_a_slip_in_any_verbs_config_is_named_before_it_begins(verb: str, word: str, said: tuple[str, ...]):
    word = f"+{word}" if word.startswith("task.direction") else word
    with pytest.raises(UserError) as e:
        settings(composed(verb, [word]), VERBS[verb])
    assert all(word in str(e.value) for word in said)
    assert "\n" not in str(e.value)


def test_blocks_of_other_rooms_arrive_as_the_classes_of_those_rooms():
    words = [
        "model=sasrec",
        "dataset=online_retail",
        "split=temporal",
        "loss=bce",
        "trainer=ddp",
        "trainer.plan.chunk=64",
    ]
    told = settings(composed("train", words), Train)
    assert (told.trainer.name, told.trainer.devices, told.trainer.plan.given) == ("ddp", 2, {"chunk": 64})
    assert (told.loss.name, told.loss.negatives) == ("bce", 256)
    assert (told.split.name, told.split.targets, told.split.test_days) == ("temporal", "first", None)
    spec = split_spec(told)
    assert (spec.test_days, spec.target_events, spec.zone) == (28.0, ("purchase",), "Europe/London")
    assert (told.dataset.name, told.dataset.filter_seen, told.dataset.temporal.test_days) == (
        "online_retail",
        False,
        28,
    )
    blocks = {"dataset": told.dataset.plain, "split": told.split.plain, "trainer": told.trainer.plain}
    assert blocks == {key: told.plain[key] for key in blocks}


@pytest.mark.parametrize(
    ("block", "setting", "said"),
    [
        ("trainer", {"acelerator": "cpu"}, "unknown option `trainer.acelerator`. Did you mean 'accelerator'"),
        ("trainer", {"plan": {"chunk": 0}}, "trainer.plan.chunk is 0; it must be a whole number of at least 1"),
        ("loss", {"negativs": 3}, "unknown option `loss.negativs`. Did you mean 'negatives'"),
        ("split", {"fould": 3}, "unknown option `split.fould`. Did you mean 'fold'"),
        ("split", {"test_days": "ten"}, "split.test_days is 'ten'; it must be a number"),
        ("dataset", {"filter_sen": True}, "unknown option `filter_sen`. Did you mean 'filter_seen'"),
    ],
)
def test_a_slip_in_a_block_of_another_room_is_named_whatever_the_verb(block: str, setting: dict[str, Any], said: str):
    for verb in ("train", "evaluate", "export"):
        config = plain(composed(verb, []))
        with pytest.raises(UserError) as e:
            settings({**config, block: {**config[block], **setting}}, VERBS[verb])
        assert said in str(e.value)


def test_a_run_of_another_version_is_read_though_its_trainer_plan_split_and_dataset_knew_more():
    config = plain(composed("train", ["model=sasrec"]))
    more = {"plan": {"gone": 1, "chunk": 8}, "gone": 2}
    old = {key: {**config[key], "gone": 3} for key in ("dataset", "split", "loss")}
    told = of_run({**config, **old, "trainer": {**config["trainer"], **more}})
    assert told.trainer.plan.given == {"chunk": 8}
    assert told.plain["dataset"]["gone"] == 3


@pytest.mark.parametrize("group", ["model", "trainer", "task", "tracking"])
def test_a_group_that_was_left_out_of_a_training_is_named(group: str):
    with pytest.raises(UserError, match=rf"no {group}; leave `~{group}` out, or choose one: {group}=…"):
        settings(composed("train", [f"~{group}"]), Train)
