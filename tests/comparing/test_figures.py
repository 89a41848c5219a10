"""Pictures for a run's page: well-formed SVG, with every mark where its value is."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from shopkeeper.pipeline.pictures import figures, svg
from shopkeeper.pipeline.pictures.svg import Panel

SVG = "{http://www.w3.org/2000/svg}"


def read(picture: str | None) -> ElementTree.Element:
    assert picture is not None
    return ElementTree.fromstring(picture)


def metrics(**test: tuple[float, float | None, float | None]) -> dict[str, object]:
    entries = {name: {"value": v, "low": low, "high": high, "n": 30} for name, (v, low, high) in test.items()}
    return {"model": "a <b> & c", "dataset": "shop", "split": "temporal", "confidence": 0.9, "test": entries}


def test_a_point_stands_where_its_values_are_on_the_axes():
    panel = Panel((0.0, 10.0), (-1.0, 1.0), 200)
    assert panel.at(0, -1) == (panel.left, svg.TOP + 200)
    assert panel.at(10, 1) == (panel.width - svg.RIGHT, svg.TOP)
    assert panel.at(5, 0) == ((panel.left + panel.width - svg.RIGHT) / 2, svg.TOP + 100)


def test_whiskers_reach_from_low_to_high_and_what_has_no_interval_is_left_out():
    drawn = read(figures.intervals(metrics(hit=(0.5, 0.25, 1.0), mrr=(0.75, 0.5, 1.0), gini=(0.1, None, None))))
    (hit, mrr), dots = drawn.iter(f"{SVG}polyline"), [c for c in drawn.iter(f"{SVG}circle") if c.get("r") == "3.5"]
    ends = [[float(at.split(",")[0]) for at in line.get("points", "").split()] for line in (hit, mrr)]
    quarter = (ends[0][1] - ends[0][0]) / 3  # of the scale, in pixels: .25 to 1
    assert ends[1][0] == pytest.approx(ends[0][0] + quarter, abs=0.2)
    assert [float(d.get("cx", "")) for d in dots] == pytest.approx(
        [ends[0][0] + quarter, ends[0][0] + 2 * quarter], abs=0.2
    )
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "hit" in texts
    assert "gini" not in texts
    assert "a <b> & c on shop, split temporal: mean and 90 % interval" in texts


def test_a_run_without_any_interval_has_no_picture_of_them():
    assert figures.intervals(metrics(gini=(0.1, None, None))) is None


def test_a_line_is_broken_where_a_number_is_missing_and_the_best_epoch_is_named():
    history = [
        {"epoch": e, "loss": math.nan if e == 2 else 5.0 - e, "hit": h} for e, h in enumerate((0.1, 0.3, 0.2, 0.2))
    ]
    drawn = read(figures.learning_curve(history, "hit", "model"))
    assert [len(line.get("points", "").split()) for line in drawn.iter(f"{SVG}polyline")] == [2, 4]
    assert "best: epoch 1, 0.3000" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_one_probability_for_all_is_no_reliability_curve():
    assert figures.reliability(pa.table({"probability": [0.5, 0.5], "label": [0, 1]}), "base_rate") is None
    read(figures.reliability(pa.table({"probability": [0.1, 0.1, 0.9, 0.9], "label": [0, 1, 1, 1]}), "other"))
