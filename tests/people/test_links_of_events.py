"""Links between an account and a browser that the log's own rows show: since when, until when, and known by whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.ingest.log import read_log
from shopkeeper.people.identity import FOREVER, links_of
from shopkeeper.people.rules import customer_rules

T = 1_600_000_000
ROWS = [(T, None, "k"), (T + 1, "ann", "k"), (T + 2, "ann", "k"), (T + 3, "bob", "k"), (T + 4, None, "k"),
        (T + 5, "ann", "phone"), (T + 6, None, "other"), (T + 9, "ann", "k")]  # fmt: skip
FROM = {"account": "login", "key": "browser"}
CONFIG: dict[str, Any] = {
    "name": "web",
    "raw": {"folder": "", "files": ["web.jsonl"]},
    "reader": {"format": "json_lines"},
    "steps": [{"first_of": {"columns": ["login", "browser"], "into": "who"}}],
    "columns": {"user_id": "who", "item_id": "what", "timestamp": "t"},
    "timestamp": {"unit": "s"},
    "event_type": "view",
}


def written(folder: Path, rows: list[tuple[int, str | None, str]] = ROWS) -> Path:
    lines = [{"t": t, "login": who, "browser": key, "what": f"i{n}"} for n, (t, who, key) in enumerate(rows)]
    (folder / "web.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def persons(folder: Path, as_of: int | str | None) -> list[str]:
    config = {**CONFIG, "identity": {"from_events": FROM, **({"as_of": as_of} if as_of else {})}}
    log = read_log(parse(config), folder, progress=False)
    change = customer_rules(config, folder)
    assert change is not None
    change(log)
    assert not [name for name in log.ids if name.startswith("file:")]
    return [log.ids["user_id"].values[code].as_py() for code in log.user.tolist()]


def test_a_browser_is_an_accounts_until_another_one_signs_in(tmp_path: Path):
    log = read_log(parse({**CONFIG, "identity": {"from_events": FROM}}), written(tmp_path), progress=False)
    found = links_of(log, "login", "browser")
    micros = [1_000_000 * (T + s) for s in (1, 3, 9, 5)]
    assert list(zip(found.account.to_pylist(), found.key.to_pylist(), found.valid_from, found.valid_until,
                    strict=True)) == [
        ("ann", "k", micros[0], micros[1]), ("bob", "k", micros[1], micros[2]), ("ann", "k", micros[2], FOREVER),
        ("ann", "phone", micros[3], FOREVER)]  # fmt: skip


def test_events_before_the_first_sign_in_become_the_persons_once_that_is_known(tmp_path: Path):
    written(tmp_path)
    assert persons(tmp_path, None) == ["k", "ann", "ann", "bob", "k", "ann", "other", "ann"]
    at = ["2020-09-13T12:26:41Z", "2020-09-13T12:26:42Z", "2020-09-13T12:27:00Z"]  # T is 12:26:40
    assert persons(tmp_path, at[0])[0] == "k"  # the row that shows it is not before this instant
    assert persons(tmp_path, at[1])[:3] == ["ann"] * 3
    assert persons(tmp_path, at[2]) == ["ann", "ann", "ann", "bob", "bob", "ann", "other", "ann"]


def test_a_log_in_which_nobody_signs_in_stays_as_it_is(tmp_path: Path):
    written(tmp_path, [(T, None, "k"), (T + 1, None, "l")])
    assert persons(tmp_path, "2021-01-01") == ["k", "l"]


def test_what_is_not_said_whole_is_refused(tmp_path: Path):
    for said, match in (
        ({"from_events": {"account": "login"}}, r"identity\.from_events needs account and key"),
        ({"from_events": FROM, "file": "links.csv"}, r"needs a file of links, or from_events, and not both"),
        ({"as_of": "2021-01-01"}, r"needs a file of links, or from_events"),
    ):
        with pytest.raises(UserError, match=match):
            customer_rules({**CONFIG, "identity": said}, tmp_path)
    config = {key: value for key, value in CONFIG.items() if key != "timestamp"}
    config |= {"columns": {"user_id": "who", "item_id": "what"}, "identity": {"from_events": FROM}}
    log = read_log(parse(config), written(tmp_path), progress=False)
    with pytest.raises(UserError, match="needs times"):
        links_of(log, "login", "browser")
