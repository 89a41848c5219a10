"""`python -m shopkeeper leaderboard`: what `evaluate` found, on the terminal, and where the rest lies."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from shopkeeper import configuration
from shopkeeper.errors import UserError
from shopkeeper.files import read_json
from shopkeeper.folders import MANIFEST
from shopkeeper.hashing import check_hashes, check_seal
from shopkeeper.pipeline.comparing.addresses import addresses
from shopkeeper.pipeline.shell.terminal import tinted

BOARD = "leaderboard.txt"


def print_leaderboard(report: Path | None, pipeline: bool = False) -> None:
    """Print a report's leaderboard: of a folder, a dataset, `conf/pipeline.yaml`, else of the one written last."""
    root = Path("reports")
    if pipeline:
        plan = yaml.safe_load((configuration.main_folder() / "pipeline.yaml").read_text(encoding="utf-8"))
        report = root / plan["dataset"] / plan["split"]
    elif report is None:
        report = _written_last(root)
    elif not (report / BOARD).is_file() and len(report.parts) <= 2:  # dataset, or dataset/split
        report = _written_last(root / report)
    if not (report / BOARD).is_file():
        raise UserError(f"{report} holds no report; run `dvc repro` or `shopkeeper evaluate`")
    if (report / MANIFEST).is_file():
        manifest, anew = read_json(report / MANIFEST), "run `shopkeeper evaluate` again"
        check_seal(manifest, report / MANIFEST, anew, needed=False)
        check_hashes(report, {n: h for n, h in manifest["files"].items() if n == BOARD}, anew)
    print(tinted((report / BOARD).read_text(encoding="utf-8")))
    print(f"report:            {report / 'report.html'}")
    said = read_json(report / MANIFEST) if (report / MANIFEST).is_file() else {}
    for task, address in addresses(said, os.environ.get("MLFLOW_TRACKING_URI", "")).items():
        print(f"MLflow, {task}: {address}")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        print("(`make ui`, or `mlflow ui --backend-store-uri sqlite:///mlflow.db`, shows it there)")


def _written_last(root: Path) -> Path:
    """The report below a folder whose board is the newest; the folder itself where there is none."""
    boards = [*root.glob(BOARD), *root.glob(f"*/{BOARD}"), *root.glob(f"*/*/{BOARD}")]
    return max(boards, key=lambda path: path.stat().st_mtime).parent if boards else root
