"""`uplift`: what it leaves, and what of a campaign's table it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from campaigns.test_uplift import trial
from house import House, read
from shopkeeper.errors import UserError
from shopkeeper.evaluation.report.outreach import uplift as shown
from shopkeeper.pipeline.comparing.campaigned import uplifts_of
from shopkeeper.pipeline.told import Paths
from shopkeeper.pipeline.uplift import FIGURES, _say, uplift
from tiny import tiny_prepared

FAST = ("trees.trees=20", "folds=2", "evaluation.resamples=50")
MAIL = {
    "name": "mail", "file": "mail.csv", "treatment": "arm", "control": "none", "outcomes": ["visit"],
    "features": ["age", "kind"], "customer": "user", "probability": 0.5,
}  # fmt: skip


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    told, _ = trial(3000)
    (tmp_path / "raw").mkdir()
    (tmp_path / "conf/campaign").mkdir(parents=True)
    columns = {
        "user": [f"=u{i}" for i in range(3000)],
        "arm": np.where(told.treated, "mail", "none").tolist(),
        "visit": told.outcome.astype(int),
        "age": told.features[:, 0],
        "kind": np.where(told.features[:, 1] > 0, "old", "young").tolist(),
        "chance": told.probability,
    }
    pa.csv.write_csv(pa.table(columns), tmp_path / "raw/mail.csv")
    return House(tmp_path)


def run(house: House, *words: str, **told: object) -> None:
    (house.place / "conf/campaign/mail.yaml").write_text(yaml.safe_dump({**MAIL, **told}))
    uplift(house._composed("uplift", ("campaign=mail", *FAST, *words)))


def test_every_learner_is_judged_on_everybody_and_the_normalisation_is_said(
    house: House, capsys: pytest.CaptureFixture[str]
):
    run(house)
    said = read("outputs/uplift/mail/uplift.json")
    (of,) = said["trials"]
    assert set(of["learners"]) == {"t", "s", "x", "r", "class"}
    assert "a constant score has 0" in said["normalised"]
    assert of["effect"]["low"] < 0.125 < of["effect"]["high"]
    assert max(figures["qini"]["low"] for figures in of["learners"].values()) > 0
    table = pq.read_table("outputs/uplift/mail/customers.parquet")
    assert table.num_rows == 3000
    assert table["mail/visit/t"].null_count == 0
    assert said["features"] == ["age", "kind=old", "kind=young"]
    printed = capsys.readouterr().out
    assert "more per customer who is treated" in printed
    run(house, "learners=[t]", "out=other", probability="chance")
    assert read("other/uplift.json")["trials"][0]["learners"]["t"] == of["learners"]["t"]


def test_chance_is_said_where_every_learner_may_be_chance(capsys: pytest.CaptureFixture[str]):
    def told(**qini: tuple[float, float, float]) -> list[dict[str, Any]]:
        spans = {name: dict(zip(("value", "low", "high"), of, strict=True)) for name, of in qini.items()}
        learners = {name: dict.fromkeys(FIGURES, of) for name, of in spans.items()}
        return [{"arm": "mail", "outcome": "visit", "effect": spans["t"], "learners": learners}]

    _say(told(t=(0.02, -0.01, 0.05), s=(0.015, 0.005, 0.025)), Path("out"))
    assert "no learner" not in capsys.readouterr().out  # the second is told from chance
    _say(told(t=(0.02, -0.01, 0.05), s=(0.015, 0.0, 0.025)), Path("out"))
    assert "no learner is shown to order customers better than chance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"control": "nothing"}, r"control=nothing is no arm of arm"),
        ({"features": ["age", "visit"]}, r"visit is among the features, and was not known before"),
        ({"features": ["agee"]}, r"lacks the column 'agee'\. Did you mean 'age'\?"),
        ({"features": ["user"]}, r"feature 'user' is neither a number nor a text of up to 20 values"),
        ({"outcomes": ["kind"], "features": ["age"]}, r"column 'kind' holds something else than a number"),
        ({"customer": "kind"}, r"kind has several rows of one customer"),
        ({"file": "gone.csv"}, r"there is no file raw/gone\.csv"),
        ({"probability": 0.6}, r"no uplift from this campaign: .* do not fit the probabilities"),
    ],
)
def test_a_table_that_says_nothing_of_an_effect_is_refused(house: House, told: dict[str, object], said: str):
    with pytest.raises(UserError, match=said) as error:
        run(house, **told)
    assert "\n" not in str(error.value)
    assert not Path("outputs/uplift").exists()


def test_it_says_in_whose_report_it_is_shown(house: House):
    run(house, "learners=[s]")
    assert read("outputs/uplift/mail/manifest.json")["dataset"] is None
    run(house, "learners=[s]", dataset="tiny")
    prepared, _ = tiny_prepared(house.place / "tiny", [[1, 2, 3]], [[1, 2, 3]])
    (found,) = uplifts_of(Paths(), prepared)
    assert found["folder"] == "outputs/uplift/mail"
    section = shown([found])
    assert section is not None
    effect = found["trials"][0]["effect"]
    assert f"mail, visit: {effect['value']:+.3f} ({effect['low']:+.3f} to " in str(section.content)
    assert uplifts_of(Paths(), replace(prepared, manifest={**prepared.manifest, "dataset": "other"})) == []
    table = Path("outputs/uplift/mail/uplift.json")
    table.write_text(table.read_text().replace("mail", "post"))
    assert uplifts_of(Paths(), prepared) == []  # edited: it is named in the log


def test_a_folder_of_another_campaign_is_not_replaced(house: House):
    run(house, "learners=[s]", "out=here")
    with pytest.raises(UserError, match=r"holds a folder of an uplift of campaign=mail, not post"):
        run(house, "learners=[s]", "out=here", name="post")
