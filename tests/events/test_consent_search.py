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

from shopkeeper.cli.erased import erased, print_erased
from shopkeeper.errors import UserError
from shopkeeper.events.consent_erasure import pseudonym
from shopkeeper.events.consent_rules import customer_rules
from shopkeeper.events.consent_search import find_customer
from shopkeeper.events.prepare import prepare_dataset


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
    assert "unreadable" in find_customer({"amy"}, tmp_path).traces[0].where


def run_of(root, fingerprint, model="sasrec"):
    folder = root / "models" / "shop" / "temporal" / "next_item" / model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"kind": "run", "dataset_fingerprint": fingerprint}))
    bundle = root / "exports" / f"shop-{model}"
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "manifest.json").write_text(json.dumps({"kind": "recommender", "data": {"fingerprint": fingerprint}}))


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
    assert [s.split()[1] for s in steps] == ["prepare.py", "train.py", "export.py"]
    assert "model=sasrec" in steps[1]
    assert {str(path.relative_to(tmp_path)) for path, *_ in erased("zoe", tmp_path)} == {
        "data/prepared/shop/events.parquet",
        "data/prepared/shop/users.parquet",
        "models/shop/temporal/next_item/sasrec/manifest.json",
        "exports/shop-sasrec/manifest.json",
    }
    change = customer_rules(SHOP | {"erasure": RULES["erasure"]}, raw)
    prepare_dataset(SHOP, raw, out, progress=False, change=change)
    with pytest.raises(UserError, match="2 things were made from data that is no longer here and may remember them"):
        print_erased("zoe", tmp_path)
    assert "train.py" in capsys.readouterr().out
    assert [count for _, _, count, _ in erased("zoe", tmp_path)] == [0, 0]
    run_of(tmp_path, json.loads((out / "manifest.json").read_text())["fingerprint"])
    assert erased("zoe", tmp_path) == []
    print_erased("zoe", tmp_path)
    assert "gone: no file names the customer" in capsys.readouterr().out


def test_a_customer_under_a_pseudonym_is_found_with_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOPKEEPER_PSEUDONYM_KEY", KEY)
    parquet(tmp_path / "test.parquet", user_id=[pseudonym("amy", KEY.encode())])
    assert len(erased("amy", tmp_path)) == 1
    monkeypatch.delenv("SHOPKEEPER_PSEUDONYM_KEY")
    assert erased("amy", tmp_path) == []


def test_a_root_that_is_no_folder_and_an_empty_id_are_refused(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        find_customer({"amy"}, tmp_path / "none")
    with pytest.raises(UserError, match="give the customer's external id"):
        print_erased("  ", tmp_path)
