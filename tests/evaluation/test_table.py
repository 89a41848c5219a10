"""The per-request table: what it holds, that chunks do not matter, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.errors import UserError
from shopkeeper.evaluation.rows.items import evaluate_requests, iter_requests
from shopkeeper.evaluation.table import metadata_of, metrics_of, read_table, summarise, write_table
from shopkeeper.models.about import About
from tiny import cycle_histories, days, tiny_prepared


class Scores:
    """A model that scores: the item after the last one seen is best, then the next, and so on round."""

    about = About()

    def __init__(self, n_items: int, spoil=lambda score, requests: score):
        self.n_items, self.spoil = n_items, spoil

    def score(self, requests):
        last = requests.last_items(1)[:, 0].astype(int)
        ahead = (np.arange(self.n_items + 1)[None] - last[:, None] - 1) % self.n_items
        return self.spoil((-ahead).astype(np.float32), requests)


class Vectors(Scores):
    """The same scores as inner products."""

    about = About(answers="vectors")

    def encode(self, requests):
        return self.score(requests), np.zeros(len(requests), bool)

    def item_vectors(self):
        return np.eye(self.n_items + 1, dtype=np.float32)

    def fallback(self):
        return np.zeros(self.n_items + 1, np.float32)


class Lists:
    """A model that only makes lists, of three items."""

    about = About(answers="lists")

    def recommend(self, requests, k):
        last = requests.last_items(1).astype(int)
        return np.pad((last + np.arange(3)) % 12 + 1, ((0, 0), (0, k - 3)))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    histories = cycle_histories(30, 12, 8)
    histories[4][-1] = histories[4][-3]  # comes back to an item
    return tiny_prepared(tmp_path_factory.mktemp("table") / "tiny", histories, days(histories))[1]


def test_the_table_holds_what_was_asked_what_happened_and_how_it_was_ranked(split):
    table = evaluate_requests(Scores(12), split, k=(1, 5), metadata={"model": "next", "seed": 3})
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["user_id"], row["n_history"], row["targets"], row["ranks"]) == ("u1", 7, [8], [1.0])
    assert row["instant"].date().isoformat() == "1970-01-08"
    assert row["top_items"] == [8, 9, 10, 11, 12]
    assert row["ndcg@1"] == row["mrr"] == 1.0
    assert table["ranks"][4].as_py() == [11.0]
    meta = metadata_of(table)
    assert (meta["model"], meta["seed"], meta["part"], meta["filter_seen"]) == ("next", 3, "test", False)
    assert meta["target_hash"] == split.target_hash("test")
    assert meta["n_catalogue"] == 12
    assert "hit@5" in metrics_of(table)
    assert "n_history" not in metrics_of(table)


def test_seen_items_leave_the_list_and_a_target_seen_before_has_no_rank(split):
    table = evaluate_requests(Scores(12), split, k=(5,), filter_seen=True)
    row = table.slice(4, 1).to_pylist()[0]
    assert row["ranks"] == [None]
    assert row["ndcg@5"] == row["mrr"] == row["percentile"] == 0.0
    for asked, listed in zip(table["n_history"].to_pylist(), table["top_items"].to_pylist(), strict=True):
        assert asked == 7
        assert len(listed) == len(set(listed)) == 5


@pytest.mark.parametrize("model", [Scores(12), Vectors(12)], ids=["scores", "vectors"])
@pytest.mark.parametrize("filter_seen", [False, True])
def test_chunks_and_the_fast_path_change_nothing(split, model, filter_seen):
    whole = evaluate_requests(Scores(12), split, filter_seen=filter_seen)
    parts = evaluate_requests(model, split, filter_seen=filter_seen, batch_size=7)
    for name in whole.column_names:
        assert whole[name].combine_chunks().equals(parts[name].combine_chunks()), name


def test_a_model_that_only_makes_lists_has_no_rank_beyond_them(split):
    table = evaluate_requests(Lists(), split, k=(5,))
    assert table["ranks"][0].as_py() == [1.0]
    assert table["ranks"][4].as_py() == [None]
    assert table["top_items"][0].as_py() == [8, 9, 10]


class Lister:
    """Makes the same list for everybody."""

    about = About(answers="lists")

    def __init__(self, *items):
        self.items = items

    def recommend(self, requests, k):
        return np.tile(np.array(self.items, np.int32), (len(requests), 1))


def test_a_list_loses_what_the_rules_leave_out_and_so_do_its_candidates(tmp_path):
    _, split = tiny_prepared(tmp_path / "t", [[1, 2, 1, 3, 4], [3, 4, 5, 6, 1]], n_items=6, catalogue=[1, 2, 3, 4, 5])
    free = evaluate_requests(Lister(6, 4, 1), split, k=(3,))
    assert free["top_items"].to_pylist() == [[4, 1], [4, 1]]  # 6 is not in the catalogue
    assert free["ranks"].to_pylist() == [[1.0], [2.0]]
    table = evaluate_requests(Lister(6, 4, 1), split, k=(3,), filter_seen=True)
    assert table["top_items"].to_pylist() == [[4], [1]]
    assert table["ranks"].to_pylist() == [[1.0], [1.0]]


@pytest.mark.parametrize(("filter_seen", "n"), [(False, 12), (True, 5)])
def test_what_was_seen_is_no_candidate_of_a_list(split, filter_seen, n):
    table = evaluate_requests(Lister(*range(1, 13)), split, k=(12,), filter_seen=filter_seen)
    for target, listed, value in zip(*(table[c].to_pylist() for c in ("targets", "top_items", "auc")), strict=True):
        assert len(listed) == n
        assert value == pytest.approx(1 - listed.index(target[0]) / (n - 1) if target[0] in listed else 0.0)


def test_a_listed_item_that_is_not_in_the_id_map_is_refused(split):
    with pytest.raises(UserError, match=r"Lister lists item 13, which is not in the id map \(1 to 12\)"):
        evaluate_requests(Lister(1, 13), split)


def test_k_beyond_the_catalogue_ends_the_list_with_the_catalogue(split):
    table = evaluate_requests(Scores(12), split, k=(100,))
    assert all(len(items) == 12 for items in table["top_items"].to_pylist())
    assert table["recall@100"].to_pylist() == [1.0] * 30


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", [Scores, Vectors])
def test_a_score_that_is_no_number_names_the_model_and_the_request(split, kind, bad):
    def spoil(score, requests):
        score[requests.user == 23, 5] = bad
        return score

    with pytest.raises(UserError, match=r"model 'gone' .* request 22 of test \(user 'u23'\)"):
        evaluate_requests(kind(12, spoil), split, batch_size=10, metadata={"model": "gone"})


def test_data_without_time_has_no_instants(tmp_path):
    _, split = tiny_prepared(tmp_path / "t", cycle_histories(5, 6, 4))
    table = evaluate_requests(Scores(6), split)
    assert table["instant"].null_count == 5


def test_a_split_without_requests_is_refused(tmp_path):
    _, split = tiny_prepared(tmp_path / "t", [[1, 2], [2, 1]])
    with pytest.raises(UserError, match="has no requests"):
        evaluate_requests(Scores(2), split)


def test_tables_are_written_in_chunks_and_read_back_the_same(split, tmp_path):
    path = tmp_path / "run" / "test.parquet"
    write_table(iter_requests(Scores(12), split, batch_size=7), path)
    assert pq.ParquetFile(path).num_row_groups == 5
    assert read_table(path).equals(evaluate_requests(Scores(12), split))
    assert metadata_of(read_table(path, ["mrr"]))["dataset"] == "tiny"


def test_a_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        read_table(tmp_path / "no.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="is no per-request table"):
        read_table(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(Path(tmp_path / "other.parquet").read_bytes()[:50])
    with pytest.raises(UserError, match="not readable"):
        read_table(tmp_path / "broken.parquet")


def test_the_summary_has_means_intervals_and_numbers_of_requests(split):
    table = evaluate_requests(Scores(12), split, k=(10,))
    summary = summarise(table)
    assert summary["hit@10"]["value"] == pytest.approx(29 / 30)
    assert summary["hit@10"]["low"] < 29 / 30 <= summary["hit@10"]["high"] == 1.0
    assert summary["mrr"]["n"] == 30
    with pytest.raises(UserError, match="Did you mean 'ndcg@10'"):
        summarise(table, ["ndgc@10"])
