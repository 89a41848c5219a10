"""A torch module -> one ONNX file with dynamic batch and length."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from shopkeeper.errors import UserError

Takes = Mapping[str, tuple[torch.dtype, str]]  # name -> kind of numbers, axes: B requests, L positions, S others


class Graph(torch.nn.Module):
    """What is written, and how it is called: `forward(*takes, *inputs)`."""

    takes: ClassVar[Takes]
    gives: tuple[str, ...]  # names of what comes out
    inputs: tuple[str, ...]  # further ones that it takes, float32 (B, L)
    beside: Takes = {}  # noqa: RUF012 (never changed in place) and behind these, others
    may_take: tuple[str, ...] = ()  # buffers that a caller may give in place of its own, by their names


def write_onnx(graph: Graph, path: Path, max_length: int | None) -> dict[str, Any]:
    """Trace the graph and write it, weights included, as one file; what it then takes and gives, by name.

    Args:
        graph: on the CPU, in eval mode.
        path: the `.onnx` file.
        max_length: longest history the module takes; None: any.

    Raises:
        UserError: an operation of the model has no ONNX counterpart.
    """
    length: Any
    batch, excluded, own = (torch.export.Dim(name) for name in ("batch", "excluded", "own"))
    if max_length is None:
        length = torch.export.Dim("length")
    elif max_length > 1:
        length = torch.export.Dim("length", min=1, max=max_length)
    else:
        length = None  # a single position is not a dynamic axis
    # Example sizes differ from each other and from 1, so that the tracer does not take two of them for one.
    size = {"B": 3, "L": min(max_length or 5, 5), "S": 7, "O": 11}
    axis = {"B": batch, "L": length, "S": excluded, "O": own}
    taken = [*graph.takes.values(), *((torch.float32, "BL") for _ in graph.inputs), *graph.beside.values()]
    example = tuple(torch.ones([size[a] for a in axes], dtype=kind) for kind, axes in taken)
    shapes: list[Any] = [{n: axis[a] for n, a in enumerate(axes)} for _, axes in taken]
    if graph.inputs or graph.beside:
        shapes[len(graph.takes) :] = [tuple(shapes[len(graph.takes) :])]
    import onnx
    import onnxruntime  # noqa: F401 (what is written is held against the model at once: better missed before than after)

    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            _quiet("torch.onnx", "onnxscript", "onnx_ir"),
        ):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.eval(),
                example,
                dynamo=True,
                verbose=False,
                input_names=[*graph.takes, *graph.inputs, *graph.beside],
                output_names=list(graph.gives),
                dynamic_shapes=tuple(shapes),
            )
    except torch.onnx.OnnxExporterError as e:
        reason = str(e).strip().splitlines()[0]
        raise UserError(
            f"the model cannot be written as an ONNX graph ({reason}); see `shopkeeper.bundles.write`"
        ) from e
    assert program is not None
    proto = program.model_proto
    # The exporter notes source paths and stack traces of this machine at every node: they are nobody's business.
    del proto.metadata_props[:]
    for graph_part in (proto.graph, *proto.functions):
        del graph_part.metadata_props[:]
        for node in graph_part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    turn_large_tables(proto)
    found = {"inputs": _named(proto.graph.input), "outputs": _named(proto.graph.output)}
    known = {one.name: one for one in proto.graph.initializer}
    for name in graph.may_take:  # an input with an initializer of its name may be left out
        value = onnx.helper.make_tensor_value_info(name, known[name].data_type, known[name].dims)
        proto.graph.input.append(value)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return found


LARGE = 32 << 20  # bytes of a table


def turn_large_tables(proto: Any, large: int = LARGE) -> None:
    """Keep a large table that is looked up and multiplied with in the one order that products want, once.

    As exported it lies by rows, and ONNX Runtime keeps its transpose beside it: twice the memory. Turned, an item's
    numbers lie far from each other, which costs next to nothing beside a product with all of a large table.
    """
    from onnx import helper, numpy_helper

    graph = proto.graph
    tables = {one.name: one for one in graph.initializer if len(one.dims) == 2}
    turned = {n.output[0]: n for n in graph.node if n.op_type == "Transpose" and n.input[0] in tables}
    for name in {node.input[0] for node in turned.values()}:
        values = numpy_helper.to_array(tables[name])
        users = [node for node in graph.node if name in node.input]
        if values.nbytes < large or any(
            node.op_type not in ("Transpose", "Gather") or node.input[0] != name for node in users
        ):
            continue
        tables[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.T), name))
        nodes = []
        for node in graph.node:
            if not any(node is one for one in users):
                node.input[:] = [name if x in turned and turned[x].input[0] == name else x for x in node.input]
                nodes.append(node)
            elif node.op_type == "Gather":
                out, axes = node.output[0], _rank_of(graph, node.input[1])
                nodes.append(helper.make_node("Gather", [name, node.input[1]], [f"{out}_turned"], axis=1))
                nodes.append(helper.make_node("Transpose", [f"{out}_turned"], [out], perm=[*range(1, axes + 1), 0]))
        found = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(found)


def _rank_of(graph: Any, name: str) -> int:
    """How many axes a tensor has: an input, or one whose shape the exporter noted."""
    (found,) = (one for one in (*graph.input, *graph.value_info) if one.name == name)
    return len(found.type.tensor_type.shape.dim)


def _named(values: Any) -> dict[str, dict[str, Any]]:
    """Name -> `{"type", "axes"}`: kind of numbers, and of each axis its length, or its name where any length does."""
    import onnx

    def kind(value: Any) -> str:
        return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))

    def axes(value: Any) -> list[int | str]:
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    return {value.name: {"type": kind(value), "axes": axes(value)} for value in values}


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Raise the log level of chatty libraries for a while."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
