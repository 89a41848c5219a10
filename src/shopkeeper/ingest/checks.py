"""The declared schema of a log, checked block by block while it is read; every check is a mask over the block.

Order of the checks (a row is reported for the first that it fails): the dataset's own `reject` rules, ids, event type,
time stamp, quantity, price, further ids. Prices are per unit (`price_is: total`: divided by the quantity, by 1 where
it is unknown), finite and not negative; quantities are units and positive. Both are sizes: for a return, the units and
the money that came back, so a negative number is taken as its size there and rejected elsewhere. What is missing in an
optional column is unknown (NaN, 0), not wrong, unless `schema` says `required` or `required_for` the row's event type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.data.queries import BUCKET, TEXT, is_query, query_id
from shopkeeper.errors import UserError
from shopkeeper.ingest.block import REJECTED, Block, Wanted, rejected_table
from shopkeeper.ingest.dataset import DatasetConfig, Rule
from shopkeeper.ingest.dataset_parts import UNITS, ColumnRule
from shopkeeper.ingest.dataset_shape import ID_COLUMNS
from shopkeeper.ingest.table import ROW
from shopkeeper.ingest.times import limits, to_micros
from shopkeeper.ingest.values import CODES, as_floats, as_ids, as_texts, values_at, without
from shopkeeper.schema import EVENT_CODE, event_codes

SEARCH = EVENT_CODE["search"]
RETURN = EVENT_CODE["return"]
ORDER = "order:"  # before the name of a column by which a log without times is sorted


@dataclass(frozen=True)
class Rows:
    """Checked rows of one block, file order: id columns (own and carried, by name) and numbers."""

    ids: dict[str, pa.DictionaryArray]
    event_type: np.ndarray  # int8
    timestamp: np.ndarray | None  # int64 microseconds UTC
    price: np.ndarray | None  # float64
    quantity: np.ndarray | None  # float64

    def __len__(self) -> int:
        return len(self.event_type)


def wanted_columns(config: DatasetConfig) -> Wanted:
    """Which columns of the file are needed, and as what they are cheapest to read."""
    types: dict[str, pa.DataType] = {}
    for ours, theirs in config.columns.items():
        if theirs in config.joined:
            types.update(dict.fromkeys(config.joined[theirs], CODES))
            continue
        if ours in ("price", "quantity"):
            kind = pa.float64()
        elif ours == "timestamp" and config.timestamp.unit:
            kind = pa.int64()
        else:
            kind = CODES
        if types.setdefault(theirs, kind) != kind:  # one column of the file for two of ours
            types[theirs] = CODES
    for rule in (*config.event_rules, *config.reject):
        types.setdefault(rule.column, CODES)
    for column in (*config.carried, *config.order_by):
        types.setdefault(column, CODES)
    if config.table is not None:
        types.pop(ROW, None)  # is made, not read
    return Wanted(types)


def check(block: Block, config: DatasetConfig, aside: list[Rows] | None = None) -> tuple[list[Rows], pa.Table]:
    """Rows that pass, and the rejected ones in file order. A block that fails anything is read once more as text.

    `aside` gets what rows hold that the dataset's own `reject` rules keep out.
    """
    found = _check(block, config, aside)
    if found is None:
        assert block.reread is not None
        block = block.reread()
        found = _check(block, config, aside)
        assert found is not None
    rows, rejects = found
    if not rejects and not block.broken:
        return rows, REJECTED.empty_table()
    return rows, pa.concat_tables([rejected_table(block.broken), *rejects]).sort_by("row")


def _check(block: Block, config: DatasetConfig, aside: list[Rows] | None) -> tuple[list[Rows], list[pa.Table]] | None:
    """Rows that pass and tables of those that do not; None where something fails and the block can be read again."""
    rows: list[Rows] = []
    rejects: list[pa.Table] = []
    first = 0
    for batch in block.table.to_batches():
        if batch.num_rows:
            checker = _Checker(batch, config)
            if checker.checks and block.reread is not None:
                return None
            rows.append(checker.rows(checker.failed < 0))
            if aside is not None and checker.by_rule.any():
                aside.append(checker.rows(checker.by_rule))
            rejects += checker.rejects(block, first)
            first += batch.num_rows
    return rows, rejects


class _Checker:
    """One batch on its way through the checks: `failed` is the number of the check that a row fails first, -1: none."""

    def __init__(self, batch: pa.RecordBatch, config: DatasetConfig) -> None:
        self.batch, self.config = batch, config
        self.failed = np.full(batch.num_rows, -1, np.int32)
        self.checks: list[tuple[str, str]] = []  # column of the file, reason
        self.result = self._run()

    def rows(self, keep: np.ndarray) -> Rows:
        """Rows of a mask, bool (n,)."""
        if keep.all():
            return self.result
        mask, r = pa.array(keep), self.result

        def cut(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[keep]

        ids = {name: column.filter(mask) for name, column in r.ids.items()}
        return Rows(ids, r.event_type[keep], cut(r.timestamp), cut(r.price), cut(r.quantity))

    def rejects(self, block: Block, first: int) -> list[pa.Table]:
        """One row per row that failed; one table per check."""
        out = []
        for number, (column, reason) in enumerate(self.checks):
            bad = np.flatnonzero(self.failed == number)
            if len(bad):
                rows = pa.array(block.row_of(bad + first), pa.int64())
                texts = [pa.repeat(pa.scalar(text), len(bad)) for text in (block.file, column, reason)]
                values = values_at(self.batch.column(self.config.joined.get(column, (column,))[0]), bad)
                if column == self.config.columns.get("query"):  # what somebody typed may be a name
                    values = pa.repeat(pa.scalar(""), len(bad))
                out.append(pa.table([texts[0], rows, texts[1], texts[2], values], schema=REJECTED))
        return out

    def _fail(self, mask: np.ndarray, column: str, reason: str) -> None:
        if mask.any():
            mask = mask & (self.failed < 0)
            self.failed[mask] = len(self.checks)
            self.checks.append((column, reason))

    def _run(self) -> Rows:
        config, columns = self.config, self.config.columns
        cached: dict[str, pa.DictionaryArray] = {}

        def ids(column: str) -> pa.DictionaryArray:
            if column not in cached:
                parts = [as_ids(self.batch.column(c), c) for c in config.joined.get(column, (column,))]
                cached[column] = parts[0] if len(parts) == 1 else _joined(parts)
            return cached[column]

        def own(name: str) -> pa.DictionaryArray:
            column = ids(columns[name])
            return without(column, config.missing[name]) if name in config.missing else column

        def texts(column: str) -> pa.DictionaryArray:
            return as_texts(self.batch.column(column), column)

        for rule in config.reject:
            self._fail(_matches(texts(rule.column), rule), rule.column, rule.value)
        self.by_rule = self.failed >= 0
        found: dict[str, pa.DictionaryArray] = {}
        searched = "query" in columns
        for name in ("user_id",) if searched else ("user_id", "item_id"):
            if name in columns:
                found[name] = own(name)
                if found[name].null_count:
                    self._missing(name, found[name].is_null().to_numpy(zero_copy_only=False))
                self._pattern(name, found[name])
        event_type = self._event_type(ids, texts)
        if searched:
            items = own("item_id") if "item_id" in columns else self._constant(config.constants.get("item_id"))
            found["item_id"] = self._with_queries(items, texts(columns["query"]), event_type)
        timestamp = self._timestamp() if "timestamp" in columns else None
        quantity = self._number("quantity", event_type)
        price = self._number("price", event_type)
        for name in ID_COLUMNS[2:]:
            if name in columns:
                found[name] = own(name)
                if name in config.rules and found[name].null_count:
                    self._required(name, found[name].is_null().to_numpy(zero_copy_only=False), event_type)
                self._pattern(name, found[name])
        for name, value in config.constants.items():
            if name not in found:
                found[name] = self._constant(value)
        for column in config.carried:
            found[f"file:{column}"] = texts(column)
        for column in config.order_by:
            values, bad = as_floats(self.batch.column(column))
            self._fail(bad | np.isnan(values), column, "not a number (order_by)")
            found[f"{ORDER}{column}"] = texts(column)
        if config.price_is == "total" and price is not None and quantity is not None:
            price = price / np.where(quantity > 0, quantity, 1.0)  # unknown units count as one, so the money is kept
        return Rows(found, event_type, timestamp, price, quantity)

    def _constant(self, value: str | None) -> pa.DictionaryArray:
        zeros = pa.array(np.zeros(self.batch.num_rows, np.int32), mask=np.full(self.batch.num_rows, value is None))
        return pa.DictionaryArray.from_arrays(zeros, pa.array([value or ""]))

    def _with_queries(
        self, items: pa.DictionaryArray, typed: pa.DictionaryArray, event_type: np.ndarray
    ) -> pa.DictionaryArray:
        """What was acted on: in a search that has a text the query, whatever item stands beside it, else the item."""
        if "item_id" in self.config.columns:
            theirs = np.append([is_query(value or "") for value in items.dictionary.to_pylist()], False)
            at = items.indices.fill_null(len(theirs) - 1).to_numpy(zero_copy_only=False)
            self._fail(
                theirs[at], self.config.columns["item_id"], f"item_id begins like a query's ({TEXT} or {BUCKET})"
            )
            self._pattern("item_id", items)
        values = dict.fromkeys(items.dictionary.to_pylist())  # one code per text
        place = {value: code for code, value in enumerate(values)}
        own = np.array([place[value] for value in items.dictionary.to_pylist()] + [-1], np.int32)
        queries = [query_id(value or "") for value in typed.dictionary.to_pylist()]
        asked = np.array([place.setdefault(q, len(place)) if q else -1 for q in queries] + [-1], np.int32)
        codes = own[items.indices.fill_null(len(own) - 1).to_numpy(zero_copy_only=False)]
        query = asked[typed.indices.fill_null(len(asked) - 1).to_numpy(zero_copy_only=False)]
        search = event_type == SEARCH
        codes = np.where(search & (query >= 0), query, codes)
        self._missing("query", search & (codes < 0))
        if "item_id" in self.config.columns:
            self._missing("item_id", ~search & (codes < 0))
        else:
            self._fail(~search & (codes < 0), self.config.columns["query"], "no item_id, and this is no search")
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(list(place), pa.string()))

    def _missing(self, name: str, missing: np.ndarray, kinds: str = "") -> None:
        self._fail(missing, self.config.columns[name], f"no {name}{kinds}")

    def _required(self, name: str, missing: np.ndarray, event_type: np.ndarray) -> None:
        """What an optional column lacks, where the schema wants it: in all rows, or in those of some event types."""
        rule = self.config.rules.get(name, ColumnRule())
        if rule.required:
            self._missing(name, missing)
        elif rule.required_for:
            wanted = np.isin(event_type, event_codes(list(rule.required_for)))
            self._missing(name, missing & wanted, f" (required for {', '.join(rule.required_for)})")

    def _pattern(self, name: str, column: pa.DictionaryArray) -> None:
        theirs, pattern = self.config.columns[name], self.config.rules.get(name, ColumnRule()).matches
        if pattern:
            wrong = ~_matches(column, Rule(theirs, pattern, "")) & column.is_valid().to_numpy(zero_copy_only=False)
            self._fail(wrong, theirs, f"{name} does not match {pattern}")

    def _event_type(
        self, ids: Callable[[str], pa.DictionaryArray], texts: Callable[[str], pa.DictionaryArray]
    ) -> np.ndarray:
        config = self.config
        codes = np.full(self.batch.num_rows, EVENT_CODE[config.event_value], np.int8)
        if "event_type" in config.columns:
            theirs = config.columns["event_type"]
            column = ids(theirs)
            names = config.event_map or {name: name for name in EVENT_CODE}
            values = [v.casefold() if config.any_case else v for v in column.dictionary.to_pylist()]
            table = [EVENT_CODE[names[v]] if v in names else 0 for v in values]
            at = column.indices.fill_null(len(table)).to_numpy(zero_copy_only=False)
            codes = np.array([*table, 0], np.int8)[at]
            self._fail(at == len(table), theirs, "no event_type")
            remedy = "add it to event_type.map" if config.event_map else "give event_type.map"
            self._fail(codes == 0, theirs, f"unknown event type ({remedy})")
        for rule in config.event_rules:
            codes[_matches(texts(rule.column), rule)] = EVENT_CODE[rule.value]
        return codes

    def _timestamp(self) -> np.ndarray:
        theirs = self.config.columns["timestamp"]
        if theirs in self.config.joined:
            column = _date_and_clock([as_texts(self.batch.column(c), c) for c in self.config.joined[theirs]])
        else:
            column = self.batch.column(theirs)
        if pa.types.is_integer(column.type) and column.null_count == 0:
            micros, bad = _plain_micros(column, self.config)
            if not bad:
                return micros
        micros, why = to_micros(column, self.config.timestamp)
        for reason in sorted(set(why[why != ""])):
            self._fail(why == reason, theirs, "no timestamp" if reason == "missing" else str(reason))
        return micros

    def _number(self, name: str, event_type: np.ndarray) -> np.ndarray | None:
        theirs = self.config.columns.get(name)
        if theirs is None:
            return None
        values, bad = as_floats(self.batch.column(theirs), self.config.reader.decimal)
        rule = self.config.rules.get(name)
        self._fail(bad, theirs, "not a number (reader.decimal wrong?)")
        if name in self.config.missing:  # numbers that stand for none
            none, _ = as_floats(pa.array(sorted(self.config.missing[name])), self.config.reader.decimal)
            values = np.where(np.isin(values, none), np.nan, values)
        if name in self.config.divide_by:
            values = values / self.config.divide_by[name]
        low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))  # NaN only where all are
        if np.isinf(low) or np.isinf(high):
            self._fail(np.isinf(values), theirs, "not a finite number")
        if name == "quantity":
            if not low >= 0:
                values = np.where((event_type == RETURN) & (values < 0), -values, values)
                self._fail(values < 0, theirs, "negative quantity")
            if not low > 0:
                self._fail(values == 0, theirs, "zero quantity")
        elif not low >= 0:
            values = np.where((event_type == RETURN) & (values < 0), -values, values)
            self._fail(values < 0, theirs, "negative price")
        if rule is None:
            return values
        self._required(name, np.isnan(values) & ~bad, event_type)
        for limit, wrong, words in (
            (rule.min, np.less, "below"), (rule.above, np.less_equal, "not above"), (rule.max, np.greater, "above"),
        ):  # fmt: skip
            if limit is not None:
                self._fail(wrong(values, limit), theirs, f"{name} {words} {limit}")
        return values


def _joined(parts: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    """Several id columns as one, joined by `|`; missing where one of them is."""
    return pc.binary_join_element_wise(*[p.cast(pa.string()) for p in parts], "|").dictionary_encode()


def _date_and_clock(parts: list[pa.DictionaryArray]) -> pa.Array:
    """A date and a time of day that stand in columns of their own, with a blank between; null where one is missing."""
    day, *clock = (pc.utf8_trim_whitespace(part.cast(pa.string())) for part in parts)
    day = pc.replace_substring_regex(day, pattern=r"[ T]00:00(:00(\.0+)?)?$", replacement="")  # a spreadsheet's date
    return pc.binary_join_element_wise(day, *clock, " ")


def _plain_micros(column: pa.Array, config: DatasetConfig) -> tuple[np.ndarray, bool]:
    """Whole numbers within the believed limits, in one multiplication; True when some are not."""
    values = column.cast(pa.int64(), safe=False).to_numpy()
    factor = UNITS[config.timestamp.unit or "s"]
    low, high = limits(config.timestamp)
    if factor < 1 or not len(values) or int(values.min()) * factor < low or int(values.max()) * factor > high:
        return values, True
    return values * int(factor) if factor != 1 else values, False


def _matches(column: pa.DictionaryArray, rule: Rule) -> np.ndarray:
    """Rows whose text matches a rule's regular expression anywhere (missing text counts as empty)."""
    try:
        hit = pc.match_substring_regex(column.dictionary, rule.matches)
        empty = pc.match_substring_regex(pa.scalar(""), rule.matches).as_py()
    except pa.ArrowInvalid as e:
        raise UserError(
            f"the rule for column '{rule.column}' has a bad pattern '{rule.matches}' ({e}); mend the regular expression"
        ) from None
    table = np.append(hit.to_numpy(zero_copy_only=False).astype(bool), bool(empty))
    return table[column.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
