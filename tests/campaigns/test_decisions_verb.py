"""The report of a shop with values, segments and audiences: today's customers, what has moved, commands that run."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from customers.test_totals_verbs import FEW, SMALL, rows
from house import House, read
from shopkeeper.errors import UserError
from shopkeeper.hashing import sealed
from shopkeeper.pipeline.audience import audience
from shopkeeper.pipeline.segments import segments

OWN = {"currency": "GBP", "customer_value": 120, "offer_cost": 10, "contact_cost": 0.5, "success_rate": 0.3}
FAST = ("segmentation.clusters.bootstraps=2", "segmentation.clusters.most=3", "segmentation.clusters.cutoffs=1")
QUICK = ("report.resamples=50", "report.shuffle=false", "runs=[runs/churn,runs/base,runs/popularity]", "out=report")
TREES = ("model=lightgbm", "model.max_trees=10", "model.min_data_in_leaf=5")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("decisions"))
    house.dataset("rhythm", rows(), churn={"horizon_days": 20, "active_days": 90}, profit=OWN, currency="GBP")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(house.place)
        house.train("runs/churn", *TREES, *SMALL, *FEW)
        house.train("runs/base", "model=base_rate", *SMALL, *FEW)
        house.train("runs/popularity", "model=popularity", *SMALL)
        segments(house._composed("segments", (*SMALL, *FAST)))
        words = ("scores=runs/churn", "recommender=runs/popularity", "audience.needs_consent=false", "at=2023-06-10")
        audience(house._composed("audience", (*SMALL, *words, "audience.control.days=20")))
        stale("segments/rhythm")
        house.evaluate(*QUICK, *SMALL)
    return house


def stale(folder: str) -> None:
    """Segments as of before a log was prepared anew."""
    manifest = read(f"{folder}/manifest.json")
    Path(f"{folder}/manifest.json").write_text(json.dumps(sealed({**manifest, "dataset_fingerprint": "of before"})))


@pytest.fixture(autouse=True)
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(house.place)


def text(page: str = "report/report.html") -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", Path(page).read_text(encoding="utf-8").partition("<style>")[0] +
                                Path(page).read_text(encoding="utf-8").partition("</style>")[2]))  # fmt: skip


def test_what_is_expected_of_todays_customers_is_what_score_says_of_them() -> None:
    figures = read("report/decisions.json")["figures"]
    subprocess.run([sys.executable, "-m", "shopkeeper", "score", "run=runs/churn", "to=today.parquet"], check=True,
                   capture_output=True)  # fmt: skip
    said = [p for p in pq.read_table("today.parquet")["probability"].to_pylist() if p is not None]
    assert figures["churn.expected"]["value"] == pytest.approx(sum(said))
    half = 1.959964 * sum(p * (1 - p) for p in said) ** 0.5
    assert figures["churn.expected"]["low"] == pytest.approx(max(sum(said) - half, 0))
    pays = (10 + 0.5) / (0.3 * (120 - 10) - 0.5 + 10 + 0.5)
    brings = sum(p * (0.3 * 110 - 0.5) - (1 - p) * 10.5 for p in said if p >= pays)
    assert figures["churn.profit"]["value"] == pytest.approx(brings)
    assert figures["churn.profit"]["unit"] == "GBP"
    assert "by 7 August 2023" in text()


def test_segments_and_audiences_of_the_dataset_are_on_the_page_and_what_messages_did() -> None:
    page = text()
    assert "Which customers are there, and how do they move?" in page
    assert "1 audiences; of 1 it can be read what the message did" in page
    assert "June 2023" in page
    assert "GBP" in page
    house = House(Path.cwd())
    house.evaluate(*QUICK, *SMALL, "report.campaigns=false", "report.now=false", "out=bare")
    bare = text("bare/report.html")
    assert "Which customers are there" not in bare
    assert "are expected to leave" not in bare
    assert "churn.expected" not in read("bare/decisions.json")["figures"]


def test_every_command_on_the_page_runs_as_printed() -> None:
    page = Path("report/report.html").read_text(encoding="utf-8")
    first = [html.unescape(c) for c in re.findall(r'<p class="command">.*?<code>(.*?)</code>', page, re.DOTALL)]
    assert [shlex.split(c)[:2] for c in first] == [["shopkeeper", "audience"], ["shopkeeper", "score"]]
    (headline,) = re.findall(r"Write to <strong>(\d+) customers", page)
    run: list[str] = []  # also what stands beyond the first screen, and what the page says once it is made anew
    while further := [c for c in commands_of("report/report.html") if c not in run]:
        run.append(further[0])
        typed(further[0])
    typed(next(c for c in reversed(run) if shlex.split(c)[1] == "evaluate"))  # with all that was made by now
    assert {shlex.split(c)[1] for c in run} == {"audience", "score", "evaluate", "train", "segments"}, run
    made = read("audiences/rhythm/at_risk-2023-07-18/card.json")
    assert made["scores"]["run"] == "runs/churn"
    assert made["customers"]["in_the_audience"] == int(headline)  # all of those for whom an offer pays
    again = text()
    assert "Each history shuffled when asked" in again
    assert "not run; " not in again
    assert "of earlier data than this report" not in again
    assert list(Path("runs/rhythm/next_item/leave_one_out").glob("popularity-*/manifest.json"))


def typed(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def commands_of(page: str) -> list[str]:
    """What a page prints to be typed, as a reader copies it."""
    found = re.findall(r"<code>(.*?)</code>", Path(page).read_text(encoding="utf-8"), re.DOTALL)
    commands = dict.fromkeys(html.unescape(c) for c in found)
    return [c for c in commands if c.startswith(("shopkeeper ", "python "))]


def test_the_next_report_says_what_has_moved_since(house: House) -> None:
    before = read("report/decisions.json")["figures"]
    house.train("runs/later", "model=logistic", *SMALL, *FEW)
    runs = "runs=[runs/later,runs/base,runs/popularity]"
    house.evaluate(*QUICK[:2], runs, *SMALL, "out=next", "report.since=report")
    found = read("next/decisions.json")
    assert found["since"]["figures"] == before
    assert "What has moved since the last report?" in text("next/report.html")
    assert "What has moved" not in text()  # the first one
    house.evaluate(*QUICK[:2], runs, *SMALL, "out=next")  # made anew in its place: it still knows
    assert read("next/decisions.json")["since"]["figures"] == before
    with pytest.raises(UserError, match=r"report\.since=runs/base holds no figures of a report"):
        house.evaluate(*QUICK[:2], runs, *SMALL, "out=other", "report.since=runs/base")
    shutil.copytree("report", "elsewhere")
    about = read("elsewhere/manifest.json")
    Path("elsewhere/manifest.json").write_text(json.dumps(sealed({**about, "dataset": "corner_shop"})))
    with pytest.raises(
        UserError, match=r"since=elsewhere is a report of dataset=corner_shop, split=.*; give one of the"
    ):
        house.evaluate(*QUICK[:2], runs, *SMALL, "out=other", "report.since=elsewhere")


def test_the_shops_values_in_another_currency_than_its_prices_are_refused(house: House) -> None:
    spec = yaml.safe_load(Path("conf/dataset/rhythm.yaml").read_text())
    mixed = {**spec, "name": "mixed", "profit": {**OWN, "currency": "EUR"}}
    Path("conf/dataset/mixed.yaml").write_text(yaml.safe_dump(mixed, sort_keys=False))
    with pytest.raises(UserError, match=r"profit\.currency is EUR, and the log's prices are in GBP"):
        house.train("runs/mixed", "model=popularity", "dataset=mixed", *(w for w in SMALL if "dataset" not in w))
