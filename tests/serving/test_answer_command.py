"""`shopkeeper answer`: JSON lines in and out; a whole customer base into Parquet that goes on where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer import everybody as module
from shopkeeper.bundles.answer.everybody import answer_everybody
from shopkeeper.bundles.answer.lines import MOST_BYTES, answer_some
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.counting.recency import Recency
from tiny import tiny_prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("answers")
    histories = [np.random.default_rng(u).integers(1, 13, 8).tolist() for u in range(20)]
    prepared, split = tiny_prepared(place / "tiny", histories, n_items=12)
    model = Recency()
    model.fit(prepared, split, Fit())
    return export_bundle(model, prepared, split, MadeFrom(model="recency"), place / "recency", k=5, golden=5)


def shell(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "shopkeeper", "answer", *words], input=given, capture_output=True,
                          text=True, check=False)  # fmt: skip


def test_each_line_gets_its_answer_in_its_place_and_a_wrong_one_stops_nobody(folder: Path):
    lines = ('{"id": "a", "history": ["i1", "i2"], "k": 2}', "", "not json", '{"history": [["i1", "vue"]], "id": "b"}',
             '{"id": "c", "history": ["i1", "gone"], "k": 2, "exclude": ["i1"]}')  # fmt: skip
    done = shell(str(folder), given="\n".join(lines))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("id") for one in found] == ["a", None, "b", "c"]
    assert found[0]["items"][0]["item_id"] == "i2"
    assert found[3]["unknown_items"] == 1
    assert "i1" not in {i["item_id"] for i in found[3]["items"]}
    assert found[1]["error"]["code"] == "bad_json"
    assert "unknown event type 'vue'" in found[2]["error"]["message"]
    assert (done.returncode, done.stderr) == (
        1,
        "error: 2 of 4 requests were refused; `error` in their lines says why\n",
    )


def test_the_goldens_of_a_bundle_come_out_of_the_shell_as_they_are(folder: Path):
    golden = json.loads((folder / "golden.json").read_text())["requests"]
    asked = [json.dumps({key: value for key, value in g.items() if key != "expected"}) for g in golden]
    done = shell(str(folder), given="\n".join(asked))
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = [[i["item_id"] for i in g["expected"]["items"]] for g in golden]
    assert [[i["item_id"] for i in one["items"]] for one in found] == wanted


def test_who_waits_for_an_answer_gets_it_before_asking_again(folder: Path):
    with subprocess.Popen([sys.executable, "-m", "shopkeeper", "answer", str(folder)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        for item in ("i1", "i2"):
            running.stdin.write(json.dumps({"history": [item]}) + "\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["items"][0]["item_id"] == item
        running.stdin.close()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("[]", "a request is []; write an object"),
        ("{}", "a request lacks history"),
        ('{"history": "i1"}', "history is 'i1'; write a list of events"),
        ('{"history": [], "exclude": "sku-1"}', 'exclude is \'sku-1\'; write a list of ids, e.g. "exclude": ["sku-1"]'),
        ('{"history": [], "exclude": [["sku-1"]]}', "exclude holds ['sku-1']; write a list of ids"),
        ('{"history": [], "basket": "i1"}', "basket is 'i1'; write a list of lines"),
        ('{"history": [], "k": 6}', "k is 6; write a whole number from 1 to 5"),
        ('{"history": [], "k": true}', "k is True"),
        ('{"history": [], "filter_seen": "no"}', "filter_seen is 'no'; write true or false"),
        ('{"history": [], "as_of": 3}', "as_of is 3; write text"),
        ('{"history": [], "as_of": "soon"}', "'soon' is no time"),
        ('{"history": [], "histories": []}', "has no 'histories'. Did you mean 'history'"),
        ('{"history": [{"item_id": "i1", "price": NaN}]}', "holds NaN, which is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"history": ["' + "x" * MOST_BYTES + '"]}', "at most 10,000,000 are read"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told_how_it_is_written(folder: Path, request_: str, said: str):
    (answer,) = answer_some(Bundle.load(folder), [request_.encode()])
    assert said in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert str(folder) not in answer["error"]["message"]


def test_the_flags_of_files_are_refused_for_lines(folder: Path):
    assert "error: --as-of is for --events" in shell(str(folder), "--as-of", "2026-01-01").stderr
    assert "error: --events and --to belong together" in shell(str(folder), "--to", "x").stderr


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    """Ten customers, u0 to u9, of n + 1 events each."""
    users = [f"u{n}" for n in range(10) for _ in range(n + 1)]
    items = [f"i{1 + (n + e) % 12}" for n in range(10) for e in range(n + 1)]
    pq.write_table(pa.table({"user_id": users, "item_id": items, "other": users}), tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(out.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_a_customer_base_is_answered_in_parts_as_it_is_one_by_one(
    folder: Path, customers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "ROWS", 7)  # customers go on from one piece of the file to the next
    bundle = Bundle.load(folder)
    assert answer_everybody(bundle, customers, tmp_path / "out", k=3, per_part=4) == 10
    assert [pq.read_metadata(p).num_rows for p in sorted((tmp_path / "out").glob("*.parquet"))] == [4, 4, 2]
    found = rows(tmp_path / "out")
    assert [row["user_id"] for row in found] == [f"u{n}" for n in range(10)]
    for n, row in enumerate(found):
        (alone,) = bundle.recommend([[f"i{1 + (n + e) % 12}" for e in range(n + 1)]], k=3)
        assert row["items"] == [i for i, _ in alone]
        np.testing.assert_allclose(row["scores"], [s for _, s in alone])
    assert pq.read_table(tmp_path / "out").to_pylist() == found  # the folder is one table
    told = json.loads((tmp_path / "out/_manifest.json").read_text())
    assert (told["customers"], told["k"], len(told["files"])) == (10, 3, 3)


KILLED = """
import os, signal, sys
from pathlib import Path
from shopkeeper.bundles.answer import Bundle, everybody
write = everybody._write
def killed(part, *rest):
    if part.name == "part-00002.parquet":
        os.kill(os.getpid(), signal.SIGKILL)
    write(part, *rest)
everybody._write = killed
bundle, events, out = map(Path, sys.argv[1:])
everybody.answer_everybody(Bundle.load(bundle), events, out, per_part=3)
"""


def test_a_killed_command_goes_on_behind_its_last_part_and_ends_alike(folder: Path, customers: Path, tmp_path: Path):
    out, words = tmp_path / "out", [str(folder), str(customers), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.parquet")}
    assert sorted(before) == ["part-00000.parquet", "part-00001.parquet"]
    assert not (out / "_manifest.json").exists()
    with pytest.raises(UserError, match="holds answers of another bundle, file or settings"):
        answer_everybody(Bundle.load(folder), customers, out, per_part=3, k=2)
    assert answer_everybody(Bundle.load(folder), customers, out, per_part=3) == 10
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    answer_everybody(Bundle.load(folder), customers, tmp_path / "whole", per_part=3)
    assert rows(out) == rows(tmp_path / "whole")
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_finished_answers_stay_and_others_give_way_when_told(folder: Path, customers: Path, tmp_path: Path):
    bundle, out = Bundle.load(folder), tmp_path / "out"
    answer_everybody(bundle, customers, out, per_part=3)
    stamp = (out / "part-00000.parquet").stat().st_mtime_ns
    assert answer_everybody(bundle, customers, out, per_part=3) == 10
    assert (out / "part-00000.parquet").stat().st_mtime_ns == stamp
    assert answer_everybody(bundle, customers, out, per_part=6, overwrite=True) == 10
    assert len(list(out.glob("part-*"))) == 2
    (out / "mine.txt").write_text("")
    with pytest.raises(UserError, match=r"'mine\.txt' in the folder of answers"):
        answer_everybody(bundle, customers, out, per_part=3, overwrite=True)


def test_a_setting_that_is_wrong_is_said_before_a_folder_is_made(folder: Path, customers: Path, tmp_path: Path):
    bundle, out = Bundle.load(folder), tmp_path / "out"
    for told, said in (({"k": 99}, "^k=99: this bundle gives"), ({"as_of": "soon"}, "^as_of: 'soon' is no time")):
        with pytest.raises(UserError, match=said):  # and of no customer
            answer_everybody(bundle, customers, out, k=told.get("k"), as_of=told.get("as_of"))
    assert not out.exists()


def test_a_folder_in_which_nothing_was_written_is_begun_anew(folder: Path, customers: Path, tmp_path: Path):
    bundle, out, wrong = Bundle.load(folder), tmp_path / "out", tmp_path / "wrong.parquet"
    pq.write_table(pa.table({"user_id": ["a"], "sku": ["i1"]}), wrong)
    with pytest.raises(UserError, match="has no column 'item_id'"):
        answer_everybody(bundle, wrong, out)
    assert answer_everybody(bundle, customers, out) == 10


def test_a_file_that_is_none_and_customers_that_do_not_stand_together_are_said(folder: Path, tmp_path: Path):
    bundle, file = Bundle.load(folder), tmp_path / "events.parquet"
    with pytest.raises(UserError, match="there is no file"):
        answer_everybody(bundle, file, tmp_path / "out")
    file.write_text("not Parquet")
    with pytest.raises(UserError, match="is no Parquet file that can be read"):
        answer_everybody(bundle, file, tmp_path / "out")
    pq.write_table(pa.table({"user_id": ["a"], "sku": ["i1"]}), file)
    with pytest.raises(UserError, match="has no column 'item_id'; its columns: user_id, sku"):
        answer_everybody(bundle, file, tmp_path / "two")
    pq.write_table(pa.table({"user_id": ["a", "b", "a"], "item_id": ["i1"] * 3}), file)
    with pytest.raises(UserError, match="customer 'a' comes again after others; sort the file by customer"):
        answer_everybody(bundle, file, tmp_path / "three")
    pq.write_table(pa.table({"user_id": ["a", "b"], "item_id": ["i1"] * 2, "event_type": ["view", "vue"]}), file)
    with pytest.raises(UserError, match="customer 'b': history 0: unknown event type 'vue'"):
        answer_everybody(bundle, file, tmp_path / "four")
