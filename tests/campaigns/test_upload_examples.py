"""Worked examples of contacts as shops have them, in every tool's file; hashes are of normal forms by hand."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.campaigns.upload import keys
from shopkeeper.errors import UserError
from shopkeeper.pipeline.upload import write_upload_file

CONTACTS = (
    "user_id,consent,consent_at,email,phone,first_name,last_name,city,state,zip,country,birthday,gender\n"
    # dots, a tag and capitals before @gmail.com; a number with its (0); a decomposed umlaut, an apostrophe; a ZIP+4
    "1,true,2025-03-01,J.O.Hara+News@GMail.com,+44 (0)20 7946-0018,Zoe\u0308,O'Hara,St. Louis,MO,63101-4321,us,"
    "1990-07-04,F\n"
    # another mailbox that keeps its dots; marks of direction around a number; a name of two words; UK for GB
    "2,yes,2025-03-01T10:00:00+01:00,J.O.Hara@Example.org,\u202a0049 30 901820\u202c,Anna Maria,Łuk,Łódź,,SW1A 1AA,UK,"
    "04/07/1990,female\n"
    # a number without its country, a name that is a formula, a country in words
    "3,TRUE,2025-03-01,c@example.org,020 7946 0018,=cmd|' /C calc'!A0,@Lee,,,75001,France,1990-02-30,?\n"
    # no e-mail: reached by phone alone; a first name that begins with a tab
    "4,1,2025-03-01,,+33 6 12 34 56 78,\tTab,-Minus,,,,fr,,m\n"
)
NFC = "zo\u00eb"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("contacts.csv").write_text(CONTACTS, encoding="utf-8")
    moment = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    listed = pa.table({
        "user_id": ["1", "2", "3", "4"],
        "note": ["plain", "+1 for tea", "\uff1d1+1", None],
        "risk": [0.5, float("nan"), -0.25, float("inf")],
        "send_at": pa.array([moment, None, moment, None], pa.timestamp("us", tz="UTC")),
        "day": pa.array([moment.date()] * 4, pa.date32()),
    })  # fmt: skip
    pq.write_table(listed, "list.parquet")


def rows(tool: str, **other: object) -> list[dict[str, str]]:
    write_upload_file(Path("list.parquet"), Path("contacts.csv"), tool, Path("out"), overwrite=True, **other)  # type: ignore[arg-type]
    with open("out", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";" if tool == "brevo" else ","))


def test_google_matches_on_normal_forms_and_whole_addresses_alone():
    first, second, third, fourth = rows("google")
    assert first["Email"] == sha("johara+news@gmail.com")
    assert second["Email"] == sha("j.o.hara@example.org")
    assert [r["Phone"] for r in (first, second, third, fourth)] == [
        sha("+442079460018"), sha("+4930901820"), "", sha("+33612345678"),
    ]  # fmt: skip
    assert [first[c] for c in ("First Name", "Last Name", "Country", "Zip")] == [
        sha(NFC), sha("o'hara"), "US", "63101-4321",
    ]  # fmt: skip
    assert [second[c] for c in ("First Name", "Last Name", "Country", "Zip")] == [
        sha("annamaria"), sha("łuk"), "GB", "SW1A 1AA",
    ]  # fmt: skip
    for row in (third, fourth):  # a country in words, no zip: no address
        assert [row[c] for c in ("First Name", "Last Name", "Country", "Zip")] == [""] * 4


def test_meta_hashes_every_field_by_its_own_rule():
    first, second, third, fourth = rows("meta")
    assert first == {
        "email": sha("j.o.hara+news@gmail.com"), "phone": sha("442079460018"), "fn": sha(NFC), "ln": sha("o'hara"),
        "ct": sha("stlouis"), "st": sha("mo"), "country": sha("us"), "zip": sha("63101"), "dob": sha("19900704"),
        "gen": sha("f"),
    }  # fmt: skip
    assert [second[c] for c in ("fn", "ct", "country", "zip", "dob", "gen")] == [
        sha("anna maria"), sha("łódź"), sha("gb"), sha("sw1a1aa"), "", sha("f"),
    ]  # fmt: skip
    assert [third[c] for c in ("phone", "country", "dob", "gen")] == [""] * 4
    assert (fourth["email"], fourth["gen"]) == ("", sha("m"))


@pytest.mark.parametrize("tool", ["klaviyo", "brevo", "omnisend", "csv"])
def test_phones_keep_their_plus_and_what_a_spreadsheet_would_run_it_does_not(tool: str):
    found = rows(tool)
    phone = {"klaviyo": "Phone Number", "brevo": "SMS", "omnisend": "Phone number", "csv": "phone"}[tool]
    assert [r[phone] for r in found] == ["+442079460018", "+4930901820", "", "+33612345678"]
    free = [[text for name, text in r.items() if name not in (phone,)] for r in found]
    assert not [t for r in free for t in r if t[:1] in tuple("=+@\t\r\n\uff1d") or (t[:1] == "-" and t != "-0.25")]
    assert "'\uff1d1+1" in found[2].values()
    assert "'@Lee" in found[2].values()
    assert "Łuk" in found[1].values()
    instants = [r.get("send_at", r.get("SEND_AT")) for r in found]
    assert instants == ["2026-03-01T09:30:00Z", "", "2026-03-01T09:30:00Z", ""]
    assert [r.get("risk", r.get("RISK")) for r in found] == ["0.5", "", "-0.25", ""]  # what is no number is blank


def test_omnisend_is_told_when_each_opted_in_and_of_nobody_that_they_will():
    found = rows("omnisend")
    assert [(r["Email opt-in date"], r["SMS opt-in date"]) for r in found] == [
        ("2025-03-01", "2025-03-01"), ("2025-03-01T10:00:00+01:00", "2025-03-01T10:00:00+01:00"), ("2025-03-01", ""),
        ("", "2025-03-01"),
    ]  # fmt: skip
    Path("contacts.csv").write_text("user_id,consent,consent_at,email\n1,true,2999-01-01,a@b.org\n")
    with pytest.raises(UserError, match="'2999-01-01' in the contacts, a day to come"):
        rows("omnisend")
    wide = pa.table({"user_id": ["1"], **{f"x{i}": [0] for i in range(198)}})
    pq.write_table(wide, "list.parquet")
    Path("contacts.csv").write_text("user_id,consent,consent_at,email\n1,true,2025-01-01,a@b.org\n")
    assert len(rows("omnisend", traits=[f"x{i}" for i in range(197)])[0]) == 199
    pq.write_table(wide.append_column("y", pa.array([0])), "list.parquet")
    with pytest.raises(UserError, match="201 columns and Omnisend takes 200; name --traits"):
        rows("omnisend")


def test_json_lines_have_the_words_of_their_tools_and_no_number_that_is_none():
    for tool, words in (("segment", ("firstName", "lastName")), ("braze", ("first_name", "last_name"))):
        write_upload_file(Path("list.parquet"), Path("contacts.csv"), tool, Path("out"), overwrite=True)
        lines = [json.loads(x) for x in Path("out").read_text("utf-8").splitlines()]
        traits = [line["traits"] if tool == "segment" else line for line in lines]
        assert [traits[2][w] for w in words] == ["=cmd|' /C calc'!A0", "@Lee"]  # no spreadsheet opens it
        assert traits[0]["send_at"] == "2026-03-01T09:30:00Z"
        assert traits[0]["day"] == "2026-03-01"
        assert ["risk" in t for t in traits] == [True, False, True, False]
        assert traits[3]["phone"] == "+33612345678"
    pq.write_table(pa.table({"user_id": ["1"], "firstName": ["x"]}), "list.parquet")
    with pytest.raises(UserError, match="'firstName' would take the place"):
        write_upload_file(Path("list.parquet"), Path("contacts.csv"), "segment", Path("other"))


def test_what_could_not_be_used_is_said(capsys: pytest.CaptureFixture[str]):
    rows("klaviyo")
    said = capsys.readouterr().out
    assert "warning: 1 phones without the country's code (+44 …): blank in the file" in said
    assert "warning: 1 countries that are no code of two letters: blank in the file" in said
    assert "warning: 2 birthdays that are not written YYYY-MM-DD: blank in the file" in said
    assert "e-mails that are none" not in said


def test_a_refusal_holds_for_the_mailbox_however_its_dots_are_written():
    Path("contacts.csv").write_text(
        "user_id,consent,email\n1,true,ann.lee@gmail.com\n2,true,annlee@example.org\n9,false,annlee@googlemail.com\n"
        "3,true,bo@gmail.com\n8,false,b.o@gmail.com\n"
    )
    # googlemail.com and gmail.com are two names to Google's own rule, too; dots are what is left aside
    assert [r["Email"] for r in rows("klaviyo")] == ["ann.lee@gmail.com", "annlee@example.org"]


def test_a_list_that_was_made_safe_for_a_spreadsheet_finds_its_customers_again():
    Path("list.csv").write_text("user_id,risk\n'=8,0.5\n'+9,0.25\n'plain,0.1\n")
    Path("contacts.csv").write_text(
        "user_id,consent,email\n=8,true,a@b.org\n+9,true,c@b.org\n'plain,true,d@b.org\nplain,true,e@b.org\n"
    )
    write_upload_file(Path("list.csv"), Path("contacts.csv"), "csv", Path("out"))
    with open("out", newline="") as file:
        found = [(r["user_id"], r["email"]) for r in csv.DictReader(file)]
    assert found == [("=8", "a@b.org"), ("+9", "c@b.org"), ("'plain", "d@b.org")]


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+1 (415) 555-2671", "+14155552671"), ("'+27 82 123 4567", "+27821234567"),
        ("0033 6.12.34.56.78", "+33612345678"), ("+44(0)2079460018", "+442079460018"),
        ("+39 (0)6 1234567", "+39061234567"), ("+49\u00a030\u2013901820", "+4930901820"),
        ("4155552671", ""), ("(0)20 7946 0018", ""), ("+44", ""), ("+44 20 x", ""), ("++44 20 7946 0018", ""), ("", ""),
        ("+1234567890123456", ""),
    ],
)  # fmt: skip
def test_phones(written: str, number: str):
    assert keys.phone(written) == number
