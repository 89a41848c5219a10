"""What answers from a bundle needs NumPy, and ONNX Runtime for a graph: no torch, no PyArrow, and 190 MB on a disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from tiny import tiny_prepared

ROOT = Path(__file__).parents[2]
MOST = 190  # MB that the serving extra takes
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in (
            'torch', 'polars', 'pyarrow', 'pandas', 'sklearn', 'scipy', 'onnx', 'onnxruntime', 'mlflow', 'lightgbm',
            'hydra', 'omegaconf', 'duckdb',
        ):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocked())
"""
IN_PYTHON = """
from shopkeeper.serving import Bundle, verify
found = verify(sys.argv[1])
assert found.ok, found.wrong
print(len(Bundle.load(sys.argv[1]).recommend([['i1']], k=2)[0]))
"""
ON_THE_COMMAND_LINE = "from shopkeeper.cli.main import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("alone")
    prepared, split = tiny_prepared(place, [[1, 2, 3, 1], [2, 3, 1, 2]] * 5, n_items=4)
    model = Popularity()
    model.fit(prepared, split, Fit(progress=False))
    return export_bundle(model, prepared, split, MadeFrom(model="popularity"), place / "bundle", golden=5)


def alone(code: str, *words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", ALONE + code, *words], input=told, capture_output=True, text=True,
                          env=os.environ, check=False)  # fmt: skip


def test_python_and_the_command_line_answer_where_only_numpy_is_installed(bundle: Path, tmp_path: Path) -> None:
    done = alone(IN_PYTHON, str(bundle))
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    done = alone(ON_THE_COMMAND_LINE, "verify", str(bundle))
    assert done.returncode == 0, done.stderr
    assert "all as the trained model answers" in done.stdout + done.stderr
    done = alone(ON_THE_COMMAND_LINE, "answer", str(bundle), told='{"history": ["i1"], "k": 2}\n')
    assert len(json.loads(done.stdout)["items"]) == 2, done.stderr
    (tmp_path / "events.parquet").touch()
    done = alone(ON_THE_COMMAND_LINE, "answer", str(bundle), "--events", str(tmp_path / "events.parquet"), "--to",
                 str(tmp_path / "answers"))  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: pyarrow is not installed: `pip install pyarrow`\n")


def needed(requirements: list[str], extras: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Distributions that `pip install` would bring, by name, with all that they ask for here."""
    found: dict[str, Any] = {}
    for one in map(Requirement, requirements):
        name = canonicalize_name(one.name)
        told = [{"extra": extra} for extra in extras or {""}]
        if name not in found and (one.marker is None or any(one.marker.evaluate(where) for where in told)):
            found[name] = distribution(name)
            found |= needed(found[name].requires or [], frozenset(one.extras))
    return found


def test_the_extra_for_serving_takes_at_most_190_mb() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = needed([*project["dependencies"], *project["optional-dependencies"]["serving"]])
    assert {"numpy", "onnxruntime"} <= set(found)
    assert not {"torch", "pyarrow"} & set(found)
    files = {Path(one.locate_file(file)) for one in found.values() for file in one.files or ()}
    files |= {file for file in (ROOT / "src/shopkeeper").rglob("*") if "__pycache__" not in file.parts}
    taken = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    assert 100 < taken <= MOST
