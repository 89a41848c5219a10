"""A new day's file joins a prepared dataset through the verb, with the bytes of preparing everything at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from house import House, small_shop
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.told import Prepare, settings

ROOT = Path(__file__).parents[2]
HEAD = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"


def config(place: Path, *words: str) -> dict[str, Any]:
    always = ["dataset=online_retail", "progress=false", f"paths.raw={place}", f"paths.prepared={place / 'prepared'}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return settings(compose("prepare", [*always, *words]), Prepare)


def test_a_new_day_extends_a_prepared_dataset(tmp_path: Path):
    folder = tmp_path / "online-retail-ii-2009-2010"
    folder.mkdir()
    for day in (1, 2):
        rows = [f"{day}{i},P{i % (3 * day)},mug,1,2010-01-0{day} 08:{i:02d}:00,2.5,{i % 9},France\n" for i in range(50)]
        (folder / f"day{day}.csv").write_text(HEAD + "".join(rows))
    first = prepare_data(config(tmp_path, "dataset.raw.files=[day1.csv]"))
    both = "dataset.raw.files=[day1.csv,day2.csv]"
    extended = prepare_data(config(tmp_path, both, f"extend={first.path}", f"prepared_folder={tmp_path / 'extended'}"))
    at_once = prepare_data(config(tmp_path, both, f"prepared_folder={tmp_path / 'at_once'}"))
    assert extended.manifest["extended"]["rows"] == 50
    assert extended.fingerprint == at_once.fingerprint
    known = first.items["item_id"].to_pylist()
    assert extended.items["item_id"].to_pylist()[: len(known)] == known
    assert extended.n_items > first.n_items


LINKS = "account,key,valid_from\nc1,c8,2023-01-15\nc2,c9,2023-03-10\n"
CONSENT = "account,purpose,granted\n" + "".join(f"c{i},personalisation,2023-01-01\n" for i in range(9))
RULES: dict[str, dict[str, Any]] = {
    "consent": {"file": "consent.csv", "purpose": "personalisation"},
    "erasure": {"file": "gone.txt"},
    "identity": {"file": "links.csv", "as_of": "2023-02-01"},
    "pseudonyms": {"key_env": "KEY_OF_THE_SHOP"},
}


def shop_of_two_days(place: Path, **rules: Any) -> tuple[House, Prepared]:
    """A shop whose log comes in two files, with tables about its customers, prepared from the first one."""
    house, rows = House(place), sorted(small_shop(), key=lambda row: row[2])
    for name, some in {"one": rows[:40], "two": rows[40:]}.items():
        house.dataset(name, some)
    for file, text in {"links.csv": LINKS, "consent.csv": CONSENT, "gone.txt": "c4\n"}.items():
        (place / "raw" / file).write_text(text)
    house.dataset("shop", [], raw={"folder": "", "files": ["one.csv"]}, **rules)
    first = prepare_data(house.config("prepare", "dataset=shop", "prepared_folder=first"))
    house.dataset("shop", [], raw={"folder": "", "files": ["one.csv", "two.csv"]}, **rules)
    return house, first


def test_with_identities_as_of_each_cutoff_a_new_file_gives_the_bytes_of_all_files_at_each_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    house, _ = shop_of_two_days(tmp_path, identity={"file": "links.csv"})
    made = {}
    for name, words in {"extended": ["extend=first"], "at_once": []}.items():
        told = house.config("prepare", "dataset=shop", f"prepared_folder={name}", *words)
        whole, (known, split) = prepare_data(told), prepare_to_train(told)
        assert known.n_users < whole.n_users == 10  # a link is known at the cutoff
        said = {k: v for k, v in whole.manifest.items() if k not in ("extended", "seal")}
        made[name] = (said, known.fingerprint, split.target_hash("test"), split.timeline["files"])
    assert made["extended"] == made["at_once"]
    (tmp_path / "raw/links.csv").write_text(LINKS + "c3,c7,2023-01-20\n")
    with pytest.raises(UserError, match="was prepared with another `identity`; prepare all files together"):
        prepare_data(house.config("prepare", "dataset=shop", "prepared_folder=extended", "extend=first"))


@pytest.mark.parametrize("rule", RULES)
def test_what_was_changed_for_its_customers_is_prepared_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY_OF_THE_SHOP", "a secret of at least sixteen bytes")
    house, first = shop_of_two_days(tmp_path, **{rule: RULES[rule]})
    assert list(first.manifest["changes"]) == [rule]
    with pytest.raises(
        UserError, match=f"^first was changed by {rule}, and .* prepare all files together: shopkeeper prepare"
    ):
        prepare_data(house.config("prepare", "dataset=shop", "prepared_folder=extended", "extend=first"))
    assert prepare_data(house.config("prepare", "dataset=shop", "prepared_folder=extended")).manifest["changes"][rule]
