"""Is anything torn or lost when a command is killed? Every verb, at random moments, by SIGTERM, SIGINT and SIGKILL.

`python benchmarks/kills.py` kills 60 commands on a small simulated shop, runs each again and compares what it leaves
with what an undisturbed one left; it writes `benchmarks/results/kills.json`. `--kills N` makes fewer, writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import ROOT, at_least, at_most, row, write_result

SHOP = ["dataset.simulate.customers=150", "evaluation.resamples=50", "progress=false", "tracking=none"]
NET = ["model=sasrec", "model.width=16", "model.blocks=1", "model.epochs=8", "model.max_length=10", "trainer=cpu"]
STAGES = {  # verb and words; what each needs is made before, undisturbed
    "prepare": ["prepare", *SHOP[:1], "progress=false"],
    "train popularity": ["train", *SHOP, "model=popularity", "hydra.run.dir=run"],
    "train sasrec": ["train", *SHOP, *NET, "hydra.run.dir=run"],
    "evaluate": ["evaluate", *SHOP, "runs=[made]", "out=page"],
    "export": ["export", "run=made", "name=bundle"],
}  # fmt: skip
LEFT = {"prepare": "data/prepared", "evaluate": "page", "export": "exports"}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


def start(words: list[str], place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / f"{words[0]}.py"), *words[1:]]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def whole(place: Path) -> bool:
    """Whether every finished folder has all the files that its manifest names."""
    for manifest in place.rglob("manifest.json"):
        if any(part.startswith(".") for part in manifest.relative_to(place).parts):
            continue
        files = json.loads(manifest.read_text()).get("files") or {}
        if not all((manifest.parent / name).is_file() for name in files):
            return False
    return True


def figures(place: Path) -> str:
    """What the command found, without times and places."""
    names = ("metrics.json", "leaderboard.json", "weights.safetensors", "weights.npz", "item.npy", "offsets.npy")
    files = [p for p in sorted(place.rglob("*")) if p.name in names and p.parent.name != "made"]
    kept = [p for p in files if not any(part.startswith(".") for part in p.relative_to(place).parts)]
    return str([(str(p.relative_to(place)), p.read_bytes()) for p in kept])


def main(kills: int) -> None:
    draw, rows, bad = random.Random(11), {}, {"torn": 0, "exit": 0, "again": 0, "other": 0}
    hit = 0
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        base.mkdir()
        for words in (STAGES["prepare"], [*STAGES["train popularity"][:-1], "hydra.run.dir=made"]):
            assert start(words, base).wait() == 0
        right, seconds = {}, {}
        for stage, words in STAGES.items():
            place = fresh(base, Path(name) / "whole", stage)
            began = time.monotonic()
            assert start(words, place).wait() == 0, stage
            seconds[stage], right[stage] = time.monotonic() - began, figures(place)
        for number in range(kills):
            stage, sent = list(STAGES)[number % len(STAGES)], SIGNALS[number // len(STAGES) % len(SIGNALS)]
            place = fresh(base, Path(name) / "killed", stage)
            process = start(STAGES[stage], place)
            time.sleep(draw.uniform(0.3, 1.0) * seconds[stage])
            process.send_signal(sent)
            said, code = process.communicate()[1], process.returncode
            hit += code != 0
            bad["exit"] += code not in (0, -sent, 128 + sent) or "Traceback" in said
            bad["torn"] += not whole(place)
            again = start(STAGES[stage], place)
            said = again.communicate()[1]
            bad["again"] += again.returncode != 0
            bad["other"] += again.returncode == 0 and figures(place) != right[stage]
            rows.setdefault((stage, sent.name), []).append(float(code))
            print(number, stage, sent.name, code, bad, said[-300:] if again.returncode else "", flush=True)
    claims = [
        at_least("trust", "kills of verbs and stages", kills, 60),
        at_least("trust", "of them, those that hit a command under way", hit, kills / 2),
        at_most("trust", "folders that look finished and are not", bad["torn"], 0),
        at_most("trust", "exit codes other than 0, 128 + signal, or tracebacks", bad["exit"], 0),
        at_most("trust", "commands that did not run again", bad["again"], 0),
        at_most("trust", "commands that ended in other figures when run again", bad["other"], 0),
    ]
    if kills >= 60:
        found = [row(f"{stage}, {sent}", "demo_shop", "exit code", "", codes) for (stage, sent), codes in rows.items()]
        write_result("kills", found, claims)


def fresh(base: Path, place: Path, stage: str) -> Path:
    """A project in which the stage has not run yet."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place)
    if stage in LEFT:
        shutil.rmtree(place / LEFT[stage], ignore_errors=True)
    return place


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    main(parser.parse_args().kills)
