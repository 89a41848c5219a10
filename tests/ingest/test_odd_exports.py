"""Whatever an export looks like: events, money, orders, sessions, returns and labels are those of its plain values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ingest.odd_exports import Export, odd_export
from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.schema import EVENT_CODE


def check(export: Export, raw: Path, out: Path) -> None:
    prepared = Prepared.open(prepare_dataset(export.config, raw, out, progress=False))
    truth, events = export.truth, prepared.events
    assert sum(prepared.manifest["rejected"].values() if prepared.manifest["rejected"] else [0]) == export.n_guests
    assert {u: len(g) for u, g in truth.groupby(truth["customer"].astype(str))} == dict(
        zip(prepared.users["user_id"].to_pylist(), np.diff(prepared.offsets).tolist(), strict=True)
    )
    assert prepared.n_items == truth["item"].nunique()
    for kind, of_kind in truth.groupby("kind"):
        assert (events.event_type == EVENT_CODE[kind]).sum() == len(of_kind), kind
    wanted = truth["time"].astype("datetime64[us, UTC]").astype("int64")
    assert sorted(events.timestamp.tolist()) == sorted(wanted.tolist())

    bought, known = events.event_type == EVENT_CODE["purchase"], truth[truth["kind"] == "purchase"]
    units = np.where(np.isnan(events.quantity), 1.0, events.quantity)
    money = np.bincount(prepared.event_user[bought], (events.price * units)[bought], prepared.n_users + 1)[1:]
    by_customer = known.groupby(known["customer"].astype(str))["money"].sum()
    names = prepared.users["user_id"].to_pylist()
    np.testing.assert_allclose(money, by_customer.reindex(names).to_numpy(), rtol=0, atol=0.03 * len(known))
    assert np.isnan(events.quantity[bought]).sum() == known["quantity"].isna().sum()

    zone = export.config["timestamp"]["time_zone"]
    day = known["time"].dt.tz_convert(zone).dt.date
    orders = set(zip(prepared.event_user[bought].tolist(), events.order[bought].tolist(), strict=True))
    assert len(orders) == known.groupby(["customer", "order", day]).ngroups
    assert len(np.unique(events.session)) == truth["session"].nunique()
    assert prepared.manifest.get("returns", {"linked": 0})["linked"] == (truth["kind"] == "return").sum()

    last = known["time"].max()
    cutoff = (last - pd.Timedelta(days=30)).floor("D")
    before = known[known["time"] < cutoff]
    if len(before):
        at = int(cutoff.value // 1000)
        cohort = build_cohort(prepared, at, 29, None, observed_until=at + 30 * 86_400_000_000)
        came = known[(known["time"] >= cutoff) & (known["time"] < cutoff + pd.Timedelta(days=29))]["customer"]
        stays = set(came.astype(str))
        left = {names[u - 1]: float(y) for u, y in zip(cohort.customer, cohort.label, strict=True)}
        assert left == {str(c): float(str(c) not in stays) for c in before["customer"].unique()}


@pytest.mark.parametrize("first", range(0, 300, 30))
def test_an_odd_export_holds_what_its_plain_values_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int):
    monkeypatch.setattr("os.fsync", lambda fd: None)  # hundreds of folders: not a test of the disk
    for seed in range(first, first + 30):
        raw = tmp_path / f"raw{seed}"
        check(odd_export(raw, seed), raw, tmp_path / f"out{seed}")
