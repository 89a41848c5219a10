"""Whoever reads a prepared dataset reads one version of it to the end, and nothing that is not what it was."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, read_json, sha256_json, write_json
from shopkeeper.hashing import hash_file
from shopkeeper.locks import alone
from shopkeeper.splits.write import write_split

CONFIG = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "user", "item_id": "item", "timestamp": "time"},
    "timestamp": {"unit": "s"},
    "event_type": "purchase",
}
SPLIT = {"name": "leave_one_out", "kind": "leave_one_out", "protocol": "published", "target_events": ["purchase"]}


def write_log(folder: Path, first: int) -> None:
    rows = [f"u{u},i{(u + t + first) % 7},{1_600_000_000 + 100 * t + u}" for u in range(first, 9) for t in range(6)]
    (folder / "log.csv").write_text("user,item,time\n" + "\n".join(rows) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_log(tmp_path, first=0)
    out = prepare_dataset(CONFIG, tmp_path, tmp_path / "prepared/shop", progress=False)
    write_split(Prepared.open(out), SPLIT)
    return out


def anew(folder: Path) -> None:
    """Prepare other raw data into the same folder."""
    raw = folder.parents[1]
    write_log(raw, first=2)
    prepare_dataset(CONFIG, raw, folder, progress=False)
    write_split(Prepared.open(folder), SPLIT)


def test_a_dataset_prepared_anew_while_it_is_read_is_read_to_the_end_as_it_was(folder: Path):
    undisturbed = Prepared.open(folder)
    split = Split.named(undisturbed, next((folder / "splits").iterdir()).name)
    expected = (split.part("test")[1].item.tolist(), undisturbed.users, undisturbed.items)

    reader = Prepared.open(folder)
    anew(folder)
    part = Split.named(reader, split.name)  # opened only now, by a name that both versions have
    assert (part.part("test")[1].item.tolist(), reader.users, reader.items) == expected
    assert reader.table("events.parquet").num_rows == 54
    assert Prepared.open(folder).table("events.parquet").num_rows == 42


def test_a_split_of_the_old_version_is_not_written_into_the_new_one(folder: Path):
    reader = Prepared.open(folder)
    anew(folder)
    other = {**SPLIT, "name": "leave_one_out", "protocol": "strict"}
    path = write_split(reader, other)
    assert Split.named(reader, path.name).part("test")[1].item.size == 9
    assert not path.exists()
    with pytest.raises(UserError, match="holds no split"):
        Split.named(Prepared.open(folder), path.name)


def test_the_old_version_is_deleted_once_nobody_reads_it(folder: Path):
    reader = Prepared.open(folder)
    anew(folder)
    left = [p for p in folder.parent.iterdir() if p.name.endswith(".tmp")]
    assert len(left) == 1, "it is still read"
    del reader
    shutil.move(left[0], left[0].with_name(".shop.999999999-x.tmp"))  # as of a process that has ended since
    anew(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["shop"]


def test_a_folder_that_is_deleted_while_it_is_read_ends_in_one_line(folder: Path):
    reader = Prepared.open(folder)
    split = Split.named(reader, next((folder / "splits").iterdir()).name)
    shutil.rmtree(folder)
    for read, name in ((lambda: reader.users, "users"), (lambda: split.part("test"), "test")):
        with pytest.raises(UserError, match=rf"shop.*{name}.parquet has gone: .* run the same command again"):
            read()


def permute(folder: Path) -> None:
    item = np.load(folder / "item.npy")
    np.save(folder / "item.npy", item[::-1])


def move_train_end(folder: Path) -> None:
    path = next((folder / "splits").iterdir()) / "train_end.npy"
    np.save(path, np.load(folder / "offsets.npy")[1:])


def move_history(folder: Path) -> None:
    path = next((folder / "splits").iterdir()) / "test.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("end")
    pq.write_table(table.set_column(at, "end", pa.array(table["end"].to_numpy() + 1)), path)


def add_prices(folder: Path) -> None:
    (folder / "item.npy").unlink()


@pytest.mark.parametrize("damage", [permute, move_train_end, move_history, add_prices])
def test_a_run_reads_only_what_prepare_wrote(folder: Path, damage: Callable[[Path], None]):
    damage(folder)
    with pytest.raises(UserError, match=r"(changed or damaged|is missing).*run `shopkeeper prepare dataset=shop`"):
        Split.named(Prepared.open(folder), next((folder / "splits").iterdir()).name)


OUTSIDE = ["../../log.csv", "../shop/item.npy", "/etc/hostname", "..\\log.csv", "", "x\0", "link.csv"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("of_split", [False, True])
def test_a_file_outside_of_the_folder_is_not_opened_on_the_word_of_its_manifest(
    folder: Path, name: str, of_split: bool, monkeypatch: pytest.MonkeyPatch
):
    place = next((folder / "splits").iterdir())
    (folder / "link.csv").symlink_to(folder.parents[1] / "log.csv")
    (place / "link.csv").symlink_to(folder.parents[1] / "log.csv")
    path = place / "timeline.json" if of_split else folder / "manifest.json"
    found = read_json(path)
    files = {**found["files"], name: "blake3:00"}
    write_json(path, {**found, "files": files} | ({} if of_split else {"fingerprint": sha256_json(files)}))
    opened = []
    monkeypatch.setattr("shopkeeper.hashing.same_bytes", lambda path, digest: opened.append(path) or True)
    with pytest.raises(UserError, match=rf"{path.name} names the file .* may lie outside the folder"):
        Split.named(Prepared.open(folder), place.name)
    assert all("log.csv" not in str(p.resolve()) for p in opened)


@pytest.mark.parametrize(
    "name", ["offsets.npy", "train_end.npy", "catalogue.npy", "test.parquet", "validation.parquet"]
)
def test_a_file_that_is_read_and_that_no_manifest_lists_is_refused(folder: Path, name: str):
    path = folder / "manifest.json"
    if name != "offsets.npy":
        path = next((folder / "splits").iterdir()) / "timeline.json"
    found = read_json(path)
    del found["files"][name]
    write_json(path, {**found, **({"fingerprint": sha256_json(found["files"])} if name == "offsets.npy" else {})})
    with pytest.raises(UserError, match=f"does not list {name}.*shopkeeper prepare"):
        Split.named(Prepared.open(folder), next((folder / "splits").iterdir()).name)


def test_a_manifest_whose_hashes_were_written_anew_is_not_of_the_data_that_it_says(folder: Path):
    permute(folder)
    found = read_json(folder / "manifest.json")
    found["files"]["item.npy"] = hash_file(folder / "item.npy")
    write_json(folder / "manifest.json", found)
    with pytest.raises(UserError, match="fingerprint is not that of the files it lists"):
        Prepared.open(folder)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"kind": "report"}', '{"files": [], "format_version": 2}', '{"files": {"a": 3}}']
)
def test_what_is_no_manifest_of_prepared_data_is_one_line(folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(UserError):
        Prepared.open(folder)
    anew_split = next((folder / "splits").iterdir()) / "timeline.json"
    anew_split.write_text(text)
    with pytest.raises(UserError):
        Prepared.open(folder)


def test_the_way_out_names_the_dataset(folder: Path, tmp_path: Path):
    (folder / "item.npy").unlink()
    with pytest.raises(UserError, match=r"run `shopkeeper prepare dataset=shop` again"):
        Prepared.open(folder)
    with pytest.raises(UserError, match=r"run `shopkeeper prepare dataset=demo_shop` first"):
        Prepared.open(tmp_path / "demo_shop-0123abcd")
    with pytest.raises(UserError, match=r"run `shopkeeper prepare` first"):
        Prepared.open(tmp_path / "whatever")


def test_a_column_that_prepare_did_not_write_is_not_read(folder: Path):
    np.save(folder / "price.npy", np.ones(54))
    assert Prepared.open(folder).events.price is None


def test_a_split_of_other_data_is_refused(folder: Path):
    place = next((folder / "splits").iterdir())
    kept = folder.parents[1] / "kept"
    shutil.copytree(place, kept)
    anew(folder)
    shutil.rmtree(place)
    shutil.copytree(kept, place)
    with pytest.raises(UserError, match="split of other data"):
        Split.named(Prepared.open(folder), place.name)


@pytest.mark.parametrize(("file", "key"), [("manifest.json", "format_version"), ("splits/timeline", "format")])
def test_a_folder_of_a_newer_version_is_refused_in_one_line(folder: Path, file: str, key: str):
    path = folder / file if file == "manifest.json" else next((folder / "splits").iterdir()) / "timeline.json"
    write_json(path, {**read_json(path), key: 99})
    with pytest.raises(UserError, match="newer shopkeeper"):
        Split.named(Prepared.open(folder), next((folder / "splits").iterdir()).name)


# Two at once ---------------------------------------------------------------------------------------------------------


def hold(path: str, ready: object, leave: object) -> None:
    with alone(Path(path)):
        ready.set()  # type: ignore[attr-defined]
        leave.wait()  # type: ignore[attr-defined]


def test_who_comes_second_waits_with_a_word_or_is_refused_and_a_killed_first_is_no_hindrance(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    ready, leave = spawn.Event(), spawn.Event()
    first = spawn.Process(target=hold, args=(str(tmp_path / "shop"), ready, leave))
    first.start()
    ready.wait()
    with pytest.raises(UserError, match="another process is at work"), alone(tmp_path / "shop"):
        pass
    said = []

    def wait() -> None:
        said.append("waiting")
        first.kill()

    with alone(tmp_path / "shop", wait):
        assert said == ["waiting"]
    first.join()


def test_a_folder_that_another_process_takes_away_is_not_called_a_full_disk(tmp_path: Path):
    def write() -> None:
        with atomic_folder(tmp_path / "out", "prepared") as place:
            (place / "a").write_text("a")
            shutil.rmtree(place)  # as another process might

    with pytest.raises(UserError, match="by another process") as caught:
        write()
    assert "space" not in str(caught.value)
    assert json.dumps(str(caught.value)).count("\\n") == 0
