"""`erased`: a customer who is still somewhere is found, whatever the file is called; one who is gone is not."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from test_consent import KEY, RULES, SHOP, shop

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.erased import erased, print_erased
from shopkeeper.errors import UserError
from shopkeeper.people.erasure import pseudonym
from shopkeeper.people.rules import customer_rules
from shopkeeper.people.search import _step, find_customer


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


def database(path):
    with sqlite3.connect(path) as db:
        db.execute("create table params (key text, value text)")
        db.execute("insert into params values ('user', 'amy')")
    db.close()


HIDING_PLACES = {
    "a per-request table": lambda f: parquet(f / "test.parquet", user_id=["bob", "amy"]),
    "a dictionary column": lambda f: parquet(f / "e.parquet", user_id=pa.array(["amy", "bob"]).dictionary_encode()),
    "a list column": lambda f: parquet(f / "l.parquet", seen_by=[["bob"], ["bob", "amy"]]),
    "a file of DVC's cache without a name": lambda f: parquet(f / "3f2a", who=["amy"]),
    "an id map in JSON": lambda f: (f / "map.json").write_text(json.dumps({"users": {"amy": 3}})),
    "a golden request": lambda f: (f / "golden.json").write_text(json.dumps({"requests": [{"user": "amy"}]})),
    "JSON lines": lambda f: (f / "log.jsonl").write_text('{"user": "bob"}\n{"user": "amy"}\n'),
    "an id map in NumPy": lambda f: np.savez(f / "w.npz", ids=np.array(["bob", "amy"])),
    "a safetensors header": lambda f: save_file({"x": np.zeros(1)}, f / "w.safetensors", {"users": '["bob", "amy"]'}),
    "an audience in CSV": lambda f: (f / "audience.csv").write_text('id,score\nbob,1\n"amy",2\n'),
    "a report": lambda f: (f / "report.html").write_text("<td>bob</td><td>amy</td>"),
    "a database": lambda f: database(f / "mlflow.db"),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_customer_is_found_in(tmp_path, place):
    HIDING_PLACES[place](tmp_path)
    found = find_customer({"amy"}, tmp_path)
    assert len(found.traces) == 1
    assert not found.gone
    assert not any(t.count == 0 for t in found.traces)
    assert find_customer({"am"}, tmp_path).gone  # part of an id is another id
    assert find_customer({"eve"}, tmp_path).gone


def test_an_id_that_is_also_an_item_or_a_number_somewhere_is_no_trace(tmp_path):
    parquet(tmp_path / "items.parquet", item_id=["007"], price=[7.0])
    (tmp_path / "trees.txt").write_text("split_gain=1 007 3\nleaf_value=0.007 7\n")
    (tmp_path / "metrics.json").write_text('{"n": 7}')
    assert find_customer({"007"}, tmp_path).gone
    assert find_customer({"7"}, tmp_path).gone


def test_a_file_that_cannot_be_read_is_no_proof(tmp_path):
    parquet(tmp_path / "test.parquet", user_id=["bob"])
    whole = (tmp_path / "test.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[:-20])
    found = find_customer({"amy"}, tmp_path)
    assert not found.gone
    assert "cannot be read" in found.unknown[0].where


def run_of(root, fingerprint, model="sasrec"):
    folder = root / "runs" / "shop" / "next_item" / "temporal" / model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"kind": "run", "dataset_fingerprint": fingerprint}))
    bundle = root / "exports" / f"shop-{model}"
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "manifest.json").write_text(json.dumps({"kind": "recommender", "data": {"fingerprint": fingerprint}}))


@pytest.mark.parametrize(("name", "words"), [
    ("sasrec-0123abcd", "model=sasrec with the settings in {run}/config.yaml"),
    ("wide", "model=sasrec name=wide with the settings in {run}/config.yaml"),
    ("sasrec", "model=sasrec name=sasrec"),
])  # fmt: skip
def test_a_run_is_trained_again_as_the_model_that_it_is_of(tmp_path, name, words):
    run = tmp_path / "runs/shop/next_item/temporal" / name
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(json.dumps({"model": "sasrec"}))
    step = _step(run / "test.parquet", tmp_path)
    assert step == f"shopkeeper train dataset=shop task=next_item split=temporal {words.format(run=run)}"


def test_erasing_a_customer_from_the_log_to_the_bundle(tmp_path, capsys, monkeypatch):
    """What a data protection officer does: ask, read what to run, run it, ask again."""
    monkeypatch.delenv("SHOPKEEPER_PSEUDONYM_KEY", raising=False)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    shop(raw)
    out = tmp_path / "data" / "prepared" / "shop"
    prepare_dataset(SHOP, raw, out, progress=False)
    run_of(tmp_path, json.loads((out / "manifest.json").read_text())["fingerprint"])
    with pytest.raises(UserError, match="'zoe' is still in 4 files") as error:
        print_erased("zoe", tmp_path)
    assert "\n" not in str(error.value)
    said = capsys.readouterr().out
    steps = [line.strip() for line in said.splitlines()[said.splitlines().index("run again, in this order:") + 1 :]]
    deleted = f"delete {out}, then shopkeeper prepare dataset=shop"  # with other settings it goes to another folder
    assert [s.partition("shopkeeper ")[2].split()[0] for s in steps] == ["prepare", "train", "export"]
    assert steps[0].startswith(deleted)
    assert steps[1] == "shopkeeper train dataset=shop task=next_item split=temporal model=sasrec name=sasrec"
    assert (
        steps[2] == "shopkeeper export run=… (the one that was trained again) name=shop-sasrec (after training again)"
    )
    assert {str(path.relative_to(tmp_path)) for path, *_ in erased("zoe", tmp_path)} == {
        "data/prepared/shop/events.parquet",
        "data/prepared/shop/users.parquet",
        "runs/shop/next_item/temporal/sasrec/manifest.json",
        "exports/shop-sasrec/manifest.json",
    }
    change = customer_rules(SHOP | {"erasure": RULES["erasure"]}, raw)
    prepare_dataset(SHOP, raw, out, progress=False, change=change)
    with pytest.raises(UserError, match="2 things were made from data that is no longer here and may remember them"):
        print_erased("zoe", tmp_path)
    assert "shopkeeper train" in capsys.readouterr().out
    assert [count for _, _, count, _ in erased("zoe", tmp_path)] == [0, 0]
    run_of(tmp_path, json.loads((out / "manifest.json").read_text())["fingerprint"])
    assert erased("zoe", tmp_path) == []
    print_erased("zoe", tmp_path)
    assert "gone: no file names the customer" in capsys.readouterr().out


def test_a_customer_under_a_pseudonym_is_found_with_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOPKEEPER_PSEUDONYM_KEY", KEY)
    (tmp_path / "models").mkdir()
    parquet(tmp_path / "models" / "test.parquet", user_id=[pseudonym("amy", KEY.encode())])
    assert len(erased("amy", tmp_path)) == 1
    monkeypatch.delenv("SHOPKEEPER_PSEUDONYM_KEY")
    assert erased("amy", tmp_path) == []


def test_a_root_that_is_no_folder_and_an_empty_id_are_refused(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find_customer({"amy"}, tmp_path / "none")
    with pytest.raises(UserError, match="give the customer's external id"):
        print_erased("  ", tmp_path)


SPELLINGS = {
    "a blank at the end": ("amy ", "amy"), "a no-break space": ("amy\u00a0", "amy"), "in the data": ("amy", " amy "),
    "a float": ("7.0", "7"), "a float in the data": ("7", "7.0"), "hash, other case": ("DEADBEEF0123", "deadbeef0123"),
    "hash in the data": ("deadbeef0123", "DEADBEEF0123"),
}  # fmt: skip
FILES = {
    "parquet": lambda f, user: parquet(f / "test.parquet", user_id=[user]),
    "json": lambda f, user: (f / "a.json").write_text(json.dumps({"users": {user: 1}})),
    "csv": lambda f, user: (f / "a.csv").write_text(f"id,score\n{user},1\n", encoding="utf-8"),
    "npy": lambda f, user: np.save(f / "a.npy", np.array([user])),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_the_id_is_the_same_customer(tmp_path, spelling, file):
    asked, there = SPELLINGS[spelling]
    FILES[file](tmp_path, there)
    assert not find_customer({asked}, tmp_path).gone
    assert find_customer({"17", "eve"}, tmp_path).gone


def test_numbers_in_a_column_or_key_of_customers_are_ids(tmp_path):
    parquet(tmp_path / "a.parquet", customer_id=[7.0, 8.0], price=[9.0, 9.0])
    (tmp_path / "b.json").write_text(json.dumps({"user_id": 7, "n": 9}))
    assert len(find_customer({"7"}, tmp_path).traces) == 2
    assert find_customer({"9"}, tmp_path).gone


def test_nothing_to_look_at_is_no_proof(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("Dear Sir,\n")
    for name in ("empty", "foreign"):
        with pytest.raises(UserError, match="nothing to look at"):
            print_erased("amy", tmp_path / name)
        with pytest.raises(UserError, match="nothing to look at"):
            erased("amy", tmp_path / name)
    assert "gone" not in capsys.readouterr().out


def test_it_says_how_much_it_looked_at_and_what_it_could_not_read(tmp_path, capsys):
    models = tmp_path / "models"
    models.mkdir()
    parquet(models / "test.parquet", user_id=["bob"] * 5)
    (models / "plot.png").write_bytes(b"\x89PNG....")
    print_erased("amy", tmp_path)
    said = capsys.readouterr().out
    size = sum(p.stat().st_size for p in models.iterdir())
    assert f"in 2 files below {tmp_path}: 5 rows and lines, {size:,} bytes" in said
    assert ".png 1" in said
    assert "not looked at: the shop's raw data" in said
    (models / "test.parquet").write_bytes((models / "test.parquet").read_bytes()[:-20])
    with pytest.raises(UserError, match="1 files cannot be read, so nobody can tell"):
        print_erased("amy", tmp_path)


LOST = "ab" * 32
REMEMBER = {
    "a killed training's checkpoint": ("outputs/checkpoints/sasrec-12/checkpoint/step/state.json",
                                       json.dumps({"sha256": "00", "tree": {"identity": {"data": LOST}}})),
    "a copied page": ("mlartifacts/1/artifacts/report.html", f"<dt>Data fingerprint</dt><dd>{LOST}</dd>"),
    "a report": ("reports/shop/manifest.json", json.dumps({"kind": "report", "dataset_fingerprint": LOST})),
    "a run in a folder of its own": ("my run/manifest.json", json.dumps({"kind": "run", "dataset_fingerprint": LOST})),
    "a bundle": ("handed/over/manifest.json", json.dumps({"kind": "recommender", "data": {"fingerprint": LOST}})),
}  # fmt: skip


@pytest.mark.parametrize("place", REMEMBER)
def test_what_was_made_from_data_that_is_gone_is_listed_with_what_to_do(tmp_path, place, capsys):
    name, text = REMEMBER[place]
    (tmp_path / "models").mkdir()
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="1 things were made from data that is no longer here"):
        print_erased("amy", tmp_path)
    assert name in capsys.readouterr().out


def test_a_studys_database_that_names_the_data_is_listed(tmp_path):
    (tmp_path / "studies").mkdir()
    with sqlite3.connect(tmp_path / "studies" / "s.db") as db:
        db.execute("create table attributes (value text)")
        db.execute("insert into attributes values (?)", [json.dumps({"data": {"fingerprint": LOST}})])
    db.close()
    assert [t.path.name for t in find_customer({"amy"}, tmp_path).unknown] == ["s.db"]


def test_what_a_run_wrote_elsewhere_is_looked_at_too_and_servers_are_named(tmp_path, capsys):
    run = tmp_path / "models" / "run"
    run.mkdir(parents=True)
    (tmp_path / "tracked").mkdir()
    (tmp_path / "tracked" / "customers.csv").write_text("user\namy\n")
    database(tmp_path / "runs.sqlite3")
    tracking = "{uri: 'sqlite:///runs.sqlite3', artifacts: tracked}"
    (run / "config.yaml").write_text(f"tracking: {tracking}\n")
    assert {t.path.name for t in find_customer({"amy"}, tmp_path).traces} == {"customers.csv", "runs.sqlite3"}
    (run / "config.yaml").write_text("tracking: {uri: 'https://me:secret@mlflow.example'}\n")
    with pytest.raises(UserError):
        print_erased("amy", tmp_path)
    said = capsys.readouterr().out
    assert "MLflow server https://mlflow.example" in said
    assert "secret" not in said


def test_a_folder_on_another_disk_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    parquet(tmp_path / "disk" / "test.parquet", user_id=["amy"])
    (tmp_path / "root" / "models").mkdir(parents=True)
    (tmp_path / "root" / "models" / "shop").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "models" / "round").symlink_to(tmp_path / "root" / "models")
    found = find_customer({"amy"}, tmp_path / "root")
    assert [t.path.name for t in found.traces] == ["test.parquet"]
    assert found.files == 1


def test_the_step_for_a_bundle_says_which_run_is_exported_again(tmp_path):
    bundle = tmp_path / "exports" / "shop-1"
    bundle.mkdir(parents=True)
    data = {"fingerprint": LOST, "dataset": "shop", "split": "temporal-0123abcd"}
    said = {"kind": "recommender", "task": "next_item", "model": "ease", "data": data}
    (bundle / "manifest.json").write_text(json.dumps(said))
    (step,) = {t.step for t in find_customer({"amy"}, tmp_path).unknown}
    assert step.startswith("shopkeeper export run=… (the one that was trained again) name=shop-1")
    (tmp_path / "runs/shop/next_item/temporal/ease").mkdir(parents=True)  # the run of a stage
    (step,) = {t.step for t in find_customer({"amy"}, tmp_path).unknown}
    assert step.startswith("shopkeeper export dataset=shop split=temporal task=next_item model=ease name=shop-1")
