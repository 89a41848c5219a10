"""The page of benchmarks: every claim of `benchmarks/results`, those that fall short first, and where each is from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from made.markdown import cell, code

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def page() -> str:
    """The page in Markdown."""
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    claims = [{**claim, "file": name} for name, result in results.items() for claim in result.get("claims", [])]
    short = [c for c in claims if not c["holds"] and c.get("kind") != "aim"]
    lines = ["# Benchmarks", "", "Made from `benchmarks/results/*.json`, which the scripts in `benchmarks/` write with",
             f"every repetition. Of {len(claims)} claims {len(short)} fall short of what was asked; they come first.",
             "A claim without a value could not be measured, and says why.", "",
             "| | claim | measured | asked for | by |", "|---|---|---:|---|---|"]  # fmt: skip
    lines += map(_claim, sorted(claims, key=lambda c: (c["holds"], c.get("kind") == "aim", c["issue"], c["file"])))
    lines += ["", "## Where it was measured", ""]
    for name, result in results.items():
        lines += [f"### {name}", "", *_origin(result), ""]
    return "\n".join(lines) + "\n"


def _claim(claim: dict[str, Any]) -> str:
    state = "holds" if claim["holds"] else "aim missed" if claim.get("kind") == "aim" else "**falls short**"
    value = "" if claim["value"] is None else f"{claim['value']:.4g}"
    asked = "" if claim.get("required") is None else f"{claim.get('sense', '')} {claim['required']:.4g}".strip()
    what = claim["what"] + (f" ({claim['reason']})" if claim.get("reason") else "")
    return f"| {state} | {cell(what)} | {value} | {asked} | [{claim['file']}](#{claim['file']}) |"


def _origin(result: dict[str, Any]) -> list[str]:
    machine = result.get("machine") or {}
    units = {"cpu": "{}", "cores": "{} cores", "memory_gib": "{} GiB", "gpu": "{}"}
    hardware = [unit.format(machine[name]) if machine.get(name) else "" for name, unit in units.items()]
    versions = ", ".join(f"{name} {number}" for name, number in (result.get("versions") or {}).items())
    lines = [code(str(result["command"])), "", f"{str(result['date'])[:10]}, {', '.join(filter(None, hardware))}."]
    lines += ["", f"Versions: {cell(versions)}."] if versions else []
    return lines + (["", cell(str(result["note"]))] if result.get("note") else [])


def figure(file: str, what: str) -> str:
    """The measured value of a claim, by the words it begins with, for the text of a page.

    >>> figure("sentences", "families with a false sentence, models-3,")
    '.0445'
    """
    result = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
    values = {claim["value"] for claim in result["claims"] if claim["what"].startswith(what)}
    values |= {r["median"] for r in result["rows"] if ", ".join((r["system"], r["dataset"], r["figure"])) == what}
    (value,) = values
    return f"{value:.3g}".removeprefix("0")
