"""How a log is divided into training, validation and test: the checked settings of `conf/split/*.yaml`, and cutoffs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np

from shopkeeper.errors import Rule, UserError, check, nearest, number, one_of, or_null, whole
from shopkeeper.files import sha256_json
from shopkeeper.schema import EVENT_TYPES, event_codes
from shopkeeper.shapes import TEXT, Items, Maybe, Name, Needed, Shape, Yaml
from shopkeeper.timeline.instants import DAY, INSTANT, instant, iso
from shopkeeper.timeline.zones import MOST_DAYS, add_days, days_before, floor_day
from shopkeeper.typed import held, read

SHARES = frozenset({"validation_share", "test_share"})
WINDOW = frozenset({"targets", "validation_days", "test_days", "validation", "test", "end"}) | SHARES
# What each kind of split reads besides name, kind, protocol, target_events and k_core; the rest is not in its hash.
KINDS: dict[str, frozenset[str]] = {
    "leave_one_out": frozenset(),
    "leave_k_out": frozenset({"k"}),
    "temporal": WINDOW | {"asks"},
    "rolling": WINDOW | {"fold", "step_days", "asks"},
    "sessions": WINDOW | {"gap_minutes", "history"},
    "held_out_users": SHARES | {"fold_in", "seed"},
}
COMMON = frozenset({"name", "kind", "protocol", "target_events", "k_core", "new_items", "zone"})
TIMED = frozenset({"temporal", "rolling", "sessions"})  # these need time stamps
FRACTIONS = frozenset(
    {"validation_days", "test_days", "step_days", "gap_minutes", "validation_share", "test_share", "fold_in"}
)
CHOICES = {
    "protocol": ("published", "strict"),
    "targets": ("first", "last", "all"),
    "history": ("session", "user"),
    "asks": ("next", "product", "category", "cart", "checkout"),
}
# Part of the hash only where they are not these, so that older splits keep their names.
USUAL = {"zone": "UTC", "asks": "next", "new_items": False, **dict.fromkeys(SHARES)}
HELD_OUT = 0.1  # of the users each, where a held-out split says nothing


@dataclass(frozen=True)
class SplitSpec:
    """A split's settings. Keys that a kind does not read are kept out of its hash.

    `protocol`: `published` takes the catalogue (and, in prepare, ids and k-core) from the whole log, as papers do;
    `strict` from training rows alone. Default: published for leave-one-out and leave-k-out, strict otherwise.

    `targets` for windows: `first` asks at the instant of the user's first target step in the window, `last` at the
    last one, `all` once at the window's start, for everything that follows in it. For sessions: the first, the
    last, or (`all`) every step of the session, each a request of its own.

    `asks`: where in the shop the customer stands who is asked, see `splits/placed.py`.

    `validation_share`, `test_share`: of users who are held out; for windows in place of days, of the log's target
    events: test begins with the first of the last `test_share`, whatever time they take.
    """

    name: str
    kind: str
    protocol: str
    target_events: tuple[str, ...]
    k_core: int | None = None  # strict: users and items with fewer training events are left out of training
    new_items: bool = False  # strict: what the item table lists may be recommended, too. In the hash where it is so
    k: int = 1  # steps per user that are test, and as many validation
    targets: str = "first"
    validation_days: float | None = None
    test_days: float | None = None
    validation: int | None = None  # cutoffs set by hand, µs
    test: int | None = None
    end: int | None = None
    fold: int = 0  # rolling: 0 is the last fold, i lies i * step_days before it
    step_days: float | None = None  # default test_days
    gap_minutes: float = 30.0
    history: str = "session"  # or "user": what came before the session counts, too
    validation_share: float | None = None
    test_share: float | None = None
    fold_in: float = 0.8  # share of a held-out user's events that is known
    seed: int = 0
    asks: str = "next"  # or product, category: on such a page; cart: the rest of an order; checkout
    zone: str = "UTC"  # the shop's: days are its days, from midnight to midnight. Part of the hash where it is another

    RULES: ClassVar[dict[str, Rule]] = {
        **dict.fromkeys(("validation_days", "test_days", "step_days"), number(above=True, below=MOST_DAYS)),
        "gap_minutes": number(above=True, below=MOST_DAYS * 24 * 60),
        **dict.fromkeys(("validation_share", "test_share"), number(above=True, below=1)),
        "fold_in": number(below=1),
        **dict.fromkeys(("validation", "test", "end"), INSTANT),
        **dict.fromkeys(("k", "k_core"), whole(1)),
        **dict.fromkeys(("fold", "seed"), whole(0)),
        "new_items": one_of(False, True),
        "target_events": ("must be a list of event types", lambda x: isinstance(x, list | tuple)),
    }

    @classmethod
    def from_config(cls, config: Yaml) -> SplitSpec:
        """From a `split:` block whose target events and windows are filled in; errors name the setting."""
        return cls.of(SplitSettings.of(config))

    @classmethod
    def of(cls, told: SplitSettings) -> SplitSpec:
        """From settings whose target events and windows are filled in; errors name the setting."""
        name, kind, values = told.name, told.of_kind, told.given
        if kind not in KINDS:
            raise UserError(f"split.kind: unknown kind '{kind}'.{nearest(kind, KINDS)}")
        known = KINDS[kind] | COMMON
        for key in values:
            if key not in known:
                raise UserError(f"split={name}: setting '{key}' means nothing to a {kind} split.{nearest(key, known)}")
        values |= {"kind": kind}
        values.setdefault("protocol", "published" if kind.startswith("leave_") else "strict")
        if kind == "sessions":
            values.setdefault("targets", "all")
        if kind == "held_out_users":
            values = {**dict.fromkeys(SHARES, HELD_OUT), **values}
        check(values, cls.RULES, "split.")
        for key in ("validation", "test", "end"):
            if key in values:
                values[key] = instant(values[key], f"split.{key}", str(values.get("zone", "UTC")))
        values |= {k: float(v) for k, v in values.items() if k in FRACTIONS}  # 30 and 30.0 are one setting, one hash
        values["target_events"] = tuple(values.get("target_events") or ())
        spec = cls(**values)
        spec._check()
        return spec

    def _check(self) -> None:
        if not self.target_events:
            raise UserError(f"split={self.name}: target_events is empty; name what counts as a target, e.g. [purchase]")
        event_codes(self.target_events)
        if self.k_core and self.k_core > 1 and not self.strict:
            raise UserError("split.k_core counts training events and needs protocol=strict; use dataset.filters.k_core")
        if self.new_items and (not self.strict or (self.k_core and self.k_core > 1)):
            why = f"split.k_core={self.k_core} takes items out" if self.strict else "protocol=published has all items"
            raise UserError(
                f"split.new_items=true adds items that training has not seen, and {why}; choose one of them"
            )
        if self.asks != "next" and self.targets != "first":
            raise UserError(
                f"split.asks={self.asks} asks about one order of each customer; leave split.targets={self.targets} out"
            )
        if sum(self.shares.values()) >= 1:
            raise UserError("split.validation_share + split.test_share must stay below 1: someone has to be trained on")
        for part in ("validation", "test"):
            if self.timed and part in self.shares and getattr(self, f"{part}_days") is not None:
                raise UserError(
                    f"split={self.name}: {part}_days and {part}_share both say how long {part} is; "
                    f"set one of them to null"
                )

    @property
    def shares(self) -> dict[str, float]:
        """Of `validation` and `test` the shares that are set."""
        told = {"validation": self.validation_share, "test": self.test_share}
        return {part: share for part, share in told.items() if share is not None}

    @property
    def timed(self) -> bool:
        """Whether this split is made of cutoffs in time."""
        return self.kind in TIMED

    @property
    def strict(self) -> bool:
        """Whether nothing from after the cutoff may be known, the catalogue included."""
        return self.protocol == "strict"

    def as_json(self) -> dict[str, Any]:
        """The settings that matter to this kind, cutoffs in µs: what the hash is made of."""
        read = KINDS[self.kind] | COMMON
        return {
            f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v
            for f in fields(self)
            if f.name in read
            and (f.name not in USUAL or getattr(self, f.name) != USUAL[f.name])
            and (f.name != "zone" or self.timed)
        }

    @property
    def folder(self) -> str:
        """`<name>-<hash8>`."""
        return f"{self.name}-{sha256_json(self.as_json())[:8]}"

    def cutoffs(self, first: int, last: int, sliver: int | None = None, targets: np.ndarray | None = None) -> Cutoffs:
        """Where validation and test begin and test ends, from the instants of the log's first and last event.

        Where windows are shares, `targets` has the instants of the log's target events, int64 µs in ascending order.

        Whole days end at midnight in the shop, so that no window starts in the middle of a day: the midnight after the
        last event, or, where the last day was not watched to its end, the one at which it began (`sliver`, see
        `observation.observe`). Fractions of a day and shares count back from the last event. Raises `UserError` when a
        window has neither days nor a share nor a cutoff, when cutoffs do not follow each other, and when no event lies
        before the first.
        """
        assert self.timed
        for part in ("test", "validation"):
            if getattr(self, part) is None and getattr(self, f"{part}_days") is None and part not in self.shares:
                raise UserError(
                    f"split={self.name}: set split.{part}_days (or temporal.{part}_days in the dataset's config), "
                    f"split.{part}_share, or the cutoff split.{part}"
                )
        days = [d for d in (self.validation_days, self.test_days) if d is not None]
        end = last + 1 if self.end is None else self.end
        if self.end is None and not self.shares and all(float(d).is_integer() for d in days):
            needed = self.test + 1 if self.test is not None else first + 1 + round(sum(days) * DAY)
            end = sliver if sliver is not None and sliver > needed else _midnight_after(end, self.zone)
        test = self._start("test", end, end, targets)
        step_days = self.step_days or (self.test_days if self.test is None else None) or (end - test) / DAY
        step = round(step_days * DAY)
        validation = self._start("validation", test, end, targets)
        if validation - self.fold * step <= first and self.fold and validation > first:
            most = (validation - first - 1) // step
            raise UserError(
                f"split.fold={self.fold} lies before the log's first event; the last fold that fits is {most}"
            )
        if self.fold:
            validation, test, end = (days_before(t, self.fold * step_days, self.zone) for t in (validation, test, end))
        if not validation < test < end:
            raise UserError(
                f"split={self.name}: cutoffs must follow each other, but validation starts {iso(validation)}, test "
                f"{iso(test)}, end {iso(end)}; mend split.validation, split.test and split.end"
            )
        if validation <= first:
            then = (
                "lower split.validation_share or split.test_share, or choose split=leave_one_out, which needs no cutoff"
                if self.shares
                else "lower split.validation_days or split.test_days, or give shares of the log in their place: "
                "split.validation_share and split.test_share"
            )
            raise UserError(
                f"split={self.name}: no event lies before the validation cutoff {iso(validation)} (the log starts "
                f"{iso(first)}); {then}"
            )
        return Cutoffs(validation, test, end)

    def _start(self, part: str, until: int, end: int, targets: np.ndarray | None) -> int:
        """Where a window begins that lasts until an instant: by hand, as a share of target events before `end`, or days
        before."""
        told, share, days = getattr(self, part), self.shares.get(part), getattr(self, f"{part}_days")
        if told is not None:
            return int(told)
        if share is None:
            return days_before(until, days or 0, self.zone)
        assert targets is not None
        if not (n := int(np.searchsorted(targets, until))):
            begins = "test begin later (split.test_days, split.test_share or split.test)"
            raise UserError(
                f"split={self.name}: no {' or '.join(self.target_events)} event lies before {iso(until)}, so that "
                f"{part} can be no share of them; let {begins if part == 'validation' else 'split.end lie later'}, or "
                f"choose split=leave_one_out, which needs no cutoff"
            )
        wanted = max(1, round(share * int(np.searchsorted(targets, end))))
        return int(targets[max(0, n - wanted)])


def _midnight_after(end: int, zone: str) -> int:
    midnight = floor_day(end, zone)
    return end if midnight == end else add_days(midnight, 1, zone)


@dataclass(frozen=True)
class SplitSettings:
    """A `split:` block as it is told; what is None, the data decide (`pipeline.context.split_spec`), or `SplitSpec`.

    Without a name: some settings for a split that leaves them open, or that is asked otherwise.
    """

    name: str = held(Needed(TEXT), "")
    kind: str | None = None
    protocol: str | None = None
    target_events: tuple[str, ...] | None = None
    k_core: int | None = None
    new_items: bool | None = None
    k: int | None = None
    targets: str | None = None
    validation_days: float | None = None
    test_days: float | None = None
    validation: Any = None  # cutoffs: dates, or µs
    test: Any = None
    end: Any = None
    fold: int | None = None
    step_days: float | None = None
    gap_minutes: float | None = None
    history: str | None = None
    validation_share: float | None = None
    test_share: float | None = None
    fold_in: float | None = None
    seed: int | None = None
    asks: str | None = None
    zone: str | None = None
    by: str | None = None  # of a table of customers, see `splits.people`
    folds: int | None = None
    plain: Yaml = field(default_factory=dict, repr=False, compare=False)

    RULES: ClassVar[dict[str, Shape]] = {
        **{name: or_null(rule) for name, rule in SplitSpec.RULES.items()},
        **{name: Maybe(Name(valid)) for name, valid in CHOICES.items()},
        "target_events": Maybe(Items(Name(EVENT_TYPES))),
        "by": Maybe(Name(("customers", "time"))),
        "folds": or_null(whole(1)),
    }

    @classmethod
    def of(cls, block: Yaml) -> SplitSettings:
        """From a resolved config; a `UserError` names an unknown key and its nearest neighbour."""
        return read(cls, {"name": block.get("kind"), **block}, "split")

    @property
    def of_kind(self) -> str:
        """Which of `KINDS` it is: as its name says, where it says nothing else."""
        return self.kind or self.name

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are set."""
        return {name: value for name, value in vars(self).items() if value not in (None, "") and name != "plain"}

    def filled(self, others: SplitSettings) -> SplitSettings:
        """This one, with what its kind reads and it leaves open taken from others."""
        read = KINDS.get(self.of_kind, ())
        open_here = {k for k in read if getattr(self, k) is None}
        if self.of_kind in TIMED:  # a window that is told as a share leaves no days open, nor the reverse
            for part in ("validation", "test"):
                keys = {f"{part}_days", f"{part}_share"}
                open_here -= keys if keys - open_here else set()
        return replace(self, **{k: v for k, v in others.given.items() if k in open_here})


@dataclass(frozen=True)
class Cutoffs:
    """Training rows lie before `validation`; targets in [validation, test) and in [test, end). Microseconds."""

    validation: int
    test: int
    end: int

    def window(self, part: str) -> tuple[int, int]:
        """The half-open window of a part, `validation` or `test`."""
        return (self.validation, self.test) if part == "validation" else (self.test, self.end)

    def as_json(self) -> dict[str, Any]:
        """Each cutoff as ISO text and in µs."""
        return {key: {"iso": iso(v), "us": v} for key, v in vars(self).items()}
