"""Identities and consent through the verbs: every split and every cohort sees what was known at its own cutoff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.arrange.extend import extend_dataset
from shopkeeper.customers.build_cohort import SAYS_NOTHING
from shopkeeper.errors import UserError
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.cohorts import known_at, windows_of
from shopkeeper.pipeline.prepare import prepare
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.runs import open_run
from shopkeeper.pipeline.told import TaskSettings, Train, plain, settings
from shopkeeper.pipeline.train import train_model
from shopkeeper.timeline import DAY, instant, iso

ROOT = Path(__file__).parents[2]
START = instant("2024-01-01", "start")
DAYS = 200


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A shop of 60 accounts; account a<i> also shops as card c<i>, and the links are learned one after another."""
    rng = np.random.default_rng(0)
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = ["who,what,when"]
    for t in np.sort(START + rng.integers(0, DAYS * DAY, 1500)):
        lines.append(f"{rng.choice(['a', 'c'])}{rng.integers(60)},item{rng.integers(30)},{t}")
    (raw / "log.csv").write_text("\n".join(lines) + "\n")
    links = [f"a{i},c{i},{iso(START + 3 * i * DAY)}" for i in range(60)]  # one every third day, all over the log
    (raw / "links.csv").write_text("\n".join(["account,key,valid_from", *links]) + "\n")
    granted = [f"{k}{i},ads,2023-01-01," for k in "ac" for i in range(60) if i % 10]
    withdrawn = [
        f"{k}{i},ads,2023-01-01,{iso(START + (100 + 16 * (i // 10)) * DAY)}" for k in "ac" for i in range(0, 60, 10)
    ]
    (raw / "consent.csv").write_text("\n".join(["account,purpose,granted,withdrawn", *granted, *withdrawn]) + "\n")
    (raw / "who.csv").write_text("\n".join(["user_id,town", *[f"a{i},town{i % 3}" for i in range(60)]]) + "\n")
    return tmp_path


DATASET: dict[str, Any] = {
    "name": "shop",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
    "timestamp": {"unit": "us"},
    "event_type": {"value": "purchase"},
    "users": {"file": "who.csv"},
    "target_events": ["purchase"],
    "filter_seen": False,
    "temporal": {"validation_days": 20, "test_days": 20},
    "churn": {"horizon_days": 20, "active_days": 30},
}
IDENTITY = {"identity": {"file": "links.csv"}}
CONSENT = {"consent": {"file": "consent.csv", "purpose": "ads"}}
PSEUDONYMS = {"pseudonyms": {"key_env": "SHOP_KEY"}}


def config(shop: Path, rules: dict[str, Any], *words: str) -> dict[str, Any]:
    always = ["model=popularity", "split=temporal", "tracking=none", "progress=false", "evaluation.resamples=50",
              f"paths.prepared={shop}/prepared", f"paths.raw={shop}/raw", f"paths.checkpoints={shop}/c"]  # fmt: skip
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = plain(compose("train", [*always, *words]))
    dataset = yaml.safe_load(yaml.safe_dump(DATASET | rules))
    return settings({**cfg, "dataset": dataset, "audit": "full"}, Train)


def persons(ids: list[str]) -> set[int]:
    """Customers whose card is still a customer of its own."""
    return {int(x[1:]) for x in ids if x.startswith("c")}


@pytest.mark.parametrize("fold", [0, 2])
def test_a_link_learned_after_the_cutoff_does_not_merge_histories_whatever_the_fold(shop: Path, fold: int):
    prepared, split = prepare_to_train(config(shop, IDENTITY, "split=rolling", f"split.fold={fold}"))
    cutoff = split.timeline["cutoffs"]["validation"]["us"]
    assert cutoff == START + (DAYS - 40 - 20 * fold) * DAY
    late = {i for i in range(60) if START + 3 * i * DAY >= cutoff}
    assert persons(prepared.users["user_id"].to_pylist()) == late
    assert split.timeline["audit"]["passed"]


def test_cohorts_are_made_of_persons_as_they_were_known_at_each_cutoff(shop: Path):
    cfg = config(shop, IDENTITY, "task=churn", "model=logistic")
    windows = windows_of(cfg, prepare_data(cfg))
    cutoffs = [*windows.train, windows.calibration, windows.test]
    assert len(cutoffs) > 4
    for cutoff in cutoffs:
        late = {i for i in range(60) if START + 3 * i * DAY >= cutoff}
        assert persons(known_at(cfg, cutoff).users["user_id"].to_pylist()) == late
    run = train_model(cfg, shop / "run")
    assert run.manifest["prepared"].endswith(iso(windows.test).replace(":", ""))
    assert run.metrics["test"]["log_loss"]["n"] > 30


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("links.csv", ",c8,", ",c9x,"), ("consent.csv", "8,ads", "8,all"), ("log.csv", "item1,", "item2,"),
     ("who.csv", "town1", "town2")],
)  # fmt: skip
def test_what_was_known_then_is_read_anew_where_a_file_was_corrected_and_the_run_of_before_says_so(
    shop: Path, file: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(shop)
    words = "paths.prepared=prepared", "prepared_folder=prepared/shop"
    train_model(config(shop, IDENTITY | CONSENT, *words), Path("run"))
    before = prepare_to_train(config(shop, IDENTITY | CONSENT, *words))[0].fingerprint
    path = shop / "raw" / file
    path.write_text(path.read_text().replace(old, new))
    run = open_run("run").manifest
    prepare_data(config(shop, IDENTITY | CONSENT, *words))
    with pytest.raises(UserError, match=r"has gone: .* was prepared anew since the run was trained; train again"):
        context.prepared_of(run)
    after = prepare_to_train(config(shop, IDENTITY | CONSENT, *words))[0].fingerprint
    assert after != before
    with pytest.raises(UserError, match=r"has changed since the run was trained .*; train again"):
        context.prepared_of(run)


def test_prepare_leaves_the_data_as_known_at_every_cutoff_that_is_asked_about(shop: Path):
    cfg = config(shop, IDENTITY)
    prepare({k: v for k, v in cfg.plain.items() if k != "overwrite"})  # type: ignore[arg-type]
    windows = windows_of(replace(cfg, task=TaskSettings("churn")), prepare_data(cfg))
    names = {p.name for p in (prepare_data(cfg).path / "as_of").iterdir()}
    wanted = {*windows.train, windows.calibration, windows.test, START + (DAYS - 40) * DAY}
    assert names == {iso(t).replace(":", "") for t in wanted}


def test_a_log_too_short_for_the_windows_of_one_task_is_prepared_for_the_others(shop: Path, caplog):
    cfg = config(shop, IDENTITY | {"churn": {"horizon_days": 90, "active_days": 90}})
    prepare({k: v for k, v in cfg.plain.items() if k != "overwrite"})  # type: ignore[arg-type]
    assert "task=churn: no training cutoff fits" in caplog.text
    names = {p.name for p in (prepare_data(cfg).path / "as_of").iterdir()}
    assert names == {iso(START + (DAYS - 40) * DAY).replace(":", "")}


def test_links_that_the_log_itself_shows_are_known_as_of_each_cutoff(shop: Path):
    """Each account's card is in the account's own row from a day of its own on."""
    lines = (shop / "raw/log.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    seen = {f"{k}{i}": START + 3 * i * DAY for k in "ac" for i in range(60)}
    both = []
    for w, what, t in rows:
        known = int(t) >= seen[w]
        both.append((f"a{w[1:]}" if w[0] == "a" or known else "", f"c{w[1:]}" if w[0] == "c" or known else "", what, t))
    text = "\n".join(["account,card,what,when", *(",".join(row) for row in both)]) + "\n"
    (shop / "raw/log.csv").write_text(text)
    rules = {
        "columns": {"user_id": "who", "item_id": "what", "timestamp": "when"},
        "steps": [{"first_of": {"columns": ["account", "card"], "into": "who"}}],
        "identity": {"from_events": {"account": "account", "key": "card"}},
        "users": {},
    }
    prepared, split = prepare_to_train(config(shop, rules))
    cutoff = split.timeline["cutoffs"]["validation"]["us"]
    shown = {int(card[1:]) for account, card, _, t in both if account and card and int(t) < cutoff}
    alone = {int(card[1:]) for account, card, _, _ in both if not account}
    assert persons(prepared.users["user_id"].to_pylist()) == alone - shown
    assert alone & shown
    assert split.timeline["audit"]["passed"]
    with pytest.raises(UserError, match=r"identity\.from_events.*prepare all files together"):
        extend_dataset(prepare_data(config(shop, rules)).path, {**DATASET, **rules}, shop / "raw", shop / "longer")


def test_who_withdrew_before_the_cutoff_is_not_trained_on_and_who_withdraws_later_is(shop: Path):
    gone = {i: START + (100 + 16 * (i // 10)) * DAY for i in range(0, 60, 10)}
    for fold in (0, 1, 2):
        prepared, split = prepare_to_train(config(shop, CONSENT, "split=rolling", f"split.fold={fold}"))
        cutoff = split.timeline["cutoffs"]["validation"]["us"]
        trained = np.flatnonzero(split.train_end > prepared.offsets[:-1])
        ids = {int(prepared.users["user_id"][int(u)].as_py()[1:]) for u in trained}
        assert ids == {i for i in range(60) if gone.get(i, cutoff + 1) > cutoff}
        assert split.timeline["consent"]["users_not_trained_on"] == 2 * sum(t <= cutoff for t in gone.values())


def test_a_cohort_holds_those_who_agree_at_its_cutoff_and_do_not_withdraw_in_its_window(shop: Path):
    run = train_model(config(shop, CONSENT, "task=churn", "model=base_rate"), shop / "run")
    left_out = run.manifest["left_out"]
    assert left_out["train"]["consent withdrawn inside the label window"] > 0
    assert left_out["test"]["no consent at the cutoff"] > 0
    table = pq.read_table(shop / "run/test.parquet")
    end = int(table["instant"].cast("int64")[0].as_py()) + 20 * DAY
    gone = {i for i in range(0, 60, 10) if START + (100 + 16 * (i // 10)) * DAY < end}
    assert gone
    assert not gone & {int(x[1:]) for x in table["user_id"].to_pylist()}


def test_cutoffs_at_which_nobody_agrees_are_counted_and_the_others_are_learnt_from(shop: Path):
    file = shop / "raw/consent.csv"
    head, *rows = file.read_text().splitlines()
    spans = [("2023-01-01", iso(START + 55 * DAY)), (iso(START + 85 * DAY), "")]  # nobody between day 55 and 85
    file.write_text("\n".join([head, *(f"{r.split(',')[0]},ads,{a},{b}" for r in rows for a, b in spans)]) + "\n")
    run = train_model(config(shop, IDENTITY | CONSENT, "task=churn", "model=base_rate"), shop / "run")
    left_out = run.manifest["left_out"]["train"]
    assert left_out["cutoffs at which no active customer agreed"] >= 1
    assert left_out["no consent at the cutoff"] > 10
    assert run.metrics["test"]["log_loss"]["n"] > 10


def test_cutoffs_whose_windows_do_not_say_what_is_asked_are_counted_and_the_others_are_learnt_from(shop: Path):
    file, priced = shop / "raw/log.csv", START + 110 * DAY
    head, *rows = file.read_text().splitlines()
    late = [int(row.rpartition(",")[2]) >= priced for row in rows]  # before that no line says what was paid
    paid = [f"{row},{9 + n % 2 if told else ''}" for n, (row, told) in enumerate(zip(rows, late, strict=True))]
    file.write_text("\n".join([f"{head},paid", *paid]) + "\n")
    rules = IDENTITY | {"columns": {**DATASET["columns"], "price": "paid"}}
    words = ("task=discount_affinity", "task.windows.horizon_days=20", "task.windows.active_days=30", "model=base_rate")
    run = train_model(config(shop, rules, *words), shop / "run")
    assert run.manifest["left_out"]["train"][SAYS_NOTHING] > 30
    assert run.metrics["test"]["log_loss"]["n"] > 10


def test_latest_keeps_nobody_who_has_withdrawn_by_now(shop: Path):
    rule = {"consent": {**CONSENT["consent"], "as_of": "latest"}}
    ids = prepare_data(config(shop, rule)).users["user_id"].to_pylist()
    assert {int(x[1:]) for x in ids} == {i for i in range(60) if i % 10}


def test_pseudonyms_change_neither_the_target_hash_nor_a_users_attributes(shop: Path, monkeypatch):
    shown, split = prepare_to_train(config(shop, IDENTITY | CONSENT))
    monkeypatch.setenv("SHOP_KEY", "one key of enough length")
    hidden, other = prepare_to_train(config(shop, IDENTITY | CONSENT | PSEUDONYMS))
    assert not set(shown.users["user_id"].to_pylist()) & set(hidden.users["user_id"].to_pylist())
    assert other.target_hash() == split.target_hash()
    assert hidden.users["town"].to_pylist() == shown.users["town"].to_pylist()
    assert set(hidden.users["town"].to_pylist()) >= {"town0", "town1", "town2"}

    churn = ("task=churn", "model=base_rate")
    runs = [
        train_model(config(shop, rules, *churn), shop / name)
        for name, rules in (("plain", IDENTITY), ("hidden", IDENTITY | PSEUDONYMS))
    ]
    assert runs[0].manifest["target_hash"] == runs[1].manifest["target_hash"]

    monkeypatch.setenv("SHOP_KEY", "another key of enough length")
    with pytest.raises(UserError, match="the key or the raw files here are not those"):
        prepare_to_train(config(shop, IDENTITY | CONSENT | PSEUDONYMS, "split=rolling"))


def test_links_of_data_that_has_only_an_order_want_a_date(shop: Path):
    columns = {"columns": {"user_id": "who", "item_id": "what"}, "timestamp": {}}
    cfg = config(shop, IDENTITY | columns, "split=leave_one_out")
    with pytest.raises(UserError, match=r"only an order.*dataset\.identity\.as_of to a date"):
        prepare_to_train(cfg)
    dated = config(shop, {"identity": {**IDENTITY["identity"], "as_of": "2024-02-01"}} | columns, "split=leave_one_out")
    assert len(prepare_to_train(dated)[0].users) < len(prepare_data(cfg).users)


def test_links_as_of_a_cutoff_that_is_a_share_of_what_they_join_are_refused(shop: Path):
    shares = {"temporal": {"validation_share": 0.2, "test_share": 0.2}}
    with pytest.raises(UserError, match=r"depends on how customers' keys are joined.*set split\.validation_days"):
        prepare_to_train(config(shop, IDENTITY | shares, "split=temporal"))
