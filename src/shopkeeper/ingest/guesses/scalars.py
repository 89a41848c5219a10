"""Words of a YAML that is written for a person: scalars, and the mark of what somebody must decide."""

from __future__ import annotations

import re

DOUBT = "# DOUBT: "
SPECIAL = ("null", "true", "false", "yes", "no", "on", "off")


def quoted(text: str) -> str:
    """Text as a YAML scalar: bare where that is safe, else in double quotes."""
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in SPECIAL:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n")
    return f'"{escaped}"'
