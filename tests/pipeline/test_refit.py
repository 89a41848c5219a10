"""`evaluation.refit=true`: after validation has chosen, a model learns from all until the test cutoff."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shopkeeper.errors import UserError
from shopkeeper.models.about import Learned, parts_in_words
from shopkeeper.pipeline import context
from shopkeeper.pipeline.forms.learn import learn
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.show import metrics_table, note
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train, plain, settings
from shopkeeper.recommenders.networks.sasrec import SASRec


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """60 days; item `new` is first sold on day 45, between the validation cutoff (40) and the test cutoff (50)."""
    place = tmp_path_factory.mktemp("refit")
    rng = np.random.default_rng(0)
    rows = [
        f"c{c},{'new' if d >= 45 and c % 2 else f'i{rng.integers(1, 9)}'},2024-{1 + d // 30:02d}-{1 + d % 30:02d} 10:00"
        for d in range(59)
        for c in range(12)
    ]
    (place / "log.csv").write_text("customer,item,time\n" + "\n".join(sorted(rows)) + "\n", encoding="utf-8")
    words = [
        "dataset=ml_100k", "split=temporal", "tracking=none", "progress=false", "dataset.name=refit",
        f"paths.raw={place}", f"paths.prepared={place}/prepared", f"paths.checkpoints={place}/checkpoints",
    ]  # fmt: skip
    return place, words


def config(shop: tuple[Path, list[str]], *more: str) -> Train:
    _, words = shop
    cfg = plain(composed("train", [*words, *more]))
    cfg["dataset"] = {
        "name": "refit", "target_events": ["purchase"], "filter_seen": False,
        "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
        "columns": {"user_id": "customer", "item_id": "item", "timestamp": "time"}, "event_type": "purchase",
        "filters": {}, "temporal": {"validation_days": 10, "test_days": 10}, "max_rejected_share": 0,
    }  # fmt: skip
    if cfg["split"]["name"] == "temporal":
        cfg["split"] |= {"validation_days": 10, "test_days": 10}
    return settings(cfg, Train)


def trained(cfg: Train):
    with ExitStack() as held:
        return learn(cfg, ("validation", "test"), lambda values, epoch: None, held)


def test_test_is_asked_of_a_model_that_has_seen_validation_and_validation_is_not(shop):
    cfg = config(shop, "model=popularity", "evaluation.refit=true")
    done, before = trained(cfg), trained(config(shop, "model=popularity"))
    model, facts, metrics = done.model, done.facts, done.metrics
    plain_model, plain_facts, plain = before.model, before.facts, before.metrics
    prepared, split = prepare_to_train(cfg)
    new = int(np.flatnonzero(np.array(prepared.items["item_id"].to_pylist()) == "new")[0]) + 1
    assert plain_model.scores_V[new] == 0
    assert model.scores_V[new] > 0
    assert metrics["validation"] == plain["validation"]
    assert done.metrics["refit"] is True
    assert "refit" not in plain
    assert metrics["test"]["ndcg@10"]["value"] > plain["test"]["ndcg@10"]["value"]
    assert facts["trained_until"] > plain_facts["trained_until"]
    assert context.split_of(prepared, {"split": split.name, "refit": True}).catalogue.tolist() == sorted(
        {*split.catalogue.tolist(), new}
    )


def test_no_row_from_the_test_cutoff_on_is_trained_on(shop):
    prepared, split = prepare_to_train(config(shop, "model=popularity"))
    again = split.until_test()
    rows = again.training_rows()[1]
    cutoff = split.timeline["cutoffs"]["test"]["us"]
    assert prepared.events.timestamp[rows].max() < cutoff
    assert len(rows) == (prepared.events.timestamp < cutoff).sum()
    assert len(again.part("validation")[0]) == 0
    assert len(again.part("test")[0]) == len(split.part("test")[0])


@pytest.mark.parametrize("way", ["none", "best"])
def test_a_network_takes_the_epoch_that_validation_chose(shop, caplog, monkeypatch, way: str):
    fits, learn_from, kept = [], SASRec.fit, (1, 2) if way == "best" else ()

    def noted(self: SASRec, *args: Any) -> Learned:
        fits.append(args[-1])
        return replace(learn_from(self, *args), epochs=kept)

    monkeypatch.setattr(SASRec, "fit", noted)
    small = ("model.width=8", "model.blocks=1", "model.epochs=6", f"model.average={way}")
    words = ("model=sasrec", *small, "evaluation.refit=true")
    with caplog.at_level("INFO", "shopkeeper"):
        done = trained(config(shop, *words))
    told = [record.getMessage() for record in caplog.records if "anew/loss" in record.getMessage()]
    first = trained(config(shop, *words[:-1]))
    assert first.learned.steps is not None
    assert len(told) == done.learned.steps == first.learned.steps
    assert all("ndcg@10" not in epoch for epoch in told)
    assert [fit.epochs for fit in fits] == [(), kept, ()]
    # the curve is of the training that validation followed, not of the one anew
    assert [epoch["ndcg@10"] for epoch in done.learned.history] == [e["ndcg@10"] for e in first.learned.history]
    assert done.metrics["refit"] is True


def test_a_split_that_has_no_cutoff_in_time_says_what_to_do(shop):
    with pytest.raises(UserError, match=r"split=temporal, or evaluation\.refit=false"):
        trained(config(shop, "model=popularity", "split=leave_one_out", "evaluation.refit=true"))


def test_a_dataset_says_that_it_is_a_shop_and_the_command_line_has_the_last_word(shop):
    def of(said: bool | None, *more: str) -> Train:
        cfg = dict(config(shop, "model=popularity", *more).plain)
        return settings({**cfg, "dataset": cfg["dataset"] | ({} if said is None else {"refit": said})}, Train)

    default = trained(of(True))
    assert default.metrics["refit"] is True
    assert default.metrics["test"] == trained(of(None, "evaluation.refit=true")).metrics["test"]
    for cfg in (of(None), of(False), of(True, "evaluation.refit=false")):
        assert "refit" not in trained(cfg).metrics
    assert "refit" not in trained(of(True, "split=leave_one_out")).metrics  # there is no cutoff: as ever
    assert context.prepared_folder(of(True)) == context.prepared_folder(of(None))
    assert context.dataset_spec(of(True)) == context.dataset_spec(of(None))  # nothing is prepared anew for it


def test_shops_that_are_shipped_and_new_ones_are_trained_anew(tmp_path: Path):
    from shopkeeper.ingest.guesses.new_dataset import guess_dataset

    for name in ("online_retail", "alibaba_2014", "rees46"):
        assert plain(composed("train", [f"dataset={name}", "tracking=none"]))["dataset"]["refit"] is True
    assert plain(composed("train", ["tracking=none"]))["evaluation"]["refit"] is None
    rows = [f"c{n % 7},i{n % 5},2024-01-{1 + n % 28:02d} 10:00" for n in range(100)]
    (tmp_path / "my.csv").write_text("customer,item,time\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert "\nrefit: true #" in guess_dataset(tmp_path / "my.csv")


def test_what_was_left_to_the_data_stands_in_the_figures_of_a_run_by_part(shop):
    done = trained(config(shop, "model=item_knn", "evaluation.refit=true"))
    auto = done.metrics["auto"]
    left = ["half_life_events", "neighbours", "self_similarity", "shrinkage"]
    assert list(auto) == ["validation", "test"]
    assert all(sorted(settings) == left for settings in auto.values())
    assert auto["test"] == {name: done.model.settings[name] for name in auto["test"]}
    assert f"chosen by the data: {parts_in_words(auto)}" in " ".join(metrics_table(done.metrics, 400).split())
    assert f"Chosen by the data: {parts_in_words(auto)}." in note(done.metrics, "ndcg@10")
    assert "auto" not in trained(config(shop, "model=popularity")).metrics
