"""User-kNN and session-kNN: scores as by plain loops, sessions as they were."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders.checks import check_recommender, fitted, shipped, shoppers, stranger
from shopkeeper.data.requests import Events, Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.knn.session_knn import SessionKNN, Sessions
from shopkeeper.recommenders.knn.user_knn import UserKNN
from tiny import DAY, tiny_prepared


@pytest.mark.parametrize("name", ["user_knn", "vsknn", "vstan"])
def test_a_neighbour_model_keeps_the_promises_of_every_recommender(tmp_path, name):
    check_recommender(shipped(name), tmp_path)


def test_few_neighbours_and_no_decay_keep_them_as_well(tmp_path):
    check_recommender(lambda: UserKNN(neighbours=2, half_life_days=None, own_weight=0.3), tmp_path / "user")
    check_recommender(
        lambda: SessionKNN("vsknn", neighbours=2, sample=3, half_life_days=None, idf=False, gap_hours=30), tmp_path
    )


def test_scores_of_user_knn_are_those_of_a_plain_loop(tmp_path):
    prepared, split = shoppers(tmp_path)
    model = fitted(lambda: UserKNN(neighbours=3, shrinkage=0.5, half_life_days=4.0, own_weight=0.2), prepared, split)
    asked = stranger([[3, 7], [1, 2, 6], [5, 5, 4]])
    own, trained = model.vectors(asked).toarray().astype(float), model.x_UV.toarray().astype(float)
    np.testing.assert_allclose(own[0, [3, 7]], [2 ** (-1 / 4), 1], rtol=1e-6)
    for b, scores in enumerate(model.score(asked)):
        like = trained @ own[b] / (np.linalg.norm(trained, axis=1) * np.linalg.norm(own[b]) + 0.5)
        near = np.argsort(-like, kind="stable")[:3]
        expected = 0.2 * own[b] + like[near] @ trained[near] / like[near].sum()
        np.testing.assert_allclose(scores[expected > 0], expected[expected > 0], rtol=1e-5)
        assert (scores[expected == 0] < 0).all()


def test_user_knn_gives_own_items_only_where_they_may_come_back(tmp_path):
    prepared, split = tiny_prepared(tmp_path, [[1, 2, 4, 4], [2, 3, 4, 4]])
    make = lambda: UserKNN(shrinkage=0.0)
    assert fitted(make, prepared, split).score(stranger([[1]]))[0, 1:].argmax() + 1 == 1
    films = fitted(make, prepared, split, Fit(filter_seen=True)).score(stranger([[1]]))[0]
    assert films[2] == films[1] > 0 > films[3]


def log(items: list[list[int]], at: list[list[float]], session: list[list[int]] | None = None) -> Requests:
    lengths = np.array([len(h) for h in items])
    end = np.cumsum(lengths)
    flat = lambda lists, kind: np.array([x for xs in lists for x in xs], kind)
    events = Events(
        item=flat(items, np.int32),
        event_type=np.full(end[-1], 5, np.int8),
        timestamp=(flat(at, float) * DAY).astype(np.int64),
        session=None if session is None else flat(session, np.int32),
    )
    return Requests(events, end - lengths, end)


def test_sessions_are_the_logs_own_or_lie_between_pauses():
    items, at = [[1, 2, 1, 3], [], [4, 4, 5]], [[0, 0.01, 0.02, 1.0], [], [1.0, 1.01, 1.9]]
    by_pause = Sessions.of(log(items, at), [5], 10, gap_hours=1.0)
    rows = lambda s: sorted(zip(s.session.tolist(), s.item.tolist(), s.place.tolist(), s.owner.tolist(), strict=True))
    assert rows(by_pause) == [(0, 1, 0, 0), (0, 2, 1, 0), (1, 3, 0, 0), (2, 4, 0, 2), (3, 5, 0, 2)]
    np.testing.assert_allclose(by_pause.end, [0.02, 1.0, 1.01, 1.9])
    named = Sessions.of(log(items, at, [[1, 1, 2, 2], [], [3, 3, 3]]), [5], 10, gap_hours=1.0)
    assert rows(named) == [(0, 1, 1, 0), (0, 2, 0, 0), (1, 1, 1, 0), (1, 3, 0, 0), (2, 4, 1, 2), (2, 5, 0, 2)]
    assert rows(named.last(3)) == [(1, 1, 1, 0), (1, 3, 0, 0), (2, 4, 1, 2), (2, 5, 0, 2)]
    assert named.last(3).end.tolist() == [1.0, 0.0, 1.9]


def test_sessions_side_by_side_are_two_as_everywhere_and_the_last_is_the_one_that_goes_on_longer():
    items, at = [[1, 2, 3, 4, 5], [6]], [[0, 0.01, 0.02, 0.03, 0.04], [0.0]]
    tabs = Sessions.of(log(items, at, [[8, 9, 8, 9, 8], [8]]), [5], 10, gap_hours=1.0)
    of = dict(zip(tabs.item.tolist(), zip(tabs.session.tolist(), tabs.place.tolist(), strict=True), strict=True))
    assert of == {2: (0, 1), 4: (0, 0), 1: (1, 2), 3: (1, 1), 5: (1, 0), 6: (2, 0)}
    assert tabs.end.tolist() == pytest.approx([0.03, 0.04, 0.0])
    assert sorted(tabs.last(2).item.tolist()) == [1, 3, 5, 6]
    silent = Sessions.of(log([[1, 2]], [[0, 5.0]], [[8, 8]]), [5], 10, gap_hours=1.0)
    assert silent.session.tolist() == [0, 1]  # for more than a day: another one


def test_rows_without_a_session_id_are_cut_at_pauses_as_those_of_a_log_without_ids():
    items, at = [[1, 2, 3, 4, 5, 6]], [[0.0, 0.01, 3.0, 3.01, 3.02, 9.0]]
    some = Sessions.of(log(items, at, [[0, 0, 7, 7, 0, 0]]), [5], 10, gap_hours=1.0)
    assert [some.session[some.item == i].item() for i in range(1, 7)] == [0, 0, 1, 1, 2, 3]
    none, without = (Sessions.of(log(items, at, ids), [5], 10, gap_hours=1.0) for ids in ([[0] * 6], None))
    assert none.session.tolist() == without.session.tolist()
    assert none.end.tolist() == without.end.tolist()


@pytest.mark.parametrize("method", ["vsknn", "vstan"])
def test_scores_of_session_knn_are_those_of_a_plain_loop(tmp_path, method):
    rng = np.random.default_rng(2)
    bought = [rng.integers(1, 9, 14).tolist() for _ in range(20)]
    # Sessions of three to five events, a minute apart.
    minute = [[int(DAY * (10 * (t // 4) + u % 7)) + t * 60_000_000 for t in range(14)] for u in range(20)]
    prepared, split = tiny_prepared(tmp_path, bought, minute, n_items=8)
    model = fitted(lambda: SessionKNN(method, 4, 9, 20.0, 2.0, 1.5), prepared, split)
    assert model.program(True).people == 20  # customers, not their 60 sessions
    trained = []
    for u in range(20):
        for first in range(0, 12, 4):
            items = bought[u][first : min(first + 4, 12)]
            held = {i: len(items) - 1 - n for n, i in enumerate(items)}
            trained.append((minute[u][min(first + 3, 11)] / DAY, held))
    trained.sort(key=lambda s: s[0])
    idf = {i: np.log1p(len(trained) / sum(i in held for _, held in trained)) for i in range(1, 9)}
    asked = log([[1, 2, 3], [5, 2, 5, 8]], [[30, 30.001, 30.002], [29, 40, 40.001, 40.002]])
    for scores, now, end in zip(model.score(asked), ([1, 2, 3], [2, 5, 8]), (30.002, 40.002), strict=True):
        place = {i: len(now) - 1 - n for n, i in enumerate(now)}
        w = {i: 1 - p / len(now) if method == "vsknn" else 2 ** (-p / 2) for i, p in place.items()}
        shared = [(n, s) for n, s in enumerate(trained) if set(now) & set(s[1])][-9:]
        like = []
        for n, (day, held) in shared:
            both = sum(w[i] * idf[i] for i in now if i in held)
            norm = np.sqrt(sum(x**2 for x in w.values()) * len(held))
            like.append((-both / norm * 2 ** (-max(end - day, 0) / 20), n, held))
        expected = dict.fromkeys(range(1, 9), 0.0)
        for minus, _, held in sorted(like, key=lambda x: x[:2])[:4]:
            newest = min((i for i in now if i in held), key=place.__getitem__)
            for i, at in held.items():
                g = w[newest] if method == "vsknn" else 2 ** (-abs(at - held[newest]) / 1.5)
                expected[i] -= minus * g
        for i, value in expected.items():
            assert scores[i] == pytest.approx(value, rel=1e-4) if value else scores[i] < 0


def test_the_next_thing_of_a_session_is_what_sessions_like_it_had(tmp_path):
    bought = [[1, 2, 3, 7, 7]] * 5 + [[4, 5, 6, 7, 7]] * 5
    prepared, split = tiny_prepared(tmp_path, bought, [[t * 1_000_000 for t in range(5)]] * 10)
    for name in ("vsknn", "vstan"):
        scores = fitted(shipped(name), prepared, split).score(log([[1, 5]], [[0, 0.001]]))[0]
        assert min(scores[[4, 6]]) > max(scores[[2, 3]]) > 0  # 5 is newer than 1


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda: UserKNN(neighbours=0), "user_knn: model.neighbours=0"), (lambda: UserKNN(shrinkage=-1), "shrinkage=-1"),
     (lambda: UserKNN(half_life_days=0), "half_life_days=0"), (lambda: SessionKNN("vknn"), "Did you mean 'vsknn'"),
     (lambda: SessionKNN(sample=0), "sample=0 must be"), (lambda: SessionKNN(gap_hours=0), "gap_hours=0 must be")],
)  # fmt: skip
def test_settings_without_sense_are_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
