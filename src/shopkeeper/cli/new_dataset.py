"""`python -m shopkeeper new-dataset my.csv`: a first dataset YAML with guesses and doubts."""

from __future__ import annotations

import re
from pathlib import Path

from shopkeeper.errors import UserError
from shopkeeper.files import write_text

NAME = r"\w[\w-]*"


def write_dataset_yaml(file: Path, out: Path | None, name: str | None = None) -> None:
    """Write `conf/dataset/<name>.yaml` from a look at a file, a folder or a pattern; none is ever overwritten.

    The dataset is called as told, else as the file that is written, else as what was looked at.
    """
    from shopkeeper.ingest.guesses.files import given
    from shopkeeper.ingest.guesses.new_dataset import guess_dataset
    from shopkeeper.pipeline.shell.terminal import program

    files = given(file, name or (out.stem if out is not None else None))
    name = files.name
    if not re.fullmatch(NAME, name):
        raise UserError(f"--name {name}: a dataset's name must be of letters, digits, - and _")
    out = out or Path("conf/dataset") / f"{name}.yaml"
    if out.exists():
        raise UserError(f"{out} exists; give another name with --name")
    text = guess_dataset(file, name)
    write_text(out, text)
    print(text)
    put = "" if files.home is None else f"put the file{'s' * (len(files.paths) > 1)} into {files.home}, "
    print(f"written to {out}; settle its doubts, {put}then: {' '.join(program('prepare'))} dataset={out.stem}")
