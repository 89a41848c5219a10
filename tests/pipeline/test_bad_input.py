"""Bad input ends in exit code 1 and one line that names the place and the way out, whichever verb meets it."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder
from shopkeeper.hashing import sealed
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.checkpoints import checkpoint_folder
from shopkeeper.pipeline.places import listed
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_split
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.shell.entry import one_line_errors
from shopkeeper.pipeline.told import VERBS, settings
from shopkeeper.pipeline.train import train_model

ROOT = Path(__file__).parents[2]
RETAIL = "online-retail-ii-2009-2010/online_retail_2009_2010.csv.gz"
HEAD = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
ROWS = [
    f"{i},P{i % 7},mug,1,2010-{1 + i // 25:02d}-{1 + i % 25:02d} 08:00:00,2.5,{i % 10},France\n" for i in range(250)
]
STRICT = "dataset.max_rejected_share=0"
SMALL = ("model=sasrec", "trainer.max_epochs=1", "model.width=8", "model.max_length=8")


def config(place: Path, verb: str, *words: str) -> dict[str, Any]:
    paths = [f"paths.{k}={place / k}" for k in ("raw", "prepared", "runs", "reports", "exports", "outputs")]
    always = ["dataset=online_retail", "tracking=none", "progress=false", "trainer=cpu", "evaluation.resamples=50"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose(verb, [*always, *paths, *words]), VERBS[verb])


def write_raw(place: Path, text: str, name: str = RETAIL) -> None:
    (place / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(place / "raw" / name, "wt") as f:
        f.write(text)


def prepare(place: Path, *words: str) -> None:
    cfg = config(place, "prepare", *words)
    prepare_split(cfg, prepare_data(cfg))


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[], Any]], str]:
    """What a verb's user reads on stderr when `call` fails: exactly one line, exit code 1."""

    def of(call: Callable[[], Any]) -> str:
        with pytest.raises(SystemExit) as stop, one_line_errors():
            call()
        assert stop.value.code == 1
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1, printed
        assert printed[0].startswith("error: ")
        return printed[0]

    return of


Line = Callable[[Callable[[], Any]], str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny shop, prepared, with one finished SASRec run and one popularity run."""
    place = tmp_path_factory.mktemp("finished")
    write_raw(place, HEAD + "".join(ROWS))
    train_model(config(place, "train", *SMALL), place / "models/sasrec")
    train_model(config(place, "train", "model=popularity"), place / "models/popularity")
    return place


@pytest.fixture
def shop(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished` that a test may damage."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# Raw data ----------------------------------------------------------------------------------------------------------


def test_missing_raw_files_name_the_file_where_to_get_it_and_the_option(tmp_path: Path, line: Line):
    said = line(lambda: prepare(tmp_path))
    for word in (RETAIL, "is missing", "https://", "SHOPKEEPER_RAW"):
        assert word in said
    assert not list((tmp_path / "prepared").glob("*"))


@pytest.mark.parametrize(
    ("old", "new", "row", "words"),
    [
        ("InvoiceDate", "Datum", 0, ("line 1", "no column 'InvoiceDate'", "Valid: Country")),
        ("2010-01-05", "2010-13-05", 5, ("row 6", "'InvoiceDate'", "2010-13-05", "mend them", "max_rejected")),
        ("2.5", "two", 5, ("row 6", "'Price'", "not a number", "'two'", "mend them")),
    ],
)
def test_a_bad_column_time_or_price_names_file_row_column_and_value(
    old: str, new: str, row: int, words: tuple[str, ...], tmp_path: Path, line: Line
):
    lines = [HEAD, *ROWS]
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new)
    lines[200] = lines[200].replace(old, new)  # the first bad row is the one that is named
    write_raw(tmp_path, "".join(lines))
    said = line(lambda: prepare(tmp_path, STRICT))
    for word in (Path(RETAIL).name, *words):
        assert word in said
    assert not list((tmp_path / "prepared").glob("*")), "something half-written was left"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dataset.temporal.validation_days=400"], "no event lies before the validation cutoff"),
        (["split.validation=2010-09-01", "split.test=2012-01-01"], "mend split.validation, split.test"),
        (["dataset.target_events=[rating]"], "target_events"),
        (["split.targets=frist"], "first"),
    ],
)
def test_an_empty_or_senseless_split_names_the_setting(words: list[str], expected: str, shop: Path, line: Line):
    assert expected in line(lambda: prepare(shop, *words))


def test_a_split_in_time_of_data_that_have_only_an_order_is_refused(tmp_path: Path, line: Line):
    text = "".join(f"{u} " + " ".join(str((u * 7 + i) % 13 + 1) for i in range(6)) + "\n" for u in range(1, 20))
    write_raw(tmp_path, text, "amazon-beauty/beauty_5core_s3rec.txt.gz")
    prepare(tmp_path, "dataset=amazon_beauty")  # its own split works
    said = line(lambda: prepare(tmp_path, "dataset=amazon_beauty", "split=temporal"))
    assert "leave_one_out" in said
    churn = config(tmp_path, "train", "dataset=amazon_beauty", "task=churn", "model=base_rate",
                   "+task.windows={horizon_days: 9, active_days: 9}")  # fmt: skip
    assert "only an order" in line(lambda: train_model(churn, tmp_path / "run"))


# Prepared folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["item.npy", "timestamp.npy", "users.parquet", "items.parquet", "events.parquet"])
@pytest.mark.parametrize("how", ["half", "gone"])
def test_a_half_written_prepared_folder_is_named_and_not_trained_on(name: str, how: str, shop: Path, line: Line):
    file = shop / "prepared/online_retail" / name
    halve(file) if how == "half" else file.unlink()
    said = line(lambda: train_model(config(shop, "train", "model=popularity"), shop / "run"))
    assert str(file) in said
    assert "shopkeeper prepare" in said or "run its step again" in said
    assert not (shop / "run").exists()


@pytest.mark.parametrize("name", ["train_end.npy", "catalogue.npy", "test.parquet"])
def test_a_half_written_split_is_named(name: str, shop: Path, line: Line):
    file = next((shop / "prepared/online_retail/splits").glob("*")) / name
    halve(file)
    assert str(file) in line(lambda: train_model(config(shop, "train", "model=popularity"), shop / "run"))


def test_a_folder_without_a_manifest_is_nobodys_and_is_made_again_where_it_was_moved_away(shop: Path, line: Line):
    folder = shop / "prepared/online_retail"
    before = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    said = line(lambda: prepare(shop))
    assert f"{folder} holds '" in said
    assert "move it away, or set prepared_folder" in said
    folder.rename(shop / "away")
    prepare(shop)
    assert json.loads((folder / "manifest.json").read_text()) == before
    Prepared.open(folder)  # checks every hash


def test_a_foreign_folder_in_the_place_of_the_prepared_one_is_left_alone(shop: Path, line: Line):
    manifest = shop / "prepared/online_retail/manifest.json"
    manifest.write_text('{"kind": "photos"}')
    assert "move it away" in line(lambda: prepare(shop))
    assert manifest.read_text() == '{"kind": "photos"}'


# Checkpoints and run folders -----------------------------------------------------------------------------------------


def checkpoints(shop: Path) -> list[Path]:
    """Put the finished run's checkpoint back to where a killed training would have left it; its step folders."""
    cfg = config(shop, "train", *SMALL)
    folder = checkpoint_folder(cfg, open_run(shop / "models/sasrec").manifest)
    shutil.copytree(shop / "models/sasrec/checkpoint", folder)
    return sorted(folder.rglob("step-*"))


def foreign(step: Path) -> None:
    state = json.loads((step / "state.json").read_text())
    state["tree"]["identity"]["data"] = "another log"
    (step / "state.json").write_text(json.dumps(sealed(state)))


def test_a_foreign_checkpoint_is_refused(shop: Path):
    steps = checkpoints(shop)
    assert steps
    for step in steps:
        foreign(step)
    expected = "belongs to another training .data: another log there.* trainer.resume=false"
    with pytest.raises(UserError, match=expected) as e:
        train_model(config(shop, "train", *SMALL), shop / "run")
    assert "\n" not in str(e.value)


def test_a_corrupt_newest_checkpoint_gives_way_to_the_one_before(shop: Path, caplog: pytest.LogCaptureFixture):
    steps = checkpoints(shop)
    newest = steps[-1].with_name("step-9999999999")
    shutil.copytree(steps[-1], newest)
    halve(newest / "state.safetensors")
    run = train_model(config(shop, "train", *SMALL), shop / "run")
    assert run.metrics == open_run(shop / "models/sasrec").metrics
    assert "step-9999999999" in caplog.text


@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.json", "config.yaml", "test.parquet"])
@pytest.mark.parametrize("how", ["half", "gone"])
def test_a_damaged_run_is_named_and_not_compared(name: str, how: str, shop: Path, line: Line):
    file = shop / "models/sasrec" / name
    halve(file) if how == "half" else file.unlink()
    said = line(lambda: [open_run(run.path) for run in listed(shop / "models", strict=True)])
    assert str(file) in said
    assert "train again" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"kind": "run"', "not readable as JSON"),
        ('{"kind": "run"}', "has no 'format_version'"),
        ('{"kind": "bundle"}', "is a bundle, not a run"),
        ("[1, 2]", "is a foreign folder, not a run"),
        ('{"kind": "run", "format_version": 99, "files": {}, "prepared": "", "dataset_fingerprint": ""}', "newer"),
    ],
)
def test_a_foreign_run_folder_is_refused(text: str, expected: str, shop: Path, line: Line):
    (shop / "models/sasrec/manifest.json").write_text(text)
    assert expected in line(lambda: open_run(shop / "models/sasrec"))


@pytest.mark.parametrize("run", ["models/popularity", "prepared/online_retail", "nowhere"])
def test_a_start_from_a_folder_that_holds_no_such_model_is_refused(run: str, shop: Path, line: Line):
    said = line(lambda: train_model(config(shop, "train", *SMALL, "seed=2", f"init_from={shop / run}"), shop / "new"))
    assert str(shop / run) in said


def test_data_that_changed_under_a_run_are_refused(shop: Path, line: Line):
    run = open_run(shop / "models/sasrec")
    manifest = shop / "prepared/online_retail/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "fingerprint": "other"}))
    found = {**run.manifest, "prepared": str(manifest.parent)}
    assert "has changed since the run was trained" in line(lambda: context.prepared_of(found))


# A full disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def room(size: int) -> Iterator[None]:
    """Every file that this process writes may grow to `size` bytes; beyond it the system refuses (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [500, 2000, 3200])
def test_a_disk_that_fills_up_while_preparing_leaves_no_folder(size: int, shop: Path, line: Line):
    shutil.rmtree(shop / "prepared")

    def call() -> None:
        with room(size):
            prepare(shop)

    said = line(call)
    assert str(shop / "prepared/online_retail") in said
    assert "File too large; raise the limit on the size of a file (`ulimit -f`) or choose a folder on" in said
    assert os.listdir(shop / "prepared") == []
    prepare(shop)  # with room again


@pytest.mark.parametrize("model", ["popularity", "sasrec"])
def test_a_disk_that_fills_up_while_training_leaves_no_finished_run(model: str, shop: Path, line: Line):
    words = SMALL if model == "sasrec" else (f"model={model}",)

    def call() -> None:
        with room(100 if model == "popularity" else 2000):
            train_model(config(shop, "train", *words), shop / "run")

    said = line(call)
    assert "cannot write" in said
    assert "File too large; raise the limit on the size of a file" in said
    assert not (shop / "run/manifest.json").exists()


def test_a_full_device_is_told_from_a_raw_file_that_cannot_be_read(tmp_path: Path, line: Line):
    def write(error: OSError) -> None:
        with atomic_folder(tmp_path / "out", "composed"):
            raise error

    full = line(lambda: write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert full.startswith(f"error: cannot write {tmp_path / 'out'}: No space left on device")
    secret = str(tmp_path / "raw/log.csv")
    denied = line(lambda: write(PermissionError(errno.EACCES, os.strerror(errno.EACCES), secret)))
    assert denied.startswith(f"error: no permission for {secret}")
    hidden = line(lambda: (_ for _ in ()).throw(RuntimeError("I/O error: No space left on device (os error 28)")))
    assert hidden == "error: cannot write: No space left on device; free some space or choose another folder"


# The programs themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["prepare.py", "train.py"])
def test_the_program_ends_with_code_1_and_one_line(verb: str, tmp_path: Path):
    words = ["dataset=online_retail", "tracking=none", "progress=false", f"paths.raw={tmp_path / 'raw'}"]
    words += [f"paths.prepared={tmp_path / 'prepared'}", f"paths.outputs={tmp_path / 'outputs'}"]
    write_raw(tmp_path, HEAD + "".join(ROWS).replace("2.5", "two", 1))
    command = [sys.executable, verb, *words, STRICT]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    errors = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert done.stderr.strip().splitlines()[-1] == errors[0]
    assert "row 2, column 'Price'" in errors[0]
