"""A graph in two steps gives the exact graph's lists, also where 8 bits alone would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from shopkeeper.bundles.targets import two_steps
from shopkeeper.bundles.targets.graphs import ending
from shopkeeper.bundles.targets.smaller import write_smaller
from shopkeeper.bundles.targets.two_steps import in_two_steps
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.networks.sasrec import SASRec


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few are compared anew as are listed: the hardest case."""
    monkeypatch.setattr(two_steps, "ANEW", 10)
    monkeypatch.setattr(two_steps, "TIMES", 1)


def changed(content: bytes, tables: dict[str, np.ndarray]) -> bytes:
    model = onnx.load_from_string(content)
    for one in model.graph.initializer:
        if one.name in tables:
            one.CopyFrom(numpy_helper.from_array(tables[one.name], one.name))
    written: bytes = model.SerializeToString()
    return written


def always_sure(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    (choice,) = (node for node in model.graph.node if node.op_type == "If" and node.input[0] == "2_sure")
    choice.input[0] = "yes"
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    written: bytes = model.SerializeToString()
    return written


def with_items(content: bytes, item_VD: np.ndarray, bias_V: np.ndarray | None = None) -> bytes:
    """The graph with other item vectors, and other numbers in the place of what closes items."""
    model = onnx.load_from_string(content)
    table = ending(onnx.load_from_string(content)).table
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    turned = [name for name, value in values.items() if np.array_equal(value, values[table].T)]
    other = {table: item_VD} | dict.fromkeys(turned, np.ascontiguousarray(item_VD.T))
    if bias_V is not None:
        (closed,) = (n for n, v in values.items() if v.shape == bias_V.shape and (np.isneginf(v) | (v == 0)).all())
        other[closed] = values[closed] + bias_V
    return changed(content, other)


def with_many(content: bytes, item_VD: np.ndarray) -> bytes:
    """The graph with more item vectors: everything that has a number for each item has as many."""
    model = onnx.load_from_string(content)
    before = len(ending(onnx.load_from_string(content)).bias_V)
    for one in model.graph.initializer:
        values = numpy_helper.to_array(one)
        if values.shape == (before, item_VD.shape[1]):
            one.CopyFrom(numpy_helper.from_array(item_VD, one.name))
        elif values.shape == (item_VD.shape[1], before):
            one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(item_VD.T), one.name))
        elif values.shape == (before,):
            many = np.zeros(len(item_VD), np.float32)
            many[0] = -np.inf  # nobody is shown what stands for none
            one.CopyFrom(numpy_helper.from_array(many, one.name))
    del model.graph.value_info[:]
    written: bytes = model.SerializeToString()
    return written


def telling(content: bytes) -> onnxruntime.InferenceSession:
    """The graph, which also says whether it was sure."""
    model = onnx.load_from_string(content)
    model.graph.output.append(onnx.helper.make_tensor_value_info("2_sure", onnx.TensorProto.BOOL, []))
    return onnxruntime.InferenceSession(model.SerializeToString())


def asked(contents: list[bytes], feed: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    found = []
    for content in contents:
        session = onnxruntime.InferenceSession(content)
        found.append(session.run(["items", "scores"], {one.name: feed[one.name] for one in session.get_inputs()}))
    return found


def feeds(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Histories, two of them empty, each with another item that may not be shown."""
    history = rng.integers(1, 60, (40, 12))
    history[:2] = 0
    return {"history": history, "event_type": np.where(history > 0, 2, 0), "exclude": rng.integers(1, 60, (40, 1))}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("biased", [False, True])
def test_items_that_eight_bits_cannot_tell_apart_stand_as_in_the_exact_list(graph: Path, biased: bool):
    rng = np.random.default_rng(0)
    width, V = 16, 61
    one = rng.normal(size=width)
    item_VD = (one + 2e-3 * rng.normal(size=(V, width))).astype(np.float32)  # in steps of 1/127 nearly all are the same
    bias_V = (1e-3 * rng.normal(size=V)).astype(np.float32) if biased else None
    exact = with_items((graph / "model.onnx").read_bytes(), item_VD, bias_V)
    two = in_two_steps(exact)
    trusting = always_sure(two)
    feed = feeds(rng)
    right, found = asked([exact, two], feed)
    np.testing.assert_array_equal(found[0], right[0])
    np.testing.assert_allclose(found[1], right[1], atol=1e-5, rtol=1e-5)
    (wrong,) = asked([trusting], {name: values[2:] for name, values in feed.items()})
    assert not np.array_equal(wrong[0], right[0][2:])  # without the bound 8 bits would have told


def sure_one_by_one(session, feed: dict, right: np.ndarray, scores: np.ndarray, atol: float) -> list[bool]:
    """Asks each row alone, which must give the exact graph's items and scores; whether the short way was sure of it."""
    sure = []
    for b in range(len(right)):
        alone = {name: values[b : b + 1] for name, values in feed.items()}
        items, near, told = session.run(["items", "scores", "2_sure"], alone)
        np.testing.assert_array_equal(items[0], right[b])
        np.testing.assert_allclose(near[0], scores[b], atol=atol, rtol=1e-5)
        sure.append(bool(told))
    return sure


@pytest.mark.usefixtures("few")
def test_each_half_answers_and_a_request_alone_as_among_others(graph: Path):
    content = (graph / "model.onnx").read_bytes()
    two = in_two_steps(content)
    session = telling(two)
    feed = feeds(np.random.default_rng(1))
    feed = {one.name: feed[one.name] for one in session.get_inputs()}
    ((right, scores),) = asked([content], feed)
    sure = sure_one_by_one(session, feed, right, scores, atol=1e-5)
    # Who has no history gets the best of everybody's, which need no product unless one of so few may not be shown.
    usual = next(numpy_helper.to_array(one) for one in onnx.load_from_string(two).graph.initializer
                 if one.name == "2_usual")  # fmt: skip
    assert sure[:2] == [feed["exclude"][b, 0] not in usual for b in range(2)]
    assert {*sure} == {True, False}


def test_of_many_items_the_best_lie_in_the_best_blocks_also_where_many_are_equally_good(graph: Path):
    """What ten thousand items in several blocks give, equal ones among them, is what the exact graph gives."""
    rng = np.random.default_rng(3)
    width, V = 16, 10_001
    item_VD = rng.integers(-3, 4, (V, width)).astype(np.float32)  # many products are the same number
    content = (graph / "model.onnx").read_bytes()
    exact = with_many(content, item_VD)
    history = rng.integers(1, V, (30, 12))
    history[:3] = 0
    exclude = rng.integers(1, V, (30, 40))
    exclude[:3, :10] = np.arange(1, 11)  # who has no history would be shown these
    feed = {"history": history, "event_type": np.where(history > 0, 2, 0), "exclude": exclude}
    ((right, scores),) = asked([exact], feed)
    session = telling(in_two_steps(exact))
    feed = {one.name: feed[one.name] for one in session.get_inputs()}
    sure = sure_one_by_one(session, feed, right, scores, atol=1e-4)
    assert all(sure[:3])
    assert sum(sure) > 20


def test_as_it_is_written_it_is_sure_of_nearly_all(graph: Path):
    """And by hand: of what was compared anew nothing that was left out could have been better."""
    rng = np.random.default_rng(2)
    item_VD = rng.normal(size=(61, 16)).astype(np.float32)
    two = in_two_steps(with_items((graph / "model.onnx").read_bytes(), item_VD))
    told = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(two).graph.initializer}
    y_VD = (told["2_whole"].T * told["2_step"][:, None])[:61]  # behind them columns that fill up a block
    listed = np.isfinite(told["2_bias"])[:61]
    assert told["2_rounding"] >= np.linalg.norm(item_VD - y_VD, axis=1)[listed].max()
    assert told["2_length"] >= np.linalg.norm(y_VD, axis=1)[listed].max()
    assert told["2_n"][0] == 61  # fewer than are compared anew: all
    q_BD = rng.normal(size=(500, 16))
    unit = np.abs(q_BD).max(1, keepdims=True)
    r_BD = np.rint(q_BD / unit * 63) / 63 * unit
    off = np.abs(q_BD @ item_VD.T - r_BD @ y_VD.T)[:, listed].max(1)
    length = np.linalg.norm(q_BD, axis=1)
    bound = length * told["2_rounding"] + np.linalg.norm(q_BD - r_BD, axis=1) * told["2_length"]
    assert (off <= bound).all()


@pytest.mark.parametrize("several", [1, 40])
def test_a_processor_whose_products_are_others_is_noticed(graph: Path, several: int):
    """As if its operator lost a part of each product: what is compared anew lies further off than rounding explains."""
    rng = np.random.default_rng(4)
    content = with_items((graph / "model.onnx").read_bytes(), rng.normal(size=(61, 16)).astype(np.float32))
    two = in_two_steps(content)
    told = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(two).graph.initializer}
    half = {"2_whole": told["2_whole"] // 2, "2_bytes_VD": (told["2_bytes_VD"] // 2 + 64).astype(np.uint8)}
    feed = {name: values[2 : 2 + several] for name, values in feeds(rng).items()}
    sessions = [telling(changed(two, tables)) for tables in ({}, half)]
    feed = {one.name: feed[one.name] for one in sessions[0].get_inputs()}
    found = [session.run(["items", "2_sure"], feed) for session in sessions]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert [bool(sure) for _, sure in found] == [True, False]


def test_what_is_no_product_has_none(shop: Any, tmp_path: Path):
    own = SASRec(width=8, blocks=1, epochs=1, history="copy")
    own.fit(*shop, Fit(progress=False))
    bundle = export_bundle(own, *shop, MadeFrom(model="own", task="next_item"), tmp_path / "own", golden=5)
    with pytest.raises(UserError, match="own items are scored apart"):
        write_smaller(bundle, tmp_path / "no", "two_steps", lambda exact, other: {})
    assert not (tmp_path / "no").exists()
