"""`read-audience`: what the messages of one or several audiences did, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shopkeeper.campaigns.audience.reading import between, read_folder
from shopkeeper.campaigns.audience.readout import BUYERS
from shopkeeper.customers.window import MONEY
from shopkeeper.errors import UserError
from shopkeeper.files import write_json, write_text
from shopkeeper.timeline import instant
from shopkeeper.timeline.zones import clock


def read_audiences(
    folders: Sequence[Path],
    data: Path | None = None,
    days: float | None = None,
    contact_cost: float | None = None,
    to: Path | None = None,
    level: float = 0.05,
) -> list[dict[str, Any]]:
    """Print, and write, what each audience's message did.

    Args:
        folders: what `audience` wrote.
        data: the prepared dataset that holds what came since; None: data/prepared/<dataset>.
        days: of the window from each audience's instant on; None: as its YAML says.
        contact_cost: of a message, in the log's currency; None: as the audience's card says, if it does.
        to: .json for programs, or .md for people; None: nothing is written.
        level: of the intervals.

    Raises:
        UserError: an audience that is unfinished or without an arm, a log that ends too early or holds none of the
            audience. Where there are several, those that cannot be read stand on the page with the reason.
    """
    if to is not None and to.suffix not in (".json", ".md"):
        raise UserError(f"--to {to} ends in neither .json nor .md; give the file one of these endings")
    found, unread = [], list[str]()
    for folder in folders:
        try:
            found.append(read_folder(folder, data, days, contact_cost, level))
        except UserError as e:
            if len(folders) == 1:
                raise
            unread.append(str(e))
    if not found:
        raise UserError(f"none of {len(folders)} audiences can be read, the first one since {unread[0]}; name others")
    page = as_markdown(found, unread)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".json":
            write_json(to, found)
        else:
            write_text(to, page)
    print(page, end="")
    return found


def as_markdown(found: Sequence[dict[str, Any]], unread: Sequence[str] = ()) -> str:
    """One page about all of them."""
    head = (
        "audience",
        "from",
        "to",
        "written to",
        "control",
        "buyers, points",
        "money each",
        "money in all, after costs",
    )
    lines = ["# What the messages did", "", _row(head), _row("---" for _ in head)]
    for one in found:
        unit = f" {one['currency']}" if one["currency"] else ""
        days = (_day(one[end], one["zone"]) for end in ("as_of", "until"))
        about = one["audience"], *days, f"{one['treatment']:,}", f"{one['control']:,}"
        each = between(one["outcomes"].get(MONEY), 1, 2, unit)
        lines.append(_row((*about, between(one["outcomes"][BUYERS], 100, 2), each, between(one["money"], 1, 0, unit))))
    for one in found:
        lines += ["", f"## {one['title'] or one['audience']}, {_day(one['as_of'], one['zone'])}", "", one["words"]]
        lines += [f"- {text}" for text in one["warnings"]]
        if not one["segments"]:
            continue
        told = f"By segment of that day ({100 * (1 - one['level']):g} % for all of them together):"
        columns = "segment", "written to", "control", "buyers, points", "money each"
        lines += ["", told, "", _row(columns), _row("---" for _ in columns)]
        for row in one["segments"]:
            name = f"{row['segmentation'].replace('_', ' ')}: {row['segment']}"
            buyers, money = row["outcomes"][BUYERS], row["outcomes"].get(MONEY)
            cells = f"{row['treatment']:,}", f"{row['control']:,}", between(buyers, 100, 2), between(money, 1, 2)
            lines.append(_row((name, *cells)))
    if unread:
        lines += ["", "## Not read", "", *(f"- {text}" for text in unread)]
    return "\n".join(lines) + "\n"


def _day(iso: str, zone: str) -> str:
    """The day on the shop's clocks."""
    return f"{clock(instant(iso, 'as_of'), zone):%Y-%m-%d}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
