"""One spelling for each id, and doubt where a spelling cannot be known."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopkeeper.ids.columns import doubts, normal_ids, overlap, placeholders
from shopkeeper.ids.spelling import BLANKS, normal_id

ODD = st.text(alphabet=[*"0117.eE+-aAé\u0301", " ", "\xa0", "\u200b"], max_size=9)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("17", "17"), ("17.0", "17"), ("17.00", "17"), ("17.000000", "17"), (" 17\t", "17"), ("\xa017\u200b", "17"),
        ("-1.0", "-1"), (17, "17"), (17.0, "17"), (None, ""), ("  ", ""), ("1.2345678E+07", "12345678"),
        ("1.2345678E7", "12345678"), ("e\u0301\u0031", "é1"), ("\ufeffann", "ann"), ("17.0\r", "17"),
    ],
)  # fmt: skip
def test_what_a_tool_did_to_an_id_is_undone(written, meant: str):
    assert normal_id(written) == meant


@pytest.mark.parametrize(
    "code",
    [
        "007",
        "1.50",
        "1_000",
        "10E2",
        "1.000",
        "1,0",
        "4.00840E+12",
        "1E+05",
        "1.5E1",
        "AB",
        "a b",
        "1.0.0",
        "17.",
        "v1.0",
    ],
)
def test_what_may_be_a_code_of_its_own_stays_as_it_is(code: str):
    assert normal_id(code) == code


@given(st.lists(st.one_of(st.none(), ODD), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_column_and_a_single_text_are_spelled_alike_and_twice_is_once(texts):
    column = normal_ids(pa.array(texts, pa.string()))
    assert [t or "" for t in column.to_pylist()] == [normal_id(t) for t in texts]
    assert normal_ids(column).equals(column)


def test_numbers_of_every_type_are_the_ids_that_they_are_as_text():
    for kind in (pa.int8(), pa.float32(), pa.float64(), pa.decimal128(25, 3)):
        assert normal_ids(pa.array([17, None]).cast(kind)).to_pylist() == ["17", None]
    assert normal_ids(pa.array([" 17"], pa.large_string())).to_pylist() == ["17"]
    assert normal_ids(pa.array(["x 17", "17.0"]).slice(1)).to_pylist() == ["17"]


def test_every_blank_is_trimmed_from_columns_and_from_single_texts():
    for blank in BLANKS:
        assert normal_id(f"{blank}a{blank}") == "a"
        assert normal_ids(pa.array([f"{blank}a{blank}"])).to_pylist() == ["a"]


def test_spellings_that_cannot_be_known_are_counted():
    found = doubts(pa.array(["007", "7", "12", "0012", "AB", "ab", "Cd", "cD", "4.00840E+12", "x"]))
    assert (found.zeros, found.case, found.exponents) == (2, 2, 1)
    assert doubts(pa.array(["4e+12", "x"])).exponents == doubts(pa.array(["4.0084E12", "x"])).exponents == 1
    assert doubts(pa.array(["1", "10", "100", "a", "B"])) == doubts(pa.array([], pa.string()))


def test_two_columns_meet_as_they_are_or_but_for_leading_zeros_or_letter_case():
    found = overlap(pa.array(["7", "008", "AB", "zz", "7"]), pa.array(["7.0", "8", "ab", "yy"]))
    assert (found.ids, found.found, found.zeros, found.case) == (4, 1, 1, 1)
    assert found.example == ("008", "8")
    assert overlap(pa.array([1.0, 2.0]), pa.array(["1", "2"])).found == 2


def test_names_that_stand_for_nobody_are_found_in_any_case():
    assert placeholders(pa.array(["NA", "ann", "(not set)", "0", "NULL", "10", "guest"])).tolist() == [0, 2, 3, 4, 6]
