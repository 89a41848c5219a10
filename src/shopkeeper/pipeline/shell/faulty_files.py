"""Which file that a command chose is at fault, where what is raised does not say so: no UTF-8, no settings, no name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shopkeeper import configuration


def file_at_fault(words: Sequence[str]) -> str | None:
    """One line about the first file of configuration among those that words such as `dataset=shop` choose."""
    for path in _chosen(words):
        if said := _fault(path):
            return f"{path}{said}"
    return None


def _chosen(words: Sequence[str]) -> Iterator[Path]:
    for word in words:
        if told := re.fullmatch(r"\+?([a-z_]+)=([\w,.-][\w,./-]*)", word):
            group, names = told.groups()
            yield from (path for name in names.split(",") if (path := configuration.find(group, name)))


def _fault(path: Path) -> str | None:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as e:
        return f" is not written in UTF-8 (its byte {e.start + 1:,}); save it as UTF-8"
    except yaml.reader.ReaderError as e:
        return f" holds a character that no text has (#x{e.character:02x}, at {e.position + 1:,}); take it out"
    except yaml.YAMLError:
        return None  # which says where
    except ValueError as e:  # such as 2010-02-31
        return f" holds a date or time that there is not ({e}); mend it, or write it in quotes"
    dataset = path.parent.name == "dataset"
    if found is None and not dataset:
        return None  # an experiment may change nothing
    if not isinstance(found, Mapping):
        return " holds no settings; write lines such as `name: value`"
    for key, text in _texts(found):
        if not _can_be_filled_in(text):
            return (
                f": {key} is {text!r:.80}, and ${{ begins what is filled in; write \\${{ where it is meant as it stands"
            )
    if dataset and not {"name", "defaults"} & set(found):
        return f" has no name; write `name: {path.stem}`"
    return None


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text below a node that has something to fill in, with its key."""
    if isinstance(node, str):
        yield from [(key, node)] if "${" in node else []
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)


def _can_be_filled_in(text: str) -> bool:
    from omegaconf import OmegaConf

    try:
        OmegaConf.create({"text": text})
    except Exception:  # of its grammar, or of the parser below that
        return False
    return True
