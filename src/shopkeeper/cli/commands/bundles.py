"""Commands about bundles: asked, served, made for another target, promoted, verified."""

from __future__ import annotations

import argparse
from pathlib import Path

from shopkeeper.cli.commands.adding import Add, share

SERVICE = {  # of service.limits
    "body": "bytes of a body", "history": "events of a request", "requests": "requests of a body",
    "waiting": "requests that wait; a further one gets 429", "arrive": "seconds in which a body must have come; 0: any",
    "together": "requests answered in one call",
    "reload": "seconds between looks for a newer bundle; 0: never", "drain": "seconds that a stopping one waits",
}  # fmt: skip
TARGETS = ("triton", "int8", "fp16", "two_steps", "faiss", "usearch")
FROM_INDEX = "answer from the bundle's index (`target faiss | usearch`), which may miss items of the exact lists"


def add(command: Add) -> None:
    """Add these commands and their arguments."""
    one = command("answer", _answer, "ask a bundle: JSON lines from stdin to stdout, or a file of customers to Parquet")
    one.add_argument("bundle", type=Path)
    one.add_argument("--events", type=Path, help="Parquet: user_id and columns of events, a customer's rows together")
    one.add_argument("--to", type=Path, help="folder of the answers; one that was begun is gone on with")
    one.add_argument("--as-of", help="the instant that is asked about, e.g. 2026-03-01")
    one.add_argument("--k", type=int, help="items wanted; default: as many as the bundle gives")
    one.add_argument("--filter-seen", action=argparse.BooleanOptionalAction, help="leave out items of the history")
    one.add_argument("--per-part", type=int, default=50_000, help="customers in a file; default: 50,000")
    one.add_argument("--overwrite", action="store_true", help="replace other answers in that folder")
    one.add_argument("--approximate", action="store_true", help=FROM_INDEX)
    one = command("serve", _serve, "put a bundle behind HTTP: JSON, OpenAPI at /docs, Prometheus' figures at /metrics")
    one.add_argument("bundle", type=Path)
    one.add_argument("--host", default="127.0.0.1")
    one.add_argument("--port", type=int, default=8000)
    one.add_argument("--approximate", action="store_true", help=FROM_INDEX)
    for name, text in SERVICE.items():
        kind = float if name in ("arrive", "reload", "drain") else int
        one.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=text)
    one = command("target", _target, "a bundle for Triton, in fewer bits, in two steps, or with an index of its items")
    one.add_argument("kind", choices=TARGETS)
    one.add_argument("bundle", type=Path)
    one.add_argument("--to", type=Path, required=True, help="the folder to write")
    one.add_argument(
        "--of", type=Path, metavar="RUN", help="run that it was made of, by folder or in short; its test tells the cost"
    )
    one.add_argument("--batch", type=int, default=64, help="of Triton: requests that it puts together at most")
    one.add_argument("--instances", type=int, default=1, help="of Triton: copies of each model")
    one.add_argument("--gpu", action="store_true", help="of Triton: run the graph on a GPU")
    one.add_argument("--overwrite", action="store_true", help="replace what was made there of another model")
    one = command("promote", _promote, "let MLflow's challenger become champion if nothing speaks against it")
    one.add_argument("name", help="the registered model, <dataset>-<task>")
    one.add_argument("--rollback", action="store_true", help="make the previous champion the champion again")
    one.add_argument("--uri", help="MLflow's address; default: MLFLOW_TRACKING_URI, or mlflow.db here")
    one.add_argument("--calibration", type=float, default=0.01, help="by how much its calibration error may be larger")
    one.add_argument("--latency", type=float, default=1.5, help="times the champion's processor time, at most")
    one.add_argument("--size", type=float, default=2.0, help="times the champion's bytes, at most")
    one.add_argument("--confidence", type=share, default=0.95)
    one.add_argument("--smallest-effect", type=float, default=0.003, help="smallest difference that matters")
    one = command("verify", _verify, "check a bundle's hashes, replay its golden requests, measure latency")
    one.add_argument("bundle", type=Path)
    one.add_argument("--approximate", action="store_true", help=FROM_INDEX)


def _answer(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.answer import answer_from_shell

    options = {k: getattr(arguments, k) for k in ("as_of", "k", "filter_seen", "per_part", "overwrite")}
    answer_from_shell(arguments.bundle, arguments.events, arguments.to, arguments.approximate, **options)


def _serve(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.serve import serve

    limits = {name: value for name in SERVICE if (value := vars(arguments).get(name)) is not None}
    serve(arguments.bundle, arguments.host, arguments.port, arguments.approximate, **limits)


def _target(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.target import write_target

    write_target(**{k: v for k, v in vars(arguments).items() if k != "run"})


def _promote(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.promote import promote_model

    gates = {k: getattr(arguments, k) for k in ("calibration", "latency", "size", "confidence", "smallest_effect")}
    promote_model(arguments.name, arguments.rollback, arguments.uri, gates)


def _verify(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.verify import print_verified

    print_verified(arguments.bundle, arguments.approximate)
