"""A second client, in plain JavaScript, written after a bundle's own papers: its clocks, ids and refusals.

That it answers golden requests is asked of every kind of bundle where these are made (`test_explained.py`,
`test_export_customers.py`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from javascript import module, node
from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.events import read_instant
from shopkeeper.bundles.answer.wire import answered
from shopkeeper.bundles.write import export_bundle
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.recommenders.item_pairs.slim import SLIM
from shopkeeper.recommenders.knn.item_knn import ItemKNN
from shopkeeper.schema import NOTHING_LEFT

IMPORT = "import { instantOf } from './times.mjs'"
TIMES = (
    ("2026-03-01", "UTC"), ("2026-03-01T10:00Z", "Europe/Kyiv"), ("2026-03-01T10:00:00.123456+05:30", "UTC"),
    ("2026-07-01 10:00", "Europe/London"), ("2026-03-29T01:30", "Europe/London"), ("2026-10-25T01:30", "Europe/London"),
    ("1999-12-31T23:59:59.5", "America/New_York"), ("2026-03-08T02:15", "America/New_York"),
)  # fmt: skip


def test_clocks_are_read_as_in_python_where_they_skip_and_repeat_an_hour_too():
    code = f"{IMPORT};console.log(JSON.stringify({json.dumps(TIMES)}.map((t) => instantOf(...t))))"
    assert module(code) == [read_instant(text, "", zone) for text, zone in TIMES]


@pytest.mark.parametrize("text", ["3", "2026-13-01", "yesterday"])
def test_what_is_no_time_is_refused_by_both(text: str):
    tried = f"try {{ instantOf({json.dumps(text)}, 'UTC') }} catch (e) {{ console.log(JSON.stringify(e.message)) }}"
    with pytest.raises(UserError, match="is no time"):
        read_instant(text, "", "UTC")
    assert "is no time" in module(f"{IMPORT};{tried}")


@pytest.fixture(scope="module")
def bundle(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ItemKNN(5)
    model.fit(*shop, Fit(progress=False))
    return export_bundle(
        model, *shop, MadeFrom(model="item_knn"), tmp_path_factory.mktemp("exports") / "knn", golden=20
    )


def asked(bundle: Path, request: Any) -> Any:
    code = f"""import {{ open }} from './bundle.mjs';
    const bundle = await open({json.dumps(str(bundle))});
    console.log(JSON.stringify(await bundle.answer({json.dumps(request)})))"""
    return module(code)


def test_other_spellings_of_an_id_are_that_id(bundle: Path):
    right = asked(bundle, {"history": ["i1", "i2"], "k": 3})
    assert len(right["items"]) == 3
    assert asked(bundle, {"history": [" i1", "i2\u00a0\u200b"], "k": 3}) == right
    assert asked(bundle, {"history": ["i1", "i2", "gone"], "k": 3, "exclude": ["gone"]}) == right


@pytest.mark.parametrize("told", [{"placement": "cart"}, {"basket": ["i1"]}, {"exlude": ["i1"]}, {"k": 0}])
def test_what_it_does_not_read_of_a_request_is_refused(told: dict[str, Any], bundle: Path):
    code = f"""import {{ open }} from './bundle.mjs';
    const bundle = await open({json.dumps(str(bundle))});
    const said = await bundle.answer({json.dumps({"history": ["i1"], **told})}).catch((e) => e.message);
    console.log(JSON.stringify(said))"""
    (key,) = told
    wanted = (
        "k must be a whole number from 1 to 10" if key == "k" else f"this client reads no {key}, only id, history, "
    )
    assert module(code).startswith(wanted)


def test_a_list_of_nothing_says_why_as_it_does_in_python(bundle: Path):
    request = {"history": ["i1", "i2"], "exclude": [f"i{n}" for n in range(1, 41)]}
    (ours,) = answered(Bundle.load(bundle), [request])
    assert (ours["items"], ours["reason"]) == ([], NOTHING_LEFT)
    assert asked(bundle, request) == {"items": [], "reason": NOTHING_LEFT}


def test_a_program_that_is_no_part_of_its_readme_is_refused_in_one_line(shop: Any, tmp_path: Path):
    model = SLIM()
    model.fit(*shop, Fit(progress=False))
    folder = export_bundle(model, *shop, MadeFrom(model="slim"), tmp_path / "slim", golden=5)
    done = node("verify.mjs", str(folder), wants="")
    assert done.returncode == 1
    assert done.stderr == "error: the program slim is shopkeeper's own: its README names it, not its code\n"
    assert "(`scorer`: slim) is too long for a page" in (folder / "README.md").read_text()


def test_a_changed_byte_is_refused(bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    text = (copy / "golden.json").read_text()
    (copy / "golden.json").write_text(text.replace("i1", "i2", 1))
    done = node("verify.mjs", str(copy), wants="")
    assert done.returncode != 0
    assert "golden.json was changed" in done.stderr
