"""One small reader per file format; `READERS` names them as `reader.format` does in a dataset's config."""

from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.block import Reader
from shopkeeper.ingest.readers import delimited, excel, json_lines, parquet, sequences

READERS: dict[str, Reader] = {
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "dat": delimited.read_dat,
    "blank_separated": delimited.read_blank_separated,
    "recbole": delimited.read_recbole,
    "parquet": parquet.read_parquet,
    "json_lines": json_lines.read_json_lines,
    "excel": excel.read_excel,
    "sequences": sequences.read_sequences,
}


def reader(name: str) -> Reader:
    """The reader of a format; a `UserError` names the nearest one."""
    if name not in READERS:
        raise UserError(f"reader.format: unknown format '{name}'.{nearest(str(name), READERS)}")
    return READERS[name]
