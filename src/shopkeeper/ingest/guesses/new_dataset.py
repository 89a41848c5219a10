"""A first config for a shop's own log: look at the head of the file, guess, and say where the guess is doubtful."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from shopkeeper.errors import UserError
from shopkeeper.ingest.block import Block
from shopkeeper.ingest.chunks import read_chunks
from shopkeeper.ingest.dataset_parts import ReaderSettings
from shopkeeper.ingest.guesses.id_doubts import id_doubts
from shopkeeper.ingest.guesses.numbers import has_decimal_comma, numbers, unread
from shopkeeper.ingest.guesses.times import join_date_and_clock, time_options
from shopkeeper.ingest.guesses.totals import price_lines
from shopkeeper.ingest.readers import reader
from shopkeeper.ingest.readers.delimited import NO_NUMBER
from shopkeeper.ingest.values import as_ids
from shopkeeper.typed import made

LOOKED_AT = 20_000  # rows
NAMES = {  # our column -> what shops call it, most telling first
    "user_id": r"^(user|customer|client|visitor|member|person|buyer|account|shopper|kunde|besucher)|"
    r"(user|customer|client|cust).?(id|no|nr|number)?$|^uid$",
    "item_id": r"^(item|product|sku|article|stock.?code|asin|isbn|movie|track|book|brand|good|artikel)",
    "timestamp": r"time|date|^ts$|_at$|datum|zeit|^when$",
    "event_type": r"event|action|behaviou?r|^type$|kind|interaction|vorgang|ereignis|^aktion",
    "order_id": r"order|invoice|transaction|basket|receipt|bestell|^bon|beleg|rechnung|auftrag",
    "session_id": r"session|visit(?!or)|sitzung|besuch(?!er)",
    "quantity": r"quantity|qty|units|count|^n$|number_of|menge",
    "price": r"price|amount|value|cost|revenue|preis",
    "channel": r"channel|device|platform|store|source|kanal",
}
EVENTS = {
    "remove_from_cart": r"remove|delete|entfernt",
    "add_to_cart": r"cart|basket|warenkorb",
    "favourite": r"fav|wish|like|collect",
    "return": r"return|refund|cancel|retoure|storno|rückgabe",
    "purchase": r"purchase|buy|order|transaction|checkout|sale|paid|kauf|bestell",
    "search": r"search|query|suche",
    "rating": r"rat(e|ing)|review|star",
    "exposure": r"impression|exposure|shown",
    "view": r"view|click|page|visit|detail|pv|ansicht|aufruf|klick",
}
DOUBT = "# DOUBT: "
MAY_BE_KINDS = 12  # different values of a column without a telling name that may be kinds of events
REQUIRED_LACKS = 0.01  # share of a kind's rows that may lack a column which is taken to be required for it


def guess_dataset(path: Path) -> str:
    """YAML of a dataset config for a file, with what is doubtful as comments (`# DOUBT: …`).

    Raises `UserError` when the file cannot be read as a table at all.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file; give the path of an event log (CSV, Parquet, JSON lines, Excel)")
    options, doubts = _format(path)
    frame = _head(path, options)
    if not frame.height:
        raise UserError(f"{path} holds no rows; give a file with some")
    _refuse_nested(path, frame, options)
    frame, joined = join_date_and_clock(frame, NAMES["timestamp"])
    columns = _columns(frame, nameless="names" in options)
    amounts = [columns[name] for name in ("price", "quantity") if name in columns]
    if options["format"] == "csv" and "decimal" not in options and any(has_decimal_comma(frame[c]) for c in amounts):
        options["decimal"] = ","
        doubts.append("numbers have a comma before their decimals: reader.decimal says so")
    lines = [
        f"# Guessed by `python -m shopkeeper new-dataset` from the first {frame.height:,} rows of {path.name}.",
        "# Settle every DOUBT, put the file under paths.raw (SHOPKEEPER_RAW), and set licence and source.",
        *(DOUBT + d for d in doubts),
        "defaults:",
        f"  - override /split@_global_.split: {'temporal' if 'timestamp' in columns else 'leave_one_out'}",
        f"name: {re.sub(r'[^a-z0-9]+', '_', path.name.split('.')[0].lower()).strip('_') or 'my_shop'}",
        f"title: {_quote(path.name)}",
        "source: null # where people get the data",
        "licence: null",
    ]
    body, targets = _body(frame, columns, options, joined)
    timed = "timestamp" in columns
    lines += [
        f"target_events: [{', '.join(targets)}]",
        "filter_seen: false # true where people do not take an item twice",
        *(
            ["refit: true # test is asked of what is trained anew on all until then, see evaluation.refit"]
            if timed
            else []
        ),
        "raw:",
        '  folder: "" # below paths.raw',
        f"  files: [{_quote(path.name)}]",
        "reader:",
        *(f"  {key}: {_quote(value) if isinstance(value, str) else value}" for key, value in options.items()),
        *body,
        "filters: {}",
    ]
    if timed:
        lines += ["temporal:", "  validation_days: 28", "  test_days: 28"]
    lines += ["max_rejected_share: 0.01"]
    return "\n".join(lines) + "\n"


def _refuse_nested(path: Path, frame: pl.DataFrame, options: dict[str, Any]) -> None:
    """A `UserError` where a column holds lists of events: a row has to be one event."""
    if options["format"] not in ("json_lines", "parquet"):
        return
    for name in frame.columns:
        kind, first = frame[name].dtype, next((v for v in frame[name] if v is not None), None)
        if isinstance(kind, pl.List | pl.Array) or (isinstance(first, str) and first.lstrip().startswith("[{")):
            raise UserError(
                f"{path}: column '{name}' holds lists, and a row must be one event; write a row per entry first, e.g. "
                f"`jq -c '. as $row | .{name}[] + ($row | del(.{name}))' {path.name} > flat.jsonl` for JSON lines, or "
                f'pandas\' `explode("{name}")`'
            )


def _format(path: Path) -> tuple[dict[str, Any], list[str]]:
    name = path.name.lower()
    for ending, kind in ((".parquet", "parquet"), (".xlsx", "excel"), (".xls", "excel"), (".inter", "recbole")):
        if name.endswith(ending):
            return {"format": kind}, []
    head, encoding, doubts = b"", "utf-8", []
    try:
        head = next(read_chunks(path, size=1 << 20)).data
    except StopIteration:
        raise UserError(f"{path} is empty; give a file with rows") from None
    except UserError as e:
        if "UTF-16" not in str(e):
            raise
        encoding = "utf-16"
        head = next(read_chunks(path, size=1 << 20, encoding=encoding)).data
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        encoding = "cp1252"
        doubts.append("the text is not UTF-8; cp1252 (Western Europe) is a guess")
    if head.lstrip().startswith(b"{"):
        return {"format": "json_lines"}, doubts
    lines = [line for line in head.decode("utf-8", "replace").splitlines()[:50] if line.strip()]
    if lines and "::" in lines[0]:
        n = lines[0].count("::") + 1
        doubts.append("a `::` dump has no header: name its columns in reader.names")
        return {"format": "dat", "names": [f"column_{i + 1}" for i in range(n)]}, doubts
    counts = {d: [line.count(d) for line in lines] for d in (",", ";", "\t", "|")}
    best = max(counts, key=lambda d: (min(counts[d]), -float(np.std(counts[d]))))
    options: dict[str, Any] = {"format": "csv"}
    if not any(counts[best]):
        lengths = {len(line.split()) for line in lines}
        ragged = len(lengths) > 1
        what = "lines of different lengths: each is read as a user and that user's items, oldest first"
        doubts.append(what if ragged else "no delimiter was found; blanks are a guess")
        options = {"format": "sequences" if ragged else "blank_separated"}
    elif best != ",":
        options["delimiter"] = best
    if encoding != "utf-8":
        options["encoding"] = encoding
    fields = re.split(re.escape(best) if any(counts[best]) else r"\s+", lines[0].strip()) if lines else []
    if options["format"] != "sequences" and any(re.fullmatch(r'\s*"?[\d.\-:/ ]+"?\s*', f) for f in fields):
        doubts.append("the first line looks like data, not like a header: name the columns in reader.names")
        options["names"] = [f"column_{i + 1}" for i in range(len(fields))]
    if best == ";" and re.search(r";-?\d+,\d+(?=[;\r\n]|$)", head.decode("utf-8", "replace")):
        options["decimal"] = ","
    return options, doubts


def _head(path: Path, options: dict[str, Any]) -> pl.DataFrame:
    frames, rows = [], 0
    blocks = reader(options["format"])(path, None, made(ReaderSettings, options), None)
    block: Block
    for block in blocks:
        frame = pl.DataFrame(pl.from_arrow(block.table))
        frames.append(frame.with_columns(pl.col(pl.Categorical).cast(pl.String)))
        rows += frame.height
        if rows >= LOOKED_AT:
            break
    if not frames:
        raise UserError(f"{path} holds no rows; give a file with some")
    return pl.concat(frames, how="vertical_relaxed").head(LOOKED_AT)


def _columns(frame: pl.DataFrame, nameless: bool) -> dict[str, str]:
    """Our column -> name in the file; each is given away once, by the most telling name first.

    Of a file without a header: the first column that holds times; the others go by their place.
    """
    if nameless:
        return {"timestamp": times[0]} if (times := [c for c in frame.columns if time_options(frame[c])[0]]) else {}
    found: dict[str, str] = {}
    for ours, pattern in NAMES.items():
        names = [c for c in frame.columns if c not in found.values() and re.search(pattern, c, re.IGNORECASE)]
        if ours == "event_type":
            names = [c for c in names if frame[c].n_unique() <= 50]
        if ours in ("user_id", "item_id"):  # of `product_category` and `product_id` the latter
            names.sort(key=lambda c: (not re.search(r"(id|code|no|nr|sku)$", c, re.IGNORECASE), -frame[c].n_unique()))
        if ours in ("price", "quantity"):
            names = [c for c in names if _numbers(frame[c]) is not None]
        if ours == "timestamp":
            names = [c for c in names if time_options(frame[c])[0] is not None]
        if names:
            found[ours] = names[0]
    if "timestamp" not in found:  # whatever it is called, in whatever language
        spare = [c for c in frame.columns if c not in found.values() and not frame[c].dtype.is_numeric()]
        found |= {"timestamp": times[0]} if (times := [c for c in spare if _holds_times(frame[c])]) else {}
    return found


def _holds_times(column: pl.Series) -> bool:
    """Whether values that are no plain numbers are times: a number may be anything."""
    if not column.dtype.is_temporal() and _numbers(column) is not None:
        return False
    return time_options(column)[0] is not None


def _body(
    frame: pl.DataFrame, columns: dict[str, str], options: dict[str, Any], joined: dict[str, tuple[str, str]]
) -> tuple[list[str], list[str]]:
    lines = ["columns:"]
    for ours in ("user_id", "item_id"):
        if ours not in columns:
            spare = [c for c in frame.columns if c not in columns.values()]
            if not spare:
                if "constants:" not in lines:
                    lines[:0] = ["constants:"]
                at = lines.index("constants:") + 1
                lines[at:at] = [f"  {DOUBT}no column is left for {ours}: every row is of the one `all`",
                                f"  {ours}: all"]  # fmt: skip
                continue
            candidate = max(spare, key=lambda c: frame[c].n_unique())
            why = f"no column is called like a {ours}; '{candidate}' has the most different values"
            if "names" in options:
                candidate, why = spare[0], f"the columns have no names; '{spare[0]}' is the {ours} by its place"
            lines.append(f"  {DOUBT}{why}")
            columns[ours] = candidate
    for ours, theirs in columns.items():
        if ours == "event_type":
            continue
        missing = int((frame[theirs].is_null() | (frame[theirs].cast(pl.String) == "")).sum())
        note = f" {DOUBT}{missing / frame.height:.1%} of it is missing" if missing else ""
        if ours == "user_id" and frame[theirs].n_unique() * 500 < frame.height:
            note += (
                f" {DOUBT}{frame[theirs].n_unique()} different values in {frame.height:,} rows: are these customers?"
            )
        named = f"[{', '.join(map(_quote, joined[theirs]))}]" if theirs in joined else _quote(theirs)
        lines.append(f"  {ours}: {named}{note}")
        if ours in ("user_id", "item_id", "order_id", "session_id"):
            ids = as_ids(frame[theirs].cast(pl.String).to_arrow().cast(pa.string()), theirs)
            rows = np.bincount(ids.indices.fill_null(-1).to_numpy() + 1, minlength=len(ids.dictionary) + 1)[1:]
            there = np.flatnonzero(rows)
            found = id_doubts(ours, ids.dictionary.take(pa.array(there)), rows[there], frame.height)
            lines += [f"  {DOUBT}{line}" for line in found]
        low = _numbers(frame[theirs]) if ours in ("price", "quantity") else None
        if low is not None and low < 0:
            lines.append(f"  {DOUBT}'{theirs}' has negative values; are these returns? see event_type.rules")
    unused = [c for c in frame.columns if c not in columns.values()]
    if unused:
        lines.append(f"  # not used: {', '.join(unused)}")
    for ours in ("price", "quantity"):
        for theirs in unread(frame, NAMES[ours], unused) if ours not in columns else []:
            lines.append(
                f"  {DOUBT}'{theirs}' is called like a {ours} and holds no plain numbers, e.g. "
                f"{_example(frame[theirs])}: write them without signs, or figures of money are missing"
            )
    lines += price_lines(frame, columns, options.get("decimal"))
    if "timestamp" in columns:
        theirs = columns["timestamp"]
        guess, notes = time_options(frame[theirs])
        if not re.search(NAMES["timestamp"], theirs, re.IGNORECASE):
            notes = [f"no column is called like a time; '{theirs}' holds times", *notes]
        lines += ["timestamp:", *(f"  {DOUBT}{note}" for note in notes)]
        lines += [f"  {key}: {_quote(str(value))}" for key, value in (guess or {}).items()]
    else:
        lines.append(f"{DOUBT}no column looks like a time; the order of the rows is taken as the order of events")
    return _event_lines(frame, columns, lines)


def _event_lines(frame: pl.DataFrame, columns: dict[str, str], lines: list[str]) -> tuple[list[str], list[str]]:
    if "event_type" not in columns:
        kind = "purchase" if {"order_id", "price", "quantity"} & set(columns) else "view"
        few = [c for c in frame.columns if c not in columns.values() and 2 <= frame[c].n_unique() <= MAY_BE_KINDS]
        names = " or ".join(f"'{c}'" for c in few if not frame[c].null_count())
        hint = f"; if {names} does, write event_type: {{column: …, map: {{…}}}}" if names else ""
        lines += [
            f"{DOUBT}no column tells kinds of events apart; every row is taken as a {kind}{hint}",
            f"event_type: {kind}",
        ]
        return lines, [kind]
    theirs = columns["event_type"]
    values = frame[theirs].cast(pl.String).drop_nulls().value_counts(sort=True, name="n")
    lines += ["event_type:", f"  column: {_quote(theirs)}", "  map:"]
    kinds = []
    for value, n in values.sort("n", theirs, descending=[True, False]).iter_rows():
        found = next((k for k, pattern in EVENTS.items() if re.search(pattern, value, re.IGNORECASE)), None)
        note = "" if found else f" {DOUBT}what is it?"
        kinds.append(found or "view")
        lines.append(f"    {_quote(value)}: {found or 'view'} # {n:,} rows{note}")
    kind_of = dict(zip(values.sort("n", theirs, descending=[True, False])[theirs], kinds, strict=True))
    schema = _schema_lines(frame, columns, frame[theirs].cast(pl.String).replace_strict(kind_of, default=""))
    told = [line.partition(":")[0] + ":" for line in schema[1:] if DOUBT not in line]  # lacked by other kinds alone
    lines = [re.sub(f" {DOUBT}[0-9.]+% of it is missing", "", s) if s.startswith(tuple(told)) else s for s in lines]
    lines += schema
    return lines, ["purchase"] if "purchase" in kinds else kinds[:1]


def _schema_lines(frame: pl.DataFrame, columns: dict[str, str], kind: pl.Series) -> list[str]:
    """Columns that purchases and returns have and other events lack are required for those; `kind` of every row."""
    lines = []
    for ours in ("order_id", "quantity", "price"):
        if ours not in columns:
            continue
        text = frame[columns[ours]].cast(pl.String).str.strip_chars()
        missing = (text.is_null() | text.is_in(NO_NUMBER)).to_numpy()
        lacks = {k: float(missing[(kind == k).to_numpy()].mean()) for k in set(kind) - {""}}
        wanted = [k for k in ("purchase", "return") if lacks.get(k, 1) <= REQUIRED_LACKS]
        if wanted and max(lacks.values()) > REQUIRED_LACKS:
            few = [f"{lacks[k]:.2%} of the {k} rows lack it" for k in wanted if lacks[k]]
            note = f" {DOUBT}{' and '.join(few)} and are rejected" if few else ""
            lines.append(f"  {ours}: {{required_for: [{', '.join(wanted)}]}}{note}")
    return ["schema:", *lines] if lines else []


def _numbers(column: pl.Series) -> float | None:
    """Smallest value of a column of numbers, None where it holds others."""
    found = numbers(column)
    return None if found is None else float(found.drop_nulls().min())  # type: ignore[arg-type]


def _example(column: pl.Series) -> str:
    return repr(next(str(value) for value in column.to_list() if value not in (None, "")))


def _quote(text: str) -> str:
    """Text as a YAML scalar: bare where that is safe, else in double quotes."""
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in (
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
    ):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n")
    return f'"{escaped}"'
