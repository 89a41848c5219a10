"""What ids look like that may not be one person or thing each: said by `prepare` and `new-dataset`, decided by people.

No customer's id is repeated here, but for names that stand for nobody.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa

from shopkeeper.ids.columns import doubts, placeholders

PLENTY = 0.1  # share of all rows that one id may hold without a word
OFTEN = 10  # … and times as many as ids hold on average
MOST = 0.5  # … or half of all rows, where ids are few
NOTABLE = 0.01  # share from which on a number such as 0 is taken for a placeholder


def id_doubts(name: str, ids: pa.Array, rows: np.ndarray, n_rows: int) -> list[str]:
    """Lines about one column: different `ids` (text, spelled as in the log), and how many of `n_rows` each has."""
    if not len(ids) or not n_rows:
        return []
    lines, share, usual = [], rows / n_rows, 1 / len(ids)
    stand_in = placeholders(ids)
    said = {
        ids[at].as_py(): float(share[at])
        for at in stand_in[np.argsort(-rows[stand_in], kind="stable")].tolist()
        if re.search(r"[^0-9.-]", ids[at].as_py()) or share[at] >= max(NOTABLE, OFTEN * usual) or share[at] >= PLENTY
    }
    for text, much in said.items():
        lines.append(
            f"{name}: {much:.1%} of the rows have '{text}', which stands for nobody in many shops; if it does "
            f"here, set missing: {{{name}: {list(said)}}}{_rejected_then(name, sum(said.values()))}"
        )
    top = int(np.argmax(rows))
    heavy = share[top] >= OFTEN * usual or (share[top] >= MOST and len(ids) > 2)
    if top not in stand_in and share[top] >= PLENTY and heavy:
        lines.append(
            f"{name}: one id holds {share[top]:.1%} of all rows; is it one? Else set missing: {{{name}: [that id]}}"
        )
    found = doubts(ids)
    for n, what in ((found.zeros, "leading zeros"), (found.case, "letter case")):
        if n:
            lines.append(f"{name}: {n:,} of {len(ids):,} ids are another one but for {what}, and are kept apart")
    for how, n in found.rewritten:
        lines.append(f"{name}: {n:,} of {len(ids):,} ids are written {how}; read or export them as text")
    if found.exponents:
        lost = f"{found.exponents:,} ids are written like 4.00840E+12 and have lost digits"
        lines.append(f"{name}: {lost}; read or export them as text")
    return lines


def _rejected_then(name: str, share: float) -> str:
    """What has to be set beside it where more rows than usually may be are then without a customer or an item."""
    if name not in ("user_id", "item_id") or share <= NOTABLE:
        return ""
    return f" and max_rejected_share: {math.ceil(100 * share + 1) / 100:g}, as rows without one are rejected"
