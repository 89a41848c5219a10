"""What is done to a recommender's graph (ONNX): item vectors in fewer bits, or the part that makes a request's vector.

Every sequence network is exported with its item vectors as one table (V, D), from which histories are looked up, and
whose transpose the last vector is multiplied with (`recommenders.networks.sequence`); these nodes are looked for here.

Shapes: B requests, D width, V items + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shopkeeper.bundles.answer.graph import CLOSED
from shopkeeper.errors import UserError

LARGE = 1024  # numbers of a table that is worth fewer bits
MOST = 63  # of the parts of a vector: 7 bits, so that no processor's sums of two products overflow 16 bits


@dataclass(frozen=True)
class Scored:
    """Where a graph multiplies with its item vectors."""

    table: str  # initializer (V, D)
    products: list[Any]  # MatMul nodes with its transpose as the second factor
    transposed: set[str]  # outputs of its Transpose nodes


def scored(model: Any) -> Scored | None:
    """The item vectors of a graph; None where it multiplies with no table that it looks up, or with several.

    The exporter turns small tables before it writes them; here such a one becomes the transpose of the table again.
    """
    graph = model.graph
    found = {one.name: one for one in graph.initializer if len(one.dims) == 2}
    _turn_back(graph, found)
    looked_up = {n.input[0] for n in graph.node if n.op_type == "Gather" and n.input[0] in found}
    turned = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in looked_up}
    for factor in {n.input[1] for n in graph.node if n.op_type == "MatMul" and n.input[1] in found}:
        for table in looked_up:
            if list(found[factor].dims) == list(found[table].dims)[::-1] and np.array_equal(
                numpy_helper.to_array(found[factor]), numpy_helper.to_array(found[table]).T
            ):
                graph.initializer.remove(found[factor])
                graph.node.insert(0, helper.make_node("Transpose", [table], [factor], perm=[1, 0]))
                turned[factor] = table
                break
    products = [n for n in graph.node if n.op_type == "MatMul" and n.input[1] in turned]
    names = {turned[n.input[1]] for n in products}
    return None if len(names) != 1 else Scored(names.pop(), products, {n.input[1] for n in products})


def _turn_back(graph: Any, tables: dict[str, Any]) -> None:
    """Let large tables, which are kept in the order of products (`write.onnx_file`), lie by rows again."""
    multiplied = [n for n in graph.node if n.op_type == "MatMul" and n.input[1] in tables]
    sideways = {n.output[0]: n for n in graph.node if n.op_type == "Gather" and n.output[0].endswith("_turned")}
    for name in {node.input[0] for node in sideways.values()}:
        values = numpy_helper.to_array(tables[name])
        tables[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.T), name))
        for node in [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in sideways]:
            gather = sideways[node.input[0]]
            graph.node.remove(node)
            gather.output[0] = node.output[0]
            gather.attribute[0].i = 0
        for node in multiplied:
            if node.input[1] == name:
                node.input[1] = f"{name}_turned"
        graph.node.insert(0, helper.make_node("Transpose", [name], [f"{name}_turned"], perm=[1, 0]))


def in_sixteen_bits(content: bytes) -> bytes:
    """The graph with every large table stored in 16 bits; it computes in 32, as before, from rounded numbers."""
    model = onnx.load_from_string(content)
    casts = []
    for one in model.graph.initializer:
        if one.data_type == TensorProto.FLOAT and np.prod(one.dims, dtype=np.int64) >= LARGE:
            values, name = numpy_helper.to_array(one), one.name
            if np.abs(values[np.isfinite(values)]).max(initial=0) > np.finfo(np.float16).max:
                continue
            one.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_16"))
            casts.append(helper.make_node("Cast", [one.name], [name], to=TensorProto.FLOAT))
    return written(model, casts)


def in_eight_bits(content: bytes) -> bytes:
    """The graph with its item vectors in 8 bits, a scale for each item; everything else stays as it is.

    The request's vector is multiplied as two numbers of 7 bits to each of its own, a coarse and a fine one, so that the
    rounding of the item vectors is nearly all that differs, and neither the other requests of a batch nor the kind of
    processor tell. The operators are those of the standard (MatMulInteger), with exact sums.

    Raises:
        UserError: the graph is no product with item vectors.
    """
    model = onnx.load_from_string(content)
    found = scored(model)
    if found is None:
        raise UserError("its graph does not end in a product with item vectors, which int8 is of; use fp16")
    (table,) = (one for one in model.graph.initializer if one.name == found.table)
    table_VD = numpy_helper.to_array(table)
    scale_V = np.maximum(np.abs(table_VD).max(axis=1), np.finfo(np.float32).tiny) / 127
    table.CopyFrom(numpy_helper.from_array(np.rint(table_VD / scale_V[:, None]).astype(np.int8), f"{found.table}_8"))
    constants = {
        "8_scale": scale_V.astype(np.float32), "8_last": np.array([-1]),
        "8_most": np.array(MOST, np.float32), "8_fine": np.array(2 * MOST, np.float32),
        "8_fine_whole": np.array(2 * MOST, np.int32), "8_middle": np.array(MOST + 1, np.uint8),
        "8_shift": np.array(MOST + 1, np.float32), "8_least": np.array(np.finfo(np.float32).tiny, np.float32),
    }  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] == found.table:
            nodes += _looked_up(node, table.name)
        elif any(node is one for one in found.products):
            nodes += _multiplied(node)
        else:
            if node.op_type == "Transpose" and node.output[0] in found.transposed:
                node.input[0] = table.name
            elif found.table in node.input:
                raise UserError(
                    f"its graph uses item vectors in a way that int8 does not know ({node.op_type}); use fp16"
                )
            nodes.append(node)
    return written(model, nodes, instead=True)


def _looked_up(node: Any, table: str) -> list[Any]:
    """Rows of the table, each times its scale."""
    index, out = node.input[1], node.output[0]
    return [
        helper.make_node("Gather", [table, index], [f"{out}_8"], axis=0),
        helper.make_node("Cast", [f"{out}_8"], [f"{out}_f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["8_scale", index], [f"{out}_s"], axis=0),
        helper.make_node("Unsqueeze", [f"{out}_s", "8_last"], [f"{out}_u"]),
        helper.make_node("Mul", [f"{out}_f", f"{out}_u"], [out]),
    ]


def _multiplied(node: Any) -> list[Any]:
    """Vectors (B, D) times the table's transpose, in whole numbers: coarse and fine parts as 2 B rows of one."""
    vector, turned, out = node.input[0], node.input[1], node.output[0]
    steps: Sequence[tuple[str, list[str], str]] = (
        ("Abs", [vector], "abs"), ("ReduceMax", ["abs", "8_last"], "largest"), ("Max", ["largest", "8_least"], "some"),
        ("Div", ["some", "8_most"], "step"), ("Div", [vector, "step"], "in_steps"), ("Round", ["in_steps"], "coarse"),
        ("Sub", ["in_steps", "coarse"], "left"), ("Mul", ["left", "8_fine"], "left_fine"),
        ("Round", ["left_fine"], "fine"), ("Concat", ["coarse", "fine"], "both"),
        ("Add", ["both", "8_shift"], "shifted"), ("Cast", ["shifted"], "bytes"),
        ("MatMulInteger", ["bytes", turned, "8_middle"], "sums"), ("Split", ["sums"], "of_coarse of_fine"),
        ("Mul", ["of_coarse", "8_fine_whole"], "of_coarse_fine"), ("Add", ["of_coarse_fine", "of_fine"], "whole"),
        ("Cast", ["whole"], "float"), ("Div", ["step", "8_fine"], "fine_step"),
        ("Mul", ["float", "fine_step"], "plain"), ("Mul", ["plain", "8_scale"], ""),
    )  # fmt: skip
    more = {"both": {"axis": 0}, "bytes": {"to": TensorProto.UINT8}, "float": {"to": TensorProto.FLOAT},
            "of_coarse of_fine": {"axis": 0, "num_outputs": 2}}  # fmt: skip

    def named(name: str) -> str:
        return name if name in (vector, turned) or name.startswith("8_") else f"{out}_{name}"

    return [
        helper.make_node(
            kind, [*map(named, inputs)], [named(one) for one in result.split()] or [out], **more.get(result, {})
        )
        for kind, inputs, result in steps
    ]


def written(model: Any, nodes: Sequence[Any], instead: bool = False) -> bytes:
    """The graph with these nodes before its own, or instead of them."""
    rest = [] if instead else list(model.graph.node)
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.node[:]
    found.graph.node.extend([*nodes, *rest])
    for one in [one for one in found.graph.input if one.name == CLOSED]:
        found.graph.input.remove(
            one
        )  # which items are not shown may stand elsewhere now, rounded or with other numbers
    del found.graph.value_info[:]  # shapes and types of what is within, not all of which are true any more
    onnx.checker.check_model(found)
    written: bytes = found.SerializeToString(deterministic=True)
    return written


@dataclass(frozen=True)
class Ending:
    """How a recommender's graph goes from the vector of a request to its list: as `write.ranking` writes it."""

    vector: str  # (B, D)
    table: str  # initializer (V, D)
    known: str  # bool (B, 1): a history is there
    bias_V: np.ndarray  # is added to the products; -inf of what is not in the catalogue
    fallback_V: np.ndarray
    nodes: list[Any]  # product, additions, choice of the fallback, what is hidden, the best; in this order


def ending(model: Any) -> Ending:
    """The end of a graph whose scores are products of vectors.

    Raises:
        UserError: its scores are something else; what, is said.
    """
    found, graph = scored(model), model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    constant = {one.name: one for one in graph.initializer}
    (top,) = (node for node in graph.node if node.op_type == "TopK")
    hiding = made_by[top.input[0]]
    if hiding.op_type != "ScatterElements" or hiding.input[1] != "exclude":
        raise UserError("its graph does not end as this shopkeeper writes them; export it again")
    choice = made_by[hiding.input[0]]
    if choice.op_type != "Where" or choice.input[2] not in constant:
        raise UserError("its graph has no list for who has no history; export it again")
    fallback_V, node = numpy_helper.to_array(constant[choice.input[2]]), made_by[choice.input[1]]
    bias_V, additions = np.zeros(len(fallback_V), np.float32), []
    while node.op_type == "Add" and (added := [name for name in node.input if name in constant]):
        bias_V = bias_V + numpy_helper.to_array(constant[added[0]])
        additions.append(node)
        node = made_by[next(name for name in node.input if name not in constant)]
    if found is None or not any(node is one for one in found.products):
        raise UserError(
            "its scores are no product of vectors (a history's own items are scored apart); use the exact bundle"
        )
    nodes = [node, *additions[::-1], choice, hiding, top]
    return Ending(node.input[0], found.table, choice.input[0], bias_V, fallback_V, nodes)


@dataclass(frozen=True)
class Product:
    """A graph whose scores are products of a request's vector with item vectors."""

    vector: bytes  # the graph until the vector, which it gives as `vector` (B, D)
    item_VD: np.ndarray
    bias_V: np.ndarray  # is added to the products; -inf of what is not in the catalogue
    fallback_V: np.ndarray


def product(content: bytes) -> Product:
    """A recommender's graph taken apart; a `UserError` where `ending` finds none."""
    model = onnx.load_from_string(content)
    end, graph = ending(model), model.graph
    constant = {one.name: one for one in graph.initializer}
    needed, kept = {end.vector}, []
    for one in reversed(graph.node):
        if needed & set(one.output):
            needed |= set(one.input)
            kept.append(one)
    kept.append(helper.make_node("Identity", [end.vector], ["vector"]))
    kept[:-1] = kept[-2::-1]
    item_VD = numpy_helper.to_array(constant[end.table])
    inputs = [one for one in graph.input if one.name in needed]
    tables = [one for one in graph.initializer if one.name in needed]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", item_VD.shape[1]])
    del graph.input[:], graph.output[:], graph.initializer[:], graph.value_info[:]
    graph.input.extend(inputs)
    graph.output.append(output)
    graph.initializer.extend(tables)
    return Product(written(model, kept, instead=True), item_VD, end.bias_V, end.fallback_V)
