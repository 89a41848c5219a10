"""Keys that merge and split: the truth is whole, and links are pure at every cutoff."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from shopkeeper.ingest.log import Ids, Log
from shopkeeper.people.identity import merge_identities, read_links
from shopkeeper.simulated.settings import Simulation
from shopkeeper.simulated.shop import simulate
from shopkeeper.timeline import instant


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("identities")
    for name, asked in (("plain", False), ("keys", True)):
        simulate(Simulation(preset="demo_shop", seed=6, customers=500, identities=asked), root / name)
    return root / "plain", root / "keys"


def read(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def test_only_the_names_of_customers_change(folders: tuple[Path, Path]) -> None:
    plain, keys = (read(f / "events.parquet") for f in folders)
    pd.testing.assert_frame_equal(plain.drop(columns="user_id"), keys.drop(columns="user_id"))
    kinds = keys.user_id.str.split(":").str[0]
    assert set(kinds) == {"account", "device", "card"}
    assert keys.user_id.nunique() > 1.5 * plain.user_id.nunique()


def test_the_hidden_truth_says_who_was_behind_every_row(folders: tuple[Path, Path]) -> None:
    plain, keys = (read(f / "events.parquet") for f in folders)
    persons = read(folders[1] / "hidden" / "persons.parquet")
    rows = keys.assign(row=np.arange(len(keys))).merge(persons, left_on="user_id", right_on="key", how="left")
    valid = (rows.valid_from.isna() | (rows.valid_from <= rows.timestamp)) & (
        rows.valid_until.isna() | (rows.timestamp < rows.valid_until)
    )
    rows = rows[valid].sort_values("row")
    assert rows.row.tolist() == list(range(len(keys))), "each row has exactly one person"
    assert (rows.person.to_numpy() == plain.user_id.to_numpy()).all()


def components(links: pd.DataFrame, at: pd.Timestamp) -> pd.Series:
    """Component of each key that is linked as of an instant."""
    known = links[(links.valid_from < at) & (links.valid_until.isna() | (links.valid_until > at))]
    names = pd.unique(pd.concat([known.account, known.key]))
    index = pd.Series(np.arange(len(names)), index=names)
    edges = (np.ones(len(known)), (index[known.account].to_numpy(), index[known.key].to_numpy()))
    _, label = connected_components(coo_matrix(edges, shape=(len(names), len(names))), directed=False)
    return pd.Series(label, index=names)


def test_links_known_at_a_cutoff_never_join_two_persons_but_merge_and_split_later(folders: tuple[Path, Path]) -> None:
    links, persons = read(folders[1] / "identities.parquet"), read(folders[1] / "hidden" / "persons.parquet")
    assert links.valid_from.is_monotonic_increasing
    found = []
    for at in pd.to_datetime(["2024-06-01", "2025-03-01"], utc=True):
        label = components(links, at)
        valid = (persons.valid_from.isna() | (persons.valid_from <= at)) & (
            persons.valid_until.isna() | (persons.valid_until > at)
        )
        owner = persons[valid].set_index("key").person
        who = owner[label.index]
        assert who.groupby(label.to_numpy()).nunique().max() == 1
        found.append(label)
    early, late = found
    both = early.index.intersection(late.index)
    pairs = pd.DataFrame({"early": early[both], "late": late[both]}).drop_duplicates()
    assert pairs.early.nunique() < len(early.index)
    assert pairs.duplicated("late", keep=False).any(), "some keys that were apart have merged"
    assert links.valid_until.notna().sum() > 5, "some devices were handed on"
    handed = links[links.valid_until.notna()].key
    again = links[links.key.isin(handed) & links.valid_until.isna()]
    assert again.account.nunique() > 5, "and then belong to another account"


def test_the_preparer_finds_the_persons_behind_the_keys(folders: tuple[Path, Path]) -> None:
    """As of the end nearly every customer is whole again; as of an earlier cutoff no later link has been used."""
    plain, keys = (pq.read_table(f / "events.parquet") for f in folders)
    links = read_links(folders[1] / "identities.parquet")
    person = plain["user_id"].to_pandas()
    text = keys["user_id"].combine_chunks().dictionary_encode()
    time = keys["timestamp"].cast("int64").to_numpy()
    early = np.flatnonzero(time < instant("2024-07-01", "day"))
    shares = [keys["user_id"].to_pandas()[early].nunique() / person[early].nunique()]
    for day in ("2024-07-01", "2025-07-01"):
        ids = Ids(text.indices.to_numpy().astype(np.int32), text.dictionary)
        log = Log({"user_id": ids}, np.ones(len(time), np.int8), time)
        merge_identities(log, links, instant(day, "day"))
        found = pd.DataFrame({"found": log.user[early], "person": person.to_numpy()[early]})
        pure = found.groupby("found").person.nunique()
        # A device that was handed on, but whose new owner is not known yet, still looks like the old owner's.
        assert (pure > 1).sum() <= 0.02 * len(pure)
        shares.append(len(pure) / found.person.nunique())
    assert shares[0] > shares[1] > shares[2] >= 1.0, "the more links are known, the fewer persons there are"
