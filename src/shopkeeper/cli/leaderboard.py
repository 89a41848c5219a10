"""`python -m shopkeeper leaderboard`: what `evaluate` found, on the terminal, and where the rest lies."""

from __future__ import annotations

from pathlib import Path

import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import check_hashes, check_seal


def print_leaderboard(report: Path | None) -> None:
    """Print a report's leaderboard; by default that of `conf/pipeline.yaml`."""
    if report is None:
        plan = yaml.safe_load((configuration.main_folder() / "pipeline.yaml").read_text(encoding="utf-8"))
        report = Path("reports") / plan["dataset"] / plan["split"]
    if not (report / "leaderboard.txt").is_file():
        raise UserError(f"{report} holds no report; run `dvc repro` or `python evaluate.py`")
    if (report / MANIFEST).is_file():
        manifest, anew = read_json(report / MANIFEST), "run `python evaluate.py` again"
        check_seal(manifest, report / MANIFEST, anew, needed=False)
        check_hashes(report, {n: h for n, h in manifest["files"].items() if n == "leaderboard.txt"}, anew)
    print((report / "leaderboard.txt").read_text(encoding="utf-8"))
    print(f"report:            {report / 'report.html'}")
    print("MLflow comparison: make ui, then http://127.0.0.1:5000")
