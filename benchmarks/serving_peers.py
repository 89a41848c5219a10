"""One system that answers requests one at a time, in its own environment: `serving_peers.py SYSTEM SHAPE [BUNDLE]`.

SHAPE is JSON: items, width, length, k. A SASRec of two blocks and one head that has learned next to nothing, of items
"i1", "i2", …; each request is a full history of items at random. It prints its version, and how much of its exact lists
(those of the same model in 32 bits, every item compared) it gives. On each line of standard input (a count) it answers
so many further ones, and prints one line of JSON: milliseconds of the processor, and by the clock, of each.

shopkeeper: raw ids in, raw ids out, of anybody; also from an index. RePlay, compiled by OpenVINO, which computes in
bfloat16 where the processor has it, or told to compute in 32 bits: numbers in, scores of all items out, of which the
best are taken here, of anybody. RecTools: raw ids of customers whose histories it was given beforehand, raw ids out.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

CUSTOMERS, COMPARED = 1000, 100
Answer = Callable[[int], list[Any]]  # the list of the history of that number
Both = tuple[Answer, Answer | None]  # as it is asked, and its exact lists where they are others


def histories(shape: dict[str, int]) -> np.ndarray:
    """Item numbers from 1, (CUSTOMERS, L); every item is somebody's."""
    rng = np.random.default_rng(0)
    wanted = CUSTOMERS * shape["length"]
    every = np.concatenate([rng.permutation(shape["items"]) + 1 for _ in range(-(-wanted // shape["items"]))])
    return every[:wanted].reshape(CUSTOMERS, shape["length"])


def shopkeeper(shape: dict[str, int], bundle: str, approximate: bool = False) -> Both:
    from shopkeeper.bundles.answer.bundle import Bundle

    asked = [[f"i{i}" for i in history] for history in histories(shape).tolist()]

    def of(opened: Bundle) -> Answer:
        return lambda n: [i for i, _ in opened.recommend([asked[n]], shape["k"], False)[0]]

    exact = of(Bundle.load(bundle))
    return (of(Bundle.load(bundle, approximate=True)), exact) if approximate else (exact, None)


def rectools(shape: dict[str, int], _: str) -> Both:
    import pandas as pd
    import torch
    from pytorch_lightning import Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel
    from rectools.models.nn.item_net import IdEmbeddingsItemNet

    torch.set_num_threads(1)
    item = histories(shape).ravel()
    log = {Columns.User: np.repeat(np.arange(CUSTOMERS), shape["length"]), Columns.Item: [f"i{i}" for i in item],
           Columns.Weight: 1, Columns.Datetime: pd.to_datetime(np.arange(len(item)), unit="s")}  # fmt: skip
    dataset = Dataset.construct(pd.DataFrame(log))

    def trainer() -> Any:
        return Trainer(max_epochs=1, limit_train_batches=1, accelerator="cpu", logger=False, enable_progress_bar=False,
                       enable_model_summary=False, enable_checkpointing=False)  # fmt: skip

    model = SASRecModel(
        n_blocks=2, n_heads=1, n_factors=shape["width"], session_max_len=shape["length"], loss="BCE", n_negatives=1,
        batch_size=16, epochs=1, get_trainer_func=trainer, item_net_block_types=(IdEmbeddingsItemNet,),
        recommend_torch_device="cpu",
    )  # fmt: skip
    model.fit(dataset)

    def answer(n: int) -> list[Any]:
        found = model.recommend(users=[n], dataset=dataset, k=shape["k"], filter_viewed=False)
        return found[Columns.Item].tolist()

    return answer, None


def replay(shape: dict[str, int], _: str, exact: bool = False) -> Both:
    import openvino
    import torch
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.models.nn.sequential import SasRec
    from replay.models.nn.sequential.compiled import SasRecCompiled

    torch.set_num_threads(1)
    items, length, k = shape["items"], shape["length"], shape["k"]
    source = TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")
    schema = TensorSchema([TensorFeatureInfo(
        "item_id", FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID, cardinality=items,
        embedding_dim=shape["width"], padding_value=items, feature_sources=[source])])  # fmt: skip
    model = SasRec(schema, block_count=2, head_count=1, hidden_size=shape["width"], max_seq_len=length)
    with tempfile.TemporaryDirectory() as folder:
        graph = str(Path(folder, "model.onnx"))
        usual = SasRecCompiled.compile(model.eval(), mode="one_query", num_threads=1, onnx_path=graph)
        core = openvino.Core()
        names = [(next(iter(one.names)), [1, length]) for one in core.read_model(graph).inputs]
        told = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        precise = core.compile_model(openvino.convert_model(graph, input=names), "CPU", told)
    asked, mask = histories(shape) - 1, torch.ones((1, length), dtype=torch.bool)

    def of(compiled: Any) -> Answer:
        def answer(n: int) -> list[Any]:
            batch = {"query_id": torch.tensor([[n]]), "padding_mask": mask,
                     "feature_tensor": {"item_id": torch.from_numpy(asked[n : n + 1])}}  # fmt: skip
            return torch.topk(compiled.predict(batch), k, dim=1).indices[0].tolist()

        return answer

    in_32_bits = of(SasRecCompiled(precise, schema))
    return (in_32_bits, None) if exact else (of(usual), in_32_bits)


SYSTEMS: dict[str, Callable[[dict[str, int], str], Both]] = {
    "shopkeeper": shopkeeper, "shopkeeper by index": partial(shopkeeper, approximate=True), "rectools": rectools,
    "replay": replay, "replay in 32 bits": partial(replay, exact=True),
}  # fmt: skip


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    name, shape = sys.argv[1], json.loads(sys.argv[2])
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    answer, exact = SYSTEMS[name](shape, sys.argv[3] if len(sys.argv) > 3 else "")
    for n in range(5):
        answer(n)
    recall = [len({*answer(n)} & {*exact(n)}) / shape["k"] for n in range(COMPARED)] if exact else [1.0]
    package = {"replay": "replay-rec"}.get(name.split()[0], name.split()[0])
    from importlib.metadata import version

    print(json.dumps({"version": version(package), "recall": sum(recall) / len(recall)}), file=out, flush=True)
    asked = 0
    for line in sys.stdin:
        used, clock = [], []
        for _ in range(int(line)):
            asked += 1
            start = time.perf_counter_ns(), time.process_time_ns()
            answer(asked % CUSTOMERS)
            used.append((time.process_time_ns() - start[1]) / 1e6)
            clock.append((time.perf_counter_ns() - start[0]) / 1e6)
        print(json.dumps({"processor": used, "clock": clock}), file=out, flush=True)


if __name__ == "__main__":
    sys.path = [x for x in sys.path if Path(x or ".").resolve() != Path(__file__).resolve().parent]
    main()
