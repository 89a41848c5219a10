"""The notebooks run as they stand, from top to bottom, in an empty folder; in the repository they hold no outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

PLACE = Path(__file__).parents[2] / "notebooks"
SAID = {  # of each: what its cells must have shown
    "researcher": (
        "sasrec",
        "basket",
        "is better than popularity by",
        "model=item_knn has no setting 'neigbours'. Did you mean 'neighbours'?",
    ),
    "serving": ('"unknown_items":1', "all as the trained model answers"),
    "marketing": ("treatment", "at risk", "@example.org"),
}


def shown(book: Any) -> str:
    """All that the cells of an executed notebook show, as text."""
    parts = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            parts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "\n".join(parts)


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_notebook_runs_as_it_stands_and_leaves_nothing_behind(name: str, tmp_path: Path):
    book = nbformat.read(PLACE / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in book.cells
               if cell.cell_type == "code"), "the notebook in the repository has stale output"  # fmt: skip
    NotebookClient(book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = shown(book)
    for words in SAID[name]:
        assert words in text
    assert "Traceback" not in text
    assert os.listdir(tmp_path) == []


def test_every_notebook_is_run_by_a_test():
    assert {path.stem for path in PLACE.glob("*.ipynb")} == {*SAID, "compare_models"}


def test_a_mistake_in_a_cell_is_one_line_without_a_traceback(tmp_path: Path):
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import shopkeeper as sk\nsk.dataset('demo_shp')")]
    )
    client = NotebookClient(book, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.allow_errors = True
    client.execute()
    (output,) = book.cells[0].outputs
    assert output["traceback"] == [f"UserError: {output['evalue']}"]
    assert output["evalue"].startswith("there is no dataset=demo_shp. Did you mean 'demo_shop'?")
