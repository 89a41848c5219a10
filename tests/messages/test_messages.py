"""What a person may write wrongly, or lack, ends in one line with place and way out; what is shipped works as it is."""

from __future__ import annotations

import ast
import gzip
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.new_dataset import guess_dataset
from shopkeeper.models.make import make
from shopkeeper.models.targets import class_of
from shopkeeper.pipeline import context
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_split
from shopkeeper.pipeline.shell.entry import EXTRAS, one_line_errors
from shopkeeper.pipeline.told import Prepare, Train, settings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "shopkeeper"


def said_by(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "text", ["name: a\n target_events: [b]\n", "name: [a\nb: c\n", "name: 'a\n", "a: b: c\n", "a: 1\n\tb: 2\n"]
)
def test_a_slip_in_a_yaml_is_one_line_with_file_line_and_column(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(yaml.YAMLError) as e, open(file) as opened:
        yaml.safe_load(opened)
    line = said_by(e.value, capsys)
    assert str(file) in line
    assert re.search(r"line \d+, column \d+", line)


def test_every_extra_names_its_command_when_a_package_is_missing(capsys: pytest.CaptureFixture[str]):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert extra in extras
        line = said_by(ModuleNotFoundError(f"No module named '{package}'", name=f"{package}.part"), capsys)
        assert line == f'error: {package} is not installed: `pip install "shopkeeper[{extra}]"`'
    with pytest.raises(ModuleNotFoundError), one_line_errors():
        raise ModuleNotFoundError("No module named 'shopkeeper.nothing'", name="shopkeeper.nothing")


def test_a_missing_package_is_told_where_hydra_is_the_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("hydra", "hydra.errors"):
        monkeypatch.setitem(sys.modules, name, None)
    line = said_by(ModuleNotFoundError("No module named 'hydra'", name="hydra"), capsys)
    assert line == 'error: hydra is not installed: `pip install "shopkeeper[train]"`'


def test_what_a_models_file_lacks_is_a_package_to_install_and_no_slip_in_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "own_model_that_needs.py").write_text("import no_such_library.at_all\n\n\nclass Own: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        class_of("own_model_that_needs.Own", "conf/model/own.yaml")
    for target in ("own_model_that_is_not_there.Own", "shopkeeper.nothing.Own"):
        with pytest.raises(UserError, match=f"target '{target}' cannot be imported"):
            class_of(target, "conf/model/own.yaml")


@pytest.mark.parametrize(
    "word",
    ["seed=x", "seed=1.5", "progress=maybe", "model.half_life_days=x", "evaluation.resamples=many", "audit=[a]"],
)
def test_a_setting_of_another_kind_is_named(word: str):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("train", ["model=popularity", word])

    def begin() -> None:
        cfg = settings(composed, Train)
        context.check_task(cfg)
        make(cfg.model.plain)

    with pytest.raises(UserError) as e:
        begin()
    assert word.partition("=")[0] in str(e.value)
    assert "must be" in str(e.value) or "Valid: " in str(e.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=popularity", "task.windows.horizon_days=30"],
         "error: there is no option 'task.windows'. It is one of task=category_propensity,churn,discount_affinity,"),
        (["model=popularity", "model.max_length=5"],
         "error: there is no option 'model.max_length'. It is one of model=bert4rec,gru,gru4rec,hstu,lrurec,narm,"
         "sasrec,transformer,two_tower; leave it out for the others, or run these apart."),
        (["model=popularity", "model.event_wieghts=5"], "error: there is no option 'model.event_wieghts'. Did"),
    ],
)  # fmt: skip
def test_an_option_of_some_models_of_a_sweep_says_whose_it_is(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), pytest.raises(SystemExit), one_line_errors():
        compose("train", words)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_rees46_works_as_it_is_shipped(tmp_path: Path):
    raw = tmp_path / "raw" / "rees46-oct2019-sample"
    raw.mkdir(parents=True)
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    # ten sessions of nine minutes in ten hours: a window of the minutes that suit the real three hours is empty here
    rows = [
        f"2019-10-01 {s:02d}:{12 * (s % 5) + 3 * n:02d}:00 UTC,{kind},{(4 * s + n) % 5},9,tea,b,5.5,{s // 2},s{s}\n"
        for s in range(10)
        for n, kind in enumerate(("view", "view", "cart", "purchase"))
    ]
    with gzip.open(raw / "2019-Oct_first3h.csv.gz", "wt") as file:
        file.writelines([head, *rows])
    words = ["dataset=rees46", f"paths.raw={tmp_path / 'raw'}", f"paths.prepared={tmp_path / 'p'}", "progress=false"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = settings(compose("prepare", words), Prepare)
    counts = prepare_split(cfg, prepare_data(cfg)).timeline["n_requests"]
    assert counts["test"] > 0
    assert counts["validation"] > 0


def test_new_dataset_writes_no_key_twice_where_no_column_is_left(tmp_path: Path):
    (tmp_path / "times.csv").write_text("when\n2024-01-01\n2024-01-02\n")
    text = guess_dataset(tmp_path / "times.csv")
    keys = [line.partition(":")[0] for line in text.splitlines() if line and line[0] not in " #"]
    assert len(keys) == len(set(keys))
    assert yaml.safe_load(text)["constants"] == {"user_id": "all", "item_id": "all"}


def user_errors() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                found.append((f"{path.relative_to(SOURCE)}:{node.lineno}", node))
    return found


def test_every_user_error_is_one_line_and_prints_no_traceback():
    errors = user_errors()
    assert len(errors) > 100
    for place, call in errors:
        assert len(call.args) == 1, place
        for part in ast.walk(call.args[0]):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                assert "\n" not in part.value, place
            if isinstance(part, ast.Attribute):
                assert part.attr not in ("format_exc", "__traceback__"), place


# How a message may say the way out: an order to the reader, a command, an option, a rule that what is given must obey,
# or names from which one is to be taken.
ORDERS = (
    "add|ask|call|change|check|choose|close|compare|copy|correct|decode|delete|download|drop|evaluate|export|filter|free|get|"
    "fill|give|install|join|keep|leave|let|load|log with|look|lower|make|measure|mend|move|name|open|pass|prepare|put|"
    "raise|read|relax|remove|rename|repair|replace|report|restrict|return|run|save|say|see|set|settle|shorten|split|start|stop|swap|take|"
    "train|turn|unpack|unset|update|upgrade|use|wait|write"
)
WAY_OUT = re.compile(
    rf"(^|[;:,.(] ?|\b(or|and|then|first|to) )({ORDERS})\b"
    r"|`[^`]+`"
    r"|\b[a-z_.]+=[\w{{\[]"
    r"|\b(must|needs?|wants?|expected|are text|are numbers|Valid:|Did you mean)(?!\w)"
    r"|\{nearest\(",
    re.IGNORECASE,
)
# Ways out that are put together elsewhere: what builds them, and what other messages end in.
MADE_ELSEWHERE = {
    "AGAIN", "again", "how", "way_out", "_way_out(error)", "then", "THEN", "hint",  # put into a text
    "wrong",  # what the value must be: the rules of `errors.check`
    "remedy[largest]",  # what makes a training smaller
    "found['words']",  # online_test: what is wrong with the arms
    "errors['reason'][0].as_py()",  # a message of ours that came back from a Spark worker
    "_failure(folder, codes)",  # … from a training process
    "_empty(prepared, spec, division, part)", "said", "message",  # built of texts with a way out right above
}  # fmt: skip


def texts_of(node: ast.AST) -> list[str]:
    """The texts that an expression may give: a condition gives two, a sum is joined, what is put in is in braces."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = ["{" + ast.unparse(v.value) + "}" if isinstance(v, ast.FormattedValue) else str(v.value)
                 for v in node.values if isinstance(v, ast.FormattedValue | ast.Constant)]  # fmt: skip
        return ["".join(parts)]
    if isinstance(node, ast.IfExp):
        return texts_of(node.body) + texts_of(node.orelse)
    if isinstance(node, ast.BinOp):
        return [a + b for a in texts_of(node.left) for b in texts_of(node.right)]
    return ["{" + ast.unparse(node) + "}"]


def has_way_out(text: str) -> bool:
    return bool(WAY_OUT.search(text)) or any("{" + name + "}" in text for name in MADE_ELSEWHERE)


def test_every_user_error_says_the_way_out():
    mute = [f"{place}: {text}" for place, call in user_errors() for text in texts_of(call.args[0])
            if not has_way_out(text)]  # fmt: skip
    assert not mute, "\n".join(mute)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{path} is damaged ({e})", False), ("the file is empty", False), ("a run of {name} was not found", False),
        ("{path} is damaged; run the step again", True), ("k={k!r} is wrong; set k", True),
        ("no such model.{nearest(name, names)}", True), ("k must be a whole number from 1", True),
        ("there is nothing to show", False), ("the training set is empty", False),
    ],
)  # fmt: skip
def test_a_message_without_a_way_out_would_be_found(text: str, told: bool):
    assert has_way_out(text) is told
