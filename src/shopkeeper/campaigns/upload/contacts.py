"""The table of contact keys: read as text, joined to a list of customers, and only of those who agreed to it.

A CSV or Parquet file beside the shop's data, not in it: no verb that prepares, trains or scores reads it. Columns:

user_id     as in the list (a pseudonym where the list has pseudonyms)
consent     true or false: may this customer be written to for this purpose? Only true counts.
consent_at  optional, when that was given, ISO 8601
email, phone (with the country's code), first_name, last_name, city, state, zip, country (two letters),
birthday (YYYY-MM-DD), gender (f, m): optional, one of email and phone needed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.sheets import as_strings, read_sheet
from shopkeeper.campaigns.upload import keys
from shopkeeper.errors import UserError, nearest

KEYS = ("email", "phone")
ABOUT = ("first_name", "last_name", "city", "state", "zip", "country", "birthday", "gender")
CLEAN: Mapping[str, keys.Normal] = {
    "email": keys.email, "phone": keys.phone, "country": keys.country, "birthday": keys.birthday,
}  # fmt: skip
FORM = {
    "email": "e-mails that are none",
    "phone": "phones without the country's code (+44 …)",
    "country": "countries that are no code of two letters",
    "birthday": "birthdays that are not written YYYY-MM-DD",
}
KNOWN = ("user_id", "consent", "consent_at", *KEYS, *ABOUT)


@dataclass(frozen=True)
class People:
    """Whom a file is about, n of them: texts by column, "" where one is not known."""

    contact: dict[str, list[str]]  # columns of `KNOWN`
    traits: dict[str, pa.ChunkedArray]  # what the list says of them
    left_out: Counter[str]  # who is not among them, by reason
    unusable: Counter[str] = field(default_factory=Counter)  # keys of theirs that are none, by what they should be

    def __len__(self) -> int:
        return len(self.contact["user_id"])

    def column(self, name: str) -> list[str]:
        """A column of the contacts; blanks where the file has none."""
        return self.contact.get(name) or [""] * len(self)


def read_list(path: Path, texts: bool = False) -> pa.Table:
    """A table from CSV or Parquet; of CSV `user_id`, or all columns (`texts`), as text, that no zero is lost."""
    if not path.is_file():
        raise UserError(f"there is no file {path}; give a CSV or Parquet file")
    table = as_strings(read_sheet(path, None if texts else ("user_id",)))
    if twice := [name for name, n in Counter(table.column_names).items() if n > 1]:
        raise UserError(f"{path} has the column '{twice[0]}' twice; keep it once")
    if "user_id" not in table.column_names:
        raise UserError(f"{path} lacks the column 'user_id'.{nearest('user_id', table.column_names)}")
    table = table.set_column(table.column_names.index("user_id"), "user_id", table["user_id"].cast(pa.string()))
    if pc.any(pc.equal(pc.fill_null(table["user_id"], ""), "")).as_py():
        raise UserError(f"{path} has rows without a user_id; leave them out")
    if pc.count_distinct(table["user_id"]).as_py() < table.num_rows:
        raise UserError(f"{path} has a user_id in several rows; give each customer once")
    return table


def check_flat(table: pa.Table, names: Iterable[str], path: Path) -> None:
    """A `UserError` for a column that is more than one text, number or time a row."""
    for name in names:
        kind = table.schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise UserError(f"the column '{name}' of {path} is no text, number or time ({kind}); leave it out")


def join(listed: pa.Table, contacts: pa.Table, file: Path) -> People:
    """The customers of a list who agreed and can be reached, in the list's order; all others are counted.

    Raises:
        UserError: a column that is none of contacts', none that says who agreed, or no key.

    Where an e-mail or phone stands with somebody who agreed and with somebody who did not, the refusal holds.
    """
    for name in contacts.column_names:
        if name not in KNOWN:
            raise UserError(f"{file} has the column '{name}', which is none of contacts.{nearest(name, KNOWN)}")
    if "consent" not in contacts.column_names:
        raise UserError(f"{file} lacks the column 'consent'; add who agreed: nobody else may be written to")
    if not set(KEYS) & set(contacts.column_names):
        raise UserError(f"{file} has neither of the columns {' and '.join(KEYS)}; without one nobody can be reached")
    check_flat(contacts, contacts.column_names, file)
    row = pc.index_in(listed["user_id"], value_set=contacts["user_id"].combine_chunks()).to_pylist()
    texts = {
        name: ["" if x is None else str(x) for x in contacts[name].cast(pa.string()).to_pylist()]
        for name in contacts.column_names
    }
    left_out: Counter[str] = Counter()
    refused = {key for at in range(contacts.num_rows) if not _agreed(texts, at) for key in _keys(texts, at)}
    seen: set[str] = set()
    kept: list[int] = []
    for place, at in enumerate(row):
        reason = "no contact" if at is None else _why_not(texts, at, seen, refused)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(place)
    chosen = [row[place] for place in kept]
    contact = {name: [CLEAN.get(name, keys.seen)(values[at]) for at in chosen] for name, values in texts.items()}
    unusable = {
        FORM[name]: n
        for name in FORM
        if name in texts and (n := sum(bool(texts[name][at].strip()) for at in chosen) - sum(map(bool, contact[name])))
    }
    traits = {name: listed[name].take(pa.array(kept, pa.int64())) for name in listed.column_names if name != "user_id"}
    return People(contact, traits, left_out, Counter(unusable))


def _agreed(texts: dict[str, list[str]], at: int) -> bool:
    return texts["consent"][at].strip().lower() in ("true", "1", "yes")


def _keys(texts: dict[str, list[str]], at: int) -> set[str]:
    """What a row of the contacts can be reached by, in normal form."""
    own = (("email", keys.email_for_google), ("phone", keys.phone))  # dots before @gmail.com lead to one mailbox
    found = {name: of(texts[name][at]) for name, of in own if name in texts}
    return {f"{name} {value}" for name, value in found.items() if value}


def _why_not(texts: dict[str, list[str]], at: int, seen: set[str], refused: set[str]) -> str:
    """Why a row of the contacts may not be used, "" where it may; its keys are seen from then on."""
    if not _agreed(texts, at):
        return "did not agree"
    own = _keys(texts, at)
    if not own:
        return "no usable e-mail or phone"
    if own & refused:
        return "an e-mail or phone of somebody who did not agree"
    if own & seen:
        return "an e-mail or phone that another customer of the list has"
    seen |= own
    return ""
