"""A query's rows as a Parquet file, block by block: PostgreSQL and SQLite through ADBC, MySQL, DuckDB by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file, member
from shopkeeper.ingest.dataset_parts import Fetch
from shopkeeper.ingest.fetch import mysql
from shopkeeper.ingest.fetch.addresses import Address

SECONDS = 10  # that a server may take to answer at all
INSTALL = "pip install 'shopkeeper[sources]'"


def read_query(entry: Fetch, address: Address, folder: Path) -> str:
    """Write what a query (or a whole table) gives as `<folder>/<file>`; the file's name.

    Raises:
        UserError: a database that cannot be reached, a query that fails, or one that gives no row.
    """
    quoted = mysql.quoted if address.scheme in mysql.SCHEMES else _quoted
    query = entry.query or f"SELECT * FROM {quoted(str(entry.table))}"
    target, rows = member(folder, entry.name, "raw folder", Path("raw.fetch")), 0
    with _reader(entry, address, query) as reader, atomic_file(target) as temporary:
        schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in reader.schema])
        with pq.ParquetWriter(temporary, schema) as writer:
            for batch in _batches(reader, entry):
                arrays = [column.storage if isinstance(column, pa.ExtensionArray) else column for column in batch]
                writer.write_table(pa.table(arrays, schema=schema))
                rows += batch.num_rows
        if not rows:
            raise UserError(f"{entry.shown}: the {'query' if entry.query else 'table'} gives no rows; correct it")
    return entry.name


@contextmanager
def _reader(entry: Fetch, address: Address, query: str) -> Iterator[Any]:
    """The rows as a stream of Arrow batches."""
    try:
        connection = _connect(address)
    except UserError:
        raise
    except Exception as e:  # each driver has its own classes of errors
        raise UserError(
            f"{entry.shown} cannot be reached ({_line(e)}); check the address, the network and the variables it names"
        ) from None
    with closing(connection):
        try:
            if address.scheme in mysql.SCHEMES:
                found, cursor = mysql.rows_of(connection, query), None
            elif address.scheme == "duckdb":
                found = connection.sql(query).to_arrow_reader(1 << 16)
                cursor = None
            else:
                cursor = connection.cursor()
                cursor.execute(query)
                found = cursor.fetch_record_batch()
        except UserError as message:
            raise UserError(f"{entry.shown}: {message}") from None
        except Exception as e:
            raise UserError(f"{entry.shown}: the query fails ({_line(e)}); correct raw.fetch") from None
        try:
            yield found
        finally:
            if cursor is not None:
                cursor.close()


def _connect(address: Address) -> Any:
    scheme, url = address.scheme, address.url
    try:
        if scheme in mysql.SCHEMES:
            return mysql.connect(url, address.options, SECONDS)
        if scheme in ("postgresql", "postgres"):
            import adbc_driver_postgresql.dbapi as postgresql

            patient = "" if "connect_timeout=" in url else ("&" if "?" in url else "?") + f"connect_timeout={SECONDS}"
            return postgresql.connect(url + patient)
        path = _path(url)
        if not Path(path).is_file():
            raise UserError(f"{path} is missing; correct the address in raw.fetch")
        if scheme == "sqlite":
            import adbc_driver_sqlite.dbapi as sqlite

            return sqlite.connect(f"file:{quote_path(path)}?mode=ro")
        import duckdb

        return duckdb.connect(path, read_only=True)
    except ImportError as e:
        raise UserError(f"reading {scheme} needs {e.name}, which is not installed: {INSTALL}") from None


def _path(url: str) -> str:
    """`sqlite:///shop.db` is a file here, `sqlite:////data/shop.db` one with its whole path."""
    parts = urlsplit(url)
    return unquote(parts.netloc + parts.path if parts.netloc else parts.path[1:])


def quote_path(path: str) -> str:
    """A path as SQLite's own addresses have it."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _batches(reader: Any, entry: Fetch) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except UserError as message:
            raise UserError(f"{entry.shown}: {message}") from None
        except Exception as e:
            raise UserError(f"{entry.shown}: the rows end in the middle ({_line(e)}); run prepare again") from None
        yield batch


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _quoted(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
