"""Ids that are another id but for a spelling, and names that stand for nobody: `erased` and an erasure list say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_consent import KEY, SHOP

from shopkeeper.arrange.prepare import prepare_dataset
from shopkeeper.cli.erased import erased, print_erased
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.log import read_log
from shopkeeper.ingest.matches import as_line, doubtful
from shopkeeper.people.rules import customer_rules

Said = pytest.CaptureFixture[str]


def prepared(place: Path, *users: str, **more: object) -> Path:
    """A prepared shop with a purchase of each of these customers."""
    (place / "raw").mkdir(exist_ok=True)
    rows = [f"{user},pen,{1_000_000_000_000_000 + i}" for i, user in enumerate(users)]
    (place / "raw/log.csv").write_text("\n".join(["who,what,when", *rows, ""]))
    config, out = SHOP | {"max_rejected_share": 1.0} | more, place / "data/prepared/shop"
    change = customer_rules(config, place / "raw")
    prepare_dataset(config, place / "raw", out, progress=False, change=change)
    return out


def test_a_customer_whose_id_differs_by_leading_zeros_or_capitals_is_mentioned(tmp_path: Path, capsys: Said):
    place = prepared(tmp_path, "12", "0013", "amy", "7", "712")
    for asked, there in {"0012": "12", "13": "0013", "Amy": "amy", "007": "7"}.items():
        print_erased(asked, tmp_path)
        said = capsys.readouterr().out
        lines = [line for line in said.splitlines() if "not looked for" in line]
        assert lines == [f"  not looked for: '{there}' of {place}, another id; if both are one person, ask for it, too"]
        assert said.splitlines()[-1].startswith("gone: ")
    print_erased("zoe", tmp_path)
    assert "not looked for" not in capsys.readouterr().out


def test_under_a_pseudonym_too(tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEY_OF_THE_SHOP", KEY)
    prepared(tmp_path, "12", "amy", pseudonyms={"key_env": "KEY_OF_THE_SHOP"})
    print_erased("0012", tmp_path)
    assert "  not looked for: '12' of " in capsys.readouterr().out


@pytest.mark.parametrize("missing", [{"user_id": ["NA"]}, ["NA"]])
def test_a_name_that_stands_for_nobody_is_no_customer(tmp_path: Path, capsys: Said, missing: object):
    place = prepared(tmp_path, "amy", "NA", "NA", missing=missing)
    assert erased("NA", tmp_path) == []
    print_erased("NA", tmp_path)
    assert f"'NA' stands for nobody in {place} (its setting `missing`)" in capsys.readouterr().out
    (tmp_path / "models/x").mkdir(parents=True)
    (tmp_path / "models/x/config.yaml").write_text("dataset:\n  missing:\n    user_id:\n    - NA\n")
    assert erased("NA", tmp_path) == []
    (tmp_path / "models/x/config.yaml").write_text("report:\n  chosen:\n  - NA\n")  # before it was called nobody's
    assert [path.name for path, *_ in erased("NA", tmp_path)] == ["config.yaml"]
    with pytest.raises(UserError, match="customer 'amy' is still in"):
        print_erased("amy", tmp_path)


def test_where_it_stands_for_somebody_it_is_found(tmp_path: Path):
    place = prepared(tmp_path, "amy", "NA", missing={"item_id": ["NA"]})
    assert {path for path, *_ in erased("NA", tmp_path)} >= {place / "events.parquet", place / "users.parquet"}


def test_an_erasure_list_says_who_stays_under_another_spelling(tmp_path: Path):
    for listed, of in {"0012\n": "1 of 1", "0099\n": "0 of 1"}.items():
        (tmp_path / "gone.txt").write_text(listed)
        (tmp_path / "log.csv").write_text(
            "who,what,when\n12,a,1000000000000000\n0012,a,1000000000000001\n99,a,1000000000000002\n"
        )
        config = SHOP | {"erasure": {"file": "gone.txt"}}
        change = customer_rules(config, tmp_path)
        assert change is not None
        match = change(read_log(parse(config), tmp_path))["erasure"]["match"]
        assert doubtful(match)
        assert as_line(match) == (
            f"gone.txt: {of} listed customers matched; 1 ids differ by leading zeros only; where two spellings are one "
            f"person, list both"
        )
