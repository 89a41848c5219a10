"""A bundle with an index of its item vectors beside it, and how much the index finds of what an exact product finds.

Everything of the exact bundle stays: `Bundle.load(path)` answers exactly, `Bundle.load(path, approximate=True)` from
the index. It is of models whose score is a product of a request's vector with an item's.

Shapes: D width, C items of the catalogue, V items + 1.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.answers import agreement
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.items import ItemModel
from shopkeeper.bundles.answer.nearest import ARRAYS, FILES, VECTOR, Nearest, faiss_package
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.targets.smaller import Cost, cost_line
from shopkeeper.bundles.write.explain import explain_further
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder
from shopkeeper.programs.base import GRAPH
from shopkeeper.programs.ranking import FOLDS

FEW = 10_000  # items; with fewer all vectors are compared, which then is as fast
ENOUGH = 0.995  # recall that the setting is chosen for; on other histories it may be a little less
SETTINGS = {"faiss": (4, 8, 16, 32, 64, 96, 128, 192, 256), "usearch": (64, 128, 256, 512, 1024, 2048, 4096)}
INVENTED = 400  # histories of items at random, of which one half chooses the setting and the other tells the recall
WHAT = {
    "faiss": "faiss: 4 bits to two numbers, all looked through, the best compared anew in 32 bits",
    "usearch": "usearch: a graph of neighbours (HNSW) over vectors in 32 bits, made equally long by one number more",
}


def write_index(bundle: Path, out: Path, kind: str, cost: Cost | None = None, overwrite: bool = False) -> Path:
    """Write a copy of the bundle with an index to `out`, whole or not at all.

    Args:
        bundle: of a recommender whose score is a product of vectors; every hash is checked.
        out: the folder; a bundle of the same dataset, task and model that is there is replaced.
        kind: `faiss` or `usearch`.
        cost: what answers from the index lose against exact ones; None: recall alone is told.
        overwrite: replace another bundle, too.

    Raises:
        UserError: no bundle, a model whose score is no product of vectors, a package that is missing.
    """
    exact = Bundle.load(bundle)
    manifest = exact.manifest
    if not isinstance(exact.model, ItemModel) or "variant" in manifest:
        raise UserError(f"{bundle} is no exact bundle of a recommender; use the one that export wrote")
    content = {name: (exact.path / name).read_bytes() for name in manifest["files"]}
    vector, item_VD, bias_V, fallback_V = _parts(exact.model, content)
    catalogue = np.flatnonzero(np.isfinite(bias_V) & (np.arange(len(bias_V)) > 0))
    wide = bool(bias_V[catalogue].any())
    item_CD = np.ascontiguousarray(item_VD[catalogue], np.float32)
    if wide:
        item_CD = np.concatenate([item_CD, bias_V[catalogue, None].astype(np.float32)], axis=1)
    name = str((manifest.get("data") or {}).get("dataset"))
    unlike = None if overwrite else another(MadeFrom.of_bundle(manifest), name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        for file, bytes_ in content.items():
            (folder / file).write_bytes(bytes_)
        (folder / FILES[kind]).write_bytes(BUILD[kind](item_CD))
        if vector is not None:
            (folder / VECTOR).write_bytes(_with_one(vector) if wide else vector)
        with open(folder / ARRAYS, "wb") as f:
            np.savez(f, catalogue=catalogue, fallback=fallback_V.astype(np.float32))
        told: dict[str, Any] = {"kind": kind, "what": WHAT[kind], "items": len(catalogue), "width": item_CD.shape[1],
                                "setting": 0, "recall": {}, "cost": None}  # fmt: skip
        ours = {key: value for key, value in manifest.items() if key not in ("files", "index")}
        seal(folder, ours | {"index": told})
        found = Bundle.load(folder, approximate=True)
        told |= _chosen(exact, found, kind if kind == "usearch" or len(catalogue) >= FEW else "")
        seal(folder, ours | {"index": told})
        if cost is not None:
            told["cost"] = dict(cost(exact, Bundle.load(folder, approximate=True)))
        explain_further(folder, ours, _section(told))
        seal(folder, ours | {"index": told})
        if wrong := verify(folder, repeat=0).wrong:
            raise UserError(f"{out} was not written: its exact answers are others ({wrong[0]}); report it")
    return Path(out)


def _parts(model: ItemModel, content: Mapping[str, bytes]) -> tuple[bytes | None, np.ndarray, np.ndarray, np.ndarray]:
    """The graph that makes vectors, if any, item vectors (V, D), what is added to products, the fallback (V,)."""
    scorer = str(model.manifest["scorer"])
    if scorer == GRAPH:
        from shopkeeper.bundles.targets.graphs import product

        try:
            found = product(content["model.onnx"])
        except UserError as e:
            raise UserError(f"{model.path} ({model.manifest['model']}): {e}; leave it without an index") from None
        return found.vector, found.item_VD, found.bias_V, found.fallback_V
    if scorer not in FOLDS:
        raise UserError(
            f"{model.path} ({model.manifest['model']}): scores of {scorer} are no products of vectors; an "
            f"index is of sequence models, {' and '.join(FOLDS)}"
        )
    a = model.arrays
    bias_V = np.full(len(a["fallback"]), -np.inf, np.float32)
    bias_V[a["catalogue"]] = 0
    return None, a["item"], bias_V, a["fallback"]


def of_faiss(item_CD: np.ndarray) -> bytes:
    """Few items: all in 32 bits; more: 4 bits to two numbers, and all in 32 beside them, for inner products.

    Where widths are odd each number has its 4 bits.
    """
    faiss: Any = _package("faiss", faiss_package)
    width, few = item_CD.shape[1], len(item_CD) < FEW
    parts = width if width % 2 else width // 2
    index = faiss.index_factory(width, "Flat" if few else f"PQ{parts}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.train(item_CD[:: max(1, len(item_CD) // 100_000)])
    index.add(item_CD)
    written: bytes = faiss.serialize_index(index).tobytes()
    return written


def of_usearch(item_CD: np.ndarray) -> bytes:
    """Keys are positions; 32 bits are asked for, since usearch keeps 16 unless told."""
    usearch: Any = _package("usearch", lambda: importlib.import_module("usearch.index"))
    length_C = np.square(item_CD.astype(np.float64)).sum(axis=1)
    more_C = np.sqrt(np.maximum(length_C.max(initial=0) - length_C, 0)).astype(np.float32)
    index = usearch.Index(ndim=item_CD.shape[1] + 1, metric="l2sq", dtype="f32", connectivity=24, expansion_add=256)
    index.add(np.arange(len(item_CD), dtype=np.uint64), np.concatenate([item_CD, more_C[:, None]], axis=1), threads=1)
    return bytes(index.save())


BUILD: dict[str, Callable[[np.ndarray], bytes]] = {"faiss": of_faiss, "usearch": of_usearch}


def _package(name: str, imported: Callable[[], Any]) -> Any:
    try:
        return imported()
    except ImportError:
        raise UserError(f'{name} is not installed: `pip install "shopkeeper[index]"`') from None


def _with_one(vector: bytes) -> bytes:
    """The graph of vectors with a 1 behind each, which the last number of an item's vector is added by."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(vector)
    model.graph.node[-1].output[0] = "without_one"
    model.graph.initializer.append(numpy_helper.from_array(np.array([[0, 0], [0, 1]]).ravel(), "pads"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    model.graph.node.append(helper.make_node("Pad", ["without_one", "pads", "one"], ["vector"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _chosen(exact: Bundle, found: Bundle, ladder: str) -> dict[str, Any]:
    """The least setting of enough recall on one half of invented histories; recall on the other, and on golden ones."""
    rng = np.random.default_rng(0)
    ids = exact.vocabulary.item_ids
    longest = exact.manifest["history"]["max_length"] or 50
    asked = [[ids[i] for i in rng.integers(0, len(ids), rng.integers(1, longest + 1))] for _ in range(INVENTED)]
    rules = exact.manifest["history"]
    if rules["needs_time"] or rules["needs_instant"]:
        asked = []  # what an invented history's times would be is the exporter's to say: golden ones have some
    golden = [one for one in exact.golden if "placement" not in one]

    def recall(setting: int, histories: list[Any]) -> float | None:
        assert isinstance(found.model, ItemModel)
        assert isinstance(found.model.nearest, Nearest)
        model = replace(found.model, nearest=replace(found.model.nearest, setting=setting))
        other = replace(found, model=model)
        if not histories:
            return None
        if isinstance(histories[0], dict):
            lists = [[[i for i, _ in _asked(one, request)] for one in (exact, other)] for request in histories]
        else:
            lists = [
                [[i for i, _ in x] for x in pair]
                for pair in zip(exact.recommend(histories), other.recommend(histories), strict=True)
            ]
        return agreement([(a, b) for a, b in lists])["overlap"]

    setting = 0
    for setting in SETTINGS.get(ladder, ()):
        if (recall(setting, asked[::2] or golden) or 0) >= ENOUGH:
            break
    told = {"k": exact.model.k if isinstance(exact.model, ItemModel) else 0, "golden": recall(setting, golden),
            "golden_requests": len(golden), "invented": recall(setting, asked[1::2]),
            "invented_requests": len(asked[1::2])}  # fmt: skip
    return {"setting": setting, "recall": told}


def _asked(bundle: Bundle, request: Mapping[str, Any]) -> list[tuple[str, float]]:
    """A golden request's list."""
    told: dict[str, Any] = {"filter_seen": request["filter_seen"], "exclude": [request["exclude"]]}
    return bundle.recommend([request["history"]], as_of=request.get("as_of"), **told)[0]


def _section(told: Mapping[str, Any]) -> Iterator[str]:
    recall = told["recall"]
    yield from ("", "## Index", "")
    yield (
        f"`Bundle.load(…, approximate=True)`, and `verify`, `answer` and `serve` with `--approximate`, answer from "
        f"an index of {told['items']:,} items ({told['what']}; setting {told['setting']}). Scores are exact; lists "
        "may miss items."
    )
    invented = "" if recall["invented"] is None else (
        f", {recall['invented']:.4f} of {recall['invented_requests']} histories of items at random that did not choose "
        f"the setting")  # fmt: skip
    yield (
        f"Recall@{recall['k']} against the exact lists: {recall['golden']:.4f} of {recall['golden_requests']} "
        f"golden requests{invented}."
    )
    yield cost_line(told["cost"]) if told["cost"] else "Its cost in NDCG was not measured: `--of <run>` tells it."
