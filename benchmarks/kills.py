"""Is anything torn or lost when a command is killed? Every verb, at random moments, by SIGTERM, SIGINT and SIGKILL.

`python benchmarks/kills.py` kills 60 commands on small shops and writes `benchmarks/results/kills.json`. Half of them
die after a random share of the time that the undisturbed command took, half just before a random one of its changes on
disk (a file opened to be written, a rename, a removal): those moments are few, and the ones that matter. Half of them
find nothing under the name of their result, half an earlier result. After each kill:

- nothing is torn: each folder under a final name is whole, by its manifest's hashes, or says that it is unfinished;
- nothing is lost: whatever else lay there has the same bytes, other people's files among it, and where an earlier
  result lay there is one still;
- the exit code is true: 128 + signal (or the signal itself), 0 only where the command had come to its end;
- the next run is right: it ends with 0 and leaves what two undisturbed runs left alike, to the byte.

One process has everything imported and forks for each verb; DVC runs as a program of its own, with its stage.
`--kills N --stages a,b` makes others, `--json` prints a line for each and writes no result file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from _killed import SIGNALS, Ended, House, Moment
from _results import ROOT, at_least, at_most, row, write_result

SHOP = ["dataset.simulate.customers=150", "evaluation.resamples=50", "progress=false", "tracking=none"]
NET = ["model=sasrec", "model.width=16", "model.blocks=1", "model.epochs=8", "model.max_length=10", "trainer=cpu"]
DAYS = ["prepare", "dataset=online_retail", "progress=false", "paths.raw=raw", "split.validation_days=1",
        "split.test_days=1"]  # fmt: skip
RUN = "hydra.run.dir=run"


class Stage(NamedTuple):
    """A command, the folder that it leaves, and further words for another result that may lie there before."""

    words: list[str]
    kind: str = "run"
    left: str = "run"
    earlier: tuple[str, ...] = ("seed=2",)


STAGES = {
    "prepare": Stage(
        ["prepare", *SHOP[:1], "progress=false", "prepared_folder=data/prepared/new"],
        "prepared", "data/prepared/new", (SHOP[0].replace("150", "120"),),
    ),
    "extend": Stage(
        [*DAYS, "dataset.raw.files=[day1.csv,day2.csv]", "extend=data/prepared/days",
         "prepared_folder=data/prepared/new"],
        "prepared", "data/prepared/new", ("dataset.raw.files=[day1.csv,day3.csv]",),
    ),
    "train popularity": Stage(["train", *SHOP, "model=popularity", RUN]),
    "train sasrec": Stage(["train", *SHOP, *NET, RUN]),
    "train churn": Stage(["train", *SHOP, "model=lightgbm", RUN]),
    "tune": Stage(
        ["tune", *SHOP, "model=item_knn", "tuning.trials=5", "tuning.heartbeat_seconds=1", "tuning.name=search"],
        "study", "studies/search", ("tuning.trials=2",),
    ),
    "evaluate": Stage(["evaluate", *SHOP, "runs=[made,other]", "out=page"], "report", "page", ("report.seed=1",)),
    "export": Stage(["export", "run=made", "name=bundle"], "bundle", "exports/bundle", ("k=5",)),
    "recommend": Stage(["recommend", "run=made", "history=[p1,p2]"]),
    "dvc repro": Stage(
        ["dvc", "repro", "-s", "train@popularity"], "run", "runs/demo_shop/next_item/temporal/popularity", (),
    ),
}  # fmt: skip
MINE = ("mine.txt", "data/prepared/mine.txt", "exports/mine.txt", "studies/mine.txt", "run/mine.log")
REGISTRY = "mlflow.db"
HEAD = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"


def make_base(house: House) -> None:
    """What the stages need: raw files, prepared data, finished runs, other people's files."""
    house.place.mkdir()
    (house.place / "raw/online-retail-ii-2009-2010").mkdir(parents=True)
    for day in (1, 2, 3):
        times = [f"2010-01-{4 * day + i // 20:02d} 08:{i:02d}:00" for i in range(60)]
        rows = [f"{day}{i},P{i % (3 * day)},mug,1,{t},2.5,1{i % 9},France\n" for i, t in enumerate(times)]
        (house.place / f"raw/online-retail-ii-2009-2010/day{day}.csv").write_text(HEAD + "".join(rows))
    for words in (
        ["prepare", *SHOP[:1], "progress=false"],
        [*DAYS, "dataset.raw.files=[day1.csv]", "prepared_folder=data/prepared/days"],
        ["train", *SHOP, "model=popularity", "hydra.run.dir=made"],
        ["train", *SHOP, "model=recency", "hydra.run.dir=other"],
    ):
        ended = house.run(words, learn=True)
        assert ended.code == 0, (words, ended.said)
    for name in MINE:
        (house.place / name).parent.mkdir(parents=True, exist_ok=True)
        (house.place / name).write_text(f"{name} is mine\n")


def make_clone(house: House) -> None:
    """The same for DVC: a project with the stages before the one that is killed."""
    house.place.mkdir()
    for name in ("conf", "dvc.yaml", "inputs/dvc.yaml", "prepare.py", "train.py", "src"):
        (house.place / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, house.place / name)
    plan = {"dataset": "demo_shop", "split": "temporal", "seed": 1, "models": {"popularity": "next_item"},
            "export": "popularity", "tune": [], "overrides": SHOP}  # fmt: skip
    (house.place / "conf/pipeline.yaml").write_text(json.dumps(plan))
    (house.place / ".dvc").mkdir()
    (house.place / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    ended = house.run(["dvc", "repro", "prepare"])
    assert ended.code == 0, ended.said + ended.out


def bytes_below(folder: Path) -> dict[str, str]:
    """Name -> hash of every file that is no temporary one."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    names = {p.relative_to(folder).as_posix(): p for p in sorted(files)}
    shown = {
        n: p for n, p in names.items() if not any(x.startswith(".") for x in n.split("/")) and "/__pycache__" not in n
    }
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in shown.items()}


def torn(folder: Path, kind: str) -> str | None:
    """What is wrong with a folder under a final name: it looks finished and is not, or holds what is in no manifest."""
    from shopkeeper.errors import UserError
    from shopkeeper.files import UNFINISHED, check_target
    from shopkeeper.hashing import same_bytes

    try:
        check_target(folder, kind)
    except UserError as e:
        return str(e)
    manifests = [*folder.rglob("manifest.json"), *folder.glob("splits/*/timeline.json")]
    for manifest in manifests:
        if (manifest.parent / UNFINISHED).exists():
            continue
        for name, digest in (json.loads(manifest.read_text()).get("files") or {}).items():
            if not (manifest.parent / name).is_file() or not same_bytes(manifest.parent / name, digest):
                return f"{manifest.parent / name} is not what {manifest} says"
    return None


def finished(folder: Path) -> bool:
    """Whether a result lies there."""
    return (folder / "manifest.json").exists()


def attempt(house: House, stage: Stage, base: Path, right: Mapping[str, str], moment: Moment) -> dict[str, Any]:
    """One kill: where it came, and what is wrong after it."""
    fresh(house, base)
    folder, before = house.place / stage.left, bytes_below(house.place)
    had = finished(folder)
    killed = house.run(stage.words, moment)
    found: dict[str, Any] = {"code": killed.code, "seconds": killed.seconds, "wrong": []}
    wrong: list[tuple[str, str]] = found["wrong"]
    if killed.code not in ((0, -moment.sent, 128 + moment.sent) if stage.words[0] != "dvc" else range(-64, 256)):
        wrong.append(("exit", f"exit code {killed.code}: {killed.said[-300:]}"))
    if killed.code == 0 and not finished(folder) and stage.words[0] != "recommend":
        wrong.append(("exit", "exit code 0 and no result"))
    if killed.code == 0 and killed.changes:
        wrong.append(("exit", f"exit code 0, though the signal came before change {killed.changes}"))
    if "Traceback" in killed.said:
        wrong.append(("exit", killed.said[-1500:]))
    if folder.exists() and (said := torn(folder, stage.kind)):
        wrong.append(("torn", said))
    if (
        had and not finished(folder) and stage.words[0] != "dvc"
    ):  # DVC takes outputs away first and keeps them in its cache
        wrong.append(("lost", f"the earlier {stage.left}"))
    after = bytes_below(house.place)
    # The registry of models gets a version before an export is over; what it must not is go.
    gone = [
        n for n, h in before.items()
        if not _in_result(n, stage) and (n not in after if n == REGISTRY else after.get(n) != h)
    ]  # fmt: skip
    wrong += [("lost", name) for name in gone]
    if stage.kind == "study":
        time.sleep(3.5)  # a trial that was silent for three heartbeats is tried again
    again = house.run(stage.words)
    if again.code != 0:
        wrong.append(("again", again.said[-600:]))
    else:
        wrong += [("again", said) for said in differences(right, result_of(house, stage, again))]
        if folder.exists() and (said := torn(folder, stage.kind)):
            wrong.append(("again", said))
    return found


def _in_result(name: str, stage: Stage) -> bool:
    """Whether a file may change: it is part of the result, or DVC's note of it. A person's log is not."""
    return (name.startswith(f"{stage.left}/") and name not in MINE) or name in ("dvc.lock", "inputs/dvc.lock")


def result_of(house: House, stage: Stage, ended: Ended) -> dict[str, str]:
    """What a finished command leaves: its folder's files and what it printed (`recommend` leaves nothing else)."""
    if stage.words[0] == "recommend":
        return {"printed": ended.out}
    found = bytes_below(house.place / stage.left)
    if stage.kind == "study":
        kept = json.loads((house.place / stage.left / "trials.json").read_text())
        done = sorted(str((t["value"], t["params"])) for t in kept if t["state"] == "complete")
        lines = (house.place / stage.left / "best.yaml").read_text().splitlines()
        return {"best.yaml": str([x for x in lines if not x.startswith("#")]), "complete": str(done)}
    return found


def differences(right: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of what is missing, left over or other than in an undisturbed run; '' in `right` stands for any content."""
    over = [f"{name} is left over" for name in found.keys() - right.keys()]
    return over + [f"{n} differs or is missing" for n, h in right.items() if n not in found or (h and found[n] != h)]


def fresh(house: House, base: Path) -> None:
    """The folder as it was before the command."""
    shutil.rmtree(house.place, ignore_errors=True)
    shutil.copytree(base, house.place, symlinks=True)


class Known(NamedTuple):
    """A stage's two beginnings (nothing, or an earlier result, under its name), and what it does undisturbed."""

    bases: list[Path]
    right: dict[str, str]
    seconds: float
    changes: list[int]  # from each beginning: a search that goes on makes fewer than one that begins


def know(house: House, name: str, stage: Stage, base: Path) -> Known:
    """Make an earlier result; then run a stage undisturbed, twice: what differs between the two is not compared."""
    bases = [base]
    if stage.earlier:
        fresh(house, base)
        ended = house.run([*(w for w in stage.words if w.partition("=")[0] != stage.earlier[0].partition("=")[0]),
                           *stage.earlier], learn=True)  # fmt: skip
        assert ended.code == 0, (name, ended.said)
        bases.append(house.top / f"{name}-over")
        shutil.copytree(house.place, bases[-1], symlinks=True)
    results = []
    for learn in (True, False):
        fresh(house, base)
        ended = house.run(stage.words, learn=learn)
        assert ended.code == 0, (name, ended.said)
        results.append(result_of(house, stage, ended))
    right = {n: h if results[1].get(n) == h else "" for n, h in results[0].items()}
    changes = [ended.changes]
    for over in bases[1:]:
        fresh(house, over)
        upon = house.run(stage.words)
        assert upon.code == 0, (name, upon.said)
        changes.append(upon.changes)
    return Known(bases, right, ended.seconds, changes)


def main(kills: int, names: list[str], say_json: bool, all_changes: bool) -> None:
    """Kill, look, run again; see the top."""
    draw, results, wrong = random.Random(11), [], {"torn": 0, "lost": 0, "exit": 0, "again": 0}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        top = Path(folder).resolve()
        house, known = House(top), {}
        make_base(house)
        house.place.rename(top / "base")
        if "dvc repro" in names:
            make_clone(house)
            house.place.rename(top / "clone")
        for name in names:
            known[name] = know(house, name, STAGES[name], top / ("clone" if name == "dvc repro" else "base"))
        order = [(turn, i) for turn in range(kills) for i, name in enumerate(names) if name != "dvc repro" or turn < 3]
        for number, (turn, number_of) in enumerate(order[:kills]):
            name = names[number_of]
            stage, about = STAGES[name], known[name]
            sent, which = SIGNALS[(turn + number_of) % len(SIGNALS)], turn % len(about.bases)
            timed = (turn // len(SIGNALS) + number_of) % 2 == 0 and not all_changes
            timed = timed or not about.changes[which]  # DVC, and `recommend`, which writes nothing
            moment = Moment(sent, draw.uniform(0.03, about.seconds) if timed else None,
                            None if timed else draw.randint(1, about.changes[which]))  # fmt: skip
            found = attempt(house, stage, about.bases[which], about.right, moment)
            for fault in {kind for kind, _ in found["wrong"]}:
                wrong[fault] += 1
            results.append({"stage": name, "signal": sent.name, "earlier": which, **moment._asdict(), **found})
            print(json.dumps(results[-1]) if say_json else f"{number:3} {name}, {moment}: {found}", flush=True)
    if say_json:
        return
    hit = sum(r["code"] != 0 for r in results)
    claims = [
        at_least("trust", "kills of verbs and stages", kills, 60),
        at_least("trust", "of them, those that hit a command under way", hit, kills / 2),
        at_most("trust", "kills after which a folder looks finished and is not", wrong["torn"], 0),
        at_most("trust", "kills after which something else is lost or changed", wrong["lost"], 0),
        at_most("trust", "exit codes other than 128 + signal, 0 without a result, or tracebacks", wrong["exit"], 0),
        at_most("trust", "kills after which the next run fails or leaves something else", wrong["again"], 0),
    ]
    if kills >= 60:
        rows = []
        for name in names:
            about = known[name]
            rows.append(row(name, "tiny shops", "undisturbed, with all imported", "s", [about.seconds]))
            rows += [
                row(f"{name}, {sent.name}", "tiny shops", "exit code", "", codes)
                for sent in SIGNALS
                if (codes := [r["code"] for r in results if (r["stage"], r["signal"]) == (name, sent.name)])
            ]
        write_result("kills", rows, claims)


if __name__ == "__main__":
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "POLARS_MAX_THREADS": "1", "HYDRA_FULL_ERROR": "1"})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stages", default=",".join(STAGES), help="some of: " + ", ".join(STAGES))
    parser.add_argument("--json", action="store_true", help="print a line of JSON per kill, write no result file")
    parser.add_argument("--changes", action="store_true", help="no kill by the clock, all before a change on disk")
    arguments = parser.parse_args()
    main(arguments.kills, arguments.stages.split(","), arguments.json, arguments.changes)
