"""A killed `prepare` leaves nothing that looks finished, and running it again ends in the same bytes as ever."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.files import sha256_tree

ROOT = Path(__file__).parents[2]
KILLS = 10


def prepare_into(folder: Path) -> None:
    """The verb's work on a small shop."""
    from shopkeeper.pipeline.preparing.data import prepare_data
    from shopkeeper.pipeline.preparing.split import prepare_split
    from shopkeeper.pipeline.told import Prepare, settings

    words = ["dataset.simulate.customers=300", f"paths.prepared={folder}", "tracking=none", "progress=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = settings(compose("prepare", words), Prepare)
    prepare_split(config, prepare_data(config))


def start(folder: Path) -> int:
    """`prepare_into` in a child of this warm process; its id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            prepare_into(folder)
            code = 0
        finally:
            os._exit(code)
    return pid


def status(pid: int) -> int:
    """How a child ended: its exit code, minus the signal's number when it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def look(folder: Path) -> dict[str, Any]:
    """Everything below a folder: hashes of all files (manifests, too) and the target hashes."""
    timelines = sorted(folder.glob("*/splits/*/timeline.json"))
    hashes = [json.loads(path.read_text())["target_hash"] for path in timelines]
    return {"files": sha256_tree(folder, skip=frozenset()), "target_hash": hashes}


def main(place: Path) -> None:
    """One undisturbed run, then ten that are killed and run again; a JSON line for each."""
    import shopkeeper.arrange.prepare
    import shopkeeper.simulated
    import shopkeeper.splits.write  # noqa: F401 (imported once here, not in every child)

    began = time.monotonic()
    assert status(start(place / "undisturbed")) == 0
    whole = time.monotonic() - began
    print(json.dumps(look(place / "undisturbed")), flush=True)
    draw = random.Random(7)
    for i in range(KILLS):
        folder = place / f"kill-{i}"
        moment = draw.random() * whole
        pid = start(folder)
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        ended = status(pid)
        finished = sorted(str(p.relative_to(folder)) for p in folder.glob("*/manifest.json"))
        left = [p.name for p in folder.glob("*") if p.name.startswith(".")]
        assert status(start(folder)) == 0
        print(json.dumps({"ended": ended, "finished": finished, "left": left, **look(folder)}), flush=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the undisturbed run left, then what each killed and repeated one did."""
    place = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, str(Path(__file__)), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_most_of_the_ten_kills_hit_a_run_under_way(runs: list[dict[str, Any]]):
    ended = [run["ended"] for run in runs[1:]]
    assert len(ended) == KILLS
    assert ended.count(-signal.SIGKILL) >= KILLS // 2, f"exit codes {ended}"
    assert any(run["left"] for run in runs[1:]), "no kill hit a half-written folder"


def test_ten_killed_runs_run_again_end_in_the_same_target_hash_and_bytes(runs: list[dict[str, Any]]):
    undisturbed = runs[0]
    assert len(undisturbed["files"]) > 15
    assert len(undisturbed["target_hash"]) == 1
    for i, run in enumerate(runs[1:]):
        assert run["target_hash"] == undisturbed["target_hash"], f"kill {i}"
        assert run["files"] == undisturbed["files"], f"kill {i}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
