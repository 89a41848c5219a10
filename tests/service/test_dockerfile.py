"""The Dockerfile's steps, taken without Docker: what it copies installs alone; its entry point answers and stops."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from servers.ports import free_port
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.recency import Recency
from tiny import tiny_prepared

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Dockerfile").read_text().splitlines()


def steps(word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in LINES if line.startswith(f"{word} ")]


def test_what_is_copied_is_there_and_nothing_else_is_sent_to_the_build():
    copied = {name for line in steps("COPY") for name in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert sent == copied
    assert steps("USER") == ["service"]  # not root


def test_its_page_mounts_the_folder_above_the_bundle_so_that_a_newer_export_is_seen():
    (run,) = (line for line in LINES if line.startswith("# Run: "))
    (mounted,) = re.findall(r"-v \$PWD/exports:(\S+):ro ", run)
    assert Path(run.split()[-1]).parent == Path(mounted)


@pytest.mark.slow
def test_its_steps_make_a_service_that_answers_says_that_it_is_well_and_ends_when_told(tmp_path: Path):
    source, place = tmp_path / "src", tmp_path / "environment"
    for line in steps("COPY"):
        *names, to = line.split()
        for name in names:
            target = tmp_path / to.lstrip("/") / ("" if (ROOT / name).is_dir() else name)
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
                )
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (install,) = (line for line in steps("RUN") if "pip install" in line)
    words = install.partition(" && ")[0].replace("/src", str(source)).replace("python", str(place / "bin/python"), 1)
    subprocess.run(f"{words} --quiet", shell=True, check=True, cwd=tmp_path)

    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(tmp_path / "tiny", histories, n_items=12)
    model = Recency()
    model.fit(prepared, split, Fit())
    bundle = export_bundle(model, prepared, split, MadeFrom(model="recency"), tmp_path / "bundle", golden=5)
    port = free_port()
    (entry,) = (json.loads(line) for line in steps("ENTRYPOINT"))
    entry = [str(place / "bin" / entry[0]), *entry[1:], str(bundle)]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    service = subprocess.Popen(
        [*entry, "--port", str(port)], env=clean, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        (health,) = re.findall(r"CMD (\[.*\])", "\n".join(steps("HEALTHCHECK")))
        check = [sys.executable, *(w.replace("8000", str(port)) for w in json.loads(health)[1:])]
        end = time.monotonic() + 120
        while subprocess.run(check, capture_output=True, check=False).returncode:
            assert service.poll() is None, service.stderr.read() if service.stderr else ""
            assert time.monotonic() < end
            time.sleep(0.2)
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/v1/answer", json.dumps({"history": ["i2"]}).encode(),
                                     {"Content-Type": "application/json"})  # fmt: skip
        with urllib.request.urlopen(ask) as answer:
            assert json.loads(answer.read())["items"][0]["item_id"] == "i2"
    finally:
        service.send_signal(signal.SIGTERM)
        _, logged = service.communicate(timeout=60)
    assert service.returncode in (0, -signal.SIGTERM)
    events = [json.loads(line)["event"] for line in logged.splitlines()]
    assert {"started", "answered", "stopped"} <= set(events)
