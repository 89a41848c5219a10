"""RecBole's models trained, asked, saved and opened through its own process; needs `make recbole`, else skipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_runs.shop import FIT, N_ITEMS, TRAINER, environment, walkers
from recommenders.checks import stranger
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.evaluation.alarms.model_audit import audit_answers
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.recbole.model import RecBole
from shopkeeper.recommenders.recbole.process import PREFIX

SMALL = {"MAX_ITEM_LIST_LENGTH": 5, "train_batch_size": 64}
MODELS = {
    "SASRec": SMALL | {"hidden_size": 8, "inner_size": 8, "n_layers": 1},
    "GRU4Rec": SMALL | {"embedding_size": 8, "hidden_size": 8},
    "NARM": SMALL | {"embedding_size": 8, "hidden_size": 8},
    "LightGCN": {"embedding_size": 8, "train_batch_size": 64},
    "MultiVAE": {"mlp_hidden_size": [16], "latent_dimension": 4, "train_batch_size": 64},
}
SEQUENTIAL = ("SASRec", "GRU4Rec", "NARM")


@pytest.fixture(scope="module", autouse=True)
def there() -> None:
    environment()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Split]:
    return walkers(tmp_path_factory.mktemp("shop") / "shop")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_trained_for_the_epoch_that_our_evaluator_prefers_and_says_the_same_once_opened(
    name: str, shop: tuple[Prepared, Split], tmp_path: Path
):
    prepared, split = shop
    model, told = RecBole(name, parameters=MODELS[name], epochs=1, event_types=["purchase"]), []
    learned = model.fit(prepared, split, replace(FIT, log=lambda metrics, epoch: told.append((epoch, dict(metrics)))))
    assert learned.steps == 1
    assert [epoch for epoch, _ in told] == [1]
    table = evaluate_requests(model, split, "validation", k=(10,))
    assert np.mean(table["ndcg@10"].to_numpy()) == pytest.approx(told[0][1]["ndcg@10"], abs=1e-9)
    audit_answers(model, name, split)

    strangers = stranger([[3], [9], [], [3, 99]])
    said = model.score(strangers)
    assert said.shape == (4, N_ITEMS + 1)
    np.testing.assert_array_equal(said[2], model.fallback_V)
    assert (said[0] != said[1]).any() == (name in SEQUENTIAL)  # the others know whom they were trained on
    np.testing.assert_allclose(said[3], said[0], rtol=1e-5)  # an item that it never saw says nothing

    asked = split.part("test")[0]
    before = model.score(asked)
    model.save(tmp_path)
    model.close()
    if name not in ("SASRec", "LightGCN"):  # a start takes seconds; benchmarks/recbole_models.py opens every model
        return
    opened = RecBole(name, parameters=MODELS[name], epochs=1, event_types=["purchase"])
    opened.load(tmp_path)
    np.testing.assert_array_equal(opened.score(asked), before)
    with pytest.raises(UserError, match="with other settings than config"):
        RecBole(name, parameters=MODELS[name] | {"train_batch_size": 32}).load(tmp_path)
    opened.close()


def one_line(model: RecBole, shop: tuple[Prepared, Split], fit: Fit = FIT) -> str:
    with pytest.raises(UserError) as error:
        model.fit(*shop, fit)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_fails_ends_in_one_line_with_its_last_words_and_leaves_nothing(
    shop: tuple[Prepared, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said = one_line(RecBole("SASRec", parameters={"hidden_size": 7, "n_heads": 2}, epochs=1), shop)
    assert said.startswith("RecBole's SASRec ValueError: The hidden size (7) is not a multiple")
    wide = RecBole("BPR", parameters={"embedding_size": 50_000_000}, epochs=1, memory_gib=2)  # 2.4 GiB an embedding
    assert one_line(wide, shop).startswith("RecBole's BPR ran out of memory (2 GiB were allowed); fewer items or")
    assert "took longer than model.limit_minutes=0.001" in one_line(RecBole("BPR", limit_minutes=0.001), shop)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_of_the_command_ends_recbole_and_its_folder(shop: tuple[Prepared, Split], tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from shopkeeper.data.prepared import Prepared\n"
        "from shopkeeper.data.split import Split; from shopkeeper.models.fit import Fit\n"
        "from shopkeeper.recommenders.recbole.model import RecBole\n"
        "from shopkeeper.training.config import TrainerConfig\n"
        "prepared = Prepared.open(Path(sys.argv[1])); split = Split.named(prepared, sys.argv[2])\n"
        "trainer = TrainerConfig(accelerator='cpu', threads=1, validation_requests=0)\n"
        "fit = Fit(trainer=trainer, log=lambda m, e: print(e, flush=True))\n"
        "RecBole('BPR', epochs=10**7).fit(prepared, split, fit)\n"
    )
    prepared, split = shop
    command = [sys.executable, "-c", code, str(prepared.path), split.name]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\n"
    (place,) = tmp_path.glob(f"{PREFIX}*")
    its_own = [int(p.name) for p in Path("/proc").glob("[0-9]*") if str(place) in _command(p)]
    assert len(its_own) == 1
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    until = time.monotonic() + 60
    while (place.exists() or _command(Path("/proc") / str(its_own[0]))) and time.monotonic() < until:
        time.sleep(0.05)
    assert not place.exists()
    assert str(place) not in _command(Path("/proc") / str(its_own[0]))


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_a_context_model_reads_attributes_of_items(shop: tuple[Prepared, Split]):
    prepared, split = shop
    model: Any = RecBole("FM", parameters={"embedding_size": 4}, epochs=1)
    model.fit(prepared, split, replace(FIT, trainer=replace(TRAINER, validation_requests=0)))
    assert model.job["fields"] == ["category_0", "brand_1", "price_2"]
    assert any("category_0" in name or name.endswith("/token_seq_embedding_table.0.weight") for name in model.files)
    assert np.isfinite(model.score(split.part("test")[0])).all()
    model.close()
