"""What a table in memory is told in words of its own, where a log in files is told of files and of a config."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from shopkeeper.api.errors import plain_errors
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError, nearest
from shopkeeper.ingest.dataset_shape import shape
from shopkeeper.ingest.log import RejectedError
from shopkeeper.pipeline.preparing.orders import torn_line, without_orders

log = logging.getLogger(__name__)
IN_FILES = " (reader.decimal wrong?)"  # of numbers in a file
MISSING = r"missing: \{(\w+): (\[[^\]]*\])\}"  # as YAML has it; a call has an argument
ALLOWED = r"max_rejected_share: ([0-9.]+)"
NEGATIVE = "negative quantity"
ORDERS = "order= names the column that does; customer and time as one text make an order of them"
SENT_BACK = "; what was sent back is an event of its own: type='…', a column that says 'return' there"


def check_settings(of: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """A `UserError` for a setting that neither the call nor a dataset has, with the nearest of both."""
    own = [name for name, told in inspect.signature(of).parameters.items() if told.kind is told.KEYWORD_ONLY]
    for key in settings:
        if key not in shape():
            raise UserError(f"{of.__qualname__} has no argument '{key}'.{nearest(key, [*own, *shape()])}")


@contextmanager
def of_a_frame(call: str) -> Iterator[None]:
    """As `plain_errors`, and rows that are no events, and tables that match little, are said to be those of frames.

    `call`: what takes its settings; "": the log lies in files.
    """
    from shopkeeper.pipeline.preparing.data import of_frames

    before = of_frames.set(bool(call))
    try:
        with plain_errors():
            yield
    except RejectedError as e:
        if not call:
            raise
        back = SENT_BACK if NEGATIVE in e.share else ""
        said = f"row {e.first['row']:,} of the frame{e.what}; in all {e.share}".replace(IN_FILES, "")
        raise UserError(
            f"{said}: mend or drop them in the frame, or allow it with {call}(…, max_rejected_share=…), now "
            f"{e.allowed}{back}"
        ) from None
    finally:
        of_frames.reset(before)


def say_rejected(prepared: Prepared) -> None:
    """Once for each dataset: how many rows of a frame are no events, and why; what is doubtful about ids and orders."""
    for reason, n in (prepared.manifest.get("rejected") or {}).items():
        _warn_once(prepared.fingerprint, prepared.name, f"rows left out: {n:,} × {reason.replace(IN_FILES, '')} "
                   "(rejected() of the dataset shows them)")  # fmt: skip
    for doubt in prepared.manifest.get("id_doubts") or []:
        said = re.sub(ALLOWED, r"max_rejected_share=\1", re.sub(MISSING, r"missing={'\1': \2}", doubt))
        _warn_once(prepared.fingerprint, prepared.name, said)
    if share := without_orders(prepared):
        _warn_once(prepared.fingerprint, prepared.name, f"{torn_line(share)}; {ORDERS}")


@cache
def _warn_once(fingerprint: str, name: str, said: str) -> None:
    log.warning("%s: %s", name, said)
