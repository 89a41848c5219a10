"""What RecBole is given, and how what it has loaded is held against it. None of this needs RecBole."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recbole_runs.shop import ITEMS, N_ITEMS, walkers
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.shell.verbs import _added
from shopkeeper.recommenders.recbole.installed import Installed, check_plain
from shopkeeper.recommenders.recbole.model import RecBole, usable_items
from shopkeeper.recommenders.recbole.runner import check_sequences
from shopkeeper.recommenders.recbole.written import interactions_file, item_fields, items_file, learnt
from shopkeeper.schema import EVENT_CODE
from tiny import days, tiny_prepared

ROOT = Path(__file__).parents[2]
CODES = [EVENT_CODE["purchase"]]


def test_times_are_places_in_a_history_so_that_no_rounding_changes_their_order(tmp_path: Path):
    prepared, split = walkers(tmp_path / "shop")
    rows = learnt(split, CODES, once=False)
    file = interactions_file(rows).splitlines()
    assert file[0] == "user_id:token\titem_id:token\ttimestamp:float"
    said = np.array([[int(x) for x in line.split("\t")] for line in file[1:]])
    offsets, training = split.training_rows()
    np.testing.assert_array_equal(said[:, 1], prepared.events.item[training])
    np.testing.assert_array_equal(said[:, 2], np.concatenate([np.arange(n) for n in np.diff(offsets)]))
    assert said[:, 2].astype(np.float32).tolist() == said[:, 2].tolist()


def test_only_training_rows_are_written_and_a_pair_once_where_order_is_none(tmp_path: Path):
    bought = [[1, 2, 1, 2, 3, 4], [2, 2, 2, 5, 6]]
    _, split = tiny_prepared(tmp_path / "shop", bought, days(bought))
    assert list(zip(*map(list, vars(learnt(split, CODES, once=True)).values()), strict=True)) == [
        (1, 1, 0), (1, 2, 1), (2, 2, 0),
    ]  # fmt: skip
    assert learnt(split, CODES, once=False).item_R.tolist() == [1, 2, 1, 2, 2, 2, 2]
    assert len(learnt(split, [EVENT_CODE["view"]], once=False).item_R) == 0


def augmented(user: np.ndarray, item: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    """Histories and targets as RecBole makes them of one customer after another."""
    users, lists, n, targets = [], [], [], []
    for u in np.unique(user):
        own = item[user == u]
        for t in range(1, len(own)):
            seen = own[max(0, t - length) : t]
            users.append(u)
            lists.append(np.pad(seen, (0, length - len(seen))))
            n.append(len(seen))
            targets.append(own[t])
    return np.array(users), np.array(lists), np.array(n), np.array(targets)


def test_histories_that_were_loaded_in_another_order_are_found_out():
    user, item = np.repeat([3, 5, 9], [4, 1, 6]), np.array([4, 2, 2, 7, 1, 5, 6, 7, 8, 9, 5])
    right = augmented(user, item, 3)
    check_sequences(user, item, *right)
    other = item.copy()
    other[[7, 8]] = other[[8, 7]]  # two neighbours change places, as ties do once times are rounded
    changes: list[Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]] = [
        lambda _: augmented(user, other, 3),
        lambda x: (x[0], x[1][:, ::-1], x[2], x[3]),
        lambda x: tuple(column[:-1] for column in x),
        lambda x: (x[0], x[1], x[2], np.roll(x[3], 1)),
    ]
    for change in changes:
        with pytest.raises(ValueError, match="in another order"):
            check_sequences(user, item, *change(right))


def test_attributes_are_codes_and_every_item_of_the_catalogue_has_a_line(tmp_path: Path):
    prepared, split = walkers(tmp_path / "shop")
    trained = np.ones(N_ITEMS + 1, bool)
    fields = item_fields(prepared, split, "all", trained)
    assert {name: kind for name, (kind, _) in fields.items()} == {
        "category_0": "token_seq", "brand_1": "token", "price_2": "token",
    }  # fmt: skip
    assert fields["category_0"][1][:3] == ["0 1", "2", "1"]
    assert fields["brand_1"][1] == ["0", "1"] * 6
    assert len(set(fields["price_2"][1])) == 10  # levels
    file = items_file(split.catalogue, fields).splitlines()
    assert file[0] == "item_id:token\tcategory_0:token_seq\tbrand_1:token\tprice_2:token"
    assert [line.split("\t")[0] for line in file[1:]] == [str(i) for i in range(1, N_ITEMS + 1)]
    assert item_fields(prepared, split, "none", trained) == {}
    with pytest.raises(UserError, match=r"have no 'brnad'\. Did you mean 'brand'\?"):
        item_fields(prepared, split, ["brnad"], trained)
    assert set(ITEMS) == {"category", "brand", "price"}


def test_a_history_is_its_newest_known_items():
    known = np.array([False, True, True, False, True])
    asked = Requests.from_histories([[1, 2, 3, 4], [3, 9], [], [4, 4, 2, 1]])
    assert usable_items(asked, [1], known, 3).tolist() == [[1, 2, 4], [0, 0, 0], [0, 0, 0], [4, 2, 1]]
    assert usable_items(asked, [2], known, 3).tolist() == [[0, 0, 0]] * 4


@pytest.mark.parametrize("value", ["__import__('os').getcwd()", ["CE", "open('x')"], {"a": "1+1"}, {"1+1": 1}])
def test_text_that_recbole_would_run_is_refused(value: object):
    with pytest.raises(UserError, match=r"model\.parameters\.loss_type=.* one word") as error:
        check_plain("model.parameters.loss_type", value)
    assert "\n" not in str(error.value)
    check_plain("model.parameters.loss_type", ["CE", {"sum": [1, 2.5, None, True]}])


def test_without_an_environment_it_is_said_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOPKEEPER_RECBOLE", str(tmp_path / "none"))
    prepared, split = walkers(tmp_path / "shop")
    with pytest.raises(UserError, match="run `make recbole`") as error:
        RecBole("SASRec").fit(prepared, split, Fit())
    assert "\n" not in str(error.value)


def installed(place: Path) -> Installed:
    """A folder that looks like RecBole."""
    for room, files in {
        "general_recommender": {"lightgcn.py": "class LightGCN(GeneralRecommender):\n"},
        "sequential_recommender": {"sasrec.py": "class Block(nn.Module):\nclass SASRec(SequentialRecommender):\n"},
        "knowledge_aware_recommender": {"kgat.py": "class KGAT(KnowledgeRecommender):\n"},
    }.items():
        (place / "model" / room).mkdir(parents=True)
        for name, text in files.items():
            (place / "model" / room / name).write_text(text)
    (place / "properties" / "model").mkdir(parents=True)
    (place / "properties" / "model" / "LightGCN.yaml").write_text("embedding_size: 64\nn_layers: 2\n")
    return Installed(place / "python", place)


def test_a_model_or_a_setting_that_there_is_not_is_told_the_nearest_one(tmp_path: Path):
    found = installed(tmp_path)
    assert found.kinds == {"KGAT": "knowledge", "LightGCN": "general", "SASRec": "sequential"}
    found.check("LightGCN", {"embedding_size": 32, "learning_rate": 0.01})
    for name, settings, said in (
        ("LightGNC", {}, "no model.name=LightGNC. Did you mean 'LightGCN'?"),
        ("recbole", {}, "says which model: model.name=SASRec"),
        ("KGAT", {}, "needs a knowledge graph"),
        ("LightGCN", {"embeding_size": 32}, "no setting model.parameters.embeding_size. Did you mean 'embedding_size'"),
        ("LightGCN", {"epochs": 3}, "model.parameters.epochs is said elsewhere: set model.epochs"),
    ):  # fmt: skip
        with pytest.raises(UserError) as error:
            found.check(name, settings)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_settings_that_no_file_of_ours_names_may_be_typed_as_any_other():
    words = ["model=recbole", "model.parameters.n_layers=3", "+model.parameters.x=1", "model.epochs=2"]
    assert _added(words) == [
        "model=recbole",
        "++model.parameters.n_layers=3",
        "+model.parameters.x=1",
        "model.epochs=2",
    ]


def test_the_page_of_models_is_the_one_that_the_committed_result_makes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("table_of_models", ROOT / "benchmarks" / "recbole_models.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    result = json.loads((ROOT / "benchmarks" / "results" / "recbole_models.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "recbole.md").read_text(encoding="utf-8") == table.page(result), (
        "run `python benchmarks/recbole_models.py --page`"
    )
    assert {"SASRec", "GRU4Rec", "BERT4Rec", "NARM", "LightGCN", "MultiVAE", "DeepFM"} <= {
        r["system"] for r in result["rows"] if r["runs"]
    }
