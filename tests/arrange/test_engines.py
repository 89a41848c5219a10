"""Every engine writes the same bytes, whatever the log and the filters are (Spark: test_engine_spark.py)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_logs import HEADER, SHOP, SPLIT, shop_files
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.arrange.engine import run_engine
from shopkeeper.arrange.engine_settings import ENGINES, Engine
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_tree
from shopkeeper.ingest.dataset import parse
from shopkeeper.people.rules import customer_rules
from shopkeeper.splits.write import write_split

ROOT = Path(__file__).parents[2]
PLANNED = ("polars", "duckdb")
ORDER_ONLY = {
    "name": "order_only",
    "raw": {"folder": "", "files": ["log.txt"]},
    "reader": {"format": "sequences"},
    "event_type": "rating",
}
DEMO = {"name": "demo", "simulate": {"preset": "demo_shop", "customers": 40}, "target_events": ["purchase"]}


def hashes(config: dict, raw: Path, out: Path, engine: str) -> dict[str, str]:
    change = customer_rules(config, raw)
    made = prepare_dataset(config, raw, out / engine, progress=False, change=change, engine=Engine(engine))
    p = Prepared.open(made)
    spec = {**SPLIT, "target_events": list(p.manifest["event_types"])}
    targets = Split.open(p, write_split(p, spec)).target_hash()
    return {**sha256_tree(made, skip=frozenset()), "target hash": targets}


@pytest.mark.parametrize("engine", PLANNED)
@pytest.mark.parametrize(
    "config",
    [
        SHOP,
        {**SHOP, "filters": {}, "extra": {"colour": "colour"}, "columns": {**SHOP["columns"], "order_id": "visit"}},
        {**SHOP, "filters": {"bots": {"per_day": 40, "per_hour": 30}, "min_history": 20}},
        {**SHOP, "filters": {"repeats": {"seconds": 600_000}}, "columns": {**SHOP["columns"], "order_id": "visit"}},
        {**SHOP, "filters": {"repeats": {"seconds": 600_000, "of": "all", "at_once": False}}},
        {**ORDER_ONLY, "filters": {"consecutive_repeats": True, "k_core": 3, "min_history": 5, "max_history": 30}},
        DEMO,
    ],
    ids=["all filters", "no filters", "bots", "repeats", "repeats of other instants", "order only", "simulated"],
)
def test_an_engine_leaves_the_bytes_and_the_targets_of_the_default(tmp_path: Path, config: dict, engine: str):
    raw = shop_files(tmp_path / "raw")
    lines = [f"{n} " + " ".join(f"i{(n * k) % 17}" for k in range(n % 40 + 1)) for n in range(80)]
    (raw / "log.txt").write_text("\n".join(lines))
    found = hashes(config, raw, tmp_path, engine)
    assert found == hashes(config, raw, tmp_path, "arrays")


@pytest.mark.parametrize("engine", PLANNED)
def test_erasure_consent_pseudonyms_and_shuffled_ties_reach_every_engine(tmp_path: Path, engine: str, monkeypatch):
    raw = shop_files(tmp_path / "raw")
    (raw / "erased.txt").write_text("user_id\nu7\nu11\n")
    agreed = [f"u{n},use,2020-{['09', '10'][n % 2]}-01,{'' if n % 7 else '2020-10-05'}" for n in range(150)]
    (raw / "consent.txt").write_text("\n".join(["account,purpose,granted,withdrawn", *agreed]))
    monkeypatch.setenv("SHOP_KEY", "k" * 32)
    config = {**SHOP, "filters": {"k_core": 2}, "erasure": {"file": "erased.txt"},
              "consent": {"file": "consent.txt", "purpose": "use"},
              "pseudonyms": {"key_env": "SHOP_KEY"}, "ties": {"order": "shuffled", "seed": 3}}  # fmt: skip
    found = hashes(config, raw, tmp_path, engine)
    assert found == hashes(config, raw, tmp_path, "arrays")
    p = Prepared.open(tmp_path / engine)
    assert p.consent is not None
    users = p.users["user_id"].to_pylist()
    assert len(users) > 100
    assert not any(user.startswith("u") for user in users)


some_filters = st.fixed_dictionaries(
    {},
    optional={
        "event_types": st.sampled_from([["purchase"], ["view", "return"]]),
        "retention_days": st.sampled_from([0.5, 3, 1000]),
        "bots": st.fixed_dictionaries({}, optional={"per_hour": st.integers(1, 4), "per_day": st.integers(1, 6)}),
        "repeats": st.fixed_dictionaries(
            {"seconds": st.sampled_from([0, 21_600, 50_000])},
            optional={"of": st.just("all"), "at_once": st.just(False)},
        ),
        "consecutive_repeats": st.just(True),
        "k_core": st.integers(1, 3),
        "min_history": st.integers(1, 3),
        "max_history": st.integers(2, 9),
    },
)
some_rows = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from("wxyz"), st.integers(0, 5), st.sampled_from(["buy", "see", "back"]),
        st.sampled_from(["", "1", "2.5"]), st.sampled_from(["", "v1", "v2"]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(some_rows, some_filters)
def test_engines_agree_on_any_log_under_any_filters(rows: list[tuple], filters: dict):
    lines = [
        f"{u},{i},{1_600_000_000 + 21_600 * t},{kind},{price},1,{visit},web,red" for u, i, t, kind, price, visit in rows
    ]

    def outcome(engine: str, raw: Path) -> Any:
        try:
            done = run_engine(Engine(engine), parse({**SHOP, "filters": filters}), raw, progress=False)
        except UserError as e:
            return str(e)
        a = done.arranged
        columns = {name: (str(v.dtype), v.tobytes()) for name, v in a.columns.items()}
        return a.offsets.tobytes(), columns, {k: v.to_pylist() for k, v in a.names.items()}, done.filters

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "log.csv").write_text("\n".join([HEADER, *lines]))
        expected = outcome("arrays", Path(folder))
        for engine in PLANNED:
            assert outcome(engine, Path(folder)) == expected


def test_time_filters_of_order_only_data_end_in_the_same_line_on_every_engine(tmp_path: Path):
    (tmp_path / "log.txt").write_text("u a b\n")
    config = {**ORDER_ONLY, "filters": {"retention_days": 3}}
    for engine in ("arrays", *PLANNED):
        with pytest.raises(UserError, match=r"filters.retention_days needs time stamps"):
            prepare_dataset(config, tmp_path, tmp_path / "out", progress=False, engine=Engine(engine))


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"name": "duckbd"}, "engine.name is 'duckbd', no known one. Did you mean 'duckdb'"),
        ({"name": "sparc"}, "engine.name is 'sparc', no known one. Did you mean 'spark'"),
        ({"name": "polars", "memory": "4g"}, "unknown option `engine.memory` of engine=polars"),
        ({"name": "spark", "mastre": "yarn"}, "unknown option `engine.mastre`. Did you mean 'master'"),
    ],
)
def test_an_unknown_engine_or_option_is_named(engine: dict, message: str):
    with pytest.raises(UserError) as caught:
        Engine.of(engine)
    assert message in str(caught.value)


def test_every_engine_has_a_config_with_options_that_it_knows():
    found = {}
    for path in (ROOT / "conf" / "engine").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        assert Engine.of(config).name == path.stem
        found[path.stem] = config
    assert set(found) == set(ENGINES)
