"""A model repository for NVIDIA's Triton from a bundle: the bundle as a Python model, and its graph, if any, alone.

`<name>` takes and gives JSON, as `shopkeeper answer` does, and answers from any bundle. `<name>_graph` is the ONNX file
for ONNX Runtime within Triton: numbers in, numbers out, for who turns ids into numbers elsewhere.

Written after Triton's `model_config.proto` (triton-inference-server/common, `protobuf/`): with `max_batch_size` above 0
the first axis of every tensor is the batch and stands in no `dims`; -1 is any length.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.integrity import AGAIN, MANIFEST, SEAL, checked_files
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.seal import another
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, sha256_tree, write_json, write_text
from shopkeeper.programs.base import GRAPH

FORMAT_VERSION = 1
TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32", "float64": "TYPE_FP64"}


def write_triton(
    bundle: Path, out: Path, *, batch: int = 64, instances: int = 1, gpu: bool = False, overwrite: bool = False
) -> Path:
    """Write the repository to `out`, whole or not at all.

    Args:
        bundle: of any family; every hash is checked.
        out: the folder; a repository of the same dataset, task and model that is there is replaced.
        batch: requests that Triton puts together at most.
        instances: copies of each model.
        gpu: run the graph on a GPU; the Python model stays on the CPU.
        overwrite: replace a repository of another model, too.

    Raises:
        UserError: no bundle, a damaged one, one of a format that does not say what its graph takes.
    """
    if batch < 1 or instances < 1:
        raise UserError(f"batch={batch}, instances={instances}: both must be at least 1")
    bundle = Path(bundle)
    manifest, content, seal = checked_files(bundle)
    dataset = str((manifest.get("data") or {}).get("dataset") or "")
    task = None if manifest["kind"] == "recommender" else manifest.get("task")  # one server may answer several
    parts = filter(None, (dataset, task, manifest.get("model") or manifest["kind"]))
    name = re.sub(r"[^\w.-]", "-", "-".join(parts))
    tensors = _tensors(bundle, manifest) if manifest["scorer"] == GRAPH else None
    unlike = None if overwrite else another(MadeFrom.of_bundle(manifest), dataset)
    with atomic_folder(Path(out), "triton", unlike) as folder:
        models = {name: config(name, "python", batch, STRING["inputs"], STRING["outputs"], instances)}
        version = folder / name / "1"
        (version / "bundle").mkdir(parents=True)
        for file in (MANIFEST, SEAL):
            shutil.copyfile(bundle / file, version / "bundle" / file)
        for file, bytes_ in content.items():
            (version / "bundle" / file).write_bytes(bytes_)
        shutil.copyfile(Path(__file__).with_name("triton_model.py"), version / "model.py")
        if tensors is not None:
            graph = f"{name}_graph"
            told = (tensors["inputs"], tensors["outputs"], instances, gpu)
            models[graph] = config(graph, "onnxruntime", batch, *told)
            (folder / graph / "1").mkdir(parents=True)
            (folder / graph / "1" / "model.onnx").write_bytes(content["model.onnx"])
        for one, text in models.items():
            write_text(folder / one / "config.pbtxt", text)
        golden = _shown(json.loads(content["golden.json"])["requests"])
        write_text(folder / "README.md", "\n".join(_readme(name, manifest, tensors, golden)) + "\n")
        about = {key: manifest.get(key) for key in ("task", "model", "data")}
        write_json(
            folder / MANIFEST,
            {"kind": "triton", "format_version": FORMAT_VERSION, **about, "bundle": seal, "models": list(models),
             "max_batch_size": batch, "files": sha256_tree(folder)},
        )  # fmt: skip
    return Path(out)


STRING: dict[str, dict[str, dict[str, Any]]] = {
    "inputs": {"request": {"type": "string", "axes": ["batch", 1]}},
    "outputs": {"answer": {"type": "string", "axes": ["batch", 1]}},
}


def config(
    name: str,
    backend: str,
    batch: int,
    inputs: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, Mapping[str, Any]],
    instances: int,
    gpu: bool = False,
) -> str:
    """`config.pbtxt` of a model; `inputs` and `outputs`: name -> `{"type", "axes"}` as in a bundle's manifest."""
    lines = [f'name: "{name}"', f'backend: "{backend}"', f"max_batch_size: {batch}"]
    lines += [
        _tensor(kind, n, told) for kind, group in (("input", inputs), ("output", outputs)) for n, told in group.items()
    ]
    lines += [
        "dynamic_batching { }",
        f"instance_group [ {{ count: {instances} kind: KIND_{'GPU' if gpu else 'CPU'} }} ]",
    ]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, name: str, told: Mapping[str, Any]) -> str:
    """An input or output; one number for each request is `[ 1 ]` outside, and nothing but the batch inside."""
    axes = [axis if isinstance(axis, int) else -1 for axis in told["axes"][1:]]
    dims = ", ".join(map(str, axes or [1]))
    reshape = "" if axes else " reshape { shape: [ ] }"
    data_type = "TYPE_STRING" if told["type"] == "string" else TYPES[told["type"]]
    return f'{kind} [ {{ name: "{name}" data_type: {data_type} dims: [ {dims} ]{reshape} }} ]'


def _tensors(bundle: Path, manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """What the graph takes and gives; a `UserError` where the bundle does not say it in words that are known here."""
    told: Mapping[str, Any] = manifest.get("preprocessing") or {}
    for group in ("inputs", "outputs"):
        for one in (told.get(group) or {"": {}}).values():
            if one.get("type") not in TYPES or not one.get("axes") or not isinstance(one["axes"][0], str):
                raise UserError(f"{bundle / MANIFEST} does not say what the graph takes and gives; {AGAIN}")
    return told


def _shown(golden: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A request with little in it to which there is an answer, for the page; the goldens try extremes, too."""
    told = [one for one in golden if one["history"] and not (one["expected"] or {}).get("reason")]
    return min(told or golden, key=lambda one: len(one["history"]), default={"history": []})


def _readme(
    name: str, manifest: Mapping[str, Any], tensors: Mapping[str, Any] | None, golden: Mapping[str, Any]
) -> Iterator[str]:
    """For whoever starts it: what lies here, how it is asked, what each tensor means."""
    request = json.dumps({k: v for k, v in golden.items() if k != "expected"})
    body = {"inputs": [{"name": "request", "shape": [1, 1], "datatype": "BYTES", "data": [request]}]}
    yield from (f"# {name} for Triton", "")
    yield (
        f"- `{name}`: a request as JSON in, its answer as JSON out, in the shop's own ids, as `request.schema.json` "
        f"and `response.schema.json` in `{name}/1/bundle` say. Python backend, whose Python needs "
        f'`pip install "shopkeeper[serving]"`. It starts only where the bundle is whole and answers its golden '
        f"requests right."
    )
    if tensors is not None:
        yield f"- `{name}_graph`: the graph alone, numbers in and out, ONNX Runtime backend, batched by Triton."
    start = "tritonserver --model-repository=/models"
    yield from ("", "Start it with this folder at `/models`, then ask:", "", "```sh", start)
    quoted = json.dumps(body).replace("'", "'\\''")  # within quotes of the shell
    yield from (f"curl -s localhost:8000/v2/models/{name}/infer -d '{quoted}'", "```", "")
    yield ("A newer bundle is written as a whole in the place of this folder: start Triton anew, which has the folder "
           "mounted that was there.")  # fmt: skip
    yield "Several requests go into one call as `[n, 1]`. A wrong one has `error` in its own answer; the others do not."
    if tensors is None:
        return
    yield from ("", f"## {name}_graph", "", "| tensor | type | axes | meaning |", "|---|---|---|---|")
    for group in ("inputs", "outputs"):
        for one, told in tensors[group].items():
            axes = ", ".join(map(str, told["axes"]))
            yield f"| {group[:-1]} `{one}` | {told['type']} | {axes} | {told['meaning']} |"
    yield from ("", f"An item's number is its place in `item_ids` of `{name}/1/bundle/vocabulary.json`, from 1.", "")
    yield from _hints(manifest, tensors["inputs"])


def _hints(manifest: Mapping[str, Any], inputs: Sequence[str] | Mapping[str, Any]) -> Iterator[str]:
    longest = manifest["history"]["max_length"]
    cut = "" if longest is None else f" The newest {longest} events are read: send no more."
    yield f"Histories are padded on the left with 0, all sequences of a request to one length.{cut}"
    if "exclude" in inputs:
        yield "`exclude` holds the items that may not be shown, those of the history too where they are left out."
    yield "Triton puts only requests of equal shape together: pad all of them to one width, or to a few."
    yield f"`{manifest['kind']}` bundles answer with more than the graph: see the bundle's own `README.md`."
