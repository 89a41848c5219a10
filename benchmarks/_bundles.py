"""Bundles whose answers are timed, of this code and of the commit before the issue, and what they are asked.

The model is a SASRec that has learned next to nothing: its arithmetic is that of a trained one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _results import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.placements import Place
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.reranking.model import Reranked
from shopkeeper.reranking.placement import Placed
from shopkeeper.reranking.settings import Placement
from shopkeeper.timeline import SplitSettings
from tiny import tiny_prepared

LENGTH, WIDTH, CATEGORIES = 50, 64, 10
THEN = "6b88260"  # the last commit before the issue


def made(items: int, place: Path, by_category: bool = False) -> Path:
    """A bundle whose histories hold up to 50 events of `items` items, all of them known."""
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, items + 1, 30).tolist() for _ in range(40)]
    more = {"category": [f"c{i % CATEGORIES}" for i in range(items)]} if by_category else None
    prepared, split = tiny_prepared(place / "data", histories, n_items=items, catalogue=range(1, items + 1), items=more)
    model = SASRec(width=WIDTH, blocks=2, max_length=LENGTH, epochs=1)
    model.fit(prepared, split, Fit(progress=False))
    model.known_V[1:] = True  # also the many that no history had: else they would not be read
    places = None
    if by_category:
        placed = Placed(Reranked(model, [], split, False, 100, "placement=category: placement"))
        places = {"category": Place(Placement("category", split=SplitSettings(asks="category")), placed)}
    return export_bundle(model, prepared, split, MadeFrom(model="sasrec"), place / "bundle", golden=8, places=places)


class Then:
    """The bundle of then, in a process of its own on the same core."""

    def __init__(self, items: int, place: Path):
        source, folder = place / "then", place / "then" / "bundle"
        source.mkdir()
        archive = subprocess.run(["git", "archive", THEN, "src", "tests/tiny.py"], cwd=ROOT, check=True,
                                 capture_output=True)  # fmt: skip
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
        path = os.pathsep.join([str(source / "src"), str(source / "tests")])
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        shape = json.dumps({"items": items, "width": WIDTH, "length": LENGTH})
        command = [sys.executable, str(Path(__file__).with_name("serving_then.py"))]
        subprocess.run([*command, "make", str(folder), shape], env=env, check=True, stdout=subprocess.DEVNULL)
        self.loads = []
        for _ in range(3):
            self.process = subprocess.Popen([*command, "ask", str(folder), shape], env=env, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
            assert self.process.stdout is not None
            self.loads.append(float(json.loads(self.process.stdout.readline())["load_s"]))
            if len(self.loads) < 3:
                self.end()

    def take(self, what: str) -> float:
        """Milliseconds of `one` request, or of a `batch`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, 1, file=self.process.stdin, flush=True)
        return float(json.loads(self.process.stdout.readline())[0])

    def end(self) -> None:
        """Let the process go."""
        self.process.communicate()


def histories(rng: np.random.Generator, items: int, lengths: Sequence[int]) -> list[list[str]]:
    return [[f"i{i}" for i in rng.integers(1, items + 1, n)] for n in lengths]
