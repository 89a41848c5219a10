"""Contact keys in the forms that tools match on, and their hashes.

An advertiser's file holds SHA-256 over a normal form, in lower-case hex, without salt. The normal forms differ:

========== ============================================== =====================================================
field      Meta (Business SDK, serverside/normalize.py)   Google (Ads help, «Customer Match»: format the file)
========== ============================================== =====================================================
e-mail     no blanks around, lower case                   the same, and of gmail.com and googlemail.com no dots
                                                          before the @
phone      digits with the country's code, no +           E.164: + and those digits
name       no blanks around, lower case                   lower case, no blanks at all
city …     lower case, no blanks, digits, . - ( )         not taken
zip        lower case, no blanks, up to the -; hashed     as it is, not hashed
country    two letters, lower case; hashed                two letters, not hashed
birthday   19900704                                       not taken
gender     f or m; hashed                                 not taken
========== ============================================== =====================================================

A value that is 64 hexadecimal digits already is a hash and stays; an empty one stays empty, and is never hashed. What
is hashed is composed Unicode (NFC), since a name written in two ways would have two hashes, and without marks that are
not seen (of direction, of no width), which copies from other pages bring along.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from datetime import date

ITALY = re.compile(r"(\+|00)\s*39")
HASHED = re.compile(r"[0-9a-fA-F]{64}")
GMAIL = ("gmail.com", "googlemail.com")
Normal = Callable[[str], str]
NO_COUNTRIES = {"UK": "GB", "EL": "GR"}  # what is written for a country and is not its code


def seen(text: str) -> str:
    """A text as it is seen: composed, without blanks around and without what has no width.

    >>> seen("\u202a+44 20\u200b ") == "+44 20", len(seen("Zoe\u0308"))
    (True, 3)
    """
    return "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf").strip()


def hashed(text: str) -> str:
    """SHA-256 of a normal form; "" stays, and so does what is a hash.

    >>> hashed("ann")[:12], hashed("")
    ('49915e0d7d4b', '')
    """
    if not text or HASHED.fullmatch(text):
        return text.lower()
    return hashlib.sha256(text.encode()).hexdigest()


def email(text: str) -> str:
    """An address without blanks around, in lower case; "" for what is none.

    >>> email(" Ann.Lee+Shop@Gmail.com "), email("ann at home"), email("a@b@c.org")
    ('ann.lee+shop@gmail.com', '', '')
    """
    text = seen(text).lower()
    if HASHED.fullmatch(text):
        return text
    return text if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text) else ""


def email_for_google(text: str) -> str:
    """The same, without dots before the @ of Google's own mail.

    >>> email_for_google("Ann.Lee+Shop@Gmail.com"), email_for_google("ann.lee@shop.org")
    ('annlee+shop@gmail.com', 'ann.lee@shop.org')
    """
    name, _, domain = email(text).partition("@")
    return f"{name.replace('.', '')}@{domain}" if domain in GMAIL else email(text)


def phone(text: str) -> str:
    """A number in E.164, from one with its country's code; "" for others: which country's it is nobody knows.

    An apostrophe before it, as spreadsheets and shops write it, goes, and so does a (0) that is dialled at home alone.

    >>> phone("'+44 20 7946 0018"), phone("0044 (20) 7946-0018"), phone("020 7946 0018")
    ('+442079460018', '+442079460018', '')
    >>> phone("+44 (0)20 7946\u20110018"), phone("+39 (0)6 1234 5678")  # in Italy the 0 belongs to the number
    ('+442079460018', '+390612345678')
    """
    text = seen(text).removeprefix("'").strip()
    if HASHED.fullmatch(text):
        return text.lower()
    digits = re.sub(r"[\s().\-/\u2010-\u2015]", "", text.replace("(0)", "0" if ITALY.match(text) else ""))
    digits = digits.replace("+", "", 1) if digits.startswith("+") else digits[2:] if digits.startswith("00") else ""
    digits = digits.lstrip("0")
    return f"+{digits}" if re.fullmatch(r"[0-9]{7,15}", digits) else ""


def phone_for_meta(text: str) -> str:
    """The digits alone.

    >>> phone_for_meta("+44 20 7946 0018")
    '442079460018'
    """
    return phone(text).removeprefix("+")


def lowered(text: str) -> str:
    """Without blanks around, in lower case."""
    return seen(text).lower()


def without_blanks(text: str) -> str:
    """In lower case, without any blanks."""
    return re.sub(r"\s", "", seen(text)).lower()


def place_for_meta(text: str) -> str:
    """A city or state.

    >>> place_for_meta("St. John's (2)")
    "stjohn's"
    """
    return re.sub(r"[\s0-9.()\-]", "", seen(text)).lower()


def zip_for_meta(text: str) -> str:
    """A postal code.

    >>> zip_for_meta("SW1A 1AA"), zip_for_meta("94025-1234")
    ('sw1a1aa', '94025')
    """
    return without_blanks(text).partition("-")[0]


def country(text: str) -> str:
    """Two letters, in upper case; "" for what is no such code.

    >>> country(" gb "), country("UK"), country("United Kingdom")
    ('GB', 'GB', '')
    """
    text = seen(text).upper()
    return NO_COUNTRIES.get(text, text) if re.fullmatch("[A-Z]{2}", text) else ""


def gender(text: str) -> str:
    """f or m, of words that begin with it; "" of any other.

    >>> gender("F"), gender(" male "), gender("x")
    ('f', 'm', '')
    """
    text = seen(text).lower()
    return text[0] if text in ("f", "m", "female", "male") else ""


def birthday(text: str) -> str:
    """A birthday written YYYY-MM-DD; "" for any other form, of which nobody knows what is the month, and for no day.

    >>> birthday(" 1990-07-04"), birthday("04/07/1990"), birthday("1990-02-30")
    ('1990-07-04', '', '')
    """
    text = seen(text)
    try:
        return text if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) and date.fromisoformat(text) else ""
    except ValueError:
        return ""


def day(text: str) -> str:
    """The same as eight digits.

    >>> day("1990-07-04"), day("04/07/1990")
    ('19900704', '')
    """
    return birthday(text).replace("-", "")
