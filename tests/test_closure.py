"""What a module's code depends on is told from the source: the file, all it imports, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shopkeeper import closure, hashing

SASREC = "shopkeeper.recommenders.networks.sasrec"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package whose files may be edited."""
    copy = tmp_path / "shopkeeper"
    shutil.copytree(closure.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    monkeypatch.setattr(closure, "PACKAGE", copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_here", {})
    return copy


def test_a_model_depends_on_what_it_imports_directly_or_not_and_on_no_other_model(package: Path):
    files = set(closure.code_of(SASREC))
    assert {
        "recommenders/networks/sasrec.py",
        "nn/networks/sasrec.py",
        "nn/attention.py",
        "training/module.py",
        "files.py",
    } <= files
    assert {"__init__.py", "nn/__init__.py"} <= files
    assert not {f for f in files if f.startswith("customers/")}
    assert "recommenders/item_pairs/ease.py" not in files
    assert "nn/networks/sasrec.py" not in closure.code_of("shopkeeper.recommenders.item_pairs.ease")


def test_an_edit_of_code_is_seen_and_named_and_one_of_a_comment_is_not(package: Path):
    before, bytes_before = closure.code_of(SASREC), closure.source_of(SASREC)
    source = package / "nn/networks/sasrec.py"
    text = source.read_text()
    assert text.startswith('"""')
    source.write_text('"""Another docstring. ' + text[3:].replace("\n\n\n", "\n\n\n# a comment\n", 1))
    assert closure.code_of(SASREC) == before
    assert closure.differences(bytes_before, closure.source_of(SASREC)) == "nn/networks/sasrec.py"
    source.write_text(text.replace("F.relu(", "F.gelu("))
    assert closure.differences(before, closure.code_of(SASREC)) == "nn/networks/sasrec.py"


def test_a_new_file_counts_once_it_is_imported_also_within_a_function(package: Path):
    before = closure.code_of(SASREC)
    (package / "nn/other.py").write_text("X = 1\n")
    assert closure.code_of(SASREC) == before
    with open(package / "nn/dropout.py", "a") as file:
        file.write("\n\ndef late():\n    from shopkeeper.nn import other\n\n    return other\n")
    assert closure.differences(before, closure.code_of(SASREC)) == "nn/dropout.py, nn/other.py"


def test_a_model_of_the_users_own_counts_with_what_it_imports_from_here(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "own_model_of_a_user.py").write_text("from shopkeeper.recommenders.item_pairs.ease import EASE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"own_model_of_a_user.py", "recommenders/item_pairs/ease.py"} <= set(closure.code_of("own_model_of_a_user"))
    assert closure.code_of("no_such_module") == {}


def test_files_of_the_users_own_that_such_a_model_imports_count_and_libraries_do_not(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mine = tmp_path / "mine"
    (mine / "parts").mkdir(parents=True)
    files = {
        "mine/__init__.py": "raise SystemExit('nothing is imported to be looked at')\n",
        "mine/model.py": "import json, torch, numpy.linalg\nfrom .parts import gate\nfrom . import sizes\n"
        "from own_helpers_of_a_user import scale\n",
        "mine/sizes.py": "WIDTH = 8\n",
        "mine/parts/__init__.py": "",
        "mine/parts/gate.py": "from ..deeper import one\n",
        "mine/deeper.py": "one = 1\n",
        "mine/alone.py": "nobody = 'imports this'\n",
        "own_helpers_of_a_user.py": "import own_numbers_of_a_user.first\n",
        "own_numbers_of_a_user/first.py": "two = 2\n",  # a folder without __init__.py is a package, too
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = closure.code_of("mine.model")
    assert set(before) == set(files) - {"mine/alone.py"}
    (mine / "deeper.py").write_text("one = 3\n")
    assert closure.differences(before, closure.code_of("mine.model")) == "mine/deeper.py"


def test_the_pages_of_a_report_are_source_of_the_stage_that_writes_it_and_of_no_other(package: Path):
    verbs = {verb: closure.source_of(f"shopkeeper.pipeline.{verb}") for verb in ("prepare", "evaluate")}
    page = package / "evaluation/report/templates/page.html"
    page.write_text(page.read_text() + "<!-- more -->")
    said = closure.differences(verbs["evaluate"], closure.source_of("shopkeeper.pipeline.evaluate"))
    assert said == "evaluation/report/templates/page.html"
    assert {f"evaluation/report/templates/report.{kind}" for kind in ("css", "js")} <= set(verbs["evaluate"])
    assert closure.source_of("shopkeeper.pipeline.prepare") == verbs["prepare"]
