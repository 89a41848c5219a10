"""Every claim of benchmarks/results as one table, those that fall short first: `make claims`."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def claims() -> list[dict]:
    found = []
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found += [{**claim, "result": path.stem} for claim in result.get("claims", [])]
    return sorted(found, key=lambda c: (c["holds"], c.get("kind") == "aim", c["issue"], c["result"]))


def line(claim: dict) -> str:
    state = "holds" if claim["holds"] else ("aim missed" if claim.get("kind") == "aim" else "FALLS SHORT")
    value = "not measured" if claim["value"] is None else f"{claim['value']:.4g}"
    reason = f" ({claim['reason']})" if claim.get("reason") else ""
    required = f"{claim.get('sense', 'required')} {claim['required']:.4g}" if claim.get("required") is not None else ""
    return f"{state:<11}  {claim['issue']:<10}  {claim['what']}: {value}, {required}{reason}  [{claim['result']}]"


def main() -> None:
    found = claims()
    for claim in found:
        print(line(claim))
    short = [c for c in found if not c["holds"] and c.get("kind") != "aim"]
    print(f"\n{len(found)} claims, {len(short)} fall short")


if __name__ == "__main__":
    main()
