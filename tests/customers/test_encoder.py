"""A Transformer about customers starts from a recommender's encoder, and from none that knows what it is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from customers.test_totals_verbs import FEW, rows
from house import House
from shopkeeper.customers.networks.encoder import Start
from shopkeeper.customers.networks.transformer import Transformer
from shopkeeper.errors import UserError
from shopkeeper.nn.networks.transformer import TransformerNetwork, TransformerShape
from shopkeeper.pipeline import context
from shopkeeper.pipeline.runs import RunFolder

SIZES = ("model.width=16", "model.blocks=1", "model.heads=2", "model.max_length=12", "trainer.precision=fp32")
EARLY = ("split.validation=2023-05-20", "split.test=2023-05-30", "split.end=2023-06-09")
TRANSFORMER = ("dataset=rhythm", "model=transformer", *SIZES, *FEW, "model.epochs=1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("encoder"))
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 60})
    return house


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


@pytest.fixture(scope="module")
def sasrec(house: House) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(house.place)
        words = ("dataset=rhythm", "model=sasrec", *SIZES, "model.epochs=1", "evaluation.refit=false", *EARLY)
        return house.train("runs/sasrec", *words)


def test_blocks_and_items_begin_where_the_recommender_ended_and_the_rest_at_random(sasrec: RunFolder):
    prepared = context.prepared_of(sasrec.manifest)
    assert Transformer.encoder is not None
    start = Start.of(Transformer.encoder, sasrec.path)
    known_V = start.knows(prepared)
    assert known_V.tolist() == [False] + [True] * 9
    known_V = known_V[:8]  # the later items are not asked for here
    torch.manual_seed(7)
    mine = TransformerNetwork(TransformerShape(len(known_V), 16, 1, 2, 12))
    before = {name: values.clone() for name, values in mine.state_dict().items()}
    start.give(mine, prepared, known_V)
    told = load_file(sasrec.path / "weights.safetensors")
    for name, values in mine.state_dict().items():
        if name.startswith(("blocks.", "norm.")):
            torch.testing.assert_close(values, told[f"network.{name}"], rtol=0, atol=0)
    torch.testing.assert_close(mine.item.weight[:8], told["network.item.weight"][:8], rtol=0, atol=0)
    for name, one in (("item.weight", 8), ("gap.weight", slice(None))):  # the one that is no item, and what is new
        torch.testing.assert_close(mine.state_dict()[name][one], before[name][one], rtol=0, atol=0)


def test_a_run_says_where_it_started_and_goes_on_from_there(house: House, sasrec: RunFolder, tmp_path: Path):
    run = house.train("runs/warm", *TRANSFORMER, f"init_from={sasrec.path}")
    cold = house.train("runs/cold", *TRANSFORMER, "model.rare=1")
    said = {"run": "runs/sasrec", "split": "temporal", "protocol": "strict", "checked": True}
    for file in ("manifest.json", "metrics.json"):
        assert json.loads((run.path / file).read_text())["init_from"] == said
        assert "init_from" not in json.loads((cold.path / file).read_text())
    one, other = (load_file(r.path / "weights.safetensors") for r in (run, cold))
    told = load_file(sasrec.path / "weights.safetensors")["network.blocks.0.kv.weight"]
    near, far = ((w["network.blocks.0.kv.weight"] - told).square().mean().sqrt() for w in (one, other))
    assert near < far / 2
    assert one["known"].numpy().tolist() == [False] + [True] * 9
    house.export(
        f"run={run.path}", "name=warm", "golden=12", "dataset=rhythm", "split=temporal", "calibration_gate=null"
    )


def test_an_encoder_that_knows_what_is_asked_is_refused(house: House, sasrec: RunFolder):
    late = house.train(
        "runs/late", "dataset=rhythm", "model=sasrec", *SIZES, "model.epochs=1", "evaluation.refit=false"
    )
    with pytest.raises(UserError, match=r"was trained on events until 2023-06-.*train it with split\.validation=2023-"):
        house.train("runs/leaky", *TRANSFORMER, f"init_from={late.path}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("model.width=32",), r"was trained with width=16, this model has 32; set model\.width=16"),
        (("model.gated=true",), r"was trained with gated=False, this model has True"),
        (("model=gru",), r"model=gru cannot start from another run, model=sasrec can, and about customers model=tr"),
        (("model=logistic",), r"model=logistic cannot start from another run"),
    ],
)
def test_what_cannot_be_started_from_is_said(words: tuple[str, ...], expected: str, house: House, sasrec: RunFolder):
    told: Any = TRANSFORMER if not words[0].startswith("model=") else ("dataset=rhythm", *FEW)
    with pytest.raises(UserError, match=expected):
        house.train("runs/none", *told, *words, "split=temporal", f"init_from={sasrec.path}")


def test_a_run_of_another_model_is_refused(house: House, sasrec: RunFolder):
    other = house.train("runs/popular", "dataset=rhythm", "model=popularity", *EARLY)
    with pytest.raises(
        UserError,
        match=r"is a run of model=popularity, and model=transformer starts from SASRec alone; `shopkeeper runs` lists",
    ):
        house.train("runs/none", *TRANSFORMER, f"init_from={other.path}")
