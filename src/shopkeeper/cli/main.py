"""`shopkeeper <command>`: the verbs, and one small function per further command; imports happen when one runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from shopkeeper import __version__, startup
from shopkeeper.errors import nearest
from shopkeeper.pipeline.shell.entry import one_line_errors
from shopkeeper.pipeline.shell.verbs import VERBS, run_verb

UPLOADS = (
    "klaviyo",
    "mailchimp",
    "brevo",
    "omnisend",
    "meta",
    "google",
    "braze",
    "segment",
    "csv",
)  # of campaigns.upload
SERVICE = {  # of service.limits
    "body": "bytes of a body", "history": "events of a request", "requests": "requests of a body",
    "waiting": "requests that wait; a further one gets 429", "arrive": "seconds in which a body must have come; 0: any",
    "together": "requests answered in one call",
    "reload": "seconds between looks for a newer bundle; 0: never", "drain": "seconds that a stopping one waits",
}  # fmt: skip
TARGETS = ("triton", "int8", "fp16", "two_steps", "faiss", "usearch")
FROM_INDEX = "answer from the bundle's index (`target faiss | usearch`), which may miss items of the exact lists"
Command = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; user errors end in one line and exit code 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in VERBS:  # Hydra reads the rest of the line, and logs for itself
        run_verb(words[0], words[1:])
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser, commands = command_parser()
    first = next((w for w in words if not w.startswith("-")), None)
    if first is not None and first not in commands:
        print(f"error: there is no command '{first}'.{nearest(first, [*commands, *VERBS])}", file=sys.stderr)
        sys.exit(1)
    arguments = parser.parse_args(words)
    startup.ready_arrow()
    with one_line_errors():
        arguments.run(arguments)


def command_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of every command that is no verb, and the names of those commands."""
    verbs = "\n".join(f"  {verb:<20}  {text}" for verb, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="shopkeeper",
        description=f"verbs (settings as key=value, `shopkeeper <verb> --help` lists them):\n{verbs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"shopkeeper {__version__}")
    sub = parser.add_subparsers(title="commands", required=True)

    def command(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        one = sub.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    command("compose", _compose, "write the resolved config of every stage into data/composed (a DVC stage)")
    command("inputs", _inputs, "note raw files and the code of every stage in data/inputs (a DVC stage)")
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
    one.add_argument("--confidence", type=_share, default=0.95, help="of the intervals; default: .95")
    one.add_argument("--test", default="randomisation", choices=["randomisation", "bootstrap"])
    one = command("counterfactual", _counterfactual, "what another policy would have earned, from logged exposures")
    one.add_argument("log", type=Path, help="Parquet or CSV: reward, action, propensity, target and more; see the file")
    one.add_argument("--uniform", action="store_true", help="the other policy shows all actions alike")
    one.add_argument("--resamples", type=int, default=2000)
    one = command("plan-test", _plan_test, "customers and days that an online test needs, from a run's variance")
    one.add_argument("run_folder", type=Path, metavar="RUN")
    one.add_argument("--effect", type=float, required=True, help="smallest difference to see, in units of the metric")
    one.add_argument("--per-day", type=float, required=True, help="new customers in the test per day, both arms")
    one.add_argument("--metric", help="default: the task's headline metric")
    one.add_argument("--correlation", type=float, default=0.0, help="with the CUPED covariate")
    one.add_argument("--share", type=_share, default=0.5, help="of customers in treatment")
    one.add_argument("--power", type=_share, default=0.8)
    one.add_argument("--level", type=_share, default=0.05)
    one = command("read-test", _read_test, "read an online test out: sample ratio, CUPED, sequential interval")
    one.add_argument("file", type=Path, help="Parquet or CSV: value, treated, user_id, covariate or not")
    one.add_argument(
        "--rows", default="mean", choices=["mean", "sum"], help="of the values of a customer with several rows"
    )
    one.add_argument("--planned", type=int, help="customers of both arms in the plan; fixed before the test")
    one.add_argument("--share", type=_share, default=0.5, help="of customers in treatment, as planned")
    one.add_argument("--level", type=_share, default=0.05)
    one = command("new-dataset", _new_dataset, "look at a file and write a first dataset YAML, with its doubts")
    one.add_argument("file", type=Path, help="a file, a folder of files, or a pattern in quotes ('exports/2*.csv')")
    one.add_argument("--name", help="of the dataset; default: the file's or the folder's")
    one.add_argument("--out", type=Path, help="where to write; default: conf/dataset/<name>.yaml")
    one = command(
        "upload-file", _upload_file, "a list of customers as a file that a tool for mail or advertising takes"
    )
    one.add_argument("list", type=Path, help="folder of an audience, or CSV or Parquet with user_id: scores, …")
    one.add_argument(
        "contacts", type=Path, help="CSV or Parquet: user_id, consent, email, phone, …; kept beside the data"
    )
    one.add_argument("--tool", required=True, choices=UPLOADS)
    one.add_argument("--to", type=Path, required=True, help="the file to write")
    one.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="only those; may be repeated")
    one.add_argument("--traits", nargs="*", help="columns of the list that go into the file; default: all")
    one.add_argument("--overwrite", action="store_true", help="replace an earlier file of that name")
    one = command(
        "read-audience", _read_audience, "what the messages of audiences did, from their arms and the log since"
    )
    one.add_argument("audiences", type=Path, nargs="+", metavar="AUDIENCE", help="folders of `shopkeeper audience`")
    one.add_argument(
        "--data", type=Path, help="prepared dataset with what came since; default: data/prepared/<dataset>"
    )
    one.add_argument("--days", type=float, help="of the window from the audience's instant; default: as its YAML says")
    one.add_argument("--contact-cost", type=float, help="of a message; default: as the card says")
    one.add_argument("--level", type=_share, default=0.05)
    one.add_argument("--to", type=Path, help="file to write, .json or .md")
    command("formats", _formats, "print what every file that the verbs write holds, as docs/formats.md says it")
    one = command("erased", _erased, "prove that a customer is gone from everything that was made")
    one.add_argument("user", help="the customer's external id")
    one.add_argument("--root", type=Path, default=Path("."), help="folder that holds data, models, reports, exports")
    one = command("completion", _completion, "print what makes the shell's tab key complete `shopkeeper …`")
    one.add_argument("shell", choices=["bash", "zsh", "line"], help='eval "$(shopkeeper completion bash)" in ~/.bashrc')
    one.add_argument("typed", nargs="?", default="", help="with `line`, which the shell calls: what was typed so far")
    one = command("clean", _clean, "remove what the verbs have made (prepared data, runs, reports, …), and that alone")
    one.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    one = command("doctor", _doctor, "print what this machine has and how fast training runs on it")
    one.add_argument("--seconds", type=float, default=10.0, help="length of the training check; 0 leaves it out")
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
    one.add_argument("--confidence", type=_share, default=0.95)
    one.add_argument("--smallest-effect", type=float, default=0.003, help="smallest difference that matters")
    one = command("verify", _verify, "check a bundle's hashes, replay its golden requests, measure latency")
    one.add_argument("bundle", type=Path)
    one.add_argument("--approximate", action="store_true", help=FROM_INDEX)
    return parser, list(sub.choices)


def _share(text: str) -> float:
    """A number between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _compose(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.stages.compose import compose_stages

    for path in compose_stages():
        print(path)


def _inputs(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.stages.inputs import write_inputs

    write_inputs()


def _leaderboard(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.leaderboard import print_leaderboard

    print_leaderboard(arguments.report, arguments.pipeline)


def _runs(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.runs import print_runs

    print_runs(arguments.words, arguments.json)


def _compare(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.compare import print_comparison

    options = {k: getattr(arguments, k) for k in ("smallest_effect", "confidence", "test")}
    print_comparison(arguments.run_folders, arguments.metric, arguments.part, **options)


def _counterfactual(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_counterfactual

    print_counterfactual(arguments.log, arguments.uniform, arguments.resamples)


def _plan_test(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_plan

    options = {k: getattr(arguments, k) for k in ("correlation", "power", "level")}
    print_plan(
        arguments.run_folder, arguments.metric, arguments.effect, arguments.per_day,
        treatment_share=arguments.share, **options,
    )  # fmt: skip


def _read_test(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.experiments import print_readout

    print_readout(arguments.file, arguments.planned, arguments.share, arguments.level, arguments.rows)


def _new_dataset(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.new_dataset import write_dataset_yaml

    write_dataset_yaml(arguments.file, arguments.out, arguments.name)


def _erased(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.erased import print_erased

    print_erased(arguments.user, arguments.root)


def _completion(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.completion import completed, script

    if arguments.shell != "line":
        print(script(arguments.shell), end="")
        return
    parsers = subcommands()
    for word in completed(arguments.typed, parsers):
        print(word)


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """The commands that are no verb, and the parser of each."""
    parser, _ = command_parser()
    (sub,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(sub.choices)


def _clean(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.clean import clean

    clean(arguments.dry_run)


def _formats(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.formats import page

    print(page(), end="")


def _upload_file(arguments: argparse.Namespace) -> None:
    from shopkeeper.pipeline.upload import write_upload_file

    a = arguments
    write_upload_file(a.list, a.contacts, a.tool, a.to, a.where, a.traits, a.overwrite)


def _answer(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.answer import answer_from_shell

    options = {k: getattr(arguments, k) for k in ("as_of", "k", "filter_seen", "per_part", "overwrite")}
    answer_from_shell(arguments.bundle, arguments.events, arguments.to, arguments.approximate, **options)


def _serve(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.serve import serve

    limits = {name: value for name in SERVICE if (value := vars(arguments).get(name)) is not None}
    serve(arguments.bundle, arguments.host, arguments.port, arguments.approximate, **limits)


def _read_audience(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.read_audience import read_audiences

    a = arguments
    read_audiences(a.audiences, a.data, a.days, a.contact_cost, a.to, a.level)


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


def _doctor(arguments: argparse.Namespace) -> None:
    from shopkeeper.cli.doctor import print_doctor

    print_doctor(arguments.seconds)
