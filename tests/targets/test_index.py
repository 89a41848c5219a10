"""An index beside a bundle: what it finds is what an exact product finds, as often as it says, and nothing hidden."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from usearch.index import Index

from layouts import differences
from shopkeeper.bundles.answer import Bundle, integrity
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.answer.nearest import Nearest, opened
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.layout import BUNDLE
from shopkeeper.bundles.targets.index import BUILD, write_index
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import seal
from shopkeeper.cli.main import main
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.handed.cost import paired
from shopkeeper.recommenders.factors.bpr import BPR
from shopkeeper.recommenders.factors.ials import IALS
from shopkeeper.recommenders.networks.sasrec import SASRec
from shopkeeper.service import Limits, create_app

KINDS = ("faiss", "usearch")


@pytest.fixture(scope="module", params=KINDS)
def indexed(request: pytest.FixtureRequest, graph: Path, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "b"
    return write_index(graph, place, request.param, lambda exact, other: paired(shop[1], exact, other))


def test_of_few_items_it_finds_all_with_their_exact_scores(indexed: Path):
    exact, other = Bundle.load(indexed), Bundle.load(indexed, approximate=True)
    histories: list[Any] = [[], ["i5"], ["i1", "i2", "i3"], ["nobody knows"], [f"i{n}" for n in range(1, 31)]]
    for told in ({}, {"filter_seen": True}, {"exclude": [["i2", "i6", "gone"]] * 5}, {"k": 3},
                 {"exclude": [[f"i{n}" for n in range(1, 61)]] * 5}):  # fmt: skip
        for right, found in zip(exact.recommend(histories, **told), other.recommend(histories, **told), strict=True):
            assert [i for i, _ in found] == [i for i, _ in right]
            np.testing.assert_allclose([s for _, s in found], [s for _, s in right], atol=1e-5)
    assert exact.answer([[]])[0].reason == other.answer([[]])[0].reason != ""


def test_its_papers_say_how_much_it_finds_and_what_it_costs(indexed: Path):
    told = json.loads((indexed / "manifest.json").read_text())["index"]
    assert told["items"] == 59  # item 60 is not in the catalogue
    assert told["recall"]["golden"] == told["recall"]["invented"] == 1
    assert told["cost"]["difference"] == 0
    card = (indexed / "card.md").read_text()
    assert "Recall@10 against the exact lists: 1.0000 of 40 golden requests, 1.0000 of 200 histories" in card
    readme = (indexed / "README.md").read_text()
    assert "golden requests, 1.0000 of 200 histories" in readme
    assert f"| `index.{told['kind']}` |" in readme
    assert differences(BUNDLE, indexed) == []


def test_a_service_and_the_shell_answer_from_it_once_it_is_verified(indexed: Path, capsys: pytest.CaptureFixture[str]):
    app = create_app(indexed, Limits(reload=0), approximate=True)
    assert app.state.service.opened.bundle.approximate
    assert not create_app(indexed, Limits(reload=0)).state.service.opened.bundle.approximate
    (found,) = app.state.service.opened.answer([{"history": ["i5", "i6"], "k": 4}])
    (right,) = Bundle.load(indexed, approximate=True).recommend([["i5", "i6"]], k=4)
    assert [(one["item_id"], one["score"]) for one in found["items"]] == right
    main(["verify", str(indexed), "--approximate"])
    assert "40 golden requests: found as often as its manifest says" in capsys.readouterr().out


def test_either_way_of_answering_holds_its_own_files_alone_and_refuses_a_change_in_all(
    indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, read, right = Path(shutil.copytree(indexed, tmp_path / "b")), list[str](), integrity._read
    monkeypatch.setattr(integrity, "_read", lambda place, name: read.append(name) or right(place, name))
    held = {}
    for approximate in (False, True):
        read.clear()
        Bundle.load(folder, approximate=approximate)
        held[approximate] = {*read}
    (index,) = (path.name for path in folder.glob("index.*") if path.suffix != ".npz")
    assert held[False] - held[True] == {"model.onnx"}
    assert held[True] - held[False] == {index, "vector.onnx", "index.npz"}
    for name in ("model.onnx", index):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        for approximate in (False, True):
            with pytest.raises(UserError, match=f"{name} was changed or damaged"):
                Bundle.load(folder, approximate=approximate)
        (folder / name).write_bytes(good)


def test_an_index_that_finds_less_than_its_papers_say_does_not_verify(indexed: Path, tmp_path: Path):
    folder = Path(shutil.copytree(indexed, tmp_path / "b"))
    manifest = json.loads((folder / "manifest.json").read_text())
    opened_there = Bundle.load(folder, approximate=True).model
    assert isinstance(opened_there, ItemModel)
    assert opened_there.nearest is not None
    item_CD = opened_there.nearest.index.vectors(np.arange(59))
    kind = manifest["index"]["kind"]
    (folder / f"index.{kind}").write_bytes(BUILD[kind](item_CD[::-1].copy()))  # every item has another one's vector
    seal(folder, {key: value for key, value in manifest.items() if key != "files"})
    assert verify(folder, repeat=0).ok
    wrong = verify(folder, repeat=0, approximate=True).wrong
    assert any("instead of" in one and "score" in one for one in wrong)
    assert "of the golden requests' items instead of 1.0000" in wrong[-1]
    with pytest.raises(UserError, match="instead of"):
        create_app(folder, Limits(reload=0), approximate=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make", [lambda: IALS(width=8, half_life_days=None), lambda: BPR(width=8, epochs=3, half_life_days=None)]
)
def test_factors_have_one_as_well(kind: str, make: Any, shop: Any, tmp_path: Path):
    model = make()
    model.fit(*shop, Fit(progress=False))
    bundle = export_bundle(model, *shop, MadeFrom(model="factors", task="next_item"), tmp_path / "b", golden=20)
    out = write_index(bundle, tmp_path / "index", kind)
    asked = [["i3", "i9"], [], ["i50"]]
    exact, other = Bundle.load(bundle).recommend(asked), Bundle.load(out, approximate=True).recommend(asked)
    for right, found in zip(exact, other, strict=True):
        assert [i for i, _ in found] == [i for i, _ in right]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in right], rtol=1e-4, atol=1e-5)
    assert "was not measured" in (out / "card.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_items_most_are_found_and_none_that_is_hidden(kind: str):
    rng = np.random.default_rng(0)
    some = rng.normal(size=(50, 16))
    item_CD = (some[rng.integers(0, 50, 12_000)] + 0.3 * rng.normal(size=(12_000, 16))).astype(np.float32)
    item_CD *= rng.uniform(0.5, 2, (12_000, 1)).astype(np.float32)  # lengths that differ, as of popular items
    index = opened(kind, BUILD[kind](item_CD))
    assert len(index) == 12_000
    assert index.width == 16
    catalogue = np.arange(1, 12_001) * 2  # positions are no ids
    nearest = Nearest(kind, index, {"faiss": 16, "usearch": 256}[kind], catalogue, np.zeros(24_001, np.float32))
    vector_BD = (some[rng.integers(0, 50, 40)] + 0.3 * rng.normal(size=(40, 16))).astype(np.float32)
    score_BC = vector_BD @ item_CD.T
    best_BK = np.argsort(-score_BC, axis=1)[:, :15]
    hidden = [catalogue[best_K[:5]].tolist() for best_K in best_BK]
    items_BK, scores_BK = nearest.best(vector_BD, np.zeros(40, bool), hidden, 10)
    assert not any(set(items) & set(out) for items, out in zip(items_BK.tolist(), hidden, strict=True))
    wanted = catalogue[best_BK[:, 5:]]
    found = [len({*a} & {*b}) / 10 for a, b in zip(items_BK.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(found) >= 0.98
    np.testing.assert_allclose(scores_BK, np.take_along_axis(score_BC, items_BK // 2 - 1, 1), rtol=1e-4, atol=1e-4)
    assert (np.diff(scores_BK) <= 0).all()
    # Of one whose nearly all is hidden what is left, and empty places behind it: no padding of a library's.
    left = [catalogue[:11_996].tolist()]
    items_BK, scores_BK = nearest.best(vector_BD[:1], np.zeros(1, bool), left, 10)
    assert sorted(items_BK[0, :4].tolist()) == catalogue[11_996:].tolist()
    assert items_BK[0, 4:].tolist() == [0] * 6
    assert np.isneginf(scores_BK[0, 4:]).all()


def test_what_the_libraries_do_unasked_is_asked_for():
    """usearch keeps 16 bits unless told; both fill what they cannot find, faiss with -1."""
    item_CD = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    assert str(Index(ndim=4).dtype) != str(Index(ndim=4, dtype="f32").dtype)
    index = opened("usearch", BUILD["usearch"](item_CD))
    np.testing.assert_array_equal(index.vectors(np.arange(5)), item_CD)
    places, _ = index.search(item_CD[0], 9, 9, 64)
    assert sorted(places.tolist()) == [0, 1, 2, 3, 4]
    flat = faiss.IndexFlatIP(4)
    flat.add(item_CD)
    assert -1 in flat.search(item_CD[:1], 9)[1]
    places, _ = opened("faiss", BUILD["faiss"](item_CD)).search(item_CD[0], 9, 9, 0)
    assert sorted(places.tolist()) == [0, 1, 2, 3, 4]


def test_a_bias_is_one_number_more(shop: Any, graph: Path, tmp_path: Path):
    """Demand is added to products of networks with an own history; here it is what one is made of."""
    from shopkeeper.bundles.targets.index import _with_one

    bundle = Bundle.load(write_index(graph, tmp_path / "b", "faiss"), approximate=True)
    assert isinstance(bundle.model, ItemModel)
    import onnxruntime

    plain = (tmp_path / "b" / "vector.onnx").read_bytes()
    feed = {one: np.ones((2, 3), np.int64) for one in bundle.model.inputs}
    (before,) = bundle.model.session.run(None, feed)
    (after,) = onnxruntime.InferenceSession(_with_one(plain)).run(None, feed)
    np.testing.assert_array_equal(after, np.concatenate([before, np.ones((2, 1), np.float32)], axis=1))


def test_what_is_no_product_is_refused_and_named(counts: Path, graph: Path, shop: Any, tmp_path: Path):
    with pytest.raises(UserError, match=r"\(item_knn\): scores of item_knn are no products of vectors"):
        write_index(counts, tmp_path / "no", "faiss")
    own = SASRec(width=8, blocks=1, epochs=1, history="copy")
    own.fit(*shop, Fit(progress=False))
    bundle = export_bundle(own, *shop, MadeFrom(model="own", task="next_item"), tmp_path / "own", golden=5)
    with pytest.raises(UserError, match=r"\(own\): .*own items are scored apart"):
        write_index(bundle, tmp_path / "no", "usearch")
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match="has no index; write one with `shopkeeper target faiss"):
        Bundle.load(graph, approximate=True)


def test_an_index_that_does_not_fit_is_refused(indexed: Path, tmp_path: Path):
    bundle = Bundle.load(indexed, approximate=True)
    assert isinstance(bundle.model, ItemModel)
    assert bundle.model.nearest is not None
    kind = bundle.model.nearest.kind
    content = {name: (indexed / name).read_bytes() for name in bundle.manifest["files"]}
    other = content | {f"index.{kind}": BUILD[kind](np.ones((7, 16), np.float32))}
    with pytest.raises(UserError, match="does not fit"):
        Nearest.of(indexed, bundle.manifest, other)
    assert replace(bundle.model.nearest, setting=1).setting == 1


def test_many_histories_of_any_length_are_answered_as_each_alone(graph: Path):
    bundle = Bundle.load(graph)
    rng = np.random.default_rng(3)
    asked: list[Any] = [[f"i{i}" for i in rng.integers(1, 66, n)] for n in rng.integers(0, 20, 150)]  # some unknown
    for found, right in zip(bundle.recommend(asked), [bundle.recommend([h])[0] for h in asked], strict=True):
        assert [i for i, _ in found] == [i for i, _ in right]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in right], atol=1e-5)
