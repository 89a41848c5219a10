"""Ids on the command line stay the text that was typed."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from shopkeeper.errors import UserError
from shopkeeper.pipeline.shell.typed_ids import KEYS, keep_ids


def parsed(word: str):
    return OverridesParser.create().parse_override(keep_ids([word])[0]).value()


@pytest.mark.parametrize(
    "text",
    ["1_000", "1000", "10E2", "1.50", "007", "é1", "true", "null", "nan", "0x1F", "a b", "a:b", "50%", "a(b)", "-1",
     "a=b", "日本", "sku/1", "a\\b", "a\\", "{x}", "1e400", "@home", "#3", "*", "a|b"],
)  # fmt: skip
@pytest.mark.parametrize("key", KEYS)
def test_an_id_is_read_as_it_is_typed(key: str, text: str):
    assert [str(x) for x in parsed(f"{key}=[{text},x]")] == [text, "x"]


def test_quotes_nested_lists_and_blanks_mean_what_they_did():
    assert parsed("history=['1_000', \"a,b\" ,[10E2,view], [7]]") == ["1_000", "a,b", ["10E2", "view"], ["7"]]
    assert parsed("history=[]") == []
    assert parsed("exclude=sku-1") == "sku-1"
    assert parsed('history=["6\' ladder"]') == ["6' ladder"]


def test_other_settings_are_left_alone():
    words = ["k=10", "run=a", "model.layers=[1,2]", "history=null", "--help", "history=${x}"]
    assert keep_ids(words) == words


def test_an_entry_in_braces_is_told_the_list_that_says_the_same():
    with pytest.raises(UserError, match=r"write history=\[\[<id>,view\]\] in place of"):
        keep_ids(["history=[{item_id: a1, event_type: view}]"])
    assert keep_ids(["history=[{3F25}]"]) == ["history=['{3F25}']"]  # an id may have braces


def test_an_id_with_a_quote_in_it_is_shown_how_to_be_written():
    with pytest.raises(UserError, match="a quote stands inside of an id; write the id in double quotes"):
        keep_ids(["history=[6' ladder]"])
