"""Files for mail and advertising tools, against expected ones made by hand from what the tools publish."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopkeeper.campaigns.uplift.settings import Campaign
from shopkeeper.campaigns.uplift.table import read_campaign
from shopkeeper.campaigns.upload import keys
from shopkeeper.campaigns.upload.contacts import read_list
from shopkeeper.campaigns.upload.tools import TOOLS
from shopkeeper.cli import experiments
from shopkeeper.cli.commands import campaigns
from shopkeeper.cli.main import main
from shopkeeper.errors import UserError
from shopkeeper.pipeline.upload import write_upload_file

# SHA-256 as published examples and hand-made normal forms have it.
ANN_META = "df028a8df9b00b4d0fdb603e7b86fbef5dee55be619d3d180a7775b5f92c829d"
ANN_GOOGLE = "068848ad54599c972d6cf098716f3010e816656db8a89a37059cddb75537a652"
PHONE_META = "99a4599795d24445a5be21117f375c1bbe9e795daf7f62666686ce081e1f32dc"
PHONE_GOOGLE = "faad3b10918e39b5f4d5334f1e1e128719608e8bd3ad3b963dc30187b4518e23"
ANN = "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1"
LEE = "1508b697895abf03d55c3841f59236ab92c9ba6ba89795c8337fcf392fdee8b4"
ZIP_META = "830e1d4b9838bab1f5c2acdb23e0b502ff13a9832c4632e8d67a1d43d3b7f614"
GB_META = "0b407281768f0e833afef47ed464b6571d01ca4d53c12ce5c51d1462f4ad6677"
BORN_META = "ab76a422ac8223f4dc26821ade87ad3942389a82d4440b4c500a4f36795b1004"
CONTACTS = """user_id,consent,consent_at,email,phone,first_name,last_name,zip,country,birthday
007,true,2025-03-01T10:00:00Z, Ann.Lee+Shop@Gmail.com ,'+44 20 7946 0018,Ann,Lee,SW1A 1AA,gb,1990-07-04
=8,true,2025-03-02T10:00:00Z,bo@example.org,,=Bo,,,,
9,false,,cy@example.org,,Cy,,,,
10,true,2025-03-02T10:00:00Z,ANN.LEE+shop@gmail.com,,Twin,,,,
11,true,2025-03-02T10:00:00Z,no address,020 7946 0018,Di,,,,
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("contacts.csv").write_text(CONTACTS)
    listed = pa.table({
        "user_id": ["007", "=8", "9", "10", "11", "12"],
        "lifecycle": ["lapsed", "at risk", "lapsed", "lapsed", "lapsed", "new"],
        "risk": [0.5, -0.25, 0.1, 0.2, 0.3, 0.4],
        "blank_reason": [""] * 6,
    })  # fmt: skip
    pq.write_table(listed, "list.parquet")
    return tmp_path


def made(tool: str, **other: Any) -> str:
    write_upload_file(Path("list.parquet"), Path("contacts.csv"), tool, Path("out/file"), overwrite=True, **other)
    return Path("out/file").read_text(encoding="utf-8")


EXPECTED = {
    "klaviyo": """"Email","Phone Number","First Name","Last Name","lifecycle","risk"
"ann.lee+shop@gmail.com","+442079460018","Ann","Lee","lapsed",0.5
"bo@example.org","","'=Bo","","at risk",-0.25
""",
    "mailchimp": """"Email Address","First Name","Last Name","lifecycle","risk"
"ann.lee+shop@gmail.com","Ann","Lee","lapsed",0.5
"bo@example.org","'=Bo","","at risk",-0.25
""",
    "brevo": """"EMAIL";"SMS";"EXT_ID";"FIRSTNAME";"LASTNAME";"LIFECYCLE";"RISK"
"ann.lee+shop@gmail.com";"+442079460018";"007";"Ann";"Lee";"lapsed";0.5
"bo@example.org";"";"=8";"'=Bo";"";"at risk";-0.25
""",
    "omnisend": """"Email","Phone number","First name","Last name","Email opt-in date","SMS opt-in date","lifecycle"
"ann.lee+shop@gmail.com","+442079460018","Ann","Lee","2025-03-01T10:00:00Z","2025-03-01T10:00:00Z","lapsed"
"bo@example.org","","'=Bo","","2025-03-02T10:00:00Z","","at risk"
""",
    "braze": """{"external_id": "007", "email": "ann.lee+shop@gmail.com", "phone": "+442079460018", "first_name": "Ann", "last_name": "Lee", "lifecycle": "lapsed", "risk": 0.5}
{"external_id": "=8", "email": "bo@example.org", "first_name": "=Bo", "lifecycle": "at risk", "risk": -0.25}
""",  # noqa: E501
    "segment": """{"type": "identify", "userId": "007", "traits": {"email": "ann.lee+shop@gmail.com", "phone": "+442079460018", "firstName": "Ann", "lastName": "Lee", "lifecycle": "lapsed", "risk": 0.5}}
{"type": "identify", "userId": "=8", "traits": {"email": "bo@example.org", "firstName": "=Bo", "lifecycle": "at risk", "risk": -0.25}}
""",  # noqa: E501
}


@pytest.mark.parametrize("tool", EXPECTED)
def test_the_file_is_the_expected_one(place: Path, tool: str):
    assert made(tool, traits=["lifecycle"] if tool == "omnisend" else None) == EXPECTED[tool]


def test_hashes_are_the_documented_ones_and_each_tool_has_its_own_rules(place: Path):
    header, ann, bo = (line.split(",") for line in made("meta").replace('"', "").splitlines())
    assert header == ["email", "phone", "fn", "ln", "country", "zip", "dob"]
    assert ann == [ANN_META, PHONE_META, ANN, LEE, GB_META, ZIP_META, BORN_META]
    assert bo[1:2] + bo[3:] == [""] * 5  # an empty cell is never hashed
    header, ann, bo = (line.split(",") for line in made("google").replace('"', "").splitlines())
    assert header == ["Email", "Phone", "First Name", "Last Name", "Country", "Zip"]
    assert ann == [ANN_GOOGLE, PHONE_GOOGLE, ANN, LEE, "GB", "SW1A 1AA"]
    assert bo[1:] == [""] * 5  # a name without the rest of the address matches nobody


def test_what_is_a_hash_already_is_not_hashed_again(place: Path):
    Path("contacts.csv").write_text(f"user_id,consent,email\n007,true,{ANN_META.upper()}\n")
    assert ANN_META in made("meta")
    assert ANN_META in made("google")


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(keys)
    assert found.attempted >= 8
    assert found.failed == 0


def test_who_is_left_out_is_counted_and_said(place: Path, capsys: pytest.CaptureFixture[str]):
    made("meta")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "out/file: 2 customers for meta"
    assert sorted(said[1:]) == [
        "  left out, an e-mail or phone that another customer of the list has: 1",
        "  left out, did not agree: 1",
        "  left out, no contact: 1",
        "  left out, no usable e-mail or phone: 1",
        "  warning: 2 people: Meta takes audiences from 100 on",
    ]


def test_from_the_command_line_with_a_segment_and_without_traits(place: Path):
    words = ["upload-file", "list.parquet", "contacts.csv", "--tool", "braze", "--to", "lapsed.jsonl"]
    main([*words, "--where", "lifecycle=lapsed", "--where", "risk=0.5", "--traits", "risk"])
    (row,) = (json.loads(line) for line in Path("lapsed.jsonl").read_text().splitlines())
    assert row["external_id"] == "007"
    assert "lifecycle" not in row
    assert set(campaigns.UPLOADS) == set(TOOLS)


@pytest.mark.parametrize(
    ("contacts", "other", "said"),
    [
        ("user_id,email\n007,a@b.org\n", {}, "lacks the column 'consent'; add who agreed"),
        ("user_id,consent\n007,true\n", {}, "has neither of the columns email and phone"),
        ("user_id,consent,email,emial\n007,true,a@b.org,x\n", {}, r"'emial', which is none of contacts\. Did you mean"),
        ("user_id,consent,email\n007,true,a@b.org\n007,true,c@b.org\n", {}, "has a user_id in several rows"),
        ("user_id,consent,email\n007,false,a@b.org\n", {}, r"nobody would be in .*5: no contact; 1: did not agree"),
        (CONTACTS, {"where": ["stage=lapsed"]}, "--where stage=lapsed names no column"),
        (CONTACTS, {"traits": ["rsk"]}, r"--traits names 'rsk', .* Did you mean 'risk'\?"),
        ("user_id,consent,email\n007,true,a@b.org\n", {"tool": "omnisend"}, "give consent_at of everybody"),
        ("user_id,consent,email,consent_at\n007,true,a@b.org,lately\n", {"tool": "omnisend"}, "'lately' .*ISO 8601"),
        ("user_id,consent,email,email\n007,true,a@b.org,c@b.org\n", {}, "has the column 'email' twice"),
        ("user_id,consent,email\n,true,a@b.org\n007,true,c@b.org\n", {}, "has rows without a user_id"),
        ("user_id,consent,phone\n007,true,+442079460018\n", {"tool": "mailchimp"}, "an e-mail that Mailchimp takes"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_one_line_and_no_file(
    place: Path, contacts: str, other: dict[str, object], said: str
):
    Path("contacts.csv").write_text(contacts)
    with pytest.raises(UserError, match=said) as error:
        made(str(other.pop("tool", "klaviyo")), **other)
    assert "\n" not in str(error.value)
    assert not Path("out/file").exists()


def test_mailchimp_cuts_long_texts_between_letters_and_leaves_out_what_it_would_refuse(place: Path):
    long = "ü" * 200
    Path("contacts.csv").write_text(f"user_id,consent,email,first_name\n007,true,a@b.org,{long}\n9,true,jürg@b.org,J\n")
    header, row = made("mailchimp", traits=[]).splitlines()
    assert row == f'"a@b.org","{"ü" * 127}",""'
    assert header == '"Email Address","First Name","Last Name"'


@pytest.mark.parametrize(
    ("tool", "name"),
    [("klaviyo", "email"), ("klaviyo", "Phone Number"), ("mailchimp", "Email Address"), ("brevo", "sms"),
     ("omnisend", "SMS opt-in date"), ("braze", "external_id"), ("braze", "email_subscribe"), ("segment", "email")],
)  # fmt: skip
def test_a_column_of_the_list_never_stands_where_a_contacts_key_does(place: Path, tool: str, name: str):
    listed = pa.table({"user_id": ["007"], name: ["other@b.org"]})
    pq.write_table(listed, "list.parquet")
    with pytest.raises(UserError, match=f"'{name}' would take the place of what the contacts say"):
        made(tool)
    assert not Path("out/file").exists()
    made(tool, traits=[])


def test_two_columns_that_are_one_to_the_tool_are_named(place: Path):
    pq.write_table(pa.table({"user_id": ["007"], "city": ["a"], "City": ["b"]}), "list.parquet")
    with pytest.raises(UserError, match="two columns of the list would be CITY"):
        made("brevo")
    made("klaviyo")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_of_every_kind_and_names_of_columns_are_safe(place: Path, kind: pa.DataType):
    listed = pa.table({"user_id": ["007"], "=name": pa.array(["=1+1"]).cast(kind)})
    pq.write_table(listed, "list.parquet")
    header, row = (line.split(",") for line in made("klaviyo").splitlines())
    assert (header[-1], row[-1]) == ('"\'=name"', '"\'=1+1"')


def test_what_a_list_of_records_says_is_refused(place: Path):
    pq.write_table(pa.table({"user_id": ["007"], "items": [["a"]]}), "list.parquet")
    with pytest.raises(UserError, match=r"'items' of list\.parquet is no text, number or time"):
        made("klaviyo")
    with pytest.raises(UserError, match=r"'items' of list\.parquet is no text, number or time"):
        made("klaviyo", where=["items=a"])


def test_a_refusal_holds_for_every_customer_of_the_address(place: Path, capsys: pytest.CaptureFixture[str]):
    Path("contacts.csv").write_text(
        "user_id,consent,email\n007,true,A@b.org\n9,true,c@b.org\nold,false, a@B.org\n"  # who refused is in no list
    )
    assert "a@b.org" not in made("klaviyo", traits=[])
    assert "left out, an e-mail or phone of somebody who did not agree: 1" in capsys.readouterr().out


def test_no_file_is_replaced_unasked_and_what_is_read_never(place: Path):
    told = (Path("list.parquet"), Path("contacts.csv"), "klaviyo")
    write_upload_file(*told, Path("out.csv"))
    with pytest.raises(UserError, match=r"out\.csv is there already; choose another name, or say --overwrite"):
        write_upload_file(*told, Path("out.csv"))
    write_upload_file(*told, Path("out.csv"), overwrite=True)
    before = {path: path.read_bytes() for path in told[:2]}
    Path("link.csv").symlink_to("contacts.csv")
    for to in (*told[:2], Path("link.csv"), Path(".")):
        with pytest.raises(UserError, match="or what is read; choose another name"):
            write_upload_file(*told, to, overwrite=True)
    assert {path: path.read_bytes() for path in told[:2]} == before


def test_a_text_that_got_an_apostrophe_is_no_longer_than_mailchimp_takes(place: Path):
    Path("contacts.csv").write_text(f"user_id,consent,email,first_name\n007,true,a@b.org,={'x' * 300}\n")
    row = made("mailchimp", traits=[]).splitlines()[1]
    assert row == f'"a@b.org","\'={"x" * 253}",""'


@pytest.mark.parametrize(
    "read",
    [
        read_list,
        lambda file: experiments.print_readout(file, 10, 0.5, 0.05),
        lambda file: read_campaign(Campaign("mail", file.name, "arm"), file.parent),
    ],
)
def test_a_table_whose_column_names_are_in_another_encoding_is_refused_in_a_line(read, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("user_id,value,treated,arm,Stra\xdfe\n1,2,1,a,b\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"a\.csv is not readable \(.*byte 0xdf.*\); give CSV in UTF-8 or Parquet"):
        read(tmp_path / "a.csv")


def test_customers_who_differ_by_a_leading_zero_are_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As numbers 7 and 007 were one, and each of these had rows in both arms."""
    rows = [f"{'00' * arm}{n},{n + arm},{arm},3\n" for n in range(1, 21) for arm in (0, 1)]
    (tmp_path / "ab.csv").write_text("user_id,value,treated,age\n" + "".join(rows))
    experiments.print_readout(tmp_path / "ab.csv", 40, 0.5, 0.05)
    assert "customers: 20 in control, 20 in treatment" in capsys.readouterr().out
    arms = Campaign("mail", "ab.csv", "treated", control=0, outcomes=("value",), features=("age",), customer="user_id")
    assert len(read_campaign(arms, tmp_path).trial("1", "value")[0]) == 40
