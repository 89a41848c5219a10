"""Which splits there are: their folders, catalogues, hashes and settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from split_logs import SPECS, START, random_log, spec, write_log
from split_loops import opened

from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.splits.catalogue import k_core
from shopkeeper.splits.write import write_split
from shopkeeper.timeline import DAY, SplitSpec

CONF = Path(__file__).parents[2] / "conf" / "split"


def test_rolling_folds_are_the_last_window_moved_back_each_in_a_folder_of_its_own(tmp_path):
    p = random_log(tmp_path / "log", 3)
    folds = [opened(p, spec("rolling", fold=i)) for i in range(3)]
    assert len({s.name for s in folds}) == 3
    cut = [{k: v["us"] for k, v in s.timeline["cutoffs"].items()} for s in folds]
    assert cut[1]["end"] == cut[0]["test"]
    assert cut[2]["end"] == cut[1]["test"]
    whole = opened(p, spec("temporal", validation_days=8, test_days=8, k_core=None))
    assert whole.target_hash() == folds[0].target_hash()
    with pytest.raises(UserError, match=r"split.fold=9 lies before .* the last fold that fits is 5"):
        write_split(p, spec("rolling", fold=9))


@pytest.mark.parametrize("name", SPECS)
def test_the_same_specification_gives_the_same_bytes_and_is_not_made_twice(tmp_path, name):
    a, b = random_log(tmp_path / "a", 7), random_log(tmp_path / "b", 7)
    one, two = write_split(a, spec(name)), write_split(b, spec(name))
    assert one.name == two.name
    files = sorted(f.name for f in one.iterdir())
    assert files == ["catalogue.npy", "test.parquet", "timeline.json", "train_end.npy", "validation.parquet"]
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
    before = (one / "timeline.json").stat().st_mtime_ns
    assert write_split(a, spec(name)) == one
    assert (one / "timeline.json").stat().st_mtime_ns == before


def test_a_split_of_other_data_is_made_again(tmp_path):
    p = random_log(tmp_path / "log", 1)
    path = write_split(p, spec("temporal"))
    before = (path / "timeline.json").stat().st_mtime_ns
    p.manifest["fingerprint"] = "other data"
    write_split(p, spec("temporal"))
    assert (path / "timeline.json").stat().st_mtime_ns != before


def test_an_empty_window_names_the_setting_that_widens_it(tmp_path):
    p = write_log(tmp_path / "log", list("abc"), list("xyz"), START + np.array([0, 9, 9]) * DAY)
    with pytest.raises(UserError, match=r"no purchase event for validation in .*; raise split.validation_days"):
        write_split(p, spec("temporal", validation_days=1, test_days=1, k_core=None))


def test_under_strict_the_catalogue_holds_what_training_has_seen_and_under_published_the_whole_log(tmp_path):
    p = random_log(tmp_path / "log", 5)
    strict = opened(p, spec("temporal", k_core=None))
    published = opened(p, spec("temporal", k_core=None, protocol="published"))
    _, rows = strict.training_rows()
    np.testing.assert_array_equal(strict.catalogue, np.unique(p.events.item[rows]))
    assert len(strict.catalogue) < len(published.catalogue) == p.n_items
    assert strict.name != published.name
    assert strict.target_hash() == published.target_hash()


def test_the_strict_k_core_is_counted_on_training_rows(tmp_path):
    p = random_log(tmp_path / "log", 5)
    split = opened(p, spec("temporal", k_core=6))
    offsets, rows = split.training_rows()
    assert np.bincount(p.events.item[rows])[split.catalogue].min() >= 6
    n = np.diff(offsets)
    assert n[n > 0].min() >= 6
    loose = opened(p, spec("temporal", k_core=None))
    assert len(rows) < len(loose.training_rows()[1])
    assert split.target_hash() == loose.target_hash()  # who is asked does not depend on the core


def test_the_k_core_is_the_largest_set_whatever_the_order_of_removal():
    rng = np.random.default_rng(0)
    item, user = rng.integers(0, 30, 300), rng.integers(0, 40, 300)
    events = list(zip(item.tolist(), user.tolist(), strict=True))
    while True:  # one event at a time
        bad = [e for e in events if sum(x[0] == e[0] for x in events) < 6 or sum(x[1] == e[1] for x in events) < 6]
        if not bad:
            break
        events.remove(bad[0])
    got = k_core(item, user, 6)
    assert sorted(zip(*(x.tolist() for x in got), strict=True)) == sorted(events)
    assert len(events) > 0


def test_the_target_hash_has_the_bytes_that_its_docstring_says(tmp_path):
    p = write_log(tmp_path / "log", ["ü,1", "ü,1", "ü,1", "b", "b", "b", "b"], ["x", "é", "a", "x", "q", "é", "a"],
                  START + np.array([1, 2, 3, 1, 2, 3, 3]), order=[0, 0, 0, 0, 0, 9, 9])  # fmt: skip
    split = opened(p, spec("leave_one_out"))
    lines = [f"b\x1f{START + 3}\x1fa\x1eé\x1e\n", f"ü,1\x1f{START + 3}\x1fa\x1e\n"]
    assert split.target_hash() == hashlib.sha256("".join(lines).encode()).hexdigest()
    order_only = write_log(tmp_path / "order", list("aaa"), list("xyz"))
    assert opened(order_only, spec("leave_one_out")).target_hash() == hashlib.sha256(b"a\x1f\x1fz\x1e\n").hexdigest()


def test_the_target_hash_can_be_taken_before_pseudonyms(tmp_path):
    import pyarrow as pa

    plain = write_log(tmp_path / "plain", list("aaab"), list("xyzx"))
    secret = write_log(tmp_path / "secret", ["7f"] * 3 + ["e1"], list("xyzx"))
    split = opened(secret, spec("leave_one_out"))
    assert split.target_hash() != opened(plain, spec("leave_one_out")).target_hash()
    secret.manifest["fingerprint"] = "again"
    split = Split.open(secret, write_split(secret, spec("leave_one_out"), real_users=lambda: pa.array(["a", "b"])))
    assert split.target_hash() == opened(plain, spec("leave_one_out")).target_hash()


@pytest.mark.parametrize("name", ["temporal", "rolling", "sessions"])
def test_a_split_by_time_of_order_only_data_is_refused_in_one_line(tmp_path, name):
    p = write_log(tmp_path / "log", list("aaab"), list("xyzx"))
    with pytest.raises(UserError, match=r"needs time stamps.*use split=leave_one_out") as error:
        write_split(p, spec(name, protocol="published", k_core=None, test_days=None))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "log").glob("splits/*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "leave_one_out", "target_events": ["return"]}, "it has view, purchase: set split.target_events"),
        ({"name": "leave_k_out", "k": 99}, "no user of tiny has the 199 purchase steps"),
        (
            {"name": "temporal", "validation_days": 50, "test_days": 50},
            "lower split.validation_days or split.test_days",
        ),
        ({"name": "temporal", "validation_days": 5}, "set split.test_days"),
        ({"name": "temporal", "validation_days": 10, "test_days": 10, "k_core": 400}, "lower k_core"),
        (
            {"name": "temporal", "validation_days": "ten", "test_days": 10},
            "split.validation_days is 'ten'; it must be a number",
        ),
        ({"name": "temporal", "test": "2024-01-20", "validation": "2024-02-01"}, "cutoffs must follow each other"),
        ({"name": "temporal", "test_days": 3, "validation_days": 3, "fold": 1}, "setting 'fold' means nothing"),
        ({"name": "temporel"}, "Did you mean 'temporal'"),
        ({"name": "temporal", "test_days": 3, "validation_days": 3, "targets": "frist"}, "Did you mean 'first'"),
        ({"name": "leave_one_out", "protocol": "stirct"}, "Did you mean 'strict'"),
        ({"name": "leave_one_out", "k_core": 5}, "dataset.filters.k_core"),
        ({"name": "held_out_users", "test_share": 0.6, "validation_share": 0.5}, "must stay below 1"),
        ({"name": "held_out_users", "test_share": 0.0000001}, "raise split.test_share"),
        ({"name": "held_out_users", "fold_in": 1.0}, "fold_in"),
    ],
)
def test_a_split_that_cannot_be_made_names_the_setting_to_change(tmp_path, settings, message):
    p = random_log(tmp_path / "log", 2)
    with pytest.raises(UserError, match=message) as error:
        write_split(p, {"target_events": ["purchase"], **settings})
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "log").glob("splits/*"))


def test_a_setting_that_a_kind_does_not_read_does_not_change_its_hash():
    a = SplitSpec.from_config(spec("temporal", test_days=30))
    assert a.folder == SplitSpec.from_config(spec("temporal", test_days=30.0)).folder
    assert a.folder != SplitSpec.from_config(spec("temporal", test_days=29)).folder


@pytest.mark.parametrize("name", ["leave_one_out", "leave_k_out", "temporal", "rolling", "held_out_users", "sessions"])
def test_every_shipped_config_splits_a_log(tmp_path, name):
    import yaml

    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    config["target_events"] = ["purchase"]
    for key in ("validation_days", "test_days"):
        if key in config:
            config[key] = 15
    split = opened(random_log(tmp_path / "log", 3, n=800), config)
    assert split.name.startswith(name + "-")
    assert split.timeline["audit"]["passed"]


def test_a_refit_learns_only_from_those_who_agree_at_the_test_cutoff(tmp_path):
    p = random_log(tmp_path / "log", 1, consent=True)
    again = Split.open(p, write_split(p, spec("temporal_all"))).until_test()
    agrees = p.consent.holds(np.arange(1, p.n_users + 1), again.timeline["cutoffs"]["test"]["us"])
    trained = again.train_end > p.offsets[:-1]
    assert trained.any()
    assert (~agrees).any()
    assert not (trained & ~agrees).any()
