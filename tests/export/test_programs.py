"""What a bundle runs in a model's place gives the model's numbers: bit for bit, since a second stage builds on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.bundle import program_of
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.requests import Requests
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.nn.network import Inputs, SequenceNetwork
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain
from shopkeeper.programs.base import Exportable
from shopkeeper.programs.ranking import LIST_SCORERS
from shopkeeper.programs.trees import CELLS, tree_sums
from shopkeeper.recommenders.combined.two_stage import TwoStage
from shopkeeper.recommenders.counting.buy_it_again import BuyItAgain
from shopkeeper.recommenders.counting.personal_frequency import PersonalFrequency
from shopkeeper.recommenders.counting.popularity import Popularity
from shopkeeper.recommenders.counting.recency import Recency
from shopkeeper.recommenders.factors.bpr import BPR
from shopkeeper.recommenders.factors.factors import Factors
from shopkeeper.recommenders.factors.ials import IALS
from shopkeeper.recommenders.item_pairs.ease import EASE
from shopkeeper.recommenders.item_pairs.item_to_item import ItemToItem
from shopkeeper.recommenders.item_pairs.slim import SLIM
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.recommenders.knn.session_knn import SessionKNN
from shopkeeper.recommenders.knn.tifu_knn import TIFUKNN
from shopkeeper.recommenders.knn.up_cf import UPCF
from shopkeeper.recommenders.knn.user_knn import UserKNN
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.recommenders.networks.sequence import SequenceRecommender
from shopkeeper.schema import EVENT_CODE
from tiny import DAY, tiny_prepared

CONF = Path(__file__).parents[2] / "conf" / "model"
BASE = "shopkeeper.recommenders"
CANDIDATES = {
    "personal_frequency": {"target": f"{BASE}.personal_frequency.PersonalFrequency", "half_life_days": 20},
    "tifu_knn": {"target": f"{BASE}.tifu_knn.TIFUKNN", "neighbours": 9},
    "item_knn": {"target": f"{BASE}.item_knn.ItemKNN"},
    "ease": {"target": f"{BASE}.ease.EASE", "l2": 5.0},
    "after": {"target": f"{BASE}.item_to_item.ItemToItem", "relation": "after"},
    "recency": {"target": f"{BASE}.recency.Recency"},
    "popularity": {"target": f"{BASE}.popularity.Popularity", "half_life_days": 5},
}
WEIGHTS = {"view": 0.3, "purchase": 1.1}
MODELS: dict[str, Any] = {
    "popularity": lambda: Popularity(half_life_days=3),
    "recency": Recency,
    "personal_frequency": lambda: PersonalFrequency(7, event_weights=WEIGHTS),
    "item_knn": lambda: ItemKNN(7, half_life_events=3, half_life_days=9, event_weights=WEIGHTS),
    "ease": lambda: EASE(l2=5.0),
    "ease_every_time": lambda: EASE(l2=5.0, half_life_events=3.0, self_similarity=0.5, every_time=True),
    "tifu_knn": lambda: TIFUKNN(neighbours=7),
    "tifu_knn_of_groups": lambda: TIFUKNN(neighbours=70, decay="groups", group_size=2, own_share=0.4),
    "item_to_item": ItemToItem,
    "item_to_item_seen": lambda: ItemToItem("alternative", anchors=3),
    "up_cf": lambda: UPCF(last_baskets=4, locality=2.0, half_life_days=30),
    "up_cf_of_few": lambda: UPCF(last_baskets=None, neighbours=5),
    "buy_it_again": BuyItAgain,
    "buy_it_again_next_visit": lambda: BuyItAgain("next_visit"),
    "slim": lambda: SLIM(l1=0.1, l2=5, candidates=12),
    "user_knn": lambda: UserKNN(neighbours=9, half_life_days=40),
    "user_knn_own": lambda: UserKNN(half_life_days=None, own_weight=0.5, event_weights={"purchase": 2, "view": 0.5}),
    "vsknn": lambda: SessionKNN("vsknn", neighbours=15, sample=None, half_life_days=None),
    "vstan": lambda: SessionKNN("vstan", neighbours=15, sample=30),
    "ials": lambda: IALS(width=5, half_life_days=20),
    "bpr": lambda: BPR(width=5, epochs=10),
    "two_stage": lambda: TwoStage(CANDIDATES, per_model=8, windows=2, window_days=30, trees=40, patience=None,
                                  min_data_in_leaf=3),
}  # fmt: skip


def orders_shop(path: Path, timed: bool = True) -> tuple[Prepared, Split]:
    """60 customers who view, and buy in orders of one to four lines, on 40 items, over some months."""
    rng = np.random.default_rng(3)
    histories, times, types, orders, sessions, order = [], [], [], [], [], 0
    for _ in range(60):
        items, at, kinds, of, now = [], [], [], [], int(rng.integers(0, 30)) * DAY
        for _ in range(int(rng.integers(3, 16))):
            now += int(rng.exponential(6) * DAY) + 1
            bought, order = rng.random() < 0.6, order + 1
            lines = int(rng.integers(1, 5)) if bought else 1
            items += rng.zipf(1.5, lines).clip(1, 40).tolist()
            at += [now] * lines
            kinds += ["purchase" if bought else "view"] * lines
            of += [order if bought else 0] * lines
        histories.append(items)
        sessions.append([10 + k // 3 for k in range(len(items))])
        times.append(at)
        types.append(kinds)
        orders.append(of)
    when = times if timed else None
    columns = {"order": orders, "session": sessions}
    return tiny_prepared(path, histories, when, event_types=types, columns=columns, n_items=40, catalogue=range(1, 38))


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Prepared, Split]:
    prepared, split = orders_shop(tmp_path_factory.mktemp("orders") / "shop")
    model = MODELS[request.param]()
    if isinstance(model, Factors):
        pytest.importorskip("implicit", reason="models ials and bpr learn with the package implicit")
    model.fit(prepared, split, Fit())
    return model, prepared, split


def test_its_numbers_are_the_models_own(trained: Any) -> None:
    model, prepared, split = trained
    ends = np.random.default_rng(0).integers(prepared.offsets[:-1], prepared.offsets[1:] + 1)  # some have no history
    asked = Requests(prepared.events, prepared.offsets[:-1], ends, np.full(len(ends), 400 * DAY))
    program = program_of(model, timed=True)
    for requests in (asked, split.part("test")[0], asked[:0]):
        got, wanted = LIST_SCORERS[program.scorer](requests, program.arrays), model.score(requests)
        # Trees, neighbours, factors and times of an item are added up in another order.
        every_time = isinstance(model, EASE) and model.settings["every_time"]
        if every_time or isinstance(model, TwoStage | UPCF | UserKNN | SLIM | Factors):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(got, wanted)
        assert got.dtype == np.float32 or isinstance(model, TwoStage)


@pytest.mark.parametrize(
    "trained",
    ["up_cf", "buy_it_again", "buy_it_again_next_visit", "slim", "user_knn", "vsknn", "vstan", "ials", "bpr"],
    indirect=True,
)
def test_its_bundle_answers_as_the_model_does(trained: Any, tmp_path: Path) -> None:
    model, prepared, split = trained
    path = export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m", golden=30)
    assert verify(path, repeat=0).ok


@pytest.mark.parametrize("trained", ["tifu_knn", "two_stage"], indirect=True)
def test_models_of_baskets_are_exported_and_are_told_orders_and_times(trained: Any, tmp_path: Path) -> None:
    model, prepared, split = trained
    if isinstance(model, TwoStage):
        assert model.booster is not None
    bundle = Bundle.load(
        export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m", golden=30)
    )
    assert verify(bundle.path, repeat=0).ok
    assert 50 < bundle.manifest["people"] <= 60
    lines = [{"item_id": f"i{i}", "timestamp": "1970-05-01T10:00", "order_id": o} for i, o in ((1, "a"), (2, "a"))]
    apart = [lines[0], lines[1] | {"order_id": "b"}]
    as_of = "1970-06-01" if isinstance(model, TwoStage) else None
    together, divided = bundle.answer([lines, apart], as_of)
    assert together.items != divided.items
    assert bundle.answer([lines[::-1]], as_of)[0].items == together.items
    with pytest.raises(UserError, match=r"the event 'i1' has no timestamp; this model reads times"):
        bundle.answer([["i1"]], "1970-06-01")


@pytest.mark.parametrize("trained", ["two_stage"], indirect=True)
def test_a_model_that_reads_the_instant_is_asked_at_one(trained: Any, tmp_path: Path) -> None:
    model, prepared, split = trained
    bundle = Bundle.load(export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m"))
    history = [[f"i{i}", "purchase", f"1970-05-0{i}T10:00"] for i in (1, 2, 3)]
    with pytest.raises(UserError, match="this model needs to know when it is asked; give as_of="):
        bundle.answer([history])
    soon, late, before = bundle.answer([history] * 3, ["1970-05-04", "1970-09-01", "1970-05-03"])
    assert soon.items != late.items
    assert before.items == bundle.answer([history[:2]], "1970-05-03")[0].items
    assert bundle.seen["future_events"] == 1
    (nothing,) = bundle.answer([history], "1970-01-01")
    assert nothing.reason == "no history before the cutoff"
    assert nothing.items == [(i, s) for i, s in bundle.answer([[]], "1971-01-01")[0].items or []]


def test_what_is_bought_in_an_order_only_log_is_exported_without_times(tmp_path: Path) -> None:
    prepared, split = orders_shop(tmp_path / "shop", timed=False)
    model = MODELS["two_stage"]()
    model.fit(prepared, split, Fit())
    bundle = Bundle.load(export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m"))
    assert not bundle.manifest["history"]["needs_time"]
    assert bundle.answer([["i1", "i2"]])[0].items


def test_a_second_stage_without_trees_is_its_first_model(tmp_path: Path) -> None:
    prepared, split = orders_shop(tmp_path / "shop")
    model = MODELS["two_stage"]()
    model.fit(prepared, split, Fit())
    model.booster, model.alone = None, "personal_frequency"
    bundle = Bundle.load(export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m"))
    line = ["i9", "purchase", "1970-05-01"]
    own = model.models["personal_frequency"].score(Requests.from_histories([[9]], [[5]], [[0]]))
    assert bundle.answer([[line]], "1970-05-02")[0].items[0] == ("i9", pytest.approx(own[0, 9]))


def test_a_program_that_drifts_from_its_model_is_refused(tmp_path: Path) -> None:
    prepared, split = orders_shop(tmp_path / "shop")
    model = MODELS["two_stage"]()
    model.fit(prepared, split, Fit())
    facts = model.facts
    honest = model.program(timed=True)
    model.program = lambda timed: replace(honest, arrays={**honest.arrays, "facts": facts.table_VF * 2})
    with pytest.raises(UserError, match="was not written: the bundle and the trained model differ"):
        export_bundle(model, prepared, split, MadeFrom(), tmp_path / "m")


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_of_the_project_has_a_program_or_says_why_not(file: Path) -> None:
    model = make(plain(composed("train", [f"model={file.stem}"]))["model"])
    assert isinstance(model, Exportable) != bool(model.about.not_exported)


@pytest.mark.parametrize("history", ["kernel", "frequency", "copy"])
def test_a_network_whose_own_items_are_scored_apart_answers_from_its_bundle(history: str, tmp_path: Path) -> None:
    prepared, split = orders_shop(tmp_path / "shop")
    model = SASRec(width=8, blocks=1, max_length=6, epochs=4, lr=0.02, batch_size=16, history=history)
    model.fit(prepared, split, Fit(progress=False))
    network = model.network
    assert network is not None
    assert network.own is not None
    with torch.no_grad():  # far from nothing, so that what is left out would be seen
        for values in network.own.parameters():
            values += torch.randn_like(values) * 0.3
    path = export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m", golden=40)
    assert verify(path, repeat=0).ok
    bundle = Bundle.load(path)
    old = [[f"i{1 + n % 9}", "view", f"1970-04-{1 + n:02d}"] for n in range(20)]  # items 1 to 9, over and over
    ids = prepared.items["item_id"].to_pylist()
    times = [[(n + 90) * DAY for n in range(20)]]
    asked = Requests.from_histories([[1 + n % 9 for n in range(20)]], [[EVENT_CODE["view"]] * 20], times, [130 * DAY])
    wanted = model.score(asked)[0]
    for item, score in bundle.answer([old], as_of="1970-05-11")[0].items or ():
        assert score == pytest.approx(wanted[ids.index(item) + 1], abs=1e-4)
    recent = bundle.answer([old[-6:]], as_of="1970-05-11")[0].items
    assert recent != bundle.answer([old], as_of="1970-05-11")[0].items  # what the network no longer reads counts, too


def test_a_network_that_is_told_last_nights_demand_is_refused() -> None:
    model = SASRec(history="kernel", item_statistics="nightly")
    with pytest.raises(UserError, match="it reads last night's demand, which a bundle is not told"):
        program_of(model, timed=True)


@dataclass(frozen=True)
class PaidShape:
    n_items: int
    width: int = 6
    max_length: int = 12
    dropout: float = 0.0
    n_types: int = 0


class PaidNetwork(SequenceNetwork):
    """A running sum of item vectors, each by its price, and of channel vectors."""

    reads = ("price", "channel")
    tables = ("item", "channel")

    def __init__(self, shape: PaidShape) -> None:
        super().__init__(shape.dropout)
        self.shape = shape
        self.item = nn.Embedding(shape.n_items + 1, shape.width, padding_idx=0)
        self.channel = nn.Embedding(4, shape.width, padding_idx=0)

    def embed(self, inputs: Inputs) -> torch.Tensor:
        paid_PD = self.item(inputs.item_P) * torch.log1p(inputs.price_P)[:, None]
        return paid_PD + self.channel(inputs.channel_P)

    def forward(self, x_PD: torch.Tensor, groups: Any, fused: bool = False, last: Any = None) -> torch.Tensor:
        parts = x_PD.split([b * length for b, length in groups])
        sums = [x.view(b, n, -1).cumsum(1).flatten(0, 1) for x, (b, n) in zip(parts, groups, strict=True)]
        h_PD = torch.cat(sums)
        return h_PD if last is None else h_PD[last]

    def plain(self, item_BL: torch.Tensor, type_BL: Any = None, **others_BL: torch.Tensor) -> torch.Tensor:
        paid_BLD = self.item(item_BL) * torch.log1p(others_BL["price"])[..., None]
        return (paid_BLD + self.channel(others_BL["channel"])).sum(1)

    def activation_bytes(self, value: int, fused: bool) -> int:
        return 8 * self.shape.width * value


class Paid(SequenceRecommender):
    format, network_class, shape_class = "mine.paid/1", PaidNetwork, PaidShape


def test_a_network_that_reads_prices_and_channels_is_told_them_by_its_bundle(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    histories = [rng.integers(1, 9, 8).tolist() for _ in range(30)]
    told = {
        "price": [np.where(rng.random(8) < 0.2, np.nan, rng.uniform(1, 50, 8)).tolist() for _ in histories],
        "channel": [rng.integers(0, 4, 8).tolist() for _ in histories],
    }
    prepared, split = tiny_prepared(
        tmp_path / "shop", histories, columns=told, n_items=9, channels=("web", "app", "till")
    )
    model = Paid(epochs=2, lr=0.05)
    model.fit(prepared, split, Fit(progress=False))
    bundle = Bundle.load(
        export_bundle(model, prepared, split, MadeFrom(model="m", task="t"), tmp_path / "m", golden=20)
    )
    assert verify(bundle.path, repeat=0).ok
    assert bundle.vocabulary.channels == ["web", "app", "till"]
    event = {"item_id": "i3", "event_type": "purchase", "price": 2.0, "channel": "app"}
    others = [event | {"price": 40.0}, event | {"channel": "till"}, {"item_id": "i3"}]
    answers = bundle.answer([[event], *([other] for other in others)])
    assert len({tuple(answer.items or ()) for answer in answers}) == 4
    history = replace(split.part("test")[0], start=np.zeros(1, np.int64), end=np.full(1, 5))
    best = model.score(replace(history, user=None, instant=None))[0]
    lines = [
        {"item_id": f"i{item}", "event_type": "view"}
        | ({} if np.isnan(price) else {"price": price})
        | ({} if not code else {"channel": bundle.vocabulary.channels[code - 1]})
        for item, price, code in zip(histories[0][:5], told["price"][0], told["channel"][0], strict=False)
    ]
    for item, score in bundle.answer([lines])[0].items or ():
        assert score == pytest.approx(best[int(item[1:])], abs=1e-5)


def test_rows_walk_trees_of_any_depth_to_the_leaves_that_one_row_alone_ends_in():
    rng, empty = np.random.default_rng(1), [0] * 5
    a = {  # the second tree is a leaf
        "feature": np.array([[0, -1, 1, -1, -1], [-1] * 5, [1, -1, -1, -1, -1]], np.int32),
        "threshold": np.array([[1.0, 0, -2.0, 0, 0], empty, empty]),
        "left": np.array([[1, 0, 3, 0, 0], empty, [1, 0, 0, 0, 0]], np.int32),
        "right": np.array([[2, 0, 4, 0, 0], empty, [2, 0, 0, 0, 0]], np.int32),
        "default_left": np.array([[True, 0, True, 0, 0], empty, empty], bool),
        "nan_is_missing": np.array([[True, 0, False, 0, 0], empty, empty], bool),
        "value": np.array([[0, 10.0, 0, 20.0, 30.0], [0.5, 0, 0, 0, 0], [0, 100.0, 200.0, 0, 0]]),
    }
    x = rng.choice([-3.0, -2.0, 0.0, 1.0, 3.0, np.nan], (CELLS, 2)).astype(np.float32)  # several parts of rows

    def end(first: float, second: float) -> float:
        known = 0.0 if np.isnan(second) else second  # what is missing is 0 here
        last = 100 if known <= 0 else 200
        if np.isnan(first) or first <= 1:
            return 10.5 + last
        return (20.5 if known <= -2 else 30.5) + last

    assert tree_sums(x, a).tolist() == [end(*row) for row in x.tolist()]
