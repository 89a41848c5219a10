"""A repository for Triton: its configs are what Triton's own schema allows, and its models do what they say."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from importlib.metadata import files
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from layouts import differences
from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer.graph import padded
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.layout import TRITON
from shopkeeper.bundles.targets import write_triton
from shopkeeper.bundles.targets.triton import config
from shopkeeper.cli.main import main
from shopkeeper.errors import UserError

TYPES = {"TYPE_INT64": np.int64, "TYPE_FP32": np.float32}


def module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def schema() -> Any:
    """Triton's own `model_config.proto`, as its client package ships it; the package itself would want gRPC."""
    (path,) = [f.locate() for f in files("tritonclient") or () if f.match("grpc/model_config_pb2.py")]
    return module("model_config_pb2", Path(path))


@pytest.fixture(scope="module")
def repository(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_triton(graph, tmp_path_factory.mktemp("triton") / "models", batch=16, instances=2, gpu=True)


def read(schema: Any, path: Path) -> Any:
    return text_format.Parse(path.read_text(), schema.ModelConfig())


def test_every_config_is_one_by_the_schema_of_triton(schema: Any, repository: Path):
    told = {p.parent.name: read(schema, p) for p in repository.glob("*/config.pbtxt")}
    assert sorted(told) == ["tiny-sasrec", "tiny-sasrec_graph"]
    for name, one in told.items():
        assert one.name == name
        assert one.max_batch_size == 16
        assert one.HasField("dynamic_batching")
        assert [group.count for group in one.instance_group] == [2]
    kinds = {n: schema.ModelInstanceGroup.Kind.Name(one.instance_group[0].kind) for n, one in told.items()}
    assert kinds == {"tiny-sasrec": "KIND_CPU", "tiny-sasrec_graph": "KIND_GPU"}
    assert {n: one.backend for n, one in told.items()} == {
        "tiny-sasrec": "python", "tiny-sasrec_graph": "onnxruntime",
    }  # fmt: skip
    with pytest.raises(text_format.ParseError):  # the schema does refuse what it does not know
        text_format.Parse('name: "a" max_batch: 3', schema.ModelConfig())


def example(readme: str) -> dict[str, Any]:
    """The request that a page sends with curl."""
    (line,) = [line for line in readme.splitlines() if line.startswith("curl ")]
    body = json.loads(shlex.split(line)[-1])
    (tensor,) = body["inputs"]
    assert (tensor["name"], tensor["shape"], tensor["datatype"]) == ("request", [1, 1], "BYTES")
    asked: dict[str, Any] = json.loads(tensor["data"][0])
    return asked


@pytest.mark.parametrize("which", ["graph", "counts"])
def test_the_request_of_the_page_has_an_answer(which: str, request: pytest.FixtureRequest, tmp_path: Path):
    bundle: Path = request.getfixturevalue(which)
    asked = example((write_triton(bundle, tmp_path / "models") / "README.md").read_text())
    assert asked["history"]
    (said,) = answered(Bundle.load(bundle), [asked])
    assert len(said["items"]) == 10


@pytest.mark.parametrize(("batch", "length", "excluded"), [(1, 1, 1), (3, 12, 4), (16, 5, 2)])
def test_the_graph_takes_and_gives_what_its_config_says(
    schema: Any, repository: Path, batch: int, length: int, excluded: int
):
    folder = repository / "tiny-sasrec_graph"
    told = read(schema, folder / "config.pbtxt")
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    assert {one.name for one in told.input} == {one.name for one in session.get_inputs()}
    rng = np.random.default_rng(0)
    feed = {}
    for one in told.input:
        assert list(one.dims) == [-1]
        width = excluded if one.name == "exclude" else length
        kind = TYPES[schema.DataType.Name(one.data_type)]
        feed[one.name] = rng.integers(1, 5, (batch, width)).astype(kind)
    found = dict(zip([o.name for o in told.output], session.run([o.name for o in told.output], feed), strict=True))
    for one in told.output:
        assert found[one.name].shape == (batch, *one.dims) == (batch, 10)
        assert found[one.name].dtype == TYPES[schema.DataType.Name(one.data_type)]


def test_who_turns_ids_into_numbers_as_the_readme_says_gets_the_bundles_answer(repository: Path, graph: Path):
    text = (repository / "README.md").read_text()
    words = json.loads((repository / "tiny-sasrec/1/bundle/vocabulary.json").read_text())["item_ids"]
    session = onnxruntime.InferenceSession(repository / "tiny-sasrec_graph/1/model.onnx")
    history, left_out = ["i3", "i5", "i8"], ["i9", "i11"]
    number = {item_id: n for n, item_id in enumerate(words, start=1)}
    width = 12  # "pad all of them to one width"
    assert "newest 12 events" in text
    feed = {"history": np.pad(padded([[number[i] for i in history]]), ((0, 0), (width - 3, 0))),
            "event_type": np.zeros((1, width), int), "exclude": np.array([[number[i] for i in left_out]])}  # fmt: skip
    items, scores = session.run(["items", "scores"], {i.name: feed[i.name] for i in session.get_inputs()})
    (right,) = Bundle.load(graph).recommend([history], exclude=[left_out], filter_seen=False)
    assert [words[n - 1] for n in items[0]] == [item_id for item_id, _ in right]
    np.testing.assert_allclose(scores[0], [score for _, score in right], atol=1e-5)


def test_one_number_for_each_request_is_a_tensor_of_one_outside(schema: Any):
    text = config("a", "onnxruntime", 4, {"since_last": {"type": "float32", "axes": ["batch"]}}, {}, 1)
    (one,) = text_format.Parse(text, schema.ModelConfig()).input
    assert list(one.dims) == [1]
    assert one.HasField("reshape")
    assert list(one.reshape.shape) == []


class Tensor(NamedTuple):
    """As Triton's Python backend has them."""

    name: str
    array: np.ndarray

    def as_numpy(self) -> np.ndarray:
        return self.array


class Response(NamedTuple):
    output_tensors: list[Tensor]


@pytest.mark.parametrize("which", ["graph", "counts"])
def test_the_python_model_answers_as_the_bundle_does(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle: Path = request.getfixturevalue(which)
    out = write_triton(bundle, tmp_path / "models")
    stand_in: Any = ModuleType("triton_python_backend_utils")
    stand_in.Tensor, stand_in.InferenceResponse = Tensor, Response
    stand_in.get_input_tensor_by_name = lambda one, name: one[name]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    (path,) = out.glob("*/1/model.py")
    model = module("model", path).TritonPythonModel()
    model.initialize({})
    golden = [{k: v for k, v in g.items() if k != "expected"} for g in Bundle.load(bundle).golden[:5]]
    lines = [json.dumps(g).encode() for g in golden] + [b'{"history": 3}']
    said = [{"request": Tensor("request", np.array(part, object).reshape(-1, 1))} for part in (lines[:2], lines[2:])]
    responses = model.execute(said)
    assert [r.output_tensors[0].array.shape for r in responses] == [(2, 1), (4, 1)]
    found = [json.loads(x) for r in responses for x in r.output_tensors[0].array.ravel()]
    assert found[:5] == answered(Bundle.load(bundle), golden)
    assert found[5]["error"]["code"] == "bad_request"


def test_a_bundle_that_was_changed_is_not_started(counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = write_triton(counts, tmp_path / "models")
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    (arrays,) = out.glob("*/1/bundle/arrays.npz")
    arrays.write_bytes(arrays.read_bytes()[:-1])
    with pytest.raises(UserError, match="changed or damaged"):
        module("model", next(iter(out.glob("*/1/model.py")))).TritonPythonModel().initialize({})


def test_the_folder_holds_what_is_declared(repository: Path, counts: Path, tmp_path: Path):
    assert differences(TRITON, repository) == []
    assert differences(TRITON, write_triton(counts, tmp_path / "models")) == []


def test_the_command_writes_it_and_replaces_only_its_own(
    counts: Path, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "models"
    for _ in range(2):
        main(["target", "triton", str(counts), "--to", str(out)])
    with pytest.raises(SystemExit):
        main(["target", "triton", str(graph), "--to", str(out)])
    assert "overwrite=true" in capsys.readouterr().err
    main(["target", "triton", str(graph), "--to", str(out), "--overwrite"])
    assert (out / "tiny-sasrec_graph").is_dir()
    with pytest.raises(UserError, match="must be at least 1"):
        write_triton(counts, tmp_path / "more", batch=0)
    assert not (tmp_path / "more").exists()
