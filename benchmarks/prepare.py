"""How fast, and in how much memory, a CSV log becomes arrays to train from: this project, plain scripts, three peers.

    python benchmarks/prepare.py                   # measure what is not measured yet, write results/prepare.json
    python benchmarks/prepare.py --fresh           # forget earlier measurements (data/bench/runs.jsonl) first
    python benchmarks/prepare.py --plain           # without the peers: results/prepare_plain.json
    python benchmarks/prepare.py --plain replay    # with some of them
    python benchmarks/prepare_systems.py NAME      # one system in this process; peers in .venv-<peer>

The log: 10 million rows (user, item, time, type, price; text ids) of 200,000 users and 50,000 items whose popularity
falls as (rank + 20)^-0.9, in time order. The steps: read CSV, 5-core, encode ids, sort by user and time, write arrays
and id tables. Each system runs in a process of its own with two threads, in turn; times exclude imports; memory is the
peak of the process. `shopkeeper` is shown three times: the listed steps alone, the same with every check of a row, and
everything that `prepare` does: checks, `events.parquet`, hashes, a leave-one-out split and its audit. The engines of
one machine (arrays, the default; polars and duckdb, which run Spark's plan) read, check, filter, number and sort a log
of 2 million rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from _log import DATA, ROOT, ROWS, THREADS, generate
from _training import environment
from prepare_systems import ENGINES

RUNS = DATA / "runs.jsonl"
BIG = 100_000_000
OURS = ("shopkeeper", "shopkeeper-checked", "shopkeeper-everything")
PLAIN = ("polars", "duckdb")
ENGINE_ROWS = 2_000_000
PEERS = {"rectools": 2, "replay": 4, "recbole": 2}  # repetitions: they are slow


def in_process(name: str, rows: int) -> dict:
    python = str(ROOT / f".venv-{name}" / "bin" / "python") if name in PEERS else sys.executable
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), str(THREADS))
    command = [python, str(Path(__file__).with_name("prepare_systems.py")), name, "--rows", str(rows)]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    found = {"system": name, "rows": rows, **json.loads(done.stdout.strip().splitlines()[-1])}
    with RUNS.open("a") as file:
        file.write(json.dumps(found) + "\n")
    print(
        f"{name:22s} {rows:,} rows {found['seconds']:.2f} s {found['peak_gib']:.2f} GiB {found['stages']}", flush=True
    )
    return found


def measured() -> dict[tuple[str, int], list[dict]]:
    found: dict[tuple[str, int], list[dict]] = {}
    for line in RUNS.read_text().splitlines() if RUNS.is_file() else []:
        run = json.loads(line)
        found.setdefault((run["system"], run["rows"]), []).append(run)
    return found


def everything(rows: int, big: int, repetitions: int, peers: list[str], note: str | None) -> None:
    generate(rows)
    there = [name for name in peers if environment(name)]
    wanted = dict.fromkeys((*OURS, *PLAIN), repetitions) | {name: PEERS[name] for name in there}
    for repetition in range(repetitions):  # in turn, so that a busy spell of the machine hits all alike
        for name, times in wanted.items():
            if repetition < times and len(measured().get((name, rows), [])) <= repetition:
                in_process(name, rows)
    generate(ENGINE_ROWS)
    for repetition in range(repetitions):
        for name in ENGINES:
            if len(measured().get((f"engine={name}", ENGINE_ROWS), [])) <= repetition:
                in_process(f"engine={name}", ENGINE_ROWS)
    if big and ("shopkeeper-everything", big) not in measured():
        generate(big)
        in_process("shopkeeper-everything", big)
    report(rows, big, peers, note)


def report(rows: int, big: int, peers: list[str], note: str | None) -> None:
    from _results import at_least, at_most, not_had, row, write_result

    found = measured()
    out = []
    for (name, n), runs in found.items():
        dataset = f"{n:,} rows of CSV"
        out.append(row(name, dataset, "time", "s", [r["seconds"] for r in runs]))
        out.append(row(name, dataset, "processor time", "s", [r["cpu_seconds"] for r in runs]))
        out.append(row(name, dataset, "peak memory", "GiB", [r["peak_gib"] for r in runs]))
        for stage in runs[0]["stages"]:
            out.append(row(name, dataset, f"time of stage: {stage}", "s", [r["stages"][stage] for r in runs]))
    kept = {name: runs[0]["kept"] for (name, n), runs in found.items() if n == rows}
    assert len({tuple(k) for k in kept.values()}) == 1, f"the systems keep different rows, users, items: {kept}"
    time_ = {r["system"]: r["median"] for r in out if r["figure"] == "time" and r["dataset"] == f"{rows:,} rows of CSV"}
    peak = {name: max(r["peak_gib"] for r in runs) for (name, n), runs in found.items() if n == rows}
    plain = min(time_[name] for name in PLAIN)
    ours = time_["shopkeeper-everything"]
    issue = "events"
    claims = [
        at_most(issue, "10 million rows, listed steps without validation, times the faster plain script",
                time_["shopkeeper"] / plain, 1.3),
        at_most(issue, "10 million rows, listed steps with validation, times the faster plain script",
                time_["shopkeeper-checked"] / plain, 2.0),
        at_most(issue, "10 million rows, everything (validation, events.parquet, hashes, split, audit), times the "
                "faster plain script", ours / plain, 2.0),
        at_most("door", "10 million rows, everything, times the faster plain script", ours / plain, 1.0),
    ]  # fmt: skip
    texts = {
        "recbole": ("times as fast as RecBole, everything on", 5.0),
        "rectools": ("times as fast as RecTools, everything on", 1.0),
        "replay": ("times as fast as RePlay, everything on", 1.0),
    }
    for name, (text, required) in texts.items():
        if name not in peers:
            continue
        if name in time_:
            claims.append(at_least(issue, f"10 million rows, {text}", time_[name] / ours, required))
        else:
            claims.append(not_had(issue, f"10 million rows, {text}", required, f"no environment .venv-{name}"))
    if "replay" in time_:
        claims.append(at_least("door", "10 million rows, times as fast as RePlay, everything on",
                               time_["replay"] / ours, 2.0))  # fmt: skip
    if "recbole" in peak:
        claims.append(at_most(issue, "10 million rows, peak memory over RecBole's, everything on",
                              peak["shopkeeper-everything"] / peak["recbole"], 1 / 3))  # fmt: skip
    elif "recbole" in peers:
        claims.append(
            not_had(issue, "10 million rows, peak memory over RecBole's", 1 / 3, "no environment .venv-recbole")
        )
    large = found.get(("shopkeeper-everything", big))
    if large:
        per_row = large[0]["peak_gib"] / big / (peak["shopkeeper-everything"] / rows)
        claims.append(at_most(issue, f"{big:,} rows on 2 cores, peak memory, GiB", large[0]["peak_gib"], 16))
        claims.append(at_most("door", f"{big:,} rows, everything, peak memory, GiB", large[0]["peak_gib"], 4.5))
        claims.append(at_most(issue, f"peak memory per row, {big:,} over {rows:,} rows", per_row, 1))
    else:
        claims.append(not_had(issue, f"{big:,} rows on 2 cores, peak memory, GiB", 16, "not run"))
        claims.append(not_had("door", f"{big:,} rows, everything, peak memory, GiB", 4.5, "not run"))
    for figure, key in (("processor time", "cpu_seconds"), ("peak memory", "peak_gib")):
        of = {name: [r[key] for r in found.get((f"engine={name}", ENGINE_ROWS), [])] for name in ENGINES}
        if all(of.values()):
            ours, *others = (median(values) for values in of.values())
            what = f"{ENGINE_ROWS:,} rows, {figure} of engine=arrays over the better of polars and duckdb"
            claims.append(at_most(issue, what, ours / min(others), 1, kind="aim"))
    versions = {name: runs[0]["version"] for (name, _), runs in found.items() if name in PEERS}
    name = "prepare" if len(peers) == len(PEERS) else "prepare_plain"
    write_result(name, out, claims, versions=versions, note=note)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--big", type=int, default=BIG, help="rows of the large run; 0: none")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--plain", nargs="*", choices=PEERS, metavar="PEER", help="without the peers but these")
    parser.add_argument("--note", help="what the result says of the machine, e.g. that it was busy")
    A = parser.parse_args()
    if A.fresh:
        RUNS.unlink(missing_ok=True)
    everything(A.rows, A.big, A.repetitions, list(PEERS) if A.plain is None else A.plain, A.note)
