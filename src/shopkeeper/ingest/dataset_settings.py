"""What splits, tasks and verbs read of a dataset's config; how its files are read, `dataset.parse` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shopkeeper.ingest.dataset_parts import Filters, Identity, Table, Timestamp
from shopkeeper.shapes import Yaml
from shopkeeper.timeline import SplitSettings, WindowSettings
from shopkeeper.typed import made


@dataclass(frozen=True)
class DatasetSettings:
    """A dataset as conf/dataset/*.yaml has it, checked by `dataset_shape.check_dataset`."""

    name: str
    target_events: tuple[str, ...] = ()  # what counts as a target
    filter_seen: bool | None = None  # whether items that a customer has had are left out; None: not said
    refit: bool = False  # whether test is answered by a model that was trained until its cutoff
    observed_from: Any = None  # the log was watched from this day on,
    observed_until: Any = None  # and is complete before this one
    temporal: SplitSettings = field(default_factory=SplitSettings)  # what a split of its kind leaves open
    timestamp: Timestamp = field(default_factory=Timestamp)
    filters: Filters = field(default_factory=Filters)  # of which a split may apply one in the log's place
    identity: Identity | None = None  # how customers' keys are joined, see `people.rules`
    table: Table | None = None
    currency: str | None = None  # of the log's prices; None: not told
    profit: Any = None  # see `evaluation.profit`
    plain: Yaml = field(default_factory=dict, repr=False, compare=False)

    @property
    def zone(self) -> str:
        """The shop's time zone."""
        return self.timestamp.time_zone

    def windows(self, task: str) -> WindowSettings | None:
        """Windows of a task about customers, which stand under its name; None where the dataset says nothing."""
        block = self.plain.get(task)
        return made(WindowSettings, block) if block else None
