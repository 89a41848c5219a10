"""Runs and bundles that were edited by hand, their hashes made anew, and targets that are no folders: one line each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from house import House, small_shop
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.cli.compare import print_comparison
from shopkeeper.errors import UserError
from shopkeeper.files import write_error
from shopkeeper.hashing import sealed
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.runs import open_run

WORDS = ("dataset=small", "model=popularity")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with one run and its bundle."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        house = House(place)
        house.dataset("small", small_shop())
        house.train("run", *WORDS)
        house.export("run=run", "name=b")
    return place


def seal(folder: Path) -> None:
    """Make the hashes of a folder anew, as somebody would who wants it to look untouched."""
    manifest = folder / "manifest.json"
    said = json.loads(manifest.read_text())
    said["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in said["files"]}
    manifest.write_text(json.dumps(sealed(said) if "seal" in said else said))
    if (folder / "manifest.json.sha256").exists():
        (folder / "manifest.json.sha256").write_text(
            hashlib.sha256(manifest.read_bytes()).hexdigest() + "  manifest.json\n"
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in ("task", "trainer", "model") for value in (None, "x", [], {})
     if (key, value) != ("trainer", {})],
)  # fmt: skip
def test_a_run_whose_settings_were_edited_is_one_line(made: Path, tmp_path: Path, key: str, value: Any):
    shutil.copytree(made / "run", tmp_path / "run")
    file = tmp_path / "run/config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {key: value}))
    seal(tmp_path / "run")
    with pytest.raises(UserError, match=rf"config\.yaml.*{key}.*train again|a file does not choose") as e:
        print_comparison([tmp_path / "run", made / "run"], None, "test", resamples=20)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("key", ["dataset", "task", "model", "seed", "filter_seen"])
@pytest.mark.parametrize("value", [None, "", [], "gone"])
def test_a_run_whose_figures_were_edited_is_one_line(made: Path, tmp_path: Path, key: str, value: Any):
    shutil.copytree(made / "run", tmp_path / "run")
    file = tmp_path / "run/metrics.json"
    said = json.loads(file.read_text())
    said[key] = value
    if value == "gone":
        del said[key]
    file.write_text(json.dumps(said))
    seal(tmp_path / "run")
    with pytest.raises(UserError, match=rf"metrics\.json was changed: .*{key}.*; train again$"):
        open_run(tmp_path / "run")


def _manifest(**said: Any) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        file = bundle / "manifest.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | said))

    return edit


def _arrays(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        arrays = dict(np.load(bundle / "arrays.npz"))
        np.savez(bundle / "arrays.npz", **{name: change(values) for name, values in arrays.items()})

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        *((_manifest(**{key: value}), key) for key in ("history", "k", "scorer", "filter_seen", "kind")
          for value in (None, "x", [], {})),
        (lambda b: (b / "vocabulary.json").write_text('"x"'), "do not fit together"),
        (lambda b: (b / "vocabulary.json").write_text("{}"), "do not fit together"),
        (lambda b: (b / "golden.json").write_text('{"requests": [{"a": 1}]}'), "do not fit together"),
        (lambda b: (b / "golden.json").write_text("[1]"), "do not fit together"),
        (_arrays(lambda values: values[:2]), "do not fit together"),
        (_arrays(lambda values: values.astype(str)), "do not fit together"),
        (lambda b: np.savez(b / "arrays.npz", other=np.zeros(1)), "do not fit together"),
    ],
)  # fmt: skip
def test_a_bundle_that_was_edited_and_sealed_again_is_one_line(
    made: Path, tmp_path: Path, edit: Callable[[Path], None], said: str
):
    bundle = tmp_path / "b"
    shutil.copytree(made / "exports/b", bundle)
    edit(bundle)
    seal(bundle)
    with pytest.raises(UserError) as e:
        verify(bundle)
    assert "\n" not in str(e.value)
    assert said in str(e.value) or "holds a" in str(e.value) or "needs the scorer" in str(e.value)
    assert "export the model again" in str(e.value) or "update it" in str(e.value)
    assert "set it" not in str(e.value)


def test_a_bundle_of_other_scores_is_told_by_its_goldens(made: Path, tmp_path: Path):
    shutil.copytree(made / "exports/b", tmp_path / "b")
    _arrays(lambda values: values * 2 if values.dtype.kind == "f" else values)(tmp_path / "b")
    seal(tmp_path / "b")
    assert verify(tmp_path / "b").wrong
    assert not verify(made / "exports/b").wrong


@pytest.mark.parametrize("folder", ["/", ".", ".."])
def test_data_are_never_prepared_into_the_working_folder_or_above_it(
    made: Path, folder: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(made)
    before = sorted(made.iterdir())
    cfg = House(made).config("prepare", "dataset=small", f"prepared_folder={folder}")
    with pytest.raises(UserError, match="is the folder that this command runs in, or lies above it"):
        prepare_data(cfg)
    assert sorted(made.iterdir()) == before


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path):
    file = tmp_path / "letter"
    file.write_text("dear")
    for wanted in (file, file / "inner"):
        with pytest.raises(OSError) as e:
            wanted.mkdir(parents=True)
        assert write_error(e.value) == f"{wanted} is a file where a folder is wanted; " + (
            "move it away or choose another folder"
        )
