"""Fetching what `raw.fetch` of a dataset names: what a query gives, what lies in an object store.

What is fetched becomes a file below raw.folder, so that everything else (hashes, what has changed, line numbers in
messages, DVC) is as with files that a person puts there. `prepare` fetches each time; other verbs read what is there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import DatasetConfig
from shopkeeper.ingest.fetch.addresses import DATABASES, filled
from shopkeeper.ingest.raw import matching

log = logging.getLogger(__name__)


def fetch(config: DatasetConfig, raw: Path, *, only_missing: bool = False) -> list[str]:
    """Fetch what `raw.fetch` of a dataset names; the names of the files below raw.folder, sorted.

    Args:
        config: the dataset.
        raw: the folder of raw data.
        only_missing: leave those entries alone of which a file is there.

    Raises:
        UserError: a place that cannot be reached, a query that fails or gives no row, a variable that is not set.
    """
    folder, names = raw / config.folder, list[str]()
    for entry in config.fetch:
        if only_missing and any(path.is_file() for path in matching(folder, entry.name)):
            continue
        address = filled(entry)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if address.scheme in DATABASES:
                from shopkeeper.ingest.fetch.databases import read_query

                found = [read_query(entry, address, folder)]
            else:
                from shopkeeper.ingest.fetch.stores import copy_files

                found = copy_files(entry, address, folder)
        except UserError as e:
            message = address.hidden(str(e))  # a driver's may hold what it was told
            raise UserError(message) from None
        log.info("fetched %s from %s", ", ".join(found[:3]) + (" …" if len(found) > 3 else ""), address.shown)
        if again := sorted(set(found) & set(names)):
            raise UserError(
                f"{address.shown}: {again[0]} is called like a file of another entry of raw.fetch, which it has "
                f"replaced; give it another name there, or fetch it as a dataset of its own"
            )
        names += found
    return sorted(names)
