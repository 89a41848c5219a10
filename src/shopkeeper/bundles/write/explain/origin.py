"""Where a bundle comes from, for its manifest: data, their licence, period, consent and erasures; versions."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from shopkeeper import __version__
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.data.prepared import Prepared
from shopkeeper.programs.base import Program
from shopkeeper.timeline import iso


def told_of(prepared: Prepared, run: MadeFrom) -> dict[str, Any]:
    """Of the data that the run was trained on."""
    config = prepared.manifest.get("config") or {}
    consent = config.get("consent")
    basis = "none stated: no consent table was applied"
    if consent:
        as_of = consent.get("as_of") or "each cutoff"
        basis = f"purpose \u201c{consent.get('purpose')}\u201d, of those whose consent was in force as of {as_of}"
    timed = prepared.events.timestamp is not None and len(prepared.events.item) > 0
    return {
        **{key: prepared.manifest.get(key) or config.get(key) for key in ("title", "source", "licence")},
        "currency": run.currency,
        "period": [iso(t) for t in prepared.span] if timed else None,
        "trained_until": run.trained_until,
        "consent": basis,
        "erasure_list": prepared.erasure_list,
    }


def made_with(program: Program) -> dict[str, str]:
    """Versions of what wrote it."""
    names = ("numpy", "torch", "onnx", "onnxruntime") if program.module is not None else ("numpy",)
    return {"shopkeeper": __version__, "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in names}}  # fmt: skip
