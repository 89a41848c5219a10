"""Result files of the benchmarks, in one form: what was run, where, on which commit, every repetition, every claim.

`python benchmarks/<name>.py` ends with `write_result("<name>", rows, claims)`; `make claims` reads the files.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("numpy", "torch", "pytorch-lightning", "polars", "duckdb", "pyarrow", "scikit-learn", "lightgbm")


def row(system: str, dataset: str, figure: str, unit: str, values: Iterable[float]) -> dict[str, Any]:
    """One measured figure with every repetition and their median."""
    repetitions = [float(v) for v in values]
    return {"system": system, "dataset": dataset, "figure": figure, "unit": unit, "values": repetitions,
            "median": statistics.median(repetitions)}  # fmt: skip


def at_most(issue: str, what: str, value: float, required: float, kind: str | None = None) -> dict[str, Any]:
    """A claim that holds when the value is no larger than required; `kind="aim"` for what goes beyond an issue."""
    return _claim(issue, what, value, required, value <= required, "at most", kind)


def at_least(issue: str, what: str, value: float, required: float, kind: str | None = None) -> dict[str, Any]:
    """A claim that holds when the value is no smaller than required."""
    return _claim(issue, what, value, required, value >= required, "at least", kind)


def not_had(issue: str, what: str, required: float, reason: str) -> dict[str, Any]:
    """A claim that could not be measured: the peer, the data or the machine could not be had."""
    return {"issue": issue, "what": what, "value": None, "required": required, "holds": False, "reason": reason}


def of_before(name: str, anew: Collection[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and claims of the result file about other models than these, each row with where it comes from.

    Of rows the system ends with the model's name; a claim names its model as a word.
    """
    rows, claims = of_file(name)
    kept = [r for r in rows if r["system"].split()[-1] not in anew]
    return kept, [c for c in claims if not set(re.findall(r"\w+", c["what"])) & set(anew)]


def of_file(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and claims of the result file, each row with where it comes from; none where there is no file yet."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return [], []
    result = json.loads(path.read_text(encoding="utf-8"))
    origin = {k: result[k] for k in ("command", "commit", "date", "note") if k in result}
    return [{"measured": origin, **r} for r in result["rows"]], result["claims"]


def write_result(
    name: str,
    rows: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    *,
    versions: Mapping[str, str] | None = None,
    gpu: str | None = None,
    note: str | None = None,
    more: Mapping[str, Any] | None = None,
    folder: Path = RESULTS,
) -> Path:
    """Write `benchmarks/results/<name>.json`; `versions` adds those of peers in environments of their own.

    `more`: further keys of the file.
    """
    result = (
        {
            "name": name,
            "command": " ".join(
                ["python", _relative(sys.argv[0]), *(_relative(a) if "/" in a else a for a in sys.argv[1:])]
            ),
            "commit": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", "--", "src") else ""),
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "memory_gib": _memory_gib(), "gpu": gpu},
            "versions": {"python": platform.python_version(), **_installed(), **(versions or {})},
            "rows": rows,
            "claims": claims,
        }
        | ({"note": note} if note else {})
        | dict(more or {})
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    for claim in claims:
        mark = "holds" if claim["holds"] else "FAILS"
        print(f"{mark}  {claim['what']}: {claim['value']} (required: {claim.get('sense', '')} {claim['required']})")
    return path


def _claim(
    issue: str, what: str, value: float, required: float, holds: bool, sense: str, kind: str | None
) -> dict[str, Any]:
    claim = {"issue": issue, "what": what, "value": float(value), "required": float(required), "sense": sense,
             "holds": bool(holds)}  # fmt: skip
    return claim | ({"kind": kind} if kind else {})


def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _relative(path: str) -> str:
    try:
        return Path(path).resolve().relative_to(ROOT).as_posix()
    except ValueError:
        return Path(path).name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
