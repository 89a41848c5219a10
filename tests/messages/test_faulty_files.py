"""A file of configuration that cannot be read, or is none, is named with what to do, whatever its reader raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from shopkeeper.pipeline.shell.entry import one_line_errors
from shopkeeper.pipeline.shell.faulty_files import file_at_fault

GOOD = "name: bad\nreader: {format: csv}\n"
FAULTS: list[tuple[bytes, str]] = [
    (GOOD.encode("utf-16"), " is not written in UTF-8 (its byte 1); save it as UTF-8"),
    ((GOOD + "title: Caf\xe9\n").encode("cp1252"), " is not written in UTF-8 (its byte 43); save it as UTF-8"),
    (GOOD.encode() + b"title: a\x00b\n", " holds a character that no text has (#x00, at 41); take it out"),
    (b"# nothing yet\n", " holds no settings; write lines such as `name: value`"),
    (b"- name: bad\n", " holds no settings; write lines such as `name: value`"),
    (b"reader: {format: csv}\n", " has no name; write `name: bad`"),
    (GOOD.encode() + b"until: 2010-02-31\n", " holds a date or time that there is not (day is out of range for "
     "month); mend it, or write it in quotes"),
    (GOOD.encode() + b"items: [{file: 'a${b'}]\n", ": items.file is 'a${b', and ${ begins what is filled in; write "
     "\\${ where it is meant as it stands"),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("conf/dataset/bad.yaml")
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(("data", "said"), FAULTS)
def test_what_is_wrong_with_a_chosen_file_is_said_with_the_way_out(file: Path, data: bytes, said: str):
    file.write_bytes(data)
    assert file_at_fault(["seed=1", "dataset=demo_shop,bad"]) == f"{file}{said}"
    assert file_at_fault(["dataset=demo_shop"]) is None


def test_a_file_in_a_folder_of_its_group_is_looked_at_and_one_elsewhere_is_not(file: Path, tmp_path: Path):
    own = Path("conf/experiment/mine/bad.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("- seed\n")
    assert file_at_fault(["+experiment=mine/bad"]) == f"{own} holds no settings; write lines such as `name: value`"
    assert file_at_fault([f"run={tmp_path}/conf/experiment/mine/bad"]) is None


@pytest.mark.parametrize(
    "text", [GOOD, GOOD + "title: ${oc.env:HOME}, \\${ as it stands\n", "a: [\n", "defaults: [b]\n"]
)
def test_files_that_are_whole_or_whose_reader_says_where_are_not_at_fault(file: Path, text: str):
    file.write_text("\ufeff" + text, encoding="utf-8")
    assert file_at_fault(["dataset=bad", "dataset=nowhere", "model=popularity", "+experiment=x", "split.k=2"]) is None


def test_a_verb_that_fails_over_such_a_file_ends_in_that_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from shopkeeper.pipeline.shell.verbs import run_verb

    file.write_bytes(FAULTS[1][0])
    with pytest.raises(SystemExit) as e:
        run_verb("prepare", ["dataset=bad"])
    assert e.value.code == 1
    assert capsys.readouterr().err == f"error: {file}{FAULTS[1][1]}\n"
    monkeypatch.setattr("sys.argv", ["prepare.py", "dataset=demo_shop"])
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError
