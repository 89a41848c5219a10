"""Logs as JSON lines, of what a service did: never of whom it was asked about, nor with what."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class AsJson(logging.Formatter):
    """One object a line: time, level, event, and what the record tells (`extra={"told": …}`)."""

    def format(self, record: logging.LogRecord) -> str:
        """Errors are named by kind and place; their messages may hold what a customer sent."""
        told = dict(vars(record).get("told") or {})
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = record.exc_info[0].__name__
            at = record.exc_info[2]
            while at is not None and at.tb_next is not None:
                at = at.tb_next
            if at is not None:
                told["at"] = f"{at.tb_frame.f_code.co_name}:{at.tb_lineno}"
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "level": record.levelname.lower(), "event": record.getMessage(), **told})


def to_stderr(level: int = logging.INFO) -> None:
    """Send this package's service logs to stderr, and no other line of the server's beside them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(AsJson())
    for name in ("shopkeeper.service", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
