"""What the page shows, as plain values: gathered by `gather.py`, put into words by `words.py`, drawn by the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.evaluation.profit_curve import ProfitCurve
from shopkeeper.tasks.base import Words
from shopkeeper.tasks.find import own_tasks

LABELS = {
    "popularity": "Popularity",
    "item_knn": "Item-kNN",
    "ease": "EASE",
    "sasrec": "SASRec",
    "gsasrec": "gSASRec",
    "esasrec": "eSASRec",
    "gru4rec": "GRU4Rec",
    "bert4rec": "BERT4Rec",
    "hstu": "HSTU",
    "narm": "NARM",
    "lrurec": "LRURec",
    "base_rate": "Base rate",
    "logistic": "Logistic regression",
    "lightgbm": "LightGBM",
    "bg_nbd": "BG/NBD",
    "gru": "GRU",
    "transformer": "Transformer",
    "recency": "Recency",
    "personal_frequency": "Personal frequency",
    "tifu_knn": "TIFU-KNN",
    "up_cf": "UP-CF",
    "buy_it_again": "Buy it again",
    "ials": "iALS",
    "bpr": "BPR",
    "slim": "SLIM",
    "user_knn": "User-kNN",
    "vsknn": "V-SKNN",
    "vstan": "VSTAN",
    "two_stage": "Two-stage",
    "two_tower": "Two towers",
    "segment_popularity": "Popularity by segment",
    "content_affinity": "Content",
}
CEILINGS = {
    "oracle_observable": "Oracle",
    "oracle_latent": "Oracle (hidden states)",
}
IN_GREY = ("popularity", "base_rate")


def label_of_model(name: str) -> str:
    """How a model is called on the page; "sasrec#2" is the run with seed 2."""
    base, mark, seed = name.partition("#")
    model, _, order = base.partition("+")
    for task in own_tasks():  # the oracles of several tasks are called alike
        model = model.removesuffix(f"_{task}")
    usual = model.replace("_", " ").capitalize() if re.fullmatch(r"[a-z][a-z0-9_]+", model) else model
    label = (LABELS | CEILINGS).get(model, usual)
    label += f", {order.replace('_', ' ')}" if order else ""  # its lists in another order
    return f"{label} (seed {seed})" if mark else label


@dataclass(frozen=True)
class Value:
    """A figure with its interval; bounds are None where there is no interval (set statistics)."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Model:
    """One line of a leaderboard."""

    name: str  # as in conf/model
    metrics: Mapping[str, Value]
    colour: int  # index into the palette; shapes follow it, so that colour is never the only sign
    uses_instant: bool = False  # knows the moment of the request, which the others were not told
    family: str = ""  # the model without its seed, where it is there with several; else as `name`
    oracle: str = ""  # what an oracle was told, see `models.about`; "" for any other

    @property
    def label(self) -> str:
        """How the model is called on the page."""
        return label_of_model(self.name)

    @property
    def group(self) -> str:
        """What its other seeds have in common with it: the colour, and that they are no rivals."""
        return self.family or self.name

    @property
    def group_label(self) -> str:
        """The model without its seed, where it is there with several."""
        return label_of_model(self.group)

    @property
    def is_oracle(self) -> bool:
        """A ceiling: knows the simulated shop's rules, no rival."""
        return bool(self.oracle)


@dataclass(frozen=True)
class Difference:
    """A paired comparison: `better` minus `worse`."""

    better: str
    worse: str
    metric: str
    difference: Value
    p_value: float | None
    statement: str  # in words, from evaluation.compare
    clear: bool  # the interval, which holds for the whole family, excludes zero
    family: int = 1  # comparisons judged together
    method: str = ""  # how


@dataclass(frozen=True)
class SliceRow:
    """One kind of request or customer: each model's mean there."""

    value: str
    n: int
    small: bool
    models: Mapping[str, Value]
    loses_to: str = ""  # model that is significantly better than the winner here, after correction


@dataclass(frozen=True)
class SlicePanel:
    """One way to cut the requests."""

    name: str  # as in the table, without "slice:"
    rows: list[SliceRow]


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed for one customer model."""

    model: str
    points: list[tuple[float, float, float, float, int]]  # mean probability, share seen, low, high, customers
    ece: float
    ece_expected: Value  # what a perfectly calibrated model would show at this n
    histogram: list[int]  # customers per twentieth of probability


@dataclass(frozen=True)
class Gains:
    """Tenths of the customers, highest probability first."""

    model: str
    gain: list[float]  # share of all who did it, in this tenth and those above
    lift: list[float]  # rate in this tenth over the base rate


@dataclass(frozen=True)
class SeedRow:
    """One model over several seeds."""

    model: str  # without its seed
    seeds: list[str]
    mean: Value  # the interval holds for new users and new seeds
    spread: float  # standard deviation of the seeds' means
    from_seeds: float  # share of the mean's variance that more seeds would take away
    note: str = ""  # what a reader must know where there are few seeds
    ahead_of: Mapping[str, Value] = field(default_factory=dict)  # other model -> difference to its mean


@dataclass(frozen=True)
class Board:
    """One task's models on the same requests."""

    task: str
    metric: str  # the one that ranks
    higher_is_better: bool
    models: list[Model]  # best first, ceilings last
    differences: list[Difference] = field(default_factory=list)
    further: list[Difference] = field(default_factory=list)  # on other metrics than the one that ranks
    slices: list[SlicePanel] = field(default_factory=list)
    reliability: list[Reliability] = field(default_factory=list)
    meta: Mapping[str, Any] = field(default_factory=dict)
    n: int = 0  # requests, or customers
    baseline: str = ""  # the model that the best one is always set beside
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)  # model -> n, coverage
    gains: list[Gains] = field(default_factory=list)
    profits: Mapping[str, ProfitCurve] = field(default_factory=dict)  # of a campaign, by model; empty: values not told
    money: str = ""  # the metric in the shop's money; "": the data have none
    in_money: list[Difference] = field(default_factory=list)  # every pair on it
    currency: str = ""  # of the log's prices; "": not told
    now: Mapping[str, Any] | None = None  # what the leading model says today, see `pipeline/comparing/now.py`
    before: Mapping[str, Value] = field(default_factory=dict)  # its figures on validation, the cutoff before test
    leader: str = ""  # its run folder, for commands
    has_consent: bool = False  # whether the data say who agreed
    seeds: list[SeedRow] = field(default_factory=list)
    sanity: list[tuple[str, str, str]] = field(default_factory=list)  # check, finding, state: good | note | bad
    confidence: float = 0.95  # of all intervals
    zone: str = "UTC"  # the shop's, whose days and hours are meant
    words: Words = field(default_factory=Words)  # the task's own
    shown: Sequence[str] = ()  # metrics in the table beside the headline; {k}: cut-off of lists
    beneath: Sequence[str] = ()  # and in the one under it, with intervals
    unscored: Sequence[str] = ()  # models for which the metric is not defined: they stand in no table

    @property
    def k(self) -> int:
        """The cut-off of lists: that of the metric, else the first one."""
        cut = self.metric.partition("@")[2]
        return int(cut or (self.meta.get("k") or [10])[0])

    @property
    def places(self) -> str:
        """The places of a list in words: "ten"."""
        return {1: "one", 5: "five", 10: "ten", 20: "twenty"}.get(self.k, str(self.k))

    @property
    def level(self) -> str:
        """What the intervals cover, as text: "95 %"."""
        return f"{100 * self.confidence:g} %"

    @property
    def rivals(self) -> list[Model]:
        """Models without the ceilings and without those that were told more, best first."""
        return rivals_of(self.models)

    @property
    def base(self) -> Model | None:
        """The baseline, where it is there."""
        return next((m for m in self.rivals if m.name.partition("#")[0] == self.baseline), None)

    def like_the_best(self, model: Model) -> bool:
        """Whether a rival other than the best cannot be told apart from it."""
        best = self.rivals[0]
        if model.group == best.group or model not in self.rivals:
            return False
        found = next((d for d in self.differences if {d.better, d.worse} == {best.name, model.name}), None)
        return found is None or not found.clear

    @property
    def ceiling(self) -> Model | None:
        """The oracle that knows what was observable, where there is one."""
        return next((m for m in self.models if m.oracle == "observable"), None)


def rivals_of(models: list[Model]) -> list[Model]:
    """The models that compete: no oracles, and none that reads the moment unless all do."""
    entered = [m for m in models if not m.is_oracle]
    return [m for m in entered if not m.uses_instant] or entered


def one_per_group(models: Sequence[Model]) -> list[Model]:
    """The first run of each model: where there are several seeds, one stands for all in drawings."""
    groups: dict[str, Model] = {}
    for model in models:
        groups.setdefault(model.group, model)
    return list(groups.values())


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    title: str
    subtitle: str
    boards: list[Board]
    window: Mapping[str, Any] | None  # the shop window's data, as report.js reads it
    audit: list[tuple[str, str, str]]  # check, finding, state: good | note | bad
    protocol: list[tuple[str, str]]
    dataset: str = ""  # as in conf/dataset, for commands
    customers: int = 0  # of the dataset
    zone: str = "UTC"  # of the shop's clocks
    until: str = ""  # the day that the log ends with, "9 December 2010"; "": it has only an order
    fingerprint: str = ""  # of the data
    segments: Mapping[str, Any] | None = None  # see `pipeline/comparing/campaigned.py`
    audiences: Sequence[Mapping[str, Any]] = ()
    uplifts: Sequence[Mapping[str, Any]] = ()  # of its randomised campaigns
    earlier: Mapping[str, Any] | None = None  # `decisions` of the report before
    recommender: str = ""  # run folder of the leading one, for commands
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)  # verb -> first words of one about these data
