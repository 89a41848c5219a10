"""Cutoffs and label windows of customer models (churn, propensity, orders, spend)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from shopkeeper.errors import Rule, UserError, check, nearest, number, or_null, whole
from shopkeeper.shapes import Maybe, Shape, Yaml
from shopkeeper.timeline.instants import DAY, INSTANT, instant, iso
from shopkeeper.timeline.zones import MOST_DAYS, add_days, floor_day

BLOCK = "churn"  # of a dataset's config: the windows of a shop, which tasks about its customers take


@dataclass(frozen=True)
class CustomerSpec:
    """How the label windows of customer models (churn, propensity, orders, spend) lie on the log.

    Days may be fractions. `gap_days` leaves that much unused time between the end of one label window and the
    next cutoff, e.g. because labels arrive late. `min_history_days` is what a training cutoff needs before it
    (default: `active_days`, so that the active filter sees its whole window). `n_train` limits the training
    cutoffs (default: as many as fit; more than fit are refused), which
    lie `step_days` apart (default: horizon + gap; with fewer their windows overlap each other, never those of
    calibration and test). `test` and `calibration` are given by the log's end
    unless set by hand. `observed_until`: the log is complete before this instant (default: the midnight before the
    last event, whose own day may be cut off); `observed_from`: and was watched from this one on (default: the first
    event). `min_customers` and `min_days`: with fewer different customers to learn from, or a log that began less long
    before the test cutoff, every score is blank, and says so.
    """

    horizon_days: float
    active_days: float | None = None
    gap_days: float = 0.0
    min_history_days: float | None = None
    n_train: int | None = None
    step_days: float | None = None
    test: Any = None
    calibration: Any = None
    observed_from: Any = None
    observed_until: Any = None
    min_customers: int | None = None
    min_days: float | None = None
    zone: str = "UTC"  # the shop's: dates are its midnights. A horizon is 24 hours a day, clock changes or not

    RULES: ClassVar[dict[str, Rule]] = {
        "horizon_days": number(above=True, below=MOST_DAYS),
        "active_days": or_null(number(above=True, below=MOST_DAYS)),
        "gap_days": number(below=MOST_DAYS),
        "min_history_days": or_null(number(below=MOST_DAYS)),
        "n_train": or_null(whole(1)),
        "min_customers": or_null(whole(1)),
        "min_days": or_null(number(above=True, below=MOST_DAYS)),
        "step_days": or_null(number(above=True, below=MOST_DAYS)),
        **dict.fromkeys(("test", "calibration", "observed_from", "observed_until"), or_null(INSTANT)),
        "zone": ("must be the name of a time zone", lambda x: isinstance(x, str)),
    }

    @classmethod
    def from_config(cls, config: Yaml) -> CustomerSpec:
        """From a `churn:` block or the like; keys that are not ours raise a `UserError` with the nearest valid name."""
        known = {f.name for f in fields(cls)}
        for key in config:
            if key not in known:
                raise UserError(f"customer windows: unknown setting '{key}'.{nearest(str(key), known)}")
        if "horizon_days" not in config:
            raise UserError("customer windows: horizon_days is missing; set it, e.g. task.windows.horizon_days=90")
        check(config, cls.RULES, "customer windows: ")
        return cls(**config)


@dataclass(frozen=True)
class WindowSettings:
    """What a task or a dataset says of `CustomerSpec`; None: left to others, or to what is usual."""

    horizon_days: float | None = None
    active_days: float | None = None
    gap_days: float | None = None
    min_history_days: float | None = None
    n_train: int | None = None
    step_days: float | None = None
    test: Any = None
    calibration: Any = None
    observed_from: Any = None
    observed_until: Any = None
    min_customers: int | None = None
    min_days: float | None = None
    zone: str | None = None

    RULES: ClassVar[dict[str, Shape]] = {name: Maybe(rule) for name, rule in CustomerSpec.RULES.items()}

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class CustomerWindows:
    """Cutoffs of customer models. The label of cutoff t is observed in [t, t + horizon), all known by `observed_until`.

    Training < calibration < test, at least horizon + gap apart; training cutoffs lie `step` apart, `rolling` are those
    that are wholly observed before test, the calibration cutoff and all before it.
    """

    train: list[int] = field(default_factory=list)  # oldest first, µs
    rolling: list[int] = field(default_factory=list)  # the same until the calibration cutoff, this one included
    calibration: int = 0
    test: int = 0
    horizon: int = 0  # µs
    active: int | None = None  # µs: customers with an event in [t - active, t) are asked about; None: all with one
    gap: int = 0  # µs
    observed_until: int = 0  # µs: the log is complete before this instant

    def window(self, cutoff: int) -> tuple[int, int]:
        """The half-open label window [cutoff, cutoff + horizon); a window that is not fully observed is refused."""
        if cutoff + self.horizon > self.observed_until:
            raise UserError(
                f"the window of {self.horizon / DAY:g} days from {iso(cutoff)} ends after the log is complete "
                f"({iso(self.observed_until)}); choose an earlier cutoff or a shorter horizon_days"
            )
        return cutoff, cutoff + self.horizon

    @property
    def parts(self) -> dict[str, list[int]]:
        """Cutoffs by part: train, calibration, test."""
        return {"train": self.train, "calibration": [self.calibration], "test": [self.test]}

    @property
    def every(self) -> dict[str, list[int]]:
        """The same, and all that a model may learn from before test."""
        return {**self.parts, "rolling": self.rolling}

    def as_json(self) -> dict[str, Any]:
        """The same in readable form, for manifests."""
        return {
            "train": [iso(t) for t in self.train],
            "calibration": iso(self.calibration),
            "test": iso(self.test),
            "horizon_days": self.horizon / DAY,
            "active_days": None if self.active is None else self.active / DAY,
            "gap_days": self.gap / DAY,
            "observed_until": iso(self.observed_until),
        }


def customer_windows(spec: CustomerSpec, first: int, last: int) -> CustomerWindows:
    """Cutoffs for train, calibration and test from the span of the log.

    Args:
        spec: horizon and the other settings.
        first: instant of the log's first event, µs.
        last: instant of its last event, µs. Its own day may be incomplete, so the log counts as observed until
            the midnight before it, and the test window ends there.

    Raises:
        UserError: the horizon exceeds the distance between calibration and test (labels of the one would be seen by
            the other), a window reaches beyond the log, `observed_until` lies outside of it, or fewer training cutoffs
            fit than `n_train` asks for, or none.
    """
    horizon, gap = round(spec.horizon_days * DAY), round(spec.gap_days * DAY)
    if horizon <= 0 or gap < 0:
        raise UserError(
            f"horizon_days must be above 0 and gap_days not below 0 (got {spec.horizon_days}, {spec.gap_days})"
        )
    active = None if spec.active_days is None else round(spec.active_days * DAY)
    observed_until = _observed_until(spec, first, last)
    if spec.observed_from is not None:
        first = max(first, instant(spec.observed_from, "observed_from", spec.zone))
    step = horizon + gap
    test = observed_until - horizon if spec.test is None else instant(spec.test, "test", spec.zone)
    calibration = test - step if spec.calibration is None else instant(spec.calibration, "calibration", spec.zone)
    if test + horizon > observed_until:
        raise UserError(
            f"the test window of {spec.horizon_days:g} days from {iso(test)} ends after the log is complete "
            f"({iso(observed_until)}); choose an earlier test cutoff or a shorter horizon_days"
        )
    if test - calibration < step:
        raise UserError(
            f"horizon_days={spec.horizon_days:g} (+ gap_days={spec.gap_days:g}) exceeds the "
            f"{(test - calibration) / DAY:g} days between calibration ({iso(calibration)}) and test ({iso(test)}): "
            f"the test period would be seen; shorten horizon_days or move calibration back"
        )
    apart = step if spec.step_days is None else round(spec.step_days * DAY)
    train = _training_cutoffs(spec, first, last, calibration, apart)
    rolling = train + [calibration - k * apart for k in range((step - 1) // apart, -1, -1)]
    return CustomerWindows(train, rolling, calibration, test, horizon, active, gap, observed_until)


def _observed_until(spec: CustomerSpec, first: int, last: int) -> int:
    """Until when the log is complete, µs: as told, or the midnight before its last event."""
    midnight = floor_day(last, spec.zone)
    if spec.observed_until is None:
        return midnight
    told = instant(spec.observed_until, "observed_until", spec.zone)
    if not first < told <= add_days(midnight, 1, spec.zone):
        raise UserError(
            f"observed_until={iso(told)} lies outside of the log, which runs from {iso(first)} to {iso(last)}; choose "
            f"an instant in it"
        )
    return told


def _training_cutoffs(spec: CustomerSpec, first: int, last: int, calibration: int, apart: int) -> list[int]:
    """As many as fit `apart` from each other (µs) between the history that they need and calibration, oldest first."""
    needed = round((spec.active_days or 0 if spec.min_history_days is None else spec.min_history_days) * DAY)
    earliest = first + max(needed, 1)
    newest = calibration - round(spec.horizon_days * DAY) - round(spec.gap_days * DAY)
    n = max(0, (newest - earliest) // apart + 1)
    if n < 1:
        raise UserError(
            f"no training cutoff fits: the log runs from {iso(first)} to {iso(last)}, and three windows of "
            f"{spec.horizon_days:g} days after {needed / DAY:g} days of history need more; shorten horizon_days, "
            f"active_days or min_history_days"
        )
    if spec.n_train is not None and n < spec.n_train:
        raise UserError(
            f"n_train={spec.n_train}, but only {n} training cutoff{'s fit' if n > 1 else ' fits'} between "
            f"{iso(earliest)} and {iso(calibration)}, {apart / DAY:g} days apart; lower n_train (null: as many as "
            f"fit), or shorten horizon_days, gap_days or min_history_days"
        )
    return [newest - k * apart for k in range((spec.n_train or n) - 1, -1, -1)]
