"""The files of each tool. What a tool publishes about its files, and when that was read, stands with its function.

Everybody in a file has agreed; who has not is not in it, and nothing here unsubscribes or removes anybody. Keys are
written as they are (a phone begins with +); names and texts of the list are made safe for spreadsheets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.sheets import without_formulas
from shopkeeper.campaigns.upload import keys
from shopkeeper.campaigns.upload.contacts import KEYS, KNOWN, People
from shopkeeper.errors import UserError

MAILCHIMP_BYTES, OMNISEND_COLUMNS = 255, 200
MIB = 2**20


@dataclass(frozen=True)
class Sheet:
    """A file with a header."""

    columns: dict[str, Any]
    keys: tuple[str, ...]  # columns that the tool matches on: never changed
    separator: str = ","
    warnings: tuple[str, ...] = ()
    most: int | None = None  # bytes of a text that is no key

    @property
    def table(self) -> pa.Table:
        """Its cells, safe, and as long as the tool takes them."""
        table = without_formulas(pa.table(self.columns), self.keys)
        for place, field_ in enumerate(table.schema):
            if self.most is not None and pa.types.is_string(field_.type) and field_.name not in self.keys:
                texts = [None if x is None else _cut(x, self.most) for x in table[place].to_pylist()]
                table = table.set_column(place, field_, pa.array(texts, pa.string()))
        return table


@dataclass(frozen=True)
class Lines:
    """A file with one JSON object a line."""

    rows: list[Mapping[str, Any]]
    warnings: tuple[str, ...] = field(default=())


def klaviyo(people: People) -> Sheet:
    """Profiles for a list: `Email` first, else `Phone Number` in E.164, then properties by name.

    Klaviyo help center, «How to format your CSV» (September 2024): a date without a time is midnight UTC, so that a
    flow can go a day early; dates stay text here. No key may come twice. 50 MB.
    """
    found = {"Email": "email", "Phone Number": "phone", "First Name": "first_name", "Last Name": "last_name"}
    columns = {title: people.column(name) for title, name in found.items() if any(people.column(name))}
    return Sheet({**columns, **_texts(people, tuple(found))}, ("Email", "Phone Number"))


def mailchimp(people: People) -> Sheet:
    """Contacts by e-mail, in UTF-8; texts are cut at 255 bytes, no accents before the @.

    Mailchimp help, «Format guidelines for your import file» (read 2026-11): an upload adds and updates, it removes
    nobody.
    """
    kept = [i for i, address in enumerate(people.column("email")) if address.partition("@")[0].isascii() and address]
    lost = len(people) - len(kept)
    names = {"Email Address": "email", "First Name": "first_name", "Last Name": "last_name"}
    columns: dict[str, Any] = {title: [people.column(name)[i] for i in kept] for title, name in names.items()}
    if not kept:
        raise UserError("nobody of the list has an e-mail that Mailchimp takes; look at the contacts, or use --where")
    columns |= {name: values.take(pa.array(kept, pa.int64())) for name, values in _texts(people, tuple(names)).items()}
    said = (f"{lost:,} without an e-mail that Mailchimp takes are not in the file",) if lost else ()
    return Sheet(columns, ("Email Address",), warnings=said, most=MAILCHIMP_BYTES)


def brevo(people: People) -> Sheet:
    """Contacts by EMAIL or SMS (+, country, digits), EXT_ID; separated by `;`, UTF-8, 250 MB.

    Brevo help, «Import your contacts» (read 2026-11): attributes that the account does not have are dropped without a
    word; an empty cell keeps what was there.
    """
    found = {"EMAIL": "email", "SMS": "phone", "EXT_ID": "user_id", "FIRSTNAME": "first_name", "LASTNAME": "last_name"}
    columns = {title: people.column(name) for title, name in found.items() if any(people.column(name))}
    traits = _texts(people, tuple(found), str.upper)
    said = (f"create the attributes {', '.join(traits)} in Brevo first, or they are dropped",) if traits else ()
    return Sheet({**columns, **traits}, ("EMAIL", "SMS", "EXT_ID"), ";", said)


def omnisend(people: People) -> Sheet:
    """Contacts with the day on which each opted in: without one an older import subscribes everybody, a newer nobody.

    Omnisend support, «Import contacts» (read 2026-11): ISO 8601, a date without a time is at noon; one that lies ahead
    is dropped; 200 columns.

    Raises:
        UserError: the contacts do not say when consent was given, in no form that is a day, or on a day to come;
            there are more columns than Omnisend takes.
    """
    when = people.column("consent_at")
    if not all(when):
        raise UserError(
            "Omnisend takes a contact for subscribed or not by a date: give consent_at of everybody in the contacts"
        )
    for text in when:
        _check_day(text)
    found = {"Email": "email", "Phone number": "phone", "First name": "first_name", "Last name": "last_name"}
    columns = {title: people.column(name) for title, name in found.items() if any(people.column(name))}
    days = {"Email opt-in date": "Email", "SMS opt-in date": "Phone number"}
    for title, key in days.items():
        if key in columns:  # of whom there is no such key, nobody opted in by it
            columns[title] = [day if there else "" for day, there in zip(when, columns[key], strict=True)]
    columns |= _texts(people, (*found, *days))
    if len(columns) > OMNISEND_COLUMNS:
        raise UserError(f"there would be {len(columns)} columns and Omnisend takes {OMNISEND_COLUMNS}; name --traits")
    return Sheet(columns, ("Email", "Phone number"))


def meta(people: People) -> Sheet:
    """A custom audience: hashed keys under the names of its template; nothing else about anybody.

    Meta for Developers, «Customer file custom audiences», and `facebook-python-business-sdk`, serverside/normalize.py
    (read 2026-11). An audience needs 100 people.
    """
    normal: Mapping[str, tuple[str, Callable[[str], str]]] = {
        "email": ("email", keys.email), "phone": ("phone", keys.phone_for_meta), "fn": ("first_name", keys.lowered),
        "ln": ("last_name", keys.lowered), "ct": ("city", keys.place_for_meta), "st": ("state", keys.place_for_meta),
        "country": ("country", keys.lowered), "zip": ("zip", keys.zip_for_meta), "dob": ("birthday", keys.day),
        "gen": ("gender", keys.gender),
    }  # fmt: skip
    columns = {
        title: [keys.hashed(of(text)) for text in people.column(name)]
        for title, (name, of) in normal.items()
        if any(people.column(name)) or title == "country"
    }
    few = (f"{len(people):,} people: Meta takes audiences from 100 on",) if len(people) < 100 else ()
    return Sheet(columns, tuple(columns), warnings=few)


def google(people: People) -> Sheet:
    """Customer match: e-mail, phone and names hashed, country and zip as they are; ASCII or UTF-8.

    Google Ads help, «Format your customer data file» (read 2026-11): an address counts only with first and last name,
    country and zip, so a part of one is not written.
    """
    address = ("first_name", "last_name", "country", "zip")
    whole = [all(parts) for parts in zip(*(people.column(name) for name in address), strict=True)]

    def of_address(name: str, of: Callable[[str], str]) -> list[str]:
        return [of(text) if there else "" for text, there in zip(people.column(name), whole, strict=True)]

    def name_hash(text: str) -> str:
        return keys.hashed(keys.without_blanks(text))

    columns = {
        "Email": [keys.hashed(keys.email_for_google(text)) for text in people.column("email")],
        "Phone": [keys.hashed(keys.phone(text)) for text in people.column("phone")],
        "First Name": of_address("first_name", name_hash),
        "Last Name": of_address("last_name", name_hash),
        "Country": of_address("country", keys.country),
        "Zip": of_address("zip", str.strip),
    }
    return Sheet(columns, tuple(columns))


def braze(people: People) -> Lines:
    """Objects of `attributes` for /users/track: external_id, keys, attributes by name.

    Braze docs, «User attributes object» (braze-docs, read 2026-11). `email_subscribe` and `push_subscribe` are left
    out: a blank keeps what is known there, and an upload must not subscribe again who has left.
    """
    own = ("external_id", "email_subscribe", "push_subscribe")
    return Lines(_objects(people, own, lambda who, keys_of, traits: {"external_id": who, **keys_of, **traits}))


def segment(people: People) -> Lines:
    """`identify` calls: userId and traits, names under the words that are reserved for them.

    Segment docs, «Spec: Identify» (segment-docs, November 2025): firstName and lastName, dates as ISO 8601.
    """
    words = {"first_name": "firstName", "last_name": "lastName"}

    def call(who: str, keys_of: dict[str, Any], traits: dict[str, Any]) -> Mapping[str, Any]:
        named = {words.get(name, name): text for name, text in keys_of.items()}
        return {"type": "identify", "userId": who, "traits": named | traits}

    return Lines(_objects(people, tuple(words.values()), call))


def plain(people: People) -> Sheet:
    """A CSV of the shop's own: the id, all that the contacts say, and what the list says."""
    names = [name for name in KNOWN if name != "consent" and any(people.column(name))]
    return Sheet({name: people.column(name) for name in names} | _texts(people, KNOWN), ("user_id", *KEYS))


Tool = Callable[[People], Sheet | Lines]
TOOLS: Mapping[str, Tool] = {
    "klaviyo": klaviyo, "mailchimp": mailchimp, "brevo": brevo, "omnisend": omnisend, "meta": meta, "google": google,
    "braze": braze, "segment": segment, "csv": plain,
}  # fmt: skip
MOST_BYTES = {"klaviyo": 50 * MIB, "brevo": 250 * MIB}


def _objects(
    people: People, own: Sequence[str], made: Callable[[str, dict[str, Any], dict[str, Any]], Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    named = ("email", "phone", "first_name", "last_name")
    traits = {name: values.to_pylist() for name, values in _named(people, (*own, *named)).items()}
    return [
        made(
            who,
            {name: text for name in named if (text := people.column(name)[i])},
            {name: values[i] for name, values in traits.items() if values[i] is not None},
        )
        for i, who in enumerate(people.column("user_id"))
    ]


def as_json(row: Mapping[str, Any]) -> str:
    """One line; an instant is ISO 8601, what else JSON has no form for is text."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_as_text)


def _as_text(value: Any) -> str:
    """ISO 8601 of an instant or a day, with Z where it is UTC's."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else str(value)


def _named(people: People, own: Sequence[str], of: Callable[[str], str] = str) -> dict[str, pa.ChunkedArray]:
    """What the list says of everybody, by the names that the tool sees.

    Raises:
        UserError: a name is one of the tool's own columns (`own`, written or not): what the list says would stand where
            a contact's key does; or two names are one there.
    """
    taken = {title.casefold() for title in own}
    found: dict[str, pa.ChunkedArray] = {}
    for name, values in people.traits.items():
        if name.casefold() in taken:
            raise UserError(
                f"the list's column '{name}' would take the place of what the contacts say; rename it, or leave it out "
                f"of --traits"
            )
        if of(name) in found:
            raise UserError(f"two columns of the list would be {of(name)}; rename one, or leave it out of --traits")
        known = pc.is_finite(values) if pa.types.is_floating(values.type) else None
        found[of(name)] = values if known is None else pc.if_else(known, values, pa.scalar(None, values.type))
    return found


def _texts(people: People, own: Sequence[str], of: Callable[[str], str] = str) -> dict[str, pa.ChunkedArray]:
    """The same for a sheet; instants as ISO 8601 and texts, so that no tool takes midnight for a moment."""
    return {
        name: pa.chunked_array(
            [pa.array([None if x is None else _as_text(x) for x in values.to_pylist()], pa.string())]
        )
        if pa.types.is_temporal(values.type)
        else values
        for name, values in _named(people, own, of).items()
    }


def _check_day(text: str) -> None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"consent_at is '{text:.40}' in the contacts; write ISO 8601, e.g. 2026-03-01") from None
    if (at if at.tzinfo else at.replace(tzinfo=UTC)) > datetime.now(UTC) + timedelta(days=1):
        raise UserError(f"consent_at is '{text:.40}' in the contacts, a day to come; say when consent was given")


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")
