"""What is joined by id is as known at the instant: attributes first written later change no feature and no slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.customers.build_cohort import build_cohort
from shopkeeper.data.listed import listed
from shopkeeper.data.prepared import Prepared
from shopkeeper.evaluation.rows.slices import user_attributes
from shopkeeper.splits.perturb import perturb_after
from shopkeeper.timeline import instant

CONFIG = {
    "name": "late",
    "raw": {"folder": "", "files": ["log.csv"]},
    "reader": {"format": "csv"},
    "columns": {"user_id": "u", "item_id": "i", "timestamp": "t"},
    "event_type": "purchase",
    "items": {"from_events": {"category": "cat"}},
    "users": {"from_events": {"town": "town"}},
    "target_events": ["purchase"],
    "filters": {},
}
BEFORE = [("a", "x", "01-02"), ("a", "y", "01-05"), ("a", "z", "01-08"), ("b", "x", "01-09"), ("b", "z", "01-12")]
AFTER = [("b", "x", "02-03"), ("b", "y", "02-06"), ("a", "z", "02-09"), ("a", "x", "02-20"), ("b", "x", "02-27")]


def shop(folder: Path, before: dict[str, str], after: dict[str, str]) -> Prepared:
    """Categories of x, y and z as the events before and after 1 February write them; towns from March on only."""
    folder.mkdir()
    rows = [f"{u},{i},2023-{t} 10:00,{kinds.get(i, '')},{'york' if t > '02' else ''}"
            for part, kinds in ((BEFORE, before), (AFTER, after)) for u, i, t in part]  # fmt: skip
    (folder / "log.csv").write_text("u,i,t,cat,town\n" + "\n".join(rows) + "\n")
    return Prepared.open(prepare_dataset(CONFIG, folder, folder / "out", progress=False))


def categories(prepared: Prepared, day: str) -> list[float]:
    cohort = build_cohort(prepared, instant(day, "day"), 5, None, labels=False)
    return cohort.features[:, cohort.feature_names.index("categories")].tolist()


def test_a_category_first_written_after_the_cutoff_changes_no_feature_before_it(tmp_path):
    one = shop(tmp_path / "one", {}, dict.fromkeys("xyz", "tea"))
    three = shop(tmp_path / "three", {}, {"x": "tea", "y": "cups", "z": "pots"})
    assert categories(one, "2023-02-01") == categories(three, "2023-02-01") == [0, 0]
    assert categories(three, "2023-02-07") == [2, 2]  # x and y, which both have bought; of z nothing is known yet
    assert categories(one, "2023-03-01") == [1, 1]
    assert categories(three, "2023-03-01") == [3, 3]


def test_an_unknown_category_is_none(tmp_path):
    assert categories(shop(tmp_path / "partly", {"x": "tea"}, {}), "2023-02-01") == [1, 1]
    assert categories(shop(tmp_path / "all", {"x": "tea", "y": "cups", "z": "cups"}, {}), "2023-02-01") == [2, 2]


def test_the_event_that_shows_a_category_is_not_known_at_its_own_instant(tmp_path):
    p = shop(tmp_path / "shop", {}, {"x": "tea"})
    assert categories(p, "2023-02-03T10:00") == [0, 0]
    assert categories(p, "2023-02-03T10:01") == [1, 1]
    shown = instant("2023-02-03T10:00", "t")
    assert listed(p, shown).tolist() == [False] * 4  # nor does the item table list it then
    assert listed(p, shown + 1).tolist() == [False, True, False, False]


def test_a_slice_by_an_attribute_of_users_says_unknown_before_an_event_has_shown_it(tmp_path):
    p = shop(tmp_path / "shop", {}, {})
    at = np.array([instant(d, "d") for d in ("2023-02-01", "2023-02-09T10:00", "2023-02-10")])
    assert user_attributes(p, np.array([1, 1, 1]), at)["user_town"].tolist() == ["unknown", "unknown", "york"]


@pytest.mark.parametrize("kind", ["items", "users"])
def test_the_perturbed_log_has_other_attributes_where_an_event_after_the_cutoff_showed_them(kind, tmp_path):
    p = shop(tmp_path / "shop", {"x": "tea"}, {"y": "cups", "z": "pots"})
    cutoff = instant("2023-02-01", "day")
    name = "category" if kind == "items" else "town"
    since = p.known_since(kind, name)[1:]
    changed = [perturb_after(p, cutoff, seed) for seed in range(20)]
    for i, at in enumerate(since):
        values = {str(getattr(c, kind)[name][i].as_py()) for c in changed}
        assert (len(values) > 1) == (at >= cutoff)
        assert all((c.known_since(kind, name)[i + 1] >= cutoff) == (at >= cutoff) for c in changed)


def test_features_at_a_cutoff_do_not_move_with_another_future(tmp_path):
    p = shop(tmp_path / "shop", {"x": "tea"}, {"y": "cups", "z": "pots"})
    assert all(categories(perturb_after(p, instant("2023-02-01", "d"), s), "2023-02-01") == [1, 1] for s in range(20))
