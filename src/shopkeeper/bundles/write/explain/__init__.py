"""What a bundle says of itself, for people and for programs: README, card, statement, JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.wire import request_schema, response_schema
from shopkeeper.bundles.write.explain.card import card
from shopkeeper.bundles.write.explain.readme import readme
from shopkeeper.bundles.write.explain.statement import statement
from shopkeeper.files import write_json, write_text


def explain(
    folder: Path, manifest: Mapping[str, Any], words: Mapping[str, Any], golden: Sequence[Mapping[str, Any]]
) -> None:
    """Write them beside the model, before the manifest is sealed over all of them."""
    columns = list((words.get("table") or {}).get("columns", ()))
    write_json(folder / "request.schema.json", request_schema(manifest, columns))
    write_json(folder / "response.schema.json", response_schema(manifest))
    write_text(folder / "card.md", card(manifest))
    write_text(folder / "statement.md", statement(manifest, columns))
    _write_readme(folder, manifest, words, golden)


def explain_further(folder: Path, manifest: Mapping[str, Any], told: Iterable[str]) -> None:
    """What is told of a bundle that was made of another one, behind the card of that and a README of its own."""
    section = "\n".join(told) + "\n"
    words, known = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("vocabulary", "golden")
    )
    write_text(folder / "card.md", (folder / "card.md").read_text(encoding="utf-8") + section)
    _write_readme(folder, manifest, words, known["requests"], section)


def _write_readme(
    folder: Path, manifest: Mapping[str, Any], words: Mapping[str, Any], golden: Sequence[Mapping[str, Any]],
    section: str = "",
) -> None:  # fmt: skip
    files = [path.name for path in folder.iterdir()]
    write_text(folder / "README.md", readme(manifest, files, golden, words["known"]) + section)
