"""A bundle is opened only when it is whole, and refuses in one line what it cannot take."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.bundles.answer import Bundle, verify
from shopkeeper.bundles.answer.events import Ids, Row, read_instant, types_of
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.answer.numbering import MANY, Numbering
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import seal
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.popularity import Popularity
from tiny import tiny_prepared


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(folder / "tiny", histories, n_items=12)
    model = Popularity()
    model.fit(prepared, split, Fit())
    return export_bundle(model, prepared, split, MadeFrom(model="popularity"), folder / "popularity", k=5, golden=10)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def reseal(folder: Path, **changes: Any) -> None:
    """Change the manifest and make the hashes fit again, as an attacker or a newer version would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    files = changes.pop("files", None)
    seal(folder, manifest | changes)
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    if files is not None:
        manifest["files"] = files
    text = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.json.sha256").write_text(hashlib.sha256(text).hexdigest())


def test_it_answers_in_external_ids_best_first(whole: Path) -> None:
    bundle = Bundle.load(whole)
    (answer,) = bundle.recommend([["i1", "i2"]], k=3)
    assert len(answer) == 3
    assert all(item_id.startswith("i") for item_id, _ in answer)
    scores = [s for _, s in answer]
    assert scores == sorted(scores, reverse=True)


def test_unknown_items_are_skipped_and_counted(whole: Path) -> None:
    bundle = Bundle.load(whole)
    assert bundle.recommend([["i1", "gone", "new"]]) == bundle.recommend([["i1"]])
    assert bundle.seen["unknown_items"] == 2
    assert bundle.seen["requests"] == 2


def test_what_lies_in_the_basket_can_be_left_out(whole: Path) -> None:
    bundle = Bundle.load(whole)
    first = bundle.recommend([["i1"]])[0][0][0]
    assert first not in [i for i, _ in bundle.recommend([["i1"]], exclude=[[first, "gone"]])[0]]


def test_no_request_at_all_is_no_answer_at_all(whole: Path) -> None:
    assert Bundle.load(whole).recommend([]) == []


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "name", ["arrays.npz", "vocabulary.json", "golden.json", "manifest.json", "manifest.json.sha256"]
)
def test_a_changed_byte_anywhere_is_refused_and_the_file_is_named(copy: Path, name: str, position: float) -> None:
    content = bytearray((copy / name).read_bytes())
    place = min(int(position * len(content)), 63 if name.endswith("sha256") else len(content) - 1)
    content[place] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=name.removesuffix(".sha256")):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "name", ["arrays.npz", "vocabulary.json", "golden.json", "manifest.json", "manifest.json.sha256"]
)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=name):
        Bundle.load(copy)


def test_a_truncated_file_is_refused(copy: Path) -> None:
    (copy / "arrays.npz").write_bytes((copy / "arrays.npz").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"arrays\.npz was changed or damaged"):
        Bundle.load(copy)


@pytest.mark.parametrize("version", [1, 2])
def test_a_recommender_of_an_earlier_format_answers_as_ever(whole: Path, copy: Path, version: int) -> None:
    words = json.loads((copy / "vocabulary.json").read_text())
    (copy / "vocabulary.json").unlink()
    ids = words["item_ids"]
    items = {"item": np.arange(1, len(ids) + 1, dtype=np.int32), "item_id": ids, "known": [True] * len(ids)}
    pq.write_table(pa.table(items), copy / "items.parquet")
    golden = json.loads((copy / "golden.json").read_text())
    for request in golden["requests"]:
        request["expected"] = request["expected"]["items"]
    (copy / "golden.json").write_text(json.dumps(golden))
    reseal(copy, format_version=version)
    assert Bundle.load(copy).recommend([["i1"], []]) == Bundle.load(whole).recommend([["i1"], []])
    assert verify(copy, repeat=0).ok


def test_a_newer_format_says_to_update(copy: Path) -> None:
    reseal(copy, format_version=4)
    with pytest.raises(UserError, match=r"bundle format 4.*install a newer shopkeeper"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "C:\\secret"])
def test_a_manifest_that_points_outside_the_bundle_is_refused(copy: Path, name: str) -> None:
    (copy.parent / "secret").write_text("x")
    reseal(copy, files={name: hashlib.sha256(b"x").hexdigest()})
    with pytest.raises(UserError, match="outside the bundle"):
        Bundle.load(copy)


def test_a_link_in_place_of_a_file_is_refused(copy: Path) -> None:
    (copy / "arrays.npz").rename(copy.parent / "elsewhere")
    (copy / "arrays.npz").symlink_to(copy.parent / "elsewhere")
    with pytest.raises(UserError, match="outside the bundle"):
        Bundle.load(copy)


def test_ids_that_do_not_fit_the_model_are_refused(copy: Path) -> None:
    reseal(copy, n_items=11)
    with pytest.raises(UserError, match="do not fit the model"):
        Bundle.load(copy)


def test_a_manifest_that_lacks_something_says_what(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["history"]
    seal(copy, manifest)
    with pytest.raises(UserError, match="lacks `history`"):
        Bundle.load(copy)


def test_a_graph_that_is_none_is_refused_in_one_line(copy: Path) -> None:
    (copy / "model.onnx").write_bytes(b"not a graph")
    reseal(copy, scorer="onnx")
    with pytest.raises(UserError, match="cannot be opened by ONNX Runtime") as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value)


def test_a_model_that_this_version_does_not_know_says_to_update(copy: Path) -> None:
    reseal(copy, scorer="of_tomorrow")
    with pytest.raises(UserError, match="needs the scorer 'of_tomorrow', unknown to this shopkeeper; update it"):
        Bundle.load(copy)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59"])
def test_a_time_beyond_the_years_of_clocks_is_said(text: str) -> None:
    with pytest.raises(UserError, match="is no time"):
        read_instant(text, "as_of", "Europe/Kyiv")


def test_event_codes_of_another_shopkeeper_are_refused(copy: Path) -> None:
    told = json.loads((copy / "manifest.json").read_text())["preprocessing"]
    reseal(copy, preprocessing=told | {"event_codes": told["event_codes"] | {"view": 5}})
    with pytest.raises(UserError, match="has event codes that are not this shopkeeper's"):
        Bundle.load(copy)


def test_wrong_golden_answers_are_reported_not_raised(copy: Path) -> None:
    golden = json.loads((copy / "golden.json").read_text())
    golden["requests"][3]["expected"]["items"][0]["score"] += 0.01
    (copy / "golden.json").write_text(json.dumps(golden))
    reseal(copy)
    found = verify(copy, repeat=1)
    assert not found.ok
    assert found.wrong[0].startswith("golden request 3: rank 1: score")


@pytest.mark.parametrize(
    ("histories", "options", "message"),
    [
        (["i1"], {}, "history 0 must be a list of events, not str"),
        ("i1", {}, "one list of events per person"),
        ([[1, 2]], {}, "ids are text, also where they are digits"),
        ([[["i1", "vue"]]], {}, "unknown event type 'vue'. Did you mean 'view'"),
        ([[["i1", "view", "3"]]], {}, "'3' is no time"),
        ([[["i1"]]], {}, "an event is an item id"),
        ([[{"item_id": "i1", "type": "view"}]], {}, "an event has no 'type'"),
        ([None], {}, "history 0 must be a list"),
        ([["i1"]], {"k": 6}, "lists of 1 to 5"),
        ([["i1"]], {"k": 0}, "lists of 1 to 5"),
        ([["i1"]], {"k": float("nan")}, "lists of 1 to 5"),
        ([["i1"]], {"k": True}, "lists of 1 to 5"),
        ([["i1"]], {"exclude": []}, "exclude has 0 lists for 1"),
        ([["i1"]], {"filter_seen": "false"}, "filter_seen='false': write True or False"),
    ],
)
def test_a_wrong_request_gets_one_line_that_says_what_is_wrong(
    whole: Path, histories: Any, options: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Bundle.load(whole).recommend(histories, **options)


@pytest.mark.parametrize(
    ("exclude", "said"),
    [
        (["i1"], r"exclude\[0\] is 'i1' instead of a list; exclude wants one list of item ids per history"),
        ("i1", r"exclude is 'i1'; exclude wants one list"),
        ([[5]], r"exclude\[0\] has 5; ids are text"),
        ([["i1"], ["i2"]], "exclude has 2 lists for 1 histories"),
        ([None], r"exclude\[0\] is None instead of a list"),
    ],
)
def test_what_is_no_list_to_exclude_is_said_with_how_to_write_it(whole: Path, exclude: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Bundle.load(whole).recommend([["i1", "i2"]], exclude=exclude)


def test_histories_of_about_one_length_are_answered_together_and_in_the_order_given(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    padding: list[float] = []
    best = ItemModel._best

    def noted(self: ItemModel, part: Any, *rest: Any) -> Any:
        together = [len(items) for _, items in part]
        padding.append(max(together) / max(8, *together[:1]))
        lengths.extend(together)
        return best(self, part, *rest)

    monkeypatch.setattr(ItemModel, "_best", noted)
    histories = [["i1"] * (n if n % 3 else 1) + [f"i{1 + n % 12}"] for n in range(300)]
    bundle = Bundle.load(whole)
    together = bundle.recommend(histories, filter_seen=True)
    assert lengths == sorted(lengths)
    assert max(padding) <= 2  # so that no short one is padded to a long one's length
    assert together == [bundle.recommend([h], filter_seen=True)[0] for h in histories]


def test_excluded_items_are_not_shown_in_other_spellings_either_and_unknown_ones_are_counted(whole: Path) -> None:
    bundle = Bundle.load(whole)
    best = bundle.recommend([["i1"]], k=1)[0][0][0]
    for spelling in (best, f" {best}", f"{best}\u00a0"):
        assert best not in dict(bundle.recommend([["i1"]], exclude=[[spelling]])[0])
    assert bundle.seen["unknown_excluded"] == 0
    assert best in dict(bundle.recommend([["i1"]], exclude=[[best.upper(), "gone"]])[0])
    assert bundle.seen["unknown_excluded"] == 2


def test_a_history_in_other_spellings_is_answered_alike_and_they_are_counted(whole: Path) -> None:
    bundle = Bundle.load(whole)
    right = bundle.recommend([["i1", "i2"], [("i3", "view")]])
    assert bundle.seen["respelled"] == 0
    assert bundle.recommend([[" i1", "i2\u00a0"], [("\ufeffi3 ", "view")]]) == right
    assert (bundle.seen["respelled"], bundle.seen["unknown_items"]) == (3, 0)


def test_a_number_that_became_a_float_is_the_item_of_that_number(whole: Path) -> None:
    bundle = Bundle.load(whole)
    internal = bundle.vocabulary.internal
    internal |= {"17": internal["i1"], "12345678": internal["i2"]}
    right = bundle.recommend([["i1", "i2"]], filter_seen=True)
    assert bundle.recommend([["17.0", "1.2345678E+07"]], filter_seen=True) == right
    assert bundle.recommend([["17", "12345678"]], filter_seen=True) == right
    assert bundle.seen["respelled"] == 2


@pytest.mark.parametrize("histories", [["i1", "i2"], ["i1"], [["i1", "view"]], [["i1", "view"], ["i2", "purchase"]]])
def test_a_bracket_too_few_is_said_with_how_to_write_it(whole: Path, histories: Any) -> None:
    with pytest.raises(UserError, match=r"e\.g\. \[\["):
        Bundle.load(whole).recommend(histories)


def test_ids_alone_are_the_rows_that_they_stand_for():
    few = Ids(["a", "b", "c"], 5)
    assert [*few] == [Row("a", 5), Row("b", 5), Row("c", 5)]
    assert [*few[-2:]] == [Row("b", 5), Row("c", 5)]
    assert (len(few), types_of(few), types_of([Row("a", 1), Row("b", 2)])) == (3, [5, 5, 5], [1, 2])


def test_very_many_ids_have_the_numbers_that_a_dictionary_would_give_them():
    """Also where all of them want one place: the table is full of runs."""

    class Same(str):
        def __hash__(self) -> int:
            return 7

    for ids in ([f"sku-{n}" for n in range(5000)], [Same(f"s{n}") for n in range(200)], [], ["only"]):
        found = Numbering(ids)
        assert dict(found) == {one: n for n, one in enumerate(ids, start=1)}
        assert [found.get(one) for one in ids] == [*range(1, len(ids) + 1)]
        assert (found.get("sku-5000"), found.get("", 0), Same("s200") in found) == (None, 0, False)
    told = pickle.dumps(Numbering(["a", "b"]))  # as a dictionary, to a process with other hashes of texts
    read = f"import pickle; print(dict(pickle.loads({told!r})))"
    other = os.environ | {"PYTHONHASHSEED": "1"}
    assert subprocess.run([sys.executable, "-c", read], env=other, capture_output=True, text=True).stdout == (
        "{'a': 1, 'b': 2}\n"
    )
    assert isinstance(Numbering.of(["a"]), dict)
    assert isinstance(Numbering.of([str(n) for n in range(MANY)]), Numbering)
