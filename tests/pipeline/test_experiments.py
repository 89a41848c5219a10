"""Counterfactual estimates and online tests from the shell: what the functions say, and one line for bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from shopkeeper.cli.main import main
from shopkeeper.evaluation.rows.items import evaluate_requests
from shopkeeper.models.fit import Fit
from shopkeeper.models.make import make
from shopkeeper.pipeline.runs import write_run
from tiny import days, tiny_prepared

Out = pytest.CaptureFixture[str]


def exposures(n: int = 4000) -> dict[str, Any]:
    """Three items with click rates .1, .3, .6, shown with unequal chances."""
    rng = np.random.default_rng(1)
    old = np.array([0.5, 0.3, 0.2])
    action = rng.choice(3, n, p=old)
    return {
        "reward": (rng.random(n) < np.array([0.1, 0.3, 0.6])[action]).astype(int),
        "action": action,
        "propensity": old[action],
        "user": [f"u{k}" for k in rng.integers(0, n // 2, n)],
    }


def said(words: list[str], out: Out) -> str:
    main(words)
    return out.readouterr().out


def refused(words: list[str], out: Out) -> str:
    with pytest.raises(SystemExit):
        main(words)
    return out.readouterr().err


def test_a_log_answers_for_another_policy(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "log.csv"
    csv.write_csv(pa.table(exposures()), path)
    text = said(["counterfactual", str(path), "--uniform", "--resamples", "200"], capsys)
    value = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith(("ips", "snips"))}
    assert value["ips"] == pytest.approx(1 / 3, abs=0.05)
    assert value["snips"] == pytest.approx(1 / 3, abs=0.05)
    assert "effective sample size" in text


def test_with_a_reward_model_the_doubly_robust_ones_are_there_too(tmp_path: Path, capsys: Out) -> None:
    log = exposures()
    best = [[0.0, 0.0, 1.0]] * len(log["reward"])
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({**log, "target": best, "predicted": [[0.1, 0.3, 0.6]] * len(best)}), path)
    text = said(["counterfactual", str(path), "--resamples", "100"], capsys)
    assert [w for w in ("dm ", "dr ", "switch_dr", "dr_os") if w not in text] == []


@pytest.mark.parametrize(
    ("drop", "words", "message"),
    [
        ("propensity", ["--uniform"], "no propensities"),
        ("action", ["--uniform"], "lacks the column 'action'"),
        ("", [], "lacks the column 'target'; give --uniform"),
    ],
)
def test_a_log_that_cannot_answer_says_why(
    drop: str, words: list[str], message: str, tmp_path: Path, capsys: Out
) -> None:
    path = tmp_path / "log.csv"
    csv.write_csv(pa.table({k: v for k, v in exposures().items() if k != drop}), path)
    assert message in refused(["counterfactual", str(path), *words], capsys)


def test_a_run_says_how_long_a_test_must_be(tmp_path: Path, capsys: Out) -> None:
    histories = np.random.default_rng(3).integers(1, 13, (60, 7)).tolist()
    prepared, split = tiny_prepared(tmp_path / "tiny", histories, days(histories, 19_000))
    settings = {"name": "popularity", "target": "shopkeeper.recommenders.counting.popularity.Popularity"}
    model = make(settings)
    model.fit(prepared, split, Fit(progress=False))
    facts = {"prepared": str(prepared.path), "dataset_fingerprint": prepared.fingerprint}
    config = {"model": settings, "task": {"name": "next_item", "headline": "ndcg@10"}}
    of = {"task": "next_item", "dataset": "tiny", "split": "leave_one_out", "seed": 1, "filter_seen": False}
    run = write_run(
        tmp_path / "run",
        config,
        model,
        of | {"model": "popularity"},
        {"test": evaluate_requests(model, split)},
        facts,
    )
    words = ["plan-test", str(run.path), "--effect", "0.01", "--per-day", "100"]
    plain, less = (said([*words, "--correlation", c], capsys) for c in ("0", "0.8"))
    assert "CUPED leaves 100% of the variance" in plain
    assert "CUPED leaves 36% of the variance" in less
    assert "ndcg@10: mean" in plain
    assert "no metric 'ndgc@10'. Did you mean 'ndcg@10'?" in refused([*words, "--metric", "ndgc@10"], capsys)
    for column in ("user", "user_id", "n_history", "targets"):  # numbers or not, they say nothing of the model
        assert f"no metric '{column}'" in refused([*words, "--metric", column], capsys)

    table = run.table()
    nobody = pa.array([None] * len(table), pa.float64())
    blank = table.set_column(table.column_names.index("ndcg@10"), "ndcg@10", nobody)
    for name in ("a", "b"):
        write_run(tmp_path / name, config, model, of | {"model": name}, {"test": blank}, facts)
    undefined = ["plan-test", str(tmp_path / "a"), "--effect", "0.01", "--per-day", "100"]
    assert "ndcg@10 is not defined for any request" in refused(undefined, capsys)
    text = said(["compare", str(tmp_path / "a"), str(tmp_path / "b")], capsys)
    assert next(line for line in text.splitlines() if line.startswith("b - a")).split()[3:5] == ["–", "–"]
    assert "nan" not in text
    assert "nothing can be said of a and b" in text


def test_a_test_is_read_out_and_a_broken_split_is_not(tmp_path: Path, capsys: Out) -> None:
    rng = np.random.default_rng(2)
    before, treated = rng.normal(0, 1, 4000), np.arange(4000) % 2
    value = before + 0.3 * treated + rng.normal(0, 0.5, 4000)
    table = pa.table({"value": value, "treated": treated, "covariate": before})
    path = tmp_path / "test.csv"
    csv.write_csv(table, path)
    text = said(["read-test", str(path), "--planned", "4000"], capsys)
    assert "The treatment is better" in text
    assert "cuped: +0.3" in text
    csv.write_csv(table.filter(pa.array((treated == 0) | (rng.random(4000) < 0.8))), path)
    assert "Do not read this test" in refused(["read-test", str(path)], capsys)
    assert "each of the 4,000 rows is taken for a customer of its own" in text
    csv.write_csv(table.append_column("user_id", pa.array(np.arange(4000) // 4 * 2 + treated)), path)
    text = said(["read-test", str(path), "--planned", "2000"], capsys)
    assert "4,000 rows of 2,000 customers: each customer counts once, with the mean of its values" in text
    assert "customers: 1,000 in control, 1,000 in treatment" in text
    assert "the sum of its values" in said(["read-test", str(path), "--rows", "sum"], capsys)
    csv.write_csv(table.append_column("user_id", pa.array(np.arange(4000) // 2)), path)
    assert "customer 0 is in both arms (2,000 of 2,000 customers are)" in refused(["read-test", str(path)], capsys)
    blank = pa.array([None, *map(str, range(3999))], pa.string())
    csv.write_csv(table.append_column("user_id", blank), path)
    assert "'user_id' of" in refused(["read-test", str(path)], capsys)
    csv.write_csv(table.drop_columns(["treated"]), path)
    assert "lacks the column 'treated'" in refused(["read-test", str(path)], capsys)
