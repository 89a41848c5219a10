"""`python -m shopkeeper new-dataset my.csv`: a first dataset YAML with guesses and doubts."""

from __future__ import annotations

from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.files import write_text


def write_dataset_yaml(file: Path, out: Path | None) -> None:
    """Write `conf/dataset/<file name>.yaml` from a look at the file; an existing YAML is never overwritten."""
    from shopkeeper.ingest.guesses.new_dataset import guess_dataset

    name = file.name.split(".")[0].lower().replace("-", "_")
    out = out or Path("conf/dataset") / f"{name}.yaml"
    if out.exists():
        raise UserError(f"{out} exists; give another name with --out")
    text = guess_dataset(file)
    write_text(out, text)
    print(text)
    print(f"written to {out}; settle its doubts, then: python prepare.py dataset={out.stem}")
