"""The few lines that each source's head tells a person to write are a dataset's config, as a command line reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from house import House
from shopkeeper import configuration
from shopkeeper.ingest.dataset import parse, to_plain
from shopkeeper.ingest.exports import known

EXAMPLE = re.compile(r"^# In your conf/dataset/(\w+)\.yaml:\n((?:#   .*\n)+)", re.MULTILINE)
SOURCES = [path for name in configuration.names("source") if (path := configuration.find("source", name))]


@pytest.mark.parametrize("path", [path.resolve() for path in SOURCES], ids=lambda path: path.stem)
def test_the_example_at_the_head_of_a_source_is_a_config(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = EXAMPLE.search(path.read_text())
    if found is None:
        assert dict(known())[path.stem].unfit, "a source says what a person writes, or why it is none"
        return
    name, text = found[1], re.sub(r"^#   ", "", found[2], flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf/dataset"
    folder.mkdir(parents=True)
    (folder / f"{name}.yaml").write_text(text)
    told = to_plain(House(tmp_path)._composed("prepare", (f"dataset={name}",))["dataset"])
    config = parse(told)
    assert config.name == name
    assert config.files
    assert config.plain["raw"]["folder"]
