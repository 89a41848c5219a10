"""One spelling for each id: logs, tables of items and customers, consent, erasure, lists and command lines use this.

Ids are texts. What tools do to them on the way is undone where the id is known all the same, and only there:

    blanks around it (no-break and zero-width ones, too)     `" 17"`                -> `17`
    a whole number that was stored as a float                `17.0`, `17.00`        -> `17`
    an exponent that kept every digit                        `1.2345678E+07`        -> `12345678`
    a letter and its accent written as two characters        `e` + U+0301           -> `é`

Nothing else is one id: `007` and `7`, `1.50` and `1.5`, `1_000`, `10E2` and `1000`, `ab` and `AB` may be different
products or people. `1.000` stays, too: it is a thousand where points group digits. An exponent that lost digits
(`4.00840E+12`) cannot be undone. Whole columns: `columns.py`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# Unicode's blanks, then zero-width and direction marks that spreadsheets and web pages leave at the ends.
BLANKS = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\u200e\u200f\u202a\u202c\u2060\ufeff"
)
POINT_ZERO = r"^([+-]?[0-9]+)\.(?:0|00|0000+)$"
MOST_DIGITS = 15  # to which ids are filled up with zeros
# As spreadsheets, C, Python and R write it (`1.5E+07`), and Java from ten million on (`1.5E7`); `10E2` is a code.
EXPONENT = r"^[+-]?[0-9](?:(?:\.[0-9]+)?[eE]\+[0-9]{2,3}|\.[0-9]+E(?:[7-9]|[1-9][0-9]))$"


def normal_id(value: Any) -> str:
    """One id as this project spells it; "" where there is none (blanks only, None)."""
    if value is None:
        return ""
    text = unicodedata.normalize("NFC", str(value)).strip(BLANKS)
    point_zero = re.match(POINT_ZERO, text, re.ASCII)
    return point_zero[1] if point_zero else without_exponent(text)


def without_exponent(text: str) -> str:
    """`1.2345678E+07` -> `12345678`; unchanged where digits are lost, or where it is no such number."""
    if not re.match(EXPONENT, text, re.ASCII):
        return text
    mantissa, exponent = re.split("[eE]", text)
    whole, _, digits = mantissa.partition(".")
    n = int(exponent)
    return whole + digits[:n] if len(digits) >= n > 0 and not digits[n:].strip("0") else text


def other_spellings(name: str) -> set[str]:
    """What a tool may have made of an id, or made it of: other leading zeros, capital letters; without the id itself.

    These are other ids (see above); a person is told of them.
    """
    bare = name.lstrip("0") or "0"
    zeros = {bare.zfill(n) for n in range(1, MOST_DIGITS + 1)} if name.isdecimal() else {bare}
    return (zeros | {name.lower(), name.upper(), name.capitalize()}) - {name, ""}
