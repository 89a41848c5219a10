"""Steps between reading and checking, for exports whose rows are not events yet: `settings.STEPS` names them."""

from collections.abc import Collection, Sequence
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.ingest.steps.settings import STEPS, Fill, Step
from shopkeeper.shapes import Needed, Shape, Yaml
from shopkeeper.typed import made, shapes_of


def shape() -> dict[str, Shape]:
    """What an entry of `steps` may hold: the name of one step, and its settings."""
    return {name: shapes_of(cls) for name, cls in STEPS.items()}


def steps_of(entries: Sequence[Yaml], where: str) -> tuple[Step, ...]:
    """The steps of a dataset in the order in which they are taken.

    Raises:
        UserError: an entry with two names or no settings, or steps that look at groups of different columns.
    """
    found: list[Any] = []
    for place, entry in enumerate(entries):
        if len(entry) != 1:
            raise UserError(f"{where}: steps[{place}] names {' and '.join(entry)}; write an entry for each")
        ((name, told),) = entry.items()
        if not told:
            needed = [key for key, shape in shapes_of(STEPS[name]).items() if isinstance(shape, Needed)]
            raise UserError(f"{where}: steps[{place}].{name} is empty; set {', '.join(needed)}")
        step: Any = made(STEPS[name], told)
        if name == "discount" and not ("total" in told or {"price", "quantity"} <= set(told)):
            raise UserError(f"{where}: steps[{place}].discount needs the value of a line: total, or price and quantity")
        found.append(step)
    groups = sorted({by for step in found if (by := step.by_column())})
    if len(groups) > 1:
        raise UserError(f"{where}: steps look at the lines of one {' and of one '.join(groups)}; `by` must be one")
    return tuple(found)


def by_of(steps: Sequence[Step]) -> str | None:
    """The column whose neighbouring equal values stay together; None where every step looks at single rows."""
    return next((by for step in steps if (by := step.by_column())), None)


def follows(steps: Sequence[Step]) -> bool:
    """Whether a row without a value of that column goes with the row above it."""
    return any(isinstance(step, Fill) and step.follow for step in steps)


def columns_read(steps: Sequence[Step], wanted: Collection[str]) -> list[str]:
    """The columns that must be read from the file, so that the steps leave the wanted ones; in a fixed order."""
    asked = dict.fromkeys(wanted)
    for step in reversed(steps):
        given, needed = step.makes(), sorted(step.reads())
        asked = dict.fromkeys([*(name for name in asked if name not in given), *needed])
    by = by_of(steps)
    return list(asked if by is None else {**asked, by: None})
