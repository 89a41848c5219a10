"""What each verb is told: its composed config, parsed once, as classes.

`settings(config, Train)` checks the names and kinds of everything in the config, whichever verb reads it, and gives
those of one verb. What a model is set to goes on as a block and is checked by its signature; how raw files are read,
`ingest.dataset` takes from the dataset's `plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from shopkeeper.arrange.engine_settings import Engine
from shopkeeper.campaigns.audience.settings import Audience as AudienceSettings
from shopkeeper.campaigns.segments.settings import Segmentation
from shopkeeper.campaigns.uplift.settings import LEARNER_NAMES, Campaign, Trees
from shopkeeper.errors import UserError, nearest, number, or_null, whole
from shopkeeper.evaluation.settings import Evaluation, Report, check_k
from shopkeeper.features.customer.declared import Features
from shopkeeper.ingest.dataset_parts import KIND, WHEN
from shopkeeper.ingest.dataset_settings import DatasetSettings
from shopkeeper.ingest.dataset_shape import check_dataset
from shopkeeper.models.settings import ModelSettings
from shopkeeper.nn.loss_settings import Loss
from shopkeeper.reranking.settings import Ordering, Placement
from shopkeeper.shapes import TEXT, Items, Name, Needed, Open, Shape, Yaml, check_shape
from shopkeeper.timeline import SplitSettings, WindowSettings
from shopkeeper.tracking.settings import Tracking
from shopkeeper.training.config import TrainerConfig
from shopkeeper.tuning.settings import Tuning
from shopkeeper.typed import WHERE, held, read, shapes_of

V = TypeVar("V")
CALIBRATION_GATE = 0.1  # the ECE above which probabilities are not handed over: one in ten is promised wrongly


DATASET = Needed(Open({}))  # `check_dataset` says more, and names the file


@dataclass(frozen=True)
class Paths:
    """Where things lie."""

    raw: Path = Path("data/raw")
    prepared: Path = Path("data/prepared")
    runs: Path = Path("runs")
    reports: Path = Path("reports")
    exports: Path = Path("exports")
    studies: Path = Path("studies")
    segments: Path = Path("segments")
    audiences: Path = Path("audiences")
    outputs: Path = Path("outputs")
    checkpoints: Path = Path("outputs/checkpoints")


@dataclass(frozen=True)
class Timeline:
    """How the log is read in time."""

    ties: str = held(Name(("file", "shuffled")), "file")  # shuffled: events with one time stamp in a random order
    ties_seed: int = 0
    observed_until: Any = held(WHEN, None)  # the log is complete before this day; None: the dataset's, else its last
    observed_from: Any = held(WHEN, None)  # and was watched from this day on; None: its first event


@dataclass(frozen=True)
class TaskSettings:
    """A task as conf/task/*.yaml has it; what it is stands in `shopkeeper.tasks`."""

    name: str
    headline: str = held(Needed(TEXT), "")  # the metric that orders models
    direction: str = held(Name(("minimize", "maximize")), "maximize")
    target: str = held(TEXT, "")  # of a task of one's own: module.NAME
    target_events: tuple[str, ...] = held(Items(KIND), ())  # in place of the dataset's
    baselines: Mapping[str, ModelSettings] = field(default_factory=dict)  # models that are in its table, too
    windows: WindowSettings = field(default_factory=WindowSettings)
    together: tuple[str, ...] = held(Items(TEXT), ())  # further tasks that a model with several heads learns at once
    subjects: tuple[str, ...] = held(Items(TEXT), ())  # of a task asked by category or item: which
    most_subjects: int = held(whole(1), 20)  # where none is named: so many, those bought most
    after_events: int = held(whole(1), 3)  # of a task asked of sessions: after how many events of one
    gap_minutes: float = held(number(above=True), 30.0)  # and how long a silence ends it, where the log does not say
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data that a verb works on."""

    dataset: DatasetSettings = held(DATASET)
    split: SplitSettings
    task: TaskSettings
    paths: Paths = field(default_factory=Paths)
    engine: Engine | None = None  # None: arrays
    timeline: Timeline = field(default_factory=Timeline)
    features: Features = field(default_factory=Features)  # of models about customers
    audit: str = held(Name(("always", "full")), "always")  # full: perturb everything after the cutoff and compare
    prepared_folder: Path | None = None  # None: after the dataset
    progress: bool = True
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Prepare(Data):
    """What `prepare` is told."""

    extend: Path | None = None  # a prepared folder to which only new files are added


@dataclass(frozen=True, kw_only=True)
class Train(Data):
    """What `train` is told."""

    model: ModelSettings
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    loss: Loss = field(default_factory=Loss)  # which models name as theirs
    tracking: Tracking = field(default_factory=lambda: Tracking("none"))
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 1
    init_from: Path | None = None  # run to start warm from
    name: Any = None  # of the run's folder, checked by `places.run_folder`; None: <model>-<id>, after the settings
    overwrite: bool = False
    trial: Any = None  # of a search: which one


@dataclass(frozen=True, kw_only=True)
class Tune(Train):
    """What `tune` is told."""

    tuning: Tuning


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """What `evaluate` is told."""

    dataset: DatasetSettings = held(DATASET)
    split: SplitSettings
    task: TaskSettings | None = None  # a stage that compares all tasks has none
    paths: Paths = field(default_factory=Paths)
    tracking: Tracking = field(default_factory=lambda: Tracking("none"))
    evaluation: Evaluation = field(default_factory=Evaluation)
    report: Report = field(default_factory=Report)
    rerank: Mapping[str, Ordering] = field(default_factory=dict)  # by name
    placement: Placement | None = None  # asks the runs as that place of the shop would
    runs: tuple[Path, ...] | None = None  # None: of each model what was trained last
    segments: Path | None = None  # a folder of `segments`, whose segments are slices
    out: Path | None = None  # folder of the report
    overwrite: bool = False
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What `export` is told."""

    dataset: DatasetSettings = held(DATASET)
    split: SplitSettings
    task: TaskSettings | None = None  # a stage that exports the best of each task names neither task nor model
    model: ModelSettings | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)  # how sure it is that the best one leads
    paths: Paths = field(default_factory=Paths)
    run: Path | None = None  # `best`: of each task the run that leads; None: the one trained last
    runs: tuple[Path, ...] | None = None  # that the best one is of; None: of each model what was trained last
    name: Any = None  # below paths.exports, checked by `export.bundle_name`; None: after the run
    overwrite: bool = False
    tracking: Tracking = field(default_factory=lambda: Tracking(name="none"))  # where the bundle is registered
    k: int = held(whole(1), 10)  # length of the lists that the graph returns
    golden: int = held(whole(1), 100)  # requests kept in the bundle
    # the ECE on test above which no probability model is exported; None: any
    calibration_gate: float | None = held(or_null(number(above=True)), CALIBRATION_GATE)
    placement: Placement | None = None  # that the bundle answers at, too,
    placements: tuple[str, ...] = ()  # and others by their names in conf/placement
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Recommend:
    """What `recommend` is told."""

    run: Path | None = None  # None: the recommender trained last
    history: tuple[Any, ...] = ()  # external ids, or [id, event type, …]; oldest first
    basket: tuple[Any, ...] = ()  # the same of the order so far, which is not recommended again
    placement: Placement | None = None  # with its filter, order and fallback
    category: str | None = None  # there: whose page it is
    k: int = held(whole(1), 10)
    filter_seen: bool | None = None  # None: as the model was evaluated
    paths: Paths = field(default_factory=Paths)
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What `score` is told."""

    run: Path | None = None  # None: the customer model trained last
    at: Any = held(WHEN, None)  # the instant that is asked about; None: the end of the log
    to: Path | None = None  # .parquet or .csv; None: below paths.outputs
    paths: Paths = field(default_factory=Paths)
    plain: Yaml = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Segments(Data):
    """What `segments` is told."""

    at: Any = held(WHEN, None)  # the instant; None: the end of the log
    segmentation: Segmentation = field(default_factory=Segmentation)
    needed: bool = True  # False: data without times get a folder that says why there are none
    out: Path | None = None  # None: below paths.segments
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Audience(Data):
    """What `audience` is told."""

    audience: AudienceSettings
    at: Any = held(WHEN, None)  # the instant; None: the end of the log
    scores: Path | None = None  # a run folder of a customer model, or a file that `score` wrote
    segments: Path | None = None  # a folder of `segments`; None: the usual rules, without groups of likes
    waits: Path | None = None  # a run folder of a model that says when the next order comes: dates to send on
    recommender: Path | None = None  # a run folder
    placement: Placement | None = None  # how it answers
    consents: Path | None = None  # who agreed to be written to, for a purpose
    sent: Path | None = None  # what was sent to whom, when
    stock: Path | None = None  # when items ran out and came back
    evaluation: Evaluation = field(default_factory=Evaluation)  # how sure its profit is
    chunk: int = held(whole(1), 50_000)  # customers worked on at once
    out: Path | None = None  # None: below paths.audiences
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Uplift:
    """What `uplift` is told."""

    campaign: Campaign
    learners: tuple[str, ...] = held(Items(Name(LEARNER_NAMES), 1), LEARNER_NAMES)
    folds: int = held(whole(2), 3)
    trees: Trees = field(default_factory=Trees)
    evaluation: Evaluation = field(default_factory=Evaluation)
    paths: Paths = field(default_factory=Paths)
    seed: int = 1
    out: Path | None = None  # None: below paths.outputs
    overwrite: bool = False
    plain: Yaml = field(default_factory=dict, repr=False)


VERBS: dict[str, type[Any]] = {
    "uplift": Uplift, "audience": Audience, "segments": Segments, "score": Score, "recommend": Recommend,
    "export": Export, "evaluate": Evaluate, "prepare": Prepare, "train": Train, "tune": Tune,
}  # fmt: skip
# Of a setting that several verbs know, the last one says what it may be: it is the strictest about groups.
SHAPES: dict[str, Shape] = {key: shape for verb in VERBS.values() for key, shape in shapes_of(verb).items()}
NAMES = set(SHAPES) - {"trial"}
OF_TRAIN = {"name", "overwrite"}  # what conf/train.yaml alone has; all else it shares with every verb
NOTHING: tuple[Any, ...] = (None, {}, [])  # what says nothing, whoever it is for
GROUPS = (
    "dataset",
    "split",
    "task",
    "model",
    "trainer",
    "evaluation",
    "tracking",
    "paths",
)  # nothing is trained without


def settings(config: DictConfig | Yaml, verb: type[V]) -> V:
    """A composed config as what a verb is told; a `UserError` for a name that no verb knows or a value of no use.

    What `train` is told, conf/config.yaml gives to every verb; anything else is for those that have it as a field.
    """
    value = plain(config)
    for key in value:
        if key not in NAMES and key not in ("hydra", "trial"):
            raise UserError(f"there is no option '{key}'.{nearest(key, NAMES)}")
    for key in (
        key for key in value if value[key] not in NOTHING and key not in _names(verb) | _names(Train) - OF_TRAIN
    ):
        *others, last = [f"`{name}`" for name, other in VERBS.items() if key in _names(other)]
        whose = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        raise UserError(f"{key} is what {whose} told, and here it would do nothing; leave it out")
    for group in GROUPS if issubclass(verb, Train) else ():
        if group not in value:
            raise UserError(f"the configuration has no {group}; leave `~{group}` out, or choose one: {group}=…")
    return _read(verb, value)


def but(told: V, **blocks: Any) -> V:
    """The same settings with some blocks of the composed config replaced, read again."""
    return _read(type(told), {**told.plain, **blocks})  # type: ignore[attr-defined]


def of_run(config: Yaml) -> Train:
    """What a finished run was told, as its `config.yaml` says; what another version wrote down is left aside."""
    return _read(Train, config, lenient=True)


def _names(verb: type[Any]) -> set[str]:
    return {f.name for f in fields(verb)} - {"plain"} - (OF_TRAIN if verb is Tune else set())


def _read(verb: type[V], value: Yaml, lenient: bool = False) -> V:
    read_from = {k: v for k, v in value.items() if k in _names(verb)}
    return replace(read(verb, read_from, lenient=lenient), plain=dict(value))  # type: ignore[type-var]


def plain(config: DictConfig | Yaml) -> dict[str, Any]:
    """A composed Hydra config as plain dicts and lists, interpolations resolved and every setting of its kind."""
    if isinstance(config, DictConfig) and "evaluation" in config:
        node = OmegaConf.select(config, "evaluation")
        block = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        check_config({"evaluation": block})
        assert isinstance(block, dict)
        check_k(block.get("k", Evaluation.k))  # before others read its first
    value = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else dict(config)
    assert isinstance(value, dict)
    found = {str(k): v for k, v in value.items() if k != "hydra"}
    check_config(found)
    return found


def check_config(config: Yaml) -> None:
    """A `UserError` for the first setting of a composed configuration that is of another kind than it must be."""
    for key, shape in SHAPES.items():
        if key in config:
            check_shape(config[key], shape, WHERE, key)
    if "dataset" in config:
        check_dataset(config["dataset"])
