"""A new day's file joins a prepared dataset through the verb, with the bytes of preparing everything at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from shopkeeper.pipeline.prepare import prepare_data
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
