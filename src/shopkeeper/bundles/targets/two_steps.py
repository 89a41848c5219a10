"""A recommender's graph that looks through item vectors in 8 bits and compares the best anew in 32: the exact lists.

What rounding can do is bounded. Of a vector q, rounded to r, and an item's x, rounded to y, the exact product is no
further from r·y than |q|·|x - y| + |q - r|·|y| (Cauchy and Schwarz). Where the last of the list lies further than that
above the last that was compared anew, no item that was left out belongs into it. Where it does not, the graph itself
multiplies with all vectors in 32 bits, as the exact one does.

Shapes: B requests, D width, V items + 1, N compared anew, K list length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shopkeeper.bundles.targets.graphs import MOST, Ending, ending, written

CONTRIBUTED = "com.microsoft"  # ONNX Runtime's own operators: a product of whole numbers that scales what it writes
ANEW, TIMES = 64, 4  # N is at least so many, and so many times K
MANY = 200_000  # items, among which more lie near the best: twice as many are compared anew
BLOCK = 32  # items of which the best one is found first
SLACK = 1e-5  # of |q|·|x|: sums in 32 bits are rounded, too


def in_two_steps(content: bytes) -> bytes:
    """The graph with its item vectors in 8 bits beside those in 32.

    Raises:
        UserError: the graph's scores are no product of vectors.
    """
    model = onnx.load_from_string(content)
    end, graph = ending(model), model.graph
    (table,) = (one for one in graph.initializer if one.name == end.table)
    x_VD = numpy_helper.to_array(table)
    k = int(numpy_helper.to_array(_constant(graph, end.nodes[-1].input[1])).ravel()[0])
    n = min(max(ANEW, TIMES * k) * (2 if len(x_VD) >= MANY else 1), len(x_VD))
    step_V = (np.maximum(np.abs(x_VD).max(axis=1), np.finfo(np.float32).tiny) / 127).astype(np.float32)
    whole_VD = np.rint(x_VD / step_V[:, None]).astype(np.int8)
    listed = np.isfinite(end.bias_V)
    y_VD = whole_VD[listed] * step_V[listed, None].astype(np.float64)
    length = np.linalg.norm(y_VD, axis=1).max(initial=0)
    rounding = np.linalg.norm(x_VD[listed] - y_VD, axis=1).max(initial=0)
    more = -len(x_VD) % BLOCK  # columns that fill up the last block
    blocks = (len(x_VD) + more) // BLOCK
    width = x_VD.shape[1]
    size = min(256, max(16, 1 << (width - 1).bit_length()))  # numbers of a vector that `MatMulNBits` gives one scale
    parts = -(-width // size)
    bytes_VD = np.pad(whole_VD.astype(np.int16) + 128, ((0, more), (0, parts * size - width)), constant_values=128)
    usual = np.sort(np.argsort(-end.fallback_V, kind="stable")[:n])  # the best of who has no history, in order of ids
    constants = {
        "2_whole": np.ascontiguousarray(np.pad(whole_VD, ((0, more), (0, 0))).T),
        "2_step": np.pad(step_V, (0, more), constant_values=1),
        "2_bytes_VD": bytes_VD.astype(np.uint8).reshape(-1, parts, size),
        "2_steps_VD": np.repeat(np.pad(step_V, (0, more), constant_values=1), parts),
        "2_half_steps": _above(1.001 * np.sqrt(width) / 2 / 127).reshape(1, 1), "2_single": np.array([1]),
        "2_bias": np.pad(end.bias_V.astype(np.float32), (0, more), constant_values=-np.inf),
        "2_bias_V": end.bias_V.astype(np.float32), "2_fallback": end.fallback_V.astype(np.float32), "2_usual": usual,
        "2_one": np.array(1 / MOST, np.float32), "2_most": np.array(MOST, np.float32),
        "2_middle": np.array(MOST + 1, np.uint8), "2_shift": np.array(MOST + 1, np.float32),
        "2_least": np.array(np.finfo(np.float32).tiny, np.float32), "2_last": np.array([-1]), "2_n": np.array([n]),
        "2_k": np.array([k]), "2_none": np.array(-np.inf, np.float32), "2_block": np.array(BLOCK),
        "2_some": np.array([min(n, blocks)]), "2_in_blocks": np.array([-1, blocks, BLOCK]),
        "2_flat": np.array([-1, min(n, blocks) * BLOCK]), "2_rounding": _above(rounding + SLACK * length),
        "2_length": _above(length), "2_all_usual": np.array(np.isfinite(end.fallback_V).sum() <= n),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    replaced = {id(node) for node in end.nodes}
    nodes, top = [], end.nodes[-1]
    for node in graph.node:
        if node is top:
            nodes += [*_steps(end, (width, blocks * BLOCK, size)), _sure_or_all(end, n)]
        elif id(node) not in replaced and not (node.op_type == "Transpose" and node.input[0] == end.table):
            nodes.append(node)
    used = {name for node in nodes for name in node.input} | {end.table, *end.nodes[-2].input}
    kept = [one for one in graph.initializer if one.name in used or one.name in constants]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    return written(model, nodes, instead=True)


def _steps(end: Ending, sizes: tuple[int, int, int]) -> Iterator[Any]:
    """Nodes until the list of what was compared anew, and whether it is the exact one of every request.

    `sizes`: numbers of a vector, items, and numbers of a vector with one scale.
    """
    plain = not end.bias_V[
        np.isfinite(end.bias_V)
    ].any()  # then scores may stay divided by the request's largest number
    yield from _near(end, sizes, plain)
    yield from _best_blocks(end)
    yield from _compared_anew(end, plain)
    yield from _far_enough(end, plain)
    yield from _as_bounded(plain)
    yield from _all_sure(end)


def _node(kind: str, inputs: str, output: str, **more: Any) -> Any:
    return helper.make_node(kind, inputs.split(), output.split(), **more)


def _near(end: Ending, sizes: tuple[int, int, int], plain: bool) -> Iterator[Any]:
    """All products in 8 bits; what may not be shown is hidden."""
    products = "2_near" if plain else "2_unscaled"
    yield helper.make_node("Abs", [end.vector], ["2_abs"])
    yield _node("ReduceMax", "2_abs 2_last", "2_largest")
    yield _node("Max", "2_largest 2_least", "2_unit")
    yield helper.make_node("Div", [end.vector, "2_unit"], ["2_in_units"])
    yield _node("Shape", end.vector, "2_requests", start=0, end=1)
    yield _node("Equal", "2_requests 2_single", "2_alone")
    yield _products("2_bias" if plain else "", products, sizes)
    if not plain:
        yield _node("Mul", "2_unscaled 2_unit", "2_products")
        yield _node("Add", "2_products 2_bias", "2_near")
    yield helper.make_node("ScatterElements", ["2_near", *end.nodes[-2].input[1:]], ["2_shown"], axis=1)


def _best_blocks(end: Ending) -> Iterator[Any]:
    """The n best of them, in the order of ids; of who has no history the best of everybody's."""
    # The n best lie in the n blocks whose best ones are the best: of equal ones the lower block comes first, as the
    # lower id does. Blocks and items in the order of ids, so that this holds of what is chosen of them, too.
    yield _node("Reshape", "2_shown 2_in_blocks", "2_blocks")
    yield _node("ReduceMax", "2_blocks 2_last", "2_best_of_block", keepdims=0)
    yield _node("TopK", "2_best_of_block 2_some", "2_best_blocks 2_which")
    yield from _in_order("2_which", "2_some", "2_chosen")
    yield _node("Unsqueeze", "2_chosen 2_last", "2_chosen_column")
    yield _node("GatherND", "2_blocks 2_chosen_column", "2_of_blocks", batch_dims=1)
    yield _node("Reshape", "2_of_blocks 2_flat", "2_some_near")
    yield _node("TopK", "2_some_near 2_n", "2_near_N 2_places_N")
    yield from _in_order("2_places_N", "2_n", "2_places")
    yield _node("Div", "2_places 2_block", "2_block_N")
    yield _node("Mod", "2_places 2_block", "2_place_N")
    yield _node("GatherElements", "2_chosen 2_block_N", "2_block_of_N", axis=1)
    yield _node("Mul", "2_block_of_N 2_block", "2_begin_N")
    yield _node("Add", "2_begin_N 2_place_N", "2_best_ids")
    yield helper.make_node("Where", [end.known, "2_best_ids", "2_usual"], ["2_ids"])


def _compared_anew(end: Ending, plain: bool) -> Iterator[Any]:
    """Their products in 32 bits, and the list of the k best."""
    yield _node("GatherElements", "2_shown 2_ids", "2_near_by_id", axis=1)
    yield helper.make_node("Gather", [end.table, "2_ids"], ["2_rows"], axis=0)
    yield helper.make_node("Unsqueeze", [end.vector, "2_last"], ["2_column"])
    yield _node("MatMul", "2_rows 2_column", "2_exact_column")
    yield _node("Squeeze", "2_exact_column 2_last", "2_exact")
    if not plain:
        yield _node("Gather", "2_bias 2_ids", "2_bias_N", axis=0)
        yield _node("Add", "2_exact 2_bias_N", "2_biased")
    yield _node("Gather", "2_fallback 2_ids", "2_fallback_N", axis=0)
    yield helper.make_node("Where", [end.known, "2_exact" if plain else "2_biased", "2_fallback_N"], ["2_either_N"])
    yield _node("IsInf", "2_near_by_id", "2_hidden_N")
    yield _node("Where", "2_hidden_N 2_none 2_either_N", "2_final_N")
    yield _node("TopK", "2_final_N 2_k", "2_scores_K 2_at_K")
    yield _node("GatherElements", "2_ids 2_at_K", "2_items_K", axis=1)


def _far_enough(end: Ending, plain: bool) -> Iterator[Any]:
    """Whether the list's last one lies above all that rounding can have hidden."""
    # How far above the last one that was compared the list's last one must lie.
    yield helper.make_node("ReduceL2", [end.vector, "2_last"], ["2_q"])
    yield _node("Mul", "2_q 2_rounding", "2_of_items")
    yield _node("Mul", "2_left 2_unit", "2_left_units")
    yield _node("Mul", "2_left_units 2_length", "2_of_q")
    yield _node("Add", "2_of_items 2_of_q", "2_bound")
    yield _node("Slice", "2_near_N 2_last 2_n 2_last", "2_last_near")
    yield _node("Slice", "2_scores_K 2_last 2_k 2_last", "2_last_score")
    if plain:
        yield _node("Mul", "2_last_near 2_unit", "2_last_product")
    yield _node("Add", f"{'2_last_product' if plain else '2_last_near'} 2_bound", "2_at_most")
    yield _node("Greater", "2_last_score 2_at_most", "2_far")
    yield _node("IsInf", "2_last_near", "2_no_more")
    yield _node("Or", "2_far 2_no_more", "2_apart")


def _as_bounded(plain: bool) -> Iterator[Any]:
    """Whether the processor's products keep the bound."""
    # The bound is of rounding: that this processor's products keep it is seen in those that were compared anew.
    yield (
        _node("Mul", "2_near_by_id 2_unit", "2_near_product")
        if plain
        else _node("Identity", "2_near_by_id", "2_near_product")
    )
    yield helper.make_node("Sub", ["2_near_product", "2_exact" if plain else "2_biased"], ["2_differs"])
    yield _node("Abs", "2_differs", "2_off")
    yield _node("LessOrEqual", "2_off 2_bound", "2_near_enough")
    yield _node("Or", "2_near_enough 2_hidden_N", "2_as_bounded")
    yield _node("Cast", "2_as_bounded", "2_as_bounded_number", to=TensorProto.INT32)
    yield _node("ReduceMin", "2_as_bounded_number 2_last", "2_all_as_bounded")
    yield _node("Cast", "2_all_as_bounded", "2_bounded", to=TensorProto.BOOL)
    yield _node("And", "2_apart 2_bounded", "2_enough")


def _all_sure(end: Ending) -> Iterator[Any]:
    """Whether the list is the exact one of every request."""
    # Who has no history gets the best of everybody's, unless so many of these are hidden that the list has an end.
    yield _node("Greater", "2_last_score 2_none", "2_full")
    yield _node("Or", "2_full 2_all_usual", "2_enough_usual")
    yield helper.make_node("And", [end.known, "2_enough"], ["2_sure_known"])
    yield helper.make_node("Not", [end.known], ["2_blank"])
    yield _node("And", "2_blank 2_enough_usual", "2_sure_blank")
    yield _node("Or", "2_sure_known 2_sure_blank", "2_sure_B")
    yield _node("Cast", "2_sure_B", "2_sure_number", to=TensorProto.INT32)
    yield _node("ReduceMin", "2_sure_number", "2_all_sure", keepdims=0)
    yield _node("Cast", "2_all_sure", "2_sure", to=TensorProto.BOOL)


def _products(bias: str, out: str, sizes: tuple[int, int, int]) -> Any:
    """Products in 8 bits, divided by the request's largest number, and how far rounding moved the request's vector.

    ONNX Runtime's two operators: of a single request the one that is made for it takes half the time, of several the
    other. `MatMulNBits` rounds the vector itself, to 127 steps on either side.
    """

    def branch(name: str, nodes: list[Any]) -> Any:
        outputs = [
            helper.make_tensor_value_info(f"{name}_products", TensorProto.FLOAT, ["batch", None]),
            helper.make_tensor_value_info(f"{name}_left", TensorProto.FLOAT, ["batch", 1]),
        ]
        return helper.make_graph(nodes, name, [], outputs)

    told = dict(zip(("K", "N", "block_size"), sizes, strict=True))
    one = branch("2_one_request", [
        helper.make_node("MatMulNBits", ["2_in_units", "2_bytes_VD", "2_steps_VD", "", "", *([bias] if bias else [])],
                         ["2_one_request_products"], domain=CONTRIBUTED, bits=8, accuracy_level=4, **told),
        helper.make_node("Identity", ["2_half_steps"], ["2_one_request_left"]),
    ])  # fmt: skip
    several = branch("2_several", [
        helper.make_node("Mul", ["2_in_units", "2_most"], ["2_in_steps"]),
        helper.make_node("Round", ["2_in_steps"], ["2_rounded"]),
        helper.make_node("Add", ["2_rounded", "2_shift"], ["2_shifted"]),
        helper.make_node("Cast", ["2_shifted"], ["2_bytes"], to=TensorProto.UINT8),
        helper.make_node("MatMulIntegerToFloat", ["2_bytes", "2_whole", "2_one", "2_step", "2_middle", "", bias],
                         ["2_several_products"], domain=CONTRIBUTED),
        helper.make_node("Sub", ["2_in_steps", "2_rounded"], ["2_left_steps"]),
        helper.make_node("ReduceL2", ["2_left_steps", "2_last"], ["2_left_length"]),
        helper.make_node("Mul", ["2_left_length", "2_one"], ["2_several_left"]),
    ])  # fmt: skip
    return helper.make_node("If", ["2_alone"], [out, "2_left"], then_branch=one, else_branch=several)


def _in_order(ids: str, count: str, out: str) -> Iterator[Any]:
    """Numbers (B, count) in ascending order."""
    yield helper.make_node("Neg", [ids], [f"{out}_negative"])
    yield helper.make_node("TopK", [f"{out}_negative", count], [f"{out}_sorted", f"{out}_order"])
    yield helper.make_node("Neg", [f"{out}_sorted"], [out])


def _sure_or_all(end: Ending, n: int) -> Any:
    """The list as it is where it is sure, and the one of all products in 32 bits where it is not.

    The item vectors stand on the left of that product: ONNX Runtime packs a copy of what stands on the right.
    """
    top, hiding = end.nodes[-1], end.nodes[-2]

    def branch(name: str, nodes: list[Any]) -> Any:
        outputs = [
            helper.make_tensor_value_info(f"{name}_scores", TensorProto.FLOAT, ["batch", None]),
            helper.make_tensor_value_info(f"{name}_items", TensorProto.INT64, ["batch", None]),
        ]
        return helper.make_graph(nodes, name, [], outputs)

    sure = branch("2_first", [helper.make_node("Identity", ["2_scores_K"], ["2_first_scores"]),
                              helper.make_node("Identity", ["2_items_K"], ["2_first_items"])])  # fmt: skip
    every = branch("2_every", [
        helper.make_node("Transpose", [end.vector], ["2_q_DB"], perm=[1, 0]),
        helper.make_node("MatMul", [end.table, "2_q_DB"], ["2_all_VB"]),
        helper.make_node("Transpose", ["2_all_VB"], ["2_all_BV"], perm=[1, 0]),
        helper.make_node("Add", ["2_all_BV", "2_bias_V"], ["2_all_scores"]),
        helper.make_node("Where", [end.known, "2_all_scores", "2_fallback"], ["2_all_chosen"]),
        helper.make_node("ScatterElements", ["2_all_chosen", *hiding.input[1:]], ["2_all_shown"], axis=1),
        helper.make_node("TopK", ["2_all_shown", "2_k"], ["2_every_scores", "2_every_items"]),
    ])  # fmt: skip
    return helper.make_node("If", ["2_sure"], [*top.output], then_branch=sure, else_branch=every)


def _above(value: float) -> np.ndarray:
    """A number in 32 bits that is not below it."""
    return np.nextafter(np.array(value, np.float32), np.float32(np.inf))


def _constant(graph: Any, name: str) -> Any:
    return next(one for one in graph.initializer if one.name == name)
