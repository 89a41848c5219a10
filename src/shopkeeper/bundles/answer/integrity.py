"""Checks a bundle before anything in it is opened: known format, every file there, every byte as it was written.

Two files carry the hashes: `manifest.json` lists the SHA-256 of every other file, and `manifest.json.sha256` that of
the manifest itself (both readable with `sha256sum -c`-style tools). The hashes show damage and careless edits; they are
not a signature: whoever can rewrite the whole folder can rewrite them too.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from shopkeeper.errors import UserError
from shopkeeper.files import member

FORMAT_VERSION = 3  # `older.py` has what the earlier ones were
MANIFEST = "manifest.json"
SEAL = "manifest.json.sha256"

AGAIN = "export the model again (`shopkeeper export`) or copy the bundle again"


AT_ONCE = 1 << 20  # bytes of a file that nobody reads


def checked_files(folder: Path, unread: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """The manifest, the bytes of the files that it lists, after each hash was compared, and the manifest's own hash.

    The bytes returned are the bytes that were hashed: callers parse these and never open the files a second time. Files
    that are `unread` are hashed as well, and not returned: a graph beside an index is as large as all of the rest.

    Raises:
        UserError: no bundle here, a newer format version, a missing or changed file, a path that leads outside.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} is not a bundle: it has no {MANIFEST}; give the folder that `shopkeeper export` wrote"
        )
    sealed = _read(folder, MANIFEST)
    seal = _read(folder, SEAL).split()
    if not seal or seal[0] != hashlib.sha256(sealed).hexdigest().encode():
        raise UserError(f"{folder / MANIFEST} does not match {SEAL}: one of them was changed or damaged; {AGAIN}")
    manifest = _parse(folder, sealed)
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(
            f"{folder} has bundle format {version!r}, and this shopkeeper reads up to {FORMAT_VERSION}: "
            f"install a newer shopkeeper, or export the model again with this one"
        )
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not listed:
        raise UserError(f"{folder / MANIFEST} lists no files; {AGAIN}")
    content = {}
    for name, expected in listed.items():
        if name in unread:
            found = _hash_alone(folder, name)
        else:
            content[name] = _read(folder, name)
            found = hashlib.sha256(content[name]).hexdigest()
        if found != expected:
            raise UserError(f"{folder / name} was changed or damaged (its SHA-256 is not the manifest's); {AGAIN}")
    return manifest, content, seal[0].decode()


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Files whose hashes are right and which do not fit together all the same (edited and sealed again): one line."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        what = " ".join(f"{type(e).__name__}: {e}".split())
        raise UserError(f"the files of {folder} do not fit together ({what:.100}); {AGAIN}") from None


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a checked `.npz` file; nothing pickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read(folder: Path, name: str) -> bytes:
    """Bytes of a file of the bundle; names that lead out of the folder are refused."""
    with _opened(folder, name) as file:
        return file.read()


def _hash_alone(folder: Path, name: str) -> str:
    """SHA-256 of a file of the bundle, of which no more than a part is held at a time."""
    found = hashlib.sha256()
    with _opened(folder, name) as file:
        while part := file.read(AT_ONCE):
            found.update(part)
    return found.hexdigest()


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    path = member(folder, name, "bundle")
    if path.is_symlink():
        raise UserError(f"{folder / MANIFEST} names the file '{name}', which may lie outside the bundle; {AGAIN}")
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} is missing from the bundle; {AGAIN}") from None
    except OSError as e:
        raise UserError(f"{path} cannot be read ({e.strerror or e}); check its permissions, or copy it again") from None


def _parse(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{folder / MANIFEST} is not readable as JSON ({e}); {AGAIN}") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{folder / MANIFEST} holds no JSON object; {AGAIN}")
    return manifest
