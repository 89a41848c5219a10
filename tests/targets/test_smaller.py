"""A bundle in fewer bits: what it costs is measured, stands in its papers, and is what a count by hand finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from javascript import node
from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer.answers import agreement
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.targets import graphs
from shopkeeper.bundles.targets.graphs import in_eight_bits, product, scored
from shopkeeper.bundles.targets.smaller import write_smaller
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.onnx_file import turn_large_tables
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.handed.cost import paired
from shopkeeper.recommenders.networks.gru4rec import GRU4Rec
from shopkeeper.recommenders.networks.sasrec import SASRec


@pytest.fixture(scope="module", params=["int8", "fp16", "two_steps"])
def smaller(request: pytest.FixtureRequest, graph: Path, shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("smaller") / "b"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "LARGE", 512)  # numbers of a table that is worth 16 bits: here all are small
        return write_smaller(graph, place, request.param, lambda exact, other: paired(shop[1], exact, other))


def test_it_is_a_bundle_that_verifies_and_answers_nearly_as_the_exact_one(smaller: Path, graph: Path):
    found = verify(smaller, repeat=0)
    assert found.ok
    kind = json.loads((smaller / "manifest.json").read_text())["variant"]["kind"]
    assert f"all as {kind} answered when it was made" in str(found)
    assert "all as the trained model answers" in str(verify(graph, repeat=0))
    exact, other = Bundle.load(graph), Bundle.load(smaller)
    asked = [[f"i{n}" for n in range(a, a + 5)] for a in range(1, 50)]
    pairs = list(zip(exact.recommend(asked), other.recommend(asked), strict=True))
    assert agreement([([i for i, _ in a], [i for i, _ in b]) for a, b in pairs])["overlap"] > 0.95
    np.testing.assert_allclose([b[0][1] for _, b in pairs], [a[0][1] for a, _ in pairs], atol=0.05, rtol=0.02)
    kind = json.loads((smaller / "manifest.json").read_text())["variant"]["kind"]
    assert kind == "two_steps" or any(a != b for a, b in pairs)  # and it is another graph
    assert (smaller / "model.onnx").read_bytes() != (graph / "model.onnx").read_bytes()


def test_what_it_costs_is_what_a_count_by_hand_finds(smaller: Path, graph: Path, shop: Any):
    cost = json.loads((smaller / "manifest.json").read_text())["variant"]["cost"]
    requests, targets = shop[1].part("test")
    mean = {}
    for name, path in (("exact", graph), ("value", smaller)):
        events = requests.events.item
        histories = [[f"i{i}" for i in events[a:b]] for a, b in zip(requests.start, requests.end, strict=True)]
        gains = []
        for listed, wanted in zip(Bundle.load(path).recommend(histories), targets.item, strict=True):
            place = [i for i, _ in listed].index(f"i{wanted}") if f"i{wanted}" in dict(listed) else None
            gains.append(0 if place is None else 1 / np.log2(place + 2))
        mean[name] = np.mean(gains)
    assert mean["exact"] > 0.2  # it has learned what follows what
    assert {name: cost[name] for name in mean} == pytest.approx(mean)
    assert cost["difference"] == pytest.approx(mean["value"] - mean["exact"])
    assert cost["low"] <= cost["difference"] <= cost["high"]
    assert cost["n"] == len(requests)


def test_its_card_says_so(smaller: Path, graph: Path):
    card, told = (smaller / "card.md").read_text(), json.loads((smaller / "manifest.json").read_text())["variant"]
    assert card.startswith((graph / "card.md").read_text())
    assert told["of"] == Bundle.load(graph).seal
    assert f"{told['cost']['difference']:+.4f}" in card
    assert "paired by customer" in card.replace("\n", " ")
    assert f"{told['golden']['overlap']:.1%}" in card
    readme = (smaller / "README.md").read_text()
    assert readme.endswith(card.removeprefix((graph / "card.md").read_text()))  # and so does its README
    tolerance = json.loads((smaller / "manifest.json").read_text())["preprocessing"]["tolerance"]
    assert f"scores within {tolerance['score']:g} (relative" in readme


def test_the_client_in_javascript_answers_its_golden_requests(smaller: Path):
    done = node("verify.mjs", str(smaller))
    assert done.returncode == 0, done.stdout + done.stderr


def test_eight_bits_are_what_rounding_item_vectors_gives(graph: Path):
    """The textbook beside the graph: the exact graph with rounded item vectors in 32 bits."""
    content = (graph / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    (table,) = (one for one in model.graph.initializer if one.name.endswith("item.weight"))
    values = numpy_helper.to_array(table)
    step = np.maximum(np.abs(values).max(1), 1e-30)[:, None] / 127
    rounded = (np.rint(values / step) * step).astype(np.float32)
    for one in model.graph.initializer:
        for before, after in ((values, rounded), (values.T, rounded.T)):  # a small table is there turned, too
            if np.array_equal(numpy_helper.to_array(one), before):
                one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(after), one.name))
    rng = np.random.default_rng(0)
    feed = {"history": rng.integers(1, 60, (7, 12)), "event_type": rng.integers(1, 3, (7, 12)),
            "exclude": np.zeros((7, 1), np.int64)}  # fmt: skip
    found = []
    for one in (model.SerializeToString(), in_eight_bits(content)):
        session = onnxruntime.InferenceSession(one)
        found.append(session.run(["items", "scores"], {i.name: feed[i.name] for i in session.get_inputs()}))
    np.testing.assert_allclose(found[1][1], found[0][1], atol=2e-4)
    session = onnxruntime.InferenceSession(in_eight_bits(content))
    for b in range(7):  # a request's answer is its own, whoever stands beside it
        alone = session.run(["scores"], {i.name: feed[i.name][b : b + 1] for i in session.get_inputs()})[0]
        np.testing.assert_allclose(alone[0], found[1][1][b], atol=1e-4)


@pytest.mark.parametrize("make", [lambda: GRU4Rec(width=8, epochs=1),
                                  lambda: SASRec(width=8, blocks=1, epochs=1, history="copy")])  # fmt: skip
def test_other_networks_have_the_same_two_forms(make: Any, shop: Any, tmp_path: Path):
    model = make()
    model.fit(*shop, Fit(progress=False))
    bundle = export_bundle(model, *shop, MadeFrom(model="m", task="next_item"), tmp_path / "b", golden=10)
    for kind in ("int8", "fp16"):
        out = write_smaller(bundle, tmp_path / kind, kind, lambda exact, other: paired(shop[1], exact, other))
        assert verify(out, repeat=0).ok
        assert json.loads((out / "manifest.json").read_text())["variant"]["golden"]["overlap"] > 0.8


def test_what_has_no_such_form_is_refused_and_nothing_written(counts: Path, graph: Path, shop: Any, tmp_path: Path):
    with pytest.raises(UserError, match="no graph but the NumPy program item_knn"):
        write_smaller(counts, tmp_path / "b", "int8", lambda exact, other: {})
    once = write_smaller(graph, tmp_path / "once", "fp16", lambda exact, other: paired(shop[1], exact, other))
    with pytest.raises(UserError, match="fp16 already"):
        write_smaller(once, tmp_path / "b", "int8", lambda exact, other: {})
    assert not (tmp_path / "b").exists()


def test_a_large_table_that_lies_in_the_order_of_products_is_the_same_graph(graph: Path):
    content = (graph / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    assert scored(model) is not None  # which also lets a small table's transpose be one
    turn_large_tables(model, large=1)
    tables = {one.name for one in model.graph.initializer}
    assert any(n.op_type == "Gather" and n.output[0].endswith("_turned") for n in model.graph.node)
    assert all(n.input[0] not in tables for n in model.graph.node if n.op_type == "Transpose")
    turned = model.SerializeToString()
    rng = np.random.default_rng(0)
    feed = {"history": rng.integers(1, 60, (5, 12)), "event_type": rng.integers(1, 3, (5, 12)),
            "exclude": rng.integers(1, 60, (5, 3))}  # fmt: skip
    found = []
    for one in (content, turned, in_eight_bits(content), in_eight_bits(turned)):
        session = onnxruntime.InferenceSession(one)
        found.append(session.run(["items", "scores"], {i.name: feed[i.name] for i in session.get_inputs()}))
    for before, after in (found[:2], found[2:]):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_allclose(before[1], after[1], atol=1e-6)
    np.testing.assert_array_equal(product(content).item_VD, product(turned).item_VD)
