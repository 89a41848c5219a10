"""Large tables are taken out of a graph's file before ONNX Runtime reads it: the answers stay, junk harms nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shopkeeper.bundles.answer import graph
from shopkeeper.bundles.answer.graph import together
from shopkeeper.bundles.answer.numbering import different
from shopkeeper.errors import UserError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(300, 4)).astype(np.float32)
WHOLE = RNG.integers(-127, 127, (300, 4)).astype(np.int8)
ROWS = np.array([0, 7, 299])


def written() -> bytes:
    """Rows of a table in 32 bits plus those of one in 8."""
    nodes = [
        helper.make_node("Gather", ["table", "rows"], ["a"], axis=0),
        helper.make_node("Gather", ["whole", "rows"], ["b8"], axis=0),
        helper.make_node("Cast", ["b8"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["a", "b"], ["sum"]),
    ]
    tables = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(WHOLE, "whole")]
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, ["n"])
    out = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 4])
    made = helper.make_graph(nodes, "sums", [rows], [out], tables)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def test_the_file_without_its_tables_and_these_answer_as_the_file(monkeypatch: pytest.MonkeyPatch):
    content = written()
    assert graph.apart(content) == (content, {})  # they are small
    monkeypatch.setattr(graph, "LARGE", 1000)
    rest, tables = graph.apart(content)
    assert len(rest) < len(content) - TABLE.nbytes - WHOLE.nbytes + 100
    assert np.array_equal(tables["table"], TABLE)
    assert np.array_equal(tables["whole"], WHOLE)
    left = onnx.load_from_string(rest).graph
    assert [one.data_location for one in left.initializer] == [TensorProto.EXTERNAL] * 2
    assert [list(one.dims) for one in left.initializer] == [[300, 4]] * 2
    session = graph.open_session(Path("bundle"), content, 1)
    assert np.array_equal(session.run(None, {"rows": ROWS})[0], TABLE[ROWS] + WHOLE[ROWS])


def test_a_file_that_is_cut_or_changed_anywhere_is_refused_in_one_line_or_opened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph, "LARGE", 1000)
    content = written()
    for end in [*range(0, 400), *RNG.integers(400, len(content), 100).tolist()]:
        graph.apart(content[:end])
    begin = content.index(b"table") - 60
    for at in [*range(0, 300), *range(begin, begin + 120)]:
        for byte in (0, 127, 255):
            graph.apart(content[:at] + bytes([byte]) + content[at + 1 :])
    graph.apart(b"\xff" * 100_000)  # a number that does not end
    with pytest.raises(UserError, match=r"model\.onnx cannot be opened by ONNX Runtime"):
        graph.open_session(Path("bundle"), content[: len(content) // 2], 1)


def test_a_table_whose_numbers_do_not_fill_its_shape_is_left_to_onnx_runtime(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph, "LARGE", 1000)
    model = onnx.load_from_string(written())
    model.graph.initializer[0].dims[0] = 2**40
    assert graph.apart(model.SerializeToString())[1] == {}


def test_ids_that_are_given_twice_are_seen():
    ids = [f"i{n}" for n in range(1000)]
    assert different(ids)
    assert different([])
    assert not different([*ids, "i7"])


def test_tables_are_laid_out_anew_for_products_unless_that_were_a_second_copy_of_a_large_one(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(graph, "LARGE", 1000)

    def as_they_are(packed: bool = False) -> str:
        options = graph.open_session(Path("bundle"), written(), 1, packed).get_session_options()
        return str(options.get_session_config_entry("session.disable_prepacking"))

    assert as_they_are() == "0"
    monkeypatch.setattr(graph, "LARGE_TABLE", TABLE.nbytes)
    assert (as_they_are(), as_they_are(packed=True)) == ("1", "0")


@pytest.mark.parametrize(("lengths", "spare", "parts"), [
    ([], 0, []), ([0], 0, [(0, 1)]), ([0, 0, 3, 16], 0, [(0, 4)]),  # short ones are padded in any case
    ([3, 20, 30, 50], 0, [(0, 1), (1, 3), (3, 4)]),  # at most twice as long as the first
    ([3, 20, 30, 50], 96, [(0, 3), (3, 4)]), ([3, 20, 30, 50], 97, [(0, 4)]),  # 17 + 2 * 10 + 3 * 20
    ([5] * 7 + [50], 97, [(0, 7), (7, 8)]),  # many short ones are not padded for one long one
    ([9] * 10, 0, [(0, 8), (8, 10)]), ([20_000] * 5, 0, [(0, 3), (3, 5)]),  # so many in one call, and so many events
])  # fmt: skip
def test_a_short_history_stands_beside_long_ones_where_a_call_costs_more_than_its_padding(
    lengths: list[int], spare: int, parts: list[tuple[int, int]]
):
    assert [*together(lengths, 8, spare)] == parts
