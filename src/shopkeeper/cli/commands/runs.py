"""Commands about runs and reports: listed, read and compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from shopkeeper.cli.commands.adding import Add, share


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    one = command("runs", _runs, "list the trained runs with their headline")
    one.add_argument("words", nargs="*", metavar="WORD", help="only runs of that dataset, task, split, model or name")
    one.add_argument("--json", action="store_true", help="as JSON, with every figure's interval")
    one = command("leaderboard", _leaderboard, "print the leaderboard of a finished report")
    one.add_argument(
        "report", type=Path, nargs="?", help="report folder, or the dataset; default: the report written last"
    )
    one.add_argument("--pipeline", action="store_true", help="that of conf/pipeline.yaml, which `dvc repro` writes")
    one = command("compare", _compare, "compare two or more runs request by request")
    one.add_argument(
        "run_folders", type=Path, nargs="+", metavar="RUN", help="folder, or in short a model or a folder's name"
    )
    one.add_argument("--metric", help="default: the task's headline metric")
    one.add_argument("--part", default="test", choices=["test", "validation"])
    one.add_argument("--smallest-effect", type=float, default=0.003, help="smallest difference that matters")
    one.add_argument("--confidence", type=share, default=0.95, help="of the intervals; default: .95")
    one.add_argument("--test", default="randomisation", choices=["randomisation", "bootstrap"])


def _runs(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.runs import print_runs

    print_runs(arguments.words, arguments.json)


def _leaderboard(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.leaderboard import print_leaderboard

    print_leaderboard(arguments.report, arguments.pipeline)


def _compare(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.compare import print_comparison

    options = {k: getattr(arguments, k) for k in ("smallest_effect", "confidence", "test")}
    print_comparison(arguments.run_folders, arguments.metric, arguments.part, **options)
