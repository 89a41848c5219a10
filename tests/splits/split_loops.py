"""What tests of splits ask of a log with a loop over its users."""

from __future__ import annotations

from shopkeeper.data.split import Split
from shopkeeper.schema import EVENT_CODE
from shopkeeper.splits.write import write_split

PURCHASE = EVENT_CODE["purchase"]


def user_steps(p, u):
    """Target steps of a user as lists of rows, by a plain loop: order lines together, sorted by first row."""
    order, out, where = p.events.order, [], {}
    for row in range(p.offsets[u - 1], p.offsets[u]):
        if p.events.event_type[row] != PURCHASE:
            continue
        code = 0 if order is None else int(order[row])
        if code and code in where:
            out[where[code]].append(row)
        else:
            where[code] = len(out)
            out.append([row])
    return out


def distinct(p, rows):
    seen, out = set(), []
    for row in rows:
        if p.events.item[row] not in seen:
            seen.add(p.events.item[row])
            out.append(int(row))
    return out


def as_dict(split, name):
    """{(user, history start, end): target rows} of a part."""
    requests, targets = split.part(name)
    return {
        (int(u), int(s), int(e)): targets.row[targets.offsets[b] : targets.offsets[b + 1]].tolist()
        for b, (u, s, e) in enumerate(zip(requests.user, requests.start, requests.end, strict=True))
    }


def opened(p, settings):
    return Split.open(p, write_split(p, settings))
