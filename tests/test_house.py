"""The rules of the house: which folder may know which. CONTRIBUTING.md has the same table in words."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "shopkeeper"
FLOOR = {
    "errors": 0, "configuration": 0, "ids": 0, "stopping": 0, "formats": 0, "startup": 0,  # the ground floor
    "unchanged": 0, "private_torch": 0, "bars": 0,
    "shapes": 0.05, "exchange": 0.06, "typed": 0.06,
    "folders": 0.05, "locks": 0.05, "files": 0.1, "hashing": 0.15, "closure": 0.16, "schema": 0.1, "timeline": 0.2,
    "data": 1, "nn": 1, "metrics": 1,
    "simulated": 1.05, "ingest": 1.1, "arrange": 1.2, "people": 1.3,  # from a shop's files to a prepared folder
    "splits": 2,
    "features": 2, "training": 2,
    "models": 2.4,  # what both families of models are to those who use them
    "programs": 2.5, "reranking": 2.5,
    "recommenders": 3, "customers": 3,
    "tasks": 3.5,
    "evaluation": 4,
    "campaigns": 4.2,
    "bundles": 4, "serving": 4.1,  # `serving` is the name by which serving teams import `bundles.answer`
    "service": 4.2,
    "tracking": 5, "tuning": 5,
    "pipeline": 6, "api": 6.5, "cli": 7, "__main__": 8, "__init__": 8,
}  # fmt: skip
KEPT_OUT = {
    "polars": {
        "nn",
        "training",
        "metrics",
        "recommenders",
        "data",
        "features",
        "models",
        "programs",
        "customers",
        "bundles",
        "serving",
    },
    "mlflow": set(FLOOR) - {"tracking"},
    "optuna": set(FLOOR) - {"tuning"},
    "torch": {
        "errors",
        "files",
        "schema",
        "timeline",
        "ingest",
        "arrange",
        "people",
        "splits",
        "simulated",
        "data",
        "features",
        "models",
        "programs",
        "serving",
        "service",
        "tracking",
    },
    "pickle": set(FLOOR),
}


def _room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def _imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "shopkeeper" else []
            found += [(node.lineno, name) for name in deeper or [node.module]]
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_folder_has_a_floor_and_every_floor_a_folder():
    assert {_room(p) for p in FILES} == set(FLOOR)


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_imports_run_downwards_only(room: str):
    wrong = []
    for path in (p for p in FILES if _room(p) == room):
        for line, name in _imports(path):
            parts = name.split(".")
            if parts[0] != "shopkeeper" or len(parts) == 1 or parts[1] in (room, "__version__"):
                continue
            if FLOOR[parts[1]] >= FLOOR[room]:
                wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {name}")
    assert not wrong


@pytest.mark.parametrize("library", sorted(KEPT_OUT))
def test_a_library_stays_out_of_the_rooms_that_must_run_without_it(library: str):
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in FILES
        if _room(path) in KEPT_OUT[library]
        for line, name in _imports(path)
        if name.split(".")[0] == library
    ]
    assert not wrong


def test_the_half_of_bundles_that_answers_knows_nothing_of_the_half_that_writes():
    below = SOURCE / "bundles" / "answer"
    kept_out = ("shopkeeper.bundles.write", "shopkeeper.recommenders", "shopkeeper.customers", "shopkeeper.training",
                "shopkeeper.nn", "torch", "onnx", "scipy", "sklearn", "lightgbm", "pandas")  # fmt: skip
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for path in FILES
        if path.is_relative_to(below)
        for line, name in _imports(path)
        if any(name == one or name.startswith(one + ".") for one in kept_out)
    ]
    assert not wrong


def test_files_of_tests_have_names_of_their_own():
    """pytest takes two of one name for one, and then runs none of them."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []


def test_importing_the_package_brings_in_no_torch_and_no_polars():
    code = "import sys, shopkeeper.cli.main; print([m for m in ('torch', 'polars', 'mlflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_nothing_executable_is_loaded_from_an_artifact():
    words = ("allow_pickle=True", "weights_only=False", "torch.load(", "yaml.load(", "joblib.load", "eval(")
    wrong = [
        f"{path.relative_to(SOURCE)}: {word}"
        for path in FILES
        for word in words
        if word in path.read_text(encoding="utf-8").replace(".eval(", "").replace("_eval(", "")
    ]
    assert not wrong


def test_no_task_is_named_where_every_task_is_served():
    tasks = [path.stem for path in (SOURCE / "tasks").glob("*.py") if path.stem not in ("__init__", "base", "find")]
    assert {"next_item", "churn"} <= set(tasks)
    words = {"orders", "spend", "propensity"}  # which mean something else, too: no text of this name
    own = {("evaluation/report/words.py", "orders"), ("evaluation/report/outreach.py", "orders"),
           ("evaluation/counterfactual/log.py", "propensity"),
           ("ingest/dataset_parts.py", "orders"), ("arrange/filters.py", "orders")}  # fmt: skip
    wrong = [
        f"{path.relative_to(SOURCE)} names {task}"
        for room in ("pipeline", "evaluation", "bundles", "tuning", "ingest", "arrange", "people", "splits")
        for path in sorted((SOURCE / room).rglob("*.py"))
        for task in tasks
        if (f'"{task}"' if task in words else task) in path.read_text(encoding="utf-8").lower()
        and (path.relative_to(SOURCE).as_posix(), task) not in own
    ]
    assert not wrong


# What may be asked whether it is there: never a model or a task, which say what they are (`models.about`).
ASKED = {
    "cli/doctor.py": {"sched_getaffinity"},  # of the system
    "training/batching/blocks.py": {"posix_fallocate"},
    "private_torch.py": {"_linear_pointwise", "_reorder_linear_weight", "_int_mm"},  # of the installed PyTorch
    "files.py": {"filename", "strerror", "errno"},  # of an error that may be any
    "stopping.py": {"number", "__notes__"},
    "tracking/__init__.py": {"error_code"},
    "tracking/calls.py": {"message"},
    "models/targets.py": {"_is_protocol"},  # of whatever a target names, before it is believed to be a model
}


def test_nothing_is_asked_by_hasattr_or_by_how_a_name_begins():
    wrong = []
    for path in FILES:
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) < 1:
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            of = node.args[-1 if called == "startswith" else min(1, len(node.args) - 1)]
            literal = of.value if isinstance(of, ast.Constant) else None
            if called == "startswith" and isinstance(literal, str) and literal.startswith("oracle"):
                wrong.append(f"{name}:{node.lineno} asks whether a name begins with {literal}")
            asks = called == "hasattr" or (called == "getattr" and literal is not None)
            if asks and literal not in ASKED.get(name, ()):
                wrong.append(f"{name}:{node.lineno} {called}(…, {literal!r})")
    assert not wrong


def test_private_operations_of_torch_stand_in_one_file():
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        if re.search(r"torch\.(_[a-z]|ops\.)", path.read_text(encoding="utf-8"))
    }
    assert found == {"private_torch.py"}


def test_no_folder_has_more_than_twenty_files_side_by_side():
    root = SOURCE.parents[1]
    places = [path.parent for place in (SOURCE, root / "tests") for path in place.rglob("*") if path.is_file()]
    places = [place for place in places if not {"__pycache__", "node_modules"} & set(place.parts)]
    assert {place.relative_to(root).as_posix(): n for place, n in Counter(places).items() if n > 20} == {}


def test_every_file_that_the_recipes_name_is_there():
    root = SOURCE.parents[1]
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+(?:\.py|/))`", (root / "CONTRIBUTING.md").read_text()))
    assert {"tests/test_every_model.py", "evaluation/rows/kinds.py", "pipeline/told.py"} <= named
    of_ones_own = {name for name in named if name.startswith(("data/raw/", "conf/"))}
    assert sorted(n for n in named - of_ones_own if not (root / n).exists() and not (SOURCE / n).exists()) == []


def test_every_file_that_a_docstring_or_a_comment_names_is_there():
    root = SOURCE.parents[1]
    files = [path for place in (SOURCE, root / "tests", root / "benchmarks") for path in place.rglob("*.py")]
    there = {path.relative_to(root).as_posix() for path in [*files, *root.glob("*.py"), *(root / "docs").rglob("*.py")]}
    ends = {name[at:] for name in there for at in [0, *(i + 1 for i, sign in enumerate(name) if sign == "/")]}
    wrong = []
    for path in files:
        names = r"(?<![\w/])(?:tests|benchmarks)/[\w/]+\.py" + (r"|(?<=`)[\w/]+\.py(?=`)" if path in FILES else "")
        named = re.findall(names, path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(root)} names {name}" for name in named if name not in ends]
    assert wrong == []


def test_no_circle_is_left_in_any_room_those_of_imports_in_functions_neither():
    files = {".".join(("shopkeeper", *p.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): p
             for p in FILES}  # fmt: skip
    knows: dict[str, set[str]] = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
        for_types = {inner for node in typed for inner in ast.walk(node)}
        found = [node for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom) and node.module and node not in for_types]  # fmt: skip
        names = {(node.module, alias.name) for node in found for alias in node.names}
        knows[module] = {f"{m}.{n}" if f"{m}.{n}" in files else str(m) for m, n in names} & set(files) - {module}

    def reached(module: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*knows[module]]
        while waiting:
            if (one := waiting.pop()) not in seen:
                seen.add(one)
                waiting += knows[one]
        return seen

    assert [module for module in knows if module in reached(module)] == []


def test_the_repository_holds_no_data_and_nothing_binary_but_pictures():
    root = SOURCE.parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a checkout of git")
    told = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    files = [name for name in told.split("\0") if name and (root / name).is_file()]
    assert len(files) > 1000
    tables = [name for name in files if name.endswith((".csv", ".tsv", ".jsonl"))]
    binary = [name for name in files if b"\0" in (root / name).read_bytes()]
    assert [name for name in tables + binary if not name.endswith(".png")] == []
