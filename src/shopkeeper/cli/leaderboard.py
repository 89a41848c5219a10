"""`python -m shopkeeper leaderboard`: what `evaluate` found, on the terminal, and where the rest lies."""

from __future__ import annotations

from pathlib import Path

import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError


def print_leaderboard(report: Path | None) -> None:
    """Print a report's leaderboard; by default that of `conf/pipeline.yaml`."""
    if report is None:
        plan = yaml.safe_load((configuration.main_folder() / "pipeline.yaml").read_text(encoding="utf-8"))
        report = Path("reports") / plan["dataset"] / plan["split"]
    if not (report / "leaderboard.txt").is_file():
        raise UserError(f"{report} holds no report; run `dvc repro` or `python evaluate.py`")
    print((report / "leaderboard.txt").read_text(encoding="utf-8"))
    print(f"report:            {report / 'report.html'}")
    print("MLflow comparison: make ui, then http://127.0.0.1:5000")
