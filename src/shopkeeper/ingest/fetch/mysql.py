"""A query's rows from MySQL or MariaDB through PyMySQL, as a stream of Arrow batches.

Values come as the text that the server sends: no digit of a number is lost, and a date that is none (0000-00-00) is
rejected by the checks and not by a driver. Columns of type TIMESTAMP come in UTC, those of type DATETIME as they are
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from shopkeeper.errors import UserError

SCHEMES = ("mysql", "mariadb")
ROWS = 1 << 16  # of a batch


def connect(url: str, options: Mapping[str, Any], seconds: int) -> Any:
    """A connection; `options` are PyMySQL's own, such as ssl_ca, and count before what is said here.

    Raises:
        UserError: settings behind the URL's `?`, which no two drivers read alike: who wants TLS must not do without.
    """
    import pymysql
    from pymysql.converters import conversions

    parts = urlsplit(url)
    if parts.query:
        raise UserError(
            "raw.fetch: settings behind the ? of a MySQL address are not read; write them as options of the entry, as "
            "PyMySQL calls them (options: {ssl_ca: /etc/ssl/shop.pem})"
        )
    told = {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.strip("/")) or None,
        "charset": "utf8mb4",
        "connect_timeout": seconds,
        "conv": {kind: how for kind, how in conversions.items() if not isinstance(kind, int)},  # rows stay text
        "init_command": "SET SESSION time_zone = '+00:00'",
    }
    return pymysql.connect(**{**told, **options})


def rows_of(connection: Any, query: str) -> pa.RecordBatchReader:
    """What a query gives, block by block; the server keeps the rest.

    Raises:
        UserError: the statement gives no table, or a column holds bytes that are no text.
    """
    from pymysql.cursors import SSCursor

    cursor = connection.cursor(SSCursor)
    cursor.execute(query)
    if cursor.description is None:
        raise UserError("the statement gives no rows; write a SELECT")
    schema = pa.schema([pa.field(column[0], pa.string()) for column in cursor.description])
    return pa.RecordBatchReader.from_batches(schema, _batches(cursor, schema))


def _batches(cursor: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with closing(cursor):
        while rows := cursor.fetchmany(ROWS):
            columns = zip(*rows, strict=True)
            arrays = [_texts(column, name) for column, name in zip(columns, schema.names, strict=True)]
            yield pa.record_batch(arrays, schema=schema)


def _texts(values: Sequence[str | bytes | None], name: str) -> pa.Array:
    try:
        return pa.array([v.decode("utf-8") if isinstance(v, bytes) else v for v in values], pa.string())
    except UnicodeDecodeError:
        raise UserError(f"column '{name}' holds bytes that are no text; write HEX({name}) AS {name}") from None


def quoted(table: str) -> str:
    """A table's name as this SQL quotes it."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in table.split("."))
