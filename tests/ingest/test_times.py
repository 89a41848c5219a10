"""A format says what it says: the time of day of every code that has one, and no code that nobody knows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset_parts import Timestamp
from shopkeeper.ingest.times import DATED, MUTE, TIMED, ZONED, to_micros


def read(pattern: str, text: str) -> str:
    micros, why = to_micros(pa.array([text]), Timestamp(format=pattern))
    return str(why[0]) or str(np.datetime64(int(micros[0]), "us").astype("datetime64[ms]"))


@pytest.mark.parametrize(
    ("pattern", "text", "right"),
    [
        ("%m/%d/%Y %-H:%M", "1/3/2023 2:41", "2023-01-03T02:41:00.000"),
        ("%m/%d/%Y %k:%M", "1/3/2023  2:41", "2023-01-03T02:41:00.000"),
        ("%m/%d/%Y %k:%M", "1/3/2023 14:41", "2023-01-03T14:41:00.000"),
        ("%m/%d/%Y %l:%M %p", "1/3/2023  2:41 PM", "2023-01-03T14:41:00.000"),
        ("%m/%d/%Y %l:%M %p", "01/03/2023 12:41 AM", "2023-01-03T00:41:00.000"),
        ("%-m/%-d/%Y %-I:%M %p", "1/3/2023 2:41 PM", "2023-01-03T14:41:00.000"),
        ("%Y-%m-%d %T", "2023-01-03 02:41:05", "2023-01-03T02:41:05.000"),
        ("%Y-%m-%d %R", "2023-01-03 02:41", "2023-01-03T02:41:00.000"),
        ("%Y-%m-%d %r", "2023-01-03 02:41:05 PM", "2023-01-03T14:41:05.000"),
        ("%D %X", "01/03/23 02:41:05", "2023-01-03T02:41:05.000"),
        ("%c", "Tue Jan  3 02:41:05 2023", "2023-01-03T02:41:05.000"),
        ("%s", "1672713665", "2023-01-03T02:41:05.000"),
        ("%Y-%m-%d %H:%M:%S.%f", "2023-01-03 02:41:05.250", "2023-01-03T02:41:05.250"),
        ("%Y-%m-%d %H:%M:%S %z", "2023-01-03 02:41:05 +0100", "2023-01-03T01:41:05.000"),
        ("%d-%b-%y", "03-Jan-23", "2023-01-03T00:00:00.000"),
        ("%F", "2023-01-03", "2023-01-03T00:00:00.000"),
    ],
)
def test_every_way_to_write_an_hour_is_read(pattern: str, text: str, right: str):
    assert read(pattern, text) == right


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [("%Y-%m-%d %Q", "the code %Q"), ("%H:%M", "a time of day and no date"), ("%Y-%m-%d %H%f", "the code %f")],
)
def test_a_format_that_cannot_be_meant_is_refused(pattern: str, wrong: str):
    with pytest.raises(UserError, match=wrong):
        read(pattern, "2023-01-03 02")


def test_each_code_is_of_one_kind():
    kinds = [DATED, TIMED, ZONED - {"+"}, MUTE]
    assert len(frozenset().union(*kinds)) == sum(map(len, kinds))


def test_the_first_day_that_is_believed_begins_in_the_shop():
    spec = {"time_zone": "America/Los_Angeles", "not_before": "2023-03-03", "not_after": "2023-03-04"}
    texts = pa.array(["2023-03-02 23:00", "2023-03-03 00:00", "2023-03-04 00:00", "2023-03-04 01:00"])
    _, why = to_micros(texts, Timestamp(**spec))
    assert [reason.split(" (")[0] for reason in why] == ["before 2023-03-03", "", "", "in the future"]


@pytest.mark.parametrize("spec", [{}, {"time_zone": "Europe/London"}])
@pytest.mark.parametrize(
    ("kind", "far", "good"),
    [
        (pa.timestamp("s"), [10**18, 2**63 - 1, -(2**63), 10**15], 1_600_000_000),
        (pa.timestamp("ms"), [10**18, 2**63 - 1, -(2**63)], 1_600_000_000_000),
        (pa.timestamp("us"), [2**63 - 1, -(2**62)], 1_600_000_000_000_000),
        (pa.timestamp("s", "UTC"), [10**18, 2**63 - 1], 1_600_000_000),
        (pa.date32(), [2**31 - 1, -(2**31)], 18_518),
        (pa.date64(), [2**62, -(2**62)], 18_518 * 86_400_000),
    ],
)
def test_a_time_that_does_not_fit_is_refused_in_its_row_and_never_becomes_another(kind, far, good, spec):
    store = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    micros, why = to_micros(pa.array([*far, good, None], store).cast(kind), Timestamp(**spec))
    assert why[: len(far)].tolist() == ["not a time (too large for its unit)"] * len(far)
    assert why[len(far) :].tolist() == ["", "missing"]
    assert abs(micros[len(far)] - 1_600_000_000_000_000) < 86_400_000_000


def test_whole_numbers_without_a_sign_may_be_too_large_as_well():
    _, why = to_micros(pa.array([2**64 - 1, 1_600_000_000], pa.uint64()), Timestamp("s"))
    assert why.tolist() == ["not a time (too large for its unit)", ""]
    _, why = to_micros(pa.array([-(2**63), 1_600_000_000_000_000]), Timestamp("us"))
    assert why.tolist() == ["not a time (too large for its unit)", ""]


def test_no_zone_is_ahead_by_ninety_nine_hours():
    texts = pa.array(["2020-01-01T00:00:00+99:99", "2020-01-01T00:00:00+05:30", "2020-01-01T00:00:00Z", "2020-01-01"])
    micros, why = to_micros(texts, Timestamp())
    assert why.tolist() == ["not a time ISO 8601 (2020-01-31 12:00:00)", "", "", ""]
    assert micros[2] - micros[1] == 5.5 * 3_600_000_000
    assert micros[2] == micros[3]


def test_a_time_that_a_spreadsheet_has_rounded_is_no_time():
    """1.76235E+15 microseconds are exact to nearly three hours."""
    found = {"us": ["1.76235E+15", "1.762351391123456e15"], "ms": ["1.76E+12"], "s": ["9.78693035E+08", "1.5E+9"]}
    micros, why = zip(*(to_micros(pa.array(texts), Timestamp(unit=unit)) for unit, texts in found.items()), strict=True)
    assert [bool(w) for w in np.concatenate(why)] == [True, False, True, False, True]
    assert "a spreadsheet or a format of numbers has rounded it" in why[0][0]
    assert (micros[0][1], micros[2][0]) == (1_762_351_391_123_456, 978_693_035_000_000)


def test_a_time_that_a_program_writes_without_its_zeros_is_read():
    """Python of a float, Java of a double: every digit that is left out is a 0."""
    found = {"ns": "1.7623008e+18", "ms": "1.7623008E12"}
    for unit, text in found.items():
        micros, why = to_micros(pa.array([text]), Timestamp(unit=unit))
        assert (micros.tolist(), why.tolist()) == ([1_762_300_800_000_000], [""])


@pytest.mark.parametrize(
    ("texts", "rounded"),
    [(["1.76e+15", "1.76235e+15"], [True, True]),  # %.2e and %g of C
     (["1.7623008e+15", "1.7623872e+15"], [False, False]),  # R's midnights
     (["1762351391123456", "1.76235e+15"], [False, False])],  # R's, beside others in full
)  # fmt: skip
def test_a_small_e_rounds_where_all_times_have_one_and_they_are_no_midnights(texts: list[str], rounded: list[bool]):
    _, why = to_micros(pa.array(texts), Timestamp(unit="us"))
    assert [bool(reason) for reason in why] == rounded
