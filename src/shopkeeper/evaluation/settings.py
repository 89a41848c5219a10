"""What is asked of an evaluation and of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.errors import UserError, number, or_null, whole
from shopkeeper.metrics.ranks import TIES
from shopkeeper.models.settings import ModelSettings
from shopkeeper.shapes import ANY, PLAIN, TEXT, Items, Name, Open, Yaml
from shopkeeper.tasks.find import own_tasks
from shopkeeper.typed import held


@dataclass(frozen=True)
class Evaluation:
    """How answers are judged, and how sure that is (`evaluation:` in conf/config.yaml)."""

    k: tuple[int, ...] = held(ANY, (10,))  # cut-offs of the list metrics; the first one is the headline
    top_k: int = held(whole(1), 20)  # length of the lists kept in the per-request table
    ties: str = held(Name(TIES), "expected")
    resamples: int = held(whole(1), 1000)
    confidence: float = held(number(above=True, below=1), 0.95)
    refit: bool | None = None  # train anew on all until the test cutoff, then ask test; None: as the dataset says
    smallest_effect: float = held(number(above=True), 0.003)  # that matters, in units of the headline metric
    batch_size: int | None = held(or_null(whole(1)), None)  # requests scored at once; None: as a modest block holds

    def __post_init__(self) -> None:
        check_k(self.k)


OTHERS = Open({f"{task}_baseline": TEXT for task in own_tasks()}, TEXT, "_baseline")


@dataclass(frozen=True)
class Report:
    """What a report shows (`report:` in conf/evaluate.yaml)."""

    customers: int = 0  # how many the shop window shows; 0: nobody, unless some are chosen
    ids: bool = False  # customers by their ids, on the page and in the tables beside it; else by numbers
    chosen: tuple[Any, ...] = held(Items(PLAIN), ())  # external ids of customers that it shows first
    seed: int = 0  # which of the others it draws
    resamples: int = held(whole(1), 500)  # for the intervals of slices
    baseline: str | None = None  # the recommender that the best one is set beside; None: whichever leads on validation
    now: bool = True  # ask the model that leads about everybody as of the end of the log: who is at risk, and why
    campaigns: bool = True  # show segments and audiences, where there are such of the dataset
    since: str | None = None  # an earlier report, to say what has moved; None: what stands in its place
    shuffle: bool = True  # ask every recommender again with each history in random order
    intervals: str = held(Name(("percentile", "bca")), "percentile")  # of means
    test: str = held(Name(("randomisation", "bootstrap")), "randomisation")  # p-values
    retrain: tuple[str, ...] = ()  # recommenders to train again on histories in random order
    baselines: Mapping[str, ModelSettings] = field(default_factory=dict)  # models that are in every table
    shop_baselines: Mapping[str, ModelSettings] = field(default_factory=dict)  # and where seen items may come back
    parameters: Yaml = held(OTHERS, factory=dict)  # `<task>_baseline`: as `baseline`, for that task
    plain: Yaml = field(default_factory=dict, repr=False)

    def named_baseline(self, setting: str) -> str | None:
        """The model that `baseline` or a `<task>_baseline` names; None where it names none."""
        return self.baseline if setting == "baseline" else self.parameters.get(setting)


def check_k(k: Any) -> None:
    """A `UserError` for cut-offs that are no list of different whole numbers from 1."""
    if type(k) is int:
        raise UserError(f"evaluation.k={k} must be a list; write evaluation.k=[{k}]")
    plain_k = list(k) if isinstance(k, Sequence) and not isinstance(k, str) else []
    if not plain_k or not all(type(c) is int and c > 0 for c in plain_k) or len(set(plain_k)) < len(plain_k):
        wanted = "a list of different whole numbers from 1, such as [10] or [5,20]"
        raise UserError(f"evaluation.k={list(k) if isinstance(k, tuple) else k} must be {wanted}")
