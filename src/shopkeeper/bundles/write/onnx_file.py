"""A torch module -> one ONNX file with dynamic batch and length."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from shopkeeper.bundles.write.ranking import RankingGraph
from shopkeeper.errors import UserError

INPUTS = ("history", "event_type", "exclude")
OUTPUTS = ("items", "scores")


def write_onnx(graph: RankingGraph, path: Path, max_length: int | None) -> None:
    """Trace the graph and write it, weights included, as one file.

    Args:
        graph: on the CPU, in eval mode.
        path: the `.onnx` file.
        max_length: longest history the module takes; None: any.

    Raises:
        UserError: an operation of the model has no ONNX counterpart.
    """
    length: Any
    batch, excluded = torch.export.Dim("batch"), torch.export.Dim("excluded")
    if max_length is None:
        length = torch.export.Dim("length")
    elif max_length > 1:
        length = torch.export.Dim("length", min=1, max=max_length)
    else:
        length = None  # a single position is not a dynamic axis
    # Example sizes differ from each other and from 1, so that the tracer does not take two of them for one.
    history_BL = torch.ones(3, min(max_length or 5, 5), dtype=torch.int64)
    others_BL = [torch.ones(history_BL.shape) for _ in graph.inputs]
    example = (history_BL, history_BL.clone(), torch.zeros(3, 7, dtype=torch.int64), *others_BL)
    shapes: list[Any] = [{0: batch, 1: length}, {0: batch, 1: length}, {0: batch, 1: excluded}]
    if others_BL:
        shapes.append(tuple({0: batch, 1: length} for _ in others_BL))
    import onnx

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
                input_names=[*INPUTS, *graph.inputs],
                output_names=list(OUTPUTS),
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
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


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
