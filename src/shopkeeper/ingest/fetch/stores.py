"""Files of an object store (s3://, gs://, az://, https://, …) as files below raw.folder, through fsspec.

What was fetched before and is the same there (by what the store tells of it: etag, time and size) is not fetched
again; what has gone there goes here, too. Which files these are stands in `.fetched.json` beside them.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from shopkeeper.errors import UserError
from shopkeeper.files import atomic_file, member, read_json, write_json
from shopkeeper.ingest.dataset_parts import Fetch
from shopkeeper.ingest.fetch.addresses import Address

NOTES = ".fetched.json"
TOLD = ("ETag", "etag", "checksum", "content_md5", "md5Hash", "mtime", "LastModified", "last_modified", "created")


def copy_files(entry: Fetch, address: Address, folder: Path) -> list[str]:
    """Copy the file of a URL, or those that its pattern matches; their names below the folder, sorted.

    Raises:
        UserError: a store that cannot be reached, or in which nothing matches.
    """
    places = _listed(entry, address)
    notes_file = folder / NOTES
    notes = read_json(notes_file) if notes_file.is_file() else {}
    known: dict[str, Any] = notes.get(entry.url, {})
    fresh: dict[str, Any] = {}
    for name, (store, place) in sorted(places.items()):
        target = member(folder, name, "raw folder", Path("raw.fetch"))
        try:
            told = {key: str(value) for key, value in store.info(place).items() if key in (*TOLD, "size")}
            if not (len(told) > 1 and known.get(name) == told and target.is_file()):
                target.parent.mkdir(parents=True, exist_ok=True)
                with store.open(place, "rb") as source, atomic_file(target) as temporary, open(temporary, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
        except Exception as e:  # each store has its own classes of errors
            raise UserError(f"{entry.shown}: {name} cannot be read ({_line(e)}); run prepare again") from None
        fresh[name] = told
    for name in set(known) - set(fresh):
        (folder / name).unlink(missing_ok=True)
    write_json(notes_file, {**notes, entry.url: fresh})
    return sorted(fresh)


def _listed(entry: Fetch, address: Address) -> dict[str, tuple[Any, str]]:
    """Name below raw.folder -> store and place in it."""
    try:
        import fsspec
    except ImportError:
        raise UserError("raw.fetch needs fsspec: pip install 'shopkeeper[sources]'") from None
    try:
        store, place = fsspec.core.url_to_fs(address.url, **address.options)
        if not entry.is_pattern:
            found = [place] if _is_there(store, place) else []
        else:
            found = sorted(store.glob(place))
    except (ImportError, ValueError) as e:  # a package that the store needs, or a protocol that nobody knows
        raise UserError(f"{entry.shown}: {_line(e)}; install what it needs, or correct the URL") from None
    except Exception as e:
        raise UserError(
            f"{entry.shown} cannot be reached ({_line(e)}); check the address, the network and the variables it names"
        ) from None
    if not found:
        raise UserError(f"{entry.shown}: nothing there is called so; correct the URL in raw.fetch")
    if not entry.is_pattern:
        return {entry.name: (store, place)}
    fixed = len(PurePosixPath(place).parts) - len(PurePosixPath(entry.name).parts)
    return {"/".join(PurePosixPath(each).parts[fixed:]): (store, each) for each in found}


def _is_there(store: Any, place: str) -> bool:
    try:
        store.info(place)
    except FileNotFoundError as e:
        if isinstance(e.__cause__, OSError):  # over HTTP a server that does not answer looks like a missing file
            raise e.__cause__ from None
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:300]
