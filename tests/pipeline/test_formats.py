"""What docs/formats.md says is what the code declares, and what the code declares is what it writes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from house import House
from layouts import differences
from shopkeeper.bundles.layout import ANSWERS, BUNDLE, TRITON
from shopkeeper.campaigns.audience.layout import AUDIENCE
from shopkeeper.campaigns.segments.layout import SEGMENTS
from shopkeeper.campaigns.uplift.layout import UPLIFT
from shopkeeper.cli.formats import FOLDERS, page
from shopkeeper.cli.main import main
from shopkeeper.data.layout import PREPARED, SPLIT
from shopkeeper.formats import Folder
from shopkeeper.pipeline.layout import CUSTOMER_RUN, REPORT, RUN, SCORES
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.tuning.layout import STUDY

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"
SMALL = ("dataset.simulate.customers=300", "evaluation.resamples=20", "report.resamples=20", "report.shuffle=false")
NETWORK = ("model=gru4rec", "model.width=4", "model.max_length=10", "trainer.max_epochs=1", "trainer.max_batches=1")


def test_the_page_about_formats_is_the_one_that_the_code_makes():
    told = "run `python -m shopkeeper formats > docs/formats.md`"
    assert DOCS.read_text(encoding="utf-8") == page(), told


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which every verb has run."""
    place = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(place)
        house = House(place)
        (place / "conf").mkdir()
        prepared = prepare_data(house.config("prepare", *SMALL[:1], "prepared_folder=data"))
        of = (*SMALL[:2], "prepared_folder=data")
        for name, words in {
            "popularity": (),
            "recency": (),
            "network": NETWORK,
            "logistic": (),
            "lightgbm": (),
        }.items():
            house.train(f"runs/{name}", *of, *(words or (f"model={name}",)))
        runs = ",".join(f"runs/{p.name}" for p in sorted(Path("runs").iterdir()))
        house.evaluate(*SMALL, f"runs=[{runs}]", "out=report")
        for name in ("network", "recency", "logistic"):
            places = ["placements=[home,cart,category]"] if name == "recency" else []
            house.export(f"run=runs/{name}", f"name={name}", "golden=4", *places)
        from shopkeeper.bundles.answer import Bundle
        from shopkeeper.bundles.answer.everybody import answer_everybody
        from shopkeeper.pipeline.audience import audience
        from shopkeeper.pipeline.score import score
        from shopkeeper.pipeline.segments import segments
        from shopkeeper.pipeline.tune import tune_model
        from shopkeeper.pipeline.uplift import uplift

        main(["target", "int8", "exports/network", "--to", "exports/int8", "--of", "runs/network"])
        main(["target", "faiss", "exports/network", "--to", "exports/index", "--of", "runs/network"])
        main(["target", "triton", "exports/network", "--to", "triton"])
        everybody = {"as_of": "2026-06-01"}
        answer_everybody(Bundle.load("exports/logistic"), Path("data/events.parquet"), Path("answers"), **everybody)
        answer_everybody(Bundle.load("exports/recency"), Path("data/events.parquet"), Path("lists"))
        score(house._composed("score", ("run=runs/logistic",)))
        segments(house._composed("segments", of))
        told = (*of, "scores=runs/lightgbm", "recommender=runs/popularity", "audience.needs_consent=false")
        audience(house._composed("audience", told))
        audience(house._composed("audience", (*of, "audience=exit_offer")))
        (place / "raw").mkdir()
        (place / "raw/mail.csv").write_text("arm,age,visit\n" + "mail,30,1\nmail,40,0\nnone,30,0\nnone,40,0\n" * 100)
        mail = "{name: mail, file: mail.csv, treatment: arm, control: none, outcomes: [visit], features: [age]}"
        (place / "conf/campaign").mkdir()
        (place / "conf/campaign/mail.yaml").write_text(mail)
        uplift(house._composed("uplift", ("campaign=mail", "learners=[t]", "folds=2")))

        words = ("model=popularity", "tuning.trials=2", "tuning.name=study", "tuning.startup_trials=1")
        tune_model(house.config("tune", *of, *words))
        assert prepared.path == Path("data")
    return place


PLACES = {
    "prepared": (PREPARED, "data"),
    "split": (SPLIT, "data/splits/*"),
    "network": (RUN, "runs/network"),
    "popularity": (RUN, "runs/popularity"),
    "recency": (RUN, "runs/recency"),
    "logistic": (CUSTOMER_RUN, "runs/logistic"),
    "lightgbm": (CUSTOMER_RUN, "runs/lightgbm"),
    "report": (REPORT, "report"),
    "graph": (BUNDLE, "exports/network"),
    "in fewer bits": (BUNDLE, "exports/int8"),
    "with an index": (BUNDLE, "exports/index"),
    "triton": (TRITON, "triton"),
    "arrays": (BUNDLE, "exports/recency"),
    "customer bundle": (BUNDLE, "exports/logistic"),
    "answers": (ANSWERS, "answers"),
    "lists": (ANSWERS, "lists"),
    "study": (STUDY, "studies/study"),
    "scores": (SCORES, "outputs/scores"),
    "segments": (SEGMENTS, "segments/demo_shop"),
    "audience": (AUDIENCE, "audiences/demo_shop/win_back-*"),
    "sessions": (AUDIENCE, "audiences/demo_shop/exit_offer-*"),
    "uplift": (UPLIFT, "outputs/uplift/mail"),
}


@pytest.mark.parametrize("what", PLACES)
def test_what_is_declared_is_what_is_written(written: Path, what: str):
    folder, where = PLACES[what]
    for place in written.glob(where):
        assert differences(folder, place) == []
        break
    else:
        pytest.fail(f"nothing was written to {where}")


def test_every_declared_kind_of_folder_is_looked_at():
    assert {folder.title for folder, _ in PLACES.values()} == {folder.title for folder in FOLDERS}


def test_what_is_not_declared_or_missing_or_of_another_kind_is_found(written: Path, tmp_path: Path):
    place = Path(shutil.copytree(written / "runs/popularity", tmp_path / "run"))
    (place / "notes.txt").write_text("")
    table = pq.read_table(place / "test.parquet")
    pq.write_table(table.drop_columns(["ranks"]).append_column("mood", table["user_id"]), place / "test.parquet")
    told = json.loads((place / "manifest.json").read_text())
    told["wind"], told["dataset"] = "west", 3
    del told["task"]
    (place / "manifest.json").write_text(json.dumps(told))
    assert sorted(differences(RUN, place)) == [
        "manifest.json: dataset is 3, not text",
        "manifest.json: task is missing",
        "manifest.json: wind is not declared",
        "notes.txt: no such file is declared",
        "test.parquet: column mood is string, not double",  # a metric would be a number
        "test.parquet: column ranks is missing",
    ]
    assert differences(Folder("", "", "", RUN.files[1:]), place)[0].startswith("config.yaml")
    needed = replace(RUN.files[1], name="weights.bin", optional=False)
    assert "weights.bin is missing" in differences(replace(RUN, files=(*RUN.files, needed)), place)
