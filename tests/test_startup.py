"""A short command brings in what it uses and no more; what libraries would do besides is left out without a trace."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from shopkeeper import startup

SHOP = ["dataset.simulate.customers=60", "progress=false"]
RUN = [*SHOP, "evaluation.resamples=20", "tracking=none"]
HEAVY = {"torch", "pytorch_lightning", "mlflow", "sqlalchemy", "matplotlib", "optuna", "pandas", "duckdb", "sklearn",
         "lightgbm", "onnx", "polars", "scipy", "scipy.stats", "jinja2"}  # fmt: skip
LOADED = """
import sys
from shopkeeper.pipeline.shell.verbs import run_verb
run_verb(sys.argv[1], sys.argv[2:])
print(*sys.modules)
"""


def test_short_commands_bring_in_neither_torch_nor_a_tracker_nor_what_else_they_do_not_use(tmp_path: Path):
    def heavy(*words: str) -> list[str]:
        command = [sys.executable, "-c", LOADED, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return sorted(HEAVY & set(done.stdout.splitlines()[-1].split()))

    assert heavy("prepare", *SHOP) == ["polars", "scipy"]
    assert heavy("train", *RUN, "model=popularity", "hydra.run.dir=popular") == []
    assert heavy("train", *RUN, "model=base_rate", "hydra.run.dir=base") == ["scipy"]
    assert heavy("recommend", "run=popular", "history=[p1,p2]") == []
    assert heavy("evaluate", *RUN, "runs=[popular]", "out=page") == ["jinja2", "scipy"]
    # What chance explains of a drift is a quantile; the trees that tell then from now wait for enough customers.
    assert heavy("evaluate", *RUN, "runs=[base]", "out=pages") == ["jinja2", "scipy", "scipy.stats"]


def test_arrow_looks_for_pandas_only_when_asked_for_a_data_frame():
    code = """
import sys, numpy as np, pyarrow as pa
from shopkeeper import startup
startup.arrow_without_pandas()
table = pa.table({"a": pa.array(np.arange(3)), "b": ["x", None, "y"]})
assert "pandas" not in sys.modules
frame = table.to_pandas()
import pandas as pd
assert frame["a"].tolist() == [0, 1, 2]
assert pa.Table.from_pandas(pd.DataFrame({"c": [1.0, None]})).to_pydict() == {"c": [1.0, None]}
assert pa.array(pd.Series([1.0, np.nan])).null_count == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("said", "backend"), [("", "jemalloc"), ("mimalloc", "mimalloc")])
def test_arrow_takes_memory_from_jemalloc_unless_somebody_says_from_where(said: str, backend: str):
    code = "import pyarrow as pa; from shopkeeper import startup; startup.arrow_from_jemalloc()"
    code += "; print(pa.default_memory_pool().backend_name)"
    around = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": said}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=around, check=True)
    assert done.stdout.split() == [backend]


def test_cycles_are_looked_for_again_after_an_import_also_after_one_that_failed():
    assert gc.isenabled()
    with startup.without_collecting():
        assert not gc.isenabled()
        with startup.without_collecting():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), startup.without_collecting():
        raise ImportError
    assert gc.isenabled()


def test_what_a_command_imports_is_not_looked_through_again_and_what_a_session_imports_is():
    code = """
import gc
import os
from shopkeeper import startup
class Pair: pass
def left():  # a cycle that nobody holds
    one, two = Pair(), Pair()
    one.other, two.other = two, one
def after(command):
    if command:
        startup.stays_for_good()
    with startup.without_collecting():
        left()
    return gc.collect(), gc.get_freeze_count()
found, kept = after(False)
assert found >= 2 and kept == 0, (found, kept)
gc.freeze()  # as a server does before it forks
assert after(False)[0] >= 2
found, kept = after(True)
assert found == 0 and kept > 1000, (found, kept)
left()
assert gc.collect() >= 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def composed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], int]:
    """What a command's function is given, call by call, or the first line of the error, and how often was composed."""
    seen: list[object] = []
    with monkeypatch.context() as patch:
        counted, compose = [], ConfigLoaderImpl._load_configuration_impl
        patch.setattr(
            ConfigLoaderImpl, "_load_configuration_impl", lambda *a, **k: counted.append(1) or compose(*a, **k)
        )
        patch.setattr(sys, "argv", ["verb.py", *words])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        run = hydra.main(version_base="1.3", config_path=str(Path.cwd()), config_name="config")
        try:
            run(lambda config: seen.append(OmegaConf.to_container(config, resolve=True)))()
        except Exception as e:
            seen.append(str(e).splitlines()[0])
    return seen, len(counted)


@pytest.mark.parametrize(
    ("words", "times"),
    [
        (["a=2"], 1),
        (["a=2", "hydra.run.dir=here"], 1),
        (["-m", "a=1,2"], None),
        (["+many=yes"], None),  # the file asks for a sweep
        (["a=2", "hydra.mode=RUN"], None),
        (["a=1,2"], None),  # a sweep that nobody asked for
        (["nothing=3"], None),
    ],
)
def test_hydra_composes_once_and_hands_on_what_it_would_have(words, times, tmp_path: Path, monkeypatch):
    (tmp_path / "many").mkdir()
    quiet = "defaults: [_self_, {override hydra/job_logging: none}, {override hydra/hydra_logging: none}]\n"
    (tmp_path / "config.yaml").write_text(f"{quiet}a: 1\nat: ${{now:%H}}\nhydra: {{output_subdir: null}}\n")
    (tmp_path / "many/yes.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {a: '3,4'}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    expected, _ = composed(words, monkeypatch)
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", ConfigLoaderImpl.load_configuration)  # put back
    startup.compose_once()
    found, counted = composed(words, monkeypatch)
    assert found == expected
    assert times is None or counted == times


def test_a_sequence_model_that_only_answers_does_without_what_trains_it():
    code = """
import sys
import shopkeeper.customers.networks.gru, shopkeeper.customers.networks.transformer
import shopkeeper.recommenders.networks.sasrec
print(*sorted({"pytorch_lightning", "torch._dynamo", "scipy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "")
