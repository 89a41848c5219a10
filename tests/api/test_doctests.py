"""The examples in the docstrings of `shopkeeper.api` are true, and all places that list its names list the same."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import shopkeeper as sk
from api.shoplog import frame
from shopkeeper import api

PLACE = Path(api.__file__).parent
README = Path(__file__).parents[2] / "README.md"
MODULES = sorted(path.stem for path in PLACE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"shopkeeper.api.{name}")
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
    if name not in ("errors", "places", "logs", "lists", "tables", "words"):
        assert found.attempted > 0
    assert list(tmp_path.iterdir()) == []


def test_every_public_name_says_what_it_does_with_an_example():
    for name in api.__all__:
        one = vars(api)[name]
        assert one.__doc__, name
    told = [n for n in api.__all__ if n in ("Dataset", "Estimator", "Model") or n.islower()]
    assert [n for n in told if n != "choices" and ">>>" not in (vars(api)[n].__doc__ or "")] == []


def test_the_package_and_its_stub_have_the_names_of_the_api():
    stub = (PLACE.parent / "__init__.pyi").read_text(encoding="utf-8")
    assert set(re.findall(r"import (\w+) as \1\n", stub)) == set(api.__all__) == set(sk.__all__)
    assert {name: getattr(sk, name) for name in sk.__all__} == {name: vars(api)[name] for name in api.__all__}
    assert set(sk.__all__) <= set(dir(sk))
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        _ = sk.fitt


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    log = frame().rename(columns={"who": "customer", "bought": "bought_at"})
    log["customer"] = "c" + (log["customer"] // 7).astype(str)
    log.to_csv(tmp_path / "orders.csv", index=False)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "next_item: shop, split temporal" in done.stdout
    assert [line.split()[1:3] for line in done.stdout.splitlines()[-3:]] == [
        ["c17", str(n + 1)] for n in range(3)
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["orders.csv"]


def test_the_sites_page_shows_the_same_example_as_the_readme():
    page = (README.parent / "docs/site/reference/python.md").read_text(encoding="utf-8")
    shown, tried = (
        re.sub(r"print\((.*)\)", r"\1", re.sub(r"  #.*", "", re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]))
        for text in (page, README.read_text(encoding="utf-8"))
    )
    assert shown == tried
    assert {name for name in api.__all__ if name != "UserError"} <= set(re.findall(r"::: shopkeeper\.api\.(\w+)", page))


def test_importing_the_package_brings_in_nothing_that_is_heavy():
    code = "import sys, shopkeeper; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"torch", "polars", "pandas", "pyarrow", "numpy", "hydra", "mlflow", "yaml"} & loaded == set()
