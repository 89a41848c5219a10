"""`python -m shopkeeper verify <bundle>`."""

from __future__ import annotations

from pathlib import Path

from shopkeeper.errors import UserError


def print_verified(bundle: Path, approximate: bool = False) -> None:
    """Check hashes, replay the golden requests, print latency; a `UserError` when an answer differs."""
    from shopkeeper.bundles.answer.verify import verify

    found = verify(bundle, approximate=approximate)
    print(found)
    if not found.ok:
        raise UserError(f"{bundle}: {found.wrong[0]}; export it again")
