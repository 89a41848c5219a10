"""Erasure, pseudonyms and tied time stamps through the verbs: a request to be forgotten reaches every artifact."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from shopkeeper.cli.erased import erased, print_erased
from shopkeeper.errors import UserError
from shopkeeper.pipeline.export import export_run
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_split
from shopkeeper.pipeline.told import Train, settings
from shopkeeper.pipeline.train import train_model

ROOT = Path(__file__).parents[2]


def config(folder: Path, *words: str) -> dict[str, Any]:
    always = ["model=popularity", "tracking=none", "progress=false", "dataset.simulate.customers=150",
              "evaluation.resamples=50", f"paths.prepared={folder}/data/prepared",
              f"paths.checkpoints={folder}/checkpoints"]  # fmt: skip
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose("train", [*always, *words]), Train)


def users(folder: Path, *words: str) -> list[str]:
    return prepare_data(config(folder, *words)).users["user_id"].to_pylist()


def test_an_erased_customer_is_gone_from_what_is_made_again_and_found_in_what_is_not(tmp_path: Path):
    words = ("prepared_folder=" + str(tmp_path / "data/prepared/shop"),)
    person = users(tmp_path, *words)[0]
    run = tmp_path / "models/popularity"
    train_model(config(tmp_path, *words), run)
    assert any("prepare" in step for _, _, _, step in erased(person, tmp_path))
    with pytest.raises(UserError):
        print_erased(person, tmp_path)

    order = tmp_path / "erased.csv"
    order.write_text(f"user_id\n{person}\n")
    words += (f"+dataset.erasure.file={order}",)
    cfg = config(tmp_path, *words)
    prepared = prepare_data(cfg)
    order_hash = prepared.erasure_list
    assert order_hash
    assert person not in prepared.users["user_id"].to_pylist()
    left = erased(person, tmp_path)
    assert left, "the model was trained before the erasure and must be named"
    assert all(str(run) in str(path) for path, _, _, _ in left if path != order), left

    again = train_model(cfg, run)
    bundle = export_run(again, tmp_path / "exports/popularity", golden=5)
    assert json.loads((bundle / "manifest.json").read_text())["data"]["erasure_list"] == order_hash
    order.unlink()  # the list itself names the customer; it is kept apart from what is handed over
    assert again.manifest["erasure_list"] == order_hash
    assert erased(person, tmp_path) == []
    print_erased(person, tmp_path)


def test_a_new_erasure_list_makes_prepared_data_stale(tmp_path: Path):
    order = tmp_path / "erased.csv"
    first, second = users(tmp_path)[:2]
    order.write_text(f"user_id\n{first}\n")
    words = ("prepared_folder=" + str(tmp_path / "data/prepared/shop"), f"+dataset.erasure.file={order}")
    assert second in users(tmp_path, *words)
    order.write_text(f"user_id\n{first}\n{second}\n")
    assert second not in users(tmp_path, *words)


def test_pseudonyms_replace_ids_and_the_key_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = set(users(tmp_path))
    words = ("+dataset.pseudonyms.key_env=SHOP_KEY",)
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(UserError, match="SHOP_KEY"):
        users(tmp_path, *words)
    secret = "a key of enough length for everybody 0123456789"
    monkeypatch.setenv("SHOP_KEY", secret)
    hidden = users(tmp_path, *words)
    assert not plain & set(hidden)
    assert len(set(hidden)) == len(plain)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_shuffled_ties_are_a_variant_of_their_own(tmp_path: Path):
    one, other = (prepare_data(config(tmp_path, *words)) for words in ((), ("timeline.ties=shuffled",)))
    assert one.path != other.path
    assert one.fingerprint != other.fingerprint
    digest = [hashlib.sha256(p.events.timestamp.tobytes()).hexdigest() for p in (one, other)]
    assert digest[0] == digest[1], "shuffling ties moved an event in time"
    split = prepare_split(config(tmp_path, "timeline.ties=shuffled"), other)
    assert split.path.is_relative_to(other.path)
