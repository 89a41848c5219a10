"""Errors that are meant for the person at the keyboard, and the nearest valid name for what they mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend: bad data, a bad option, a missing file.

    The message is one line, names the file / column / option at fault and the way out. Entry points print it
    without a traceback and exit with code 1. Programmer errors stay `assert`.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name is closest: `"sasrek"` -> `" Did you mean 'sasrec'? Valid: …"` (leading blank included)."""
    options = sorted(set(valid))
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.4)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"{hint} Valid: {', '.join(options)}."
