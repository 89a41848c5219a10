"""A customer's id and pseudonym as they may stand in a file: other spellings, quotes, escapes, lists in one text."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.ids.columns import normal_ids
from shopkeeper.ids.spelling import EXPONENT, normal_id

# Numbers below such a name are ids, too.
PERSON = re.compile(r"user_?id|customer|client|visitor|member|person|account|buyer|shopper|chosen", re.I)
HASH = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F-]{12,}")  # the case of its letters says nothing
SETTING = re.compile(r"[+~]*([\w./@-]+)=(.*)", re.DOTALL)  # a word of a command line
BLANK = r"[\s\u200b-\u200f\u202a-\u202f\u2060\ufeff]*"


@dataclass(frozen=True)
class Names:
    """A customer's id and pseudonym, in the one spelling in which ids are compared."""

    ids: frozenset[str]
    any_case: bool  # one of them is a hash: letters are compared without case

    @classmethod
    def of(cls, ids: Iterable[str]) -> Names:
        """From ids as somebody wrote them."""
        spelled = {normal_id(x) for x in ids} - {""}
        any_case = any(HASH.fullmatch(x) for x in spelled)
        return cls(frozenset(x.lower() for x in spelled) if any_case else frozenset(spelled), any_case)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.longest:
            return False
        text = normal_id(value)
        return (text.lower() if self.any_case else text) in self.ids

    @cached_property
    def longest(self) -> int:
        """Longer texts are no spelling of an id."""
        return 16 + max(map(len, self.ids))

    def in_name(self, path: str) -> bool:
        """Whether a file or folder is called after the customer: `user_id=amy`, `amy.json`; not a bare number."""
        key, _, value = path.rpartition("=")
        stem = path.partition(".")[0]
        return (bool(key) and value in self) or (not stem.isdecimal() and (path in self or stem in self))

    def count(self, values: pa.Array) -> int:
        """How many values of a column are the customer."""
        texts = normal_ids(values)
        texts = pc.utf8_lower(texts) if self.any_case else texts
        return int(pc.sum(pc.is_in(texts, value_set=pa.array(sorted(self.ids), pa.string()))).as_py() or 0)

    def in_text(self, text: str, words: bool = False) -> int:
        """How often a text names the customer.

        Whole cells only (between quotes, tags, separators): an id of three digits is in every file of numbers. With
        `words` also as a word of a sentence, where the id has a letter. A setting of a command line (`user=…`,
        `report.chosen=[…]`) is read as one.
        """
        text = text if text.isascii() else unicodedata.normalize("NFC", text)
        searched = text.lower() if self.any_case else text
        found = 0
        if any(way in searched for way in self._ways):
            found = len((self._words if words else self._cells).findall(searched))
            said = None if found else SETTING.fullmatch(text.strip("- \n\r"))
            if said and (PERSON.search(said[1]) or said[1].endswith("user")):
                found = sum(part in self for part in re.split(r"[\[\](){},:=\s'\"]+", said[2]) if part)
        if not found and "+" in text and any(x.isdecimal() for x in self.ids):
            found = sum(part in self for part in re.findall(EXPONENT.strip("^$"), text))
        return found

    @cached_property
    def _ways(self) -> frozenset[str]:
        """How programs write the ids: as they are, or escaped for CSV, SQL, JSON, HTML or JSON within HTML."""
        ways = set()
        for x in self.ids:
            page, plain = html.escape(x), json.dumps(x)[1:-1]
            ways |= {x, x.replace('"', '""'), x.replace("'", "''"), plain, json.dumps(x, ensure_ascii=False)[1:-1]}
            ways |= {page, page.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), page.replace("&#x27;", "'")}
            ways.add("".join(f"\\u{ord(c):04x}" if c in "<>&'" else c for c in plain))
        return frozenset(way.lower() for way in ways) if self.any_case else frozenset(ways)

    @cached_property
    def _any(self) -> str:
        """A pattern of all ways; the longest first, since one may begin another."""
        ways = sorted(self._ways, key=lambda way: (-len(way), way))
        return "|".join(re.escape(x) + (r"(?:\.0+)?" if x.isdecimal() else "") for x in ways)

    @cached_property
    def _cells(self) -> re.Pattern[str]:
        return re.compile(rf"(?:^|[\"'>,;\t|]){BLANK}(?:{self._any}){BLANK}(?=$|[\"'<,;\t|\r])", re.MULTILINE)

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = [re.escape(x) for x in sorted(self._ways, key=len, reverse=True) if re.search(r"[^\W\d]", x)]
        loose = rf"|(?<![\w@.-])(?:{'|'.join(words)})(?![\w@-])" if words else ""
        return re.compile(self._cells.pattern + loose, re.MULTILINE)
