"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

TEMPORARY = pytest.StashKey[str]()
# Files that take a minute or more, the longest first; of the slow tests the README's.
LONG = ("test_readme.py", "test_every_yaml.py", "test_stages.py", "test_kills.py", "test_kill_prepare.py",
        "test_every_model.py", "test_notebooks.py")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders of tests, and of what they start, lie in one, which goes at the end.

    A folder of the API goes when Python ends, and workers of pytest-xdist are ended without that. pytest's own
    folders stay where they are: one wants to look into those of a test that failed.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    config.stash[TEMPORARY] = tempfile.tempdir = tempfile.mkdtemp(prefix="sk-tests-")
    os.chmod(tempfile.tempdir, 0o711)  # a database's server, another user below root, has a folder of its own in it
    os.environ["TMPDIR"] = tempfile.tempdir


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, so that of several workers none has one of them left when the others have ended."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What imports make stays: looking for cycles in it took a third of collecting, and .7 s each time later on."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """With all that is in it."""
    shutil.rmtree(config.stash[TEMPORARY], ignore_errors=True)


@pytest.fixture(scope="session")
def raw() -> Path:
    """The folder of raw public data (SHOPKEEPER_RAW). With CI=true a missing folder is a failure, else a skip."""
    folder = os.environ.get("SHOPKEEPER_RAW")
    if folder and Path(folder).is_dir():
        return Path(folder)
    reason = f"no raw data: SHOPKEEPER_RAW is {folder!r}, which is not a folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """Below nohup, or behind an `&`, signals come in ignored, and every child would ignore them in turn."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` would put beside Python: the unpacked wheel of this tree."""
    root, place = Path(__file__).parents[1], tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, place)
    for name in ("src", "conf"):
        shutil.copytree(
            root / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place), "."]
    subprocess.run(command, cwd=place, check=True)
    with zipfile.ZipFile(next(place.glob("*.whl"))) as wheel:
        wheel.extractall(place / "site")
    return place / "site"
