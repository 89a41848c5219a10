"""What a terminal shows: help from the YAML files, tables that fit, arrows and colours, what ended a training."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shopkeeper.pipeline import show
from shopkeeper.pipeline.comparing.leaderboard import as_text
from shopkeeper.pipeline.comparing.swept import sweep_table
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.shell import help as told
from shopkeeper.pipeline.shell.terminal import coloured, columns, tinted
from shopkeeper.pipeline.shell.verbs import VERBS
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.training.config import Recipe
from shopkeeper.training.fit import ended
from shopkeeper.training.progress import ends_by


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_fits_and_its_examples_and_settings_are_real(verb: str) -> None:
    text = told.text(verb, VERBS[verb])
    assert max(map(len, text.splitlines())) <= 80
    first, second = text.split("\n\n")[:2]
    assert " ".join(first.split()) == f"shopkeeper {verb}: {VERBS[verb]}"
    assert len(told.EXAMPLES[verb]) == 3
    for words, _ in told.EXAMPLES[verb]:
        assert f"  python {verb}.py {words}".rstrip() in second.splitlines()
        if not words.startswith("-m "):
            composed(verb, words.split())
    for line in text.split("its own settings")[-1].split("shared with")[0].splitlines()[1:]:
        if line.startswith("  ") and not line.startswith("   "):
            key, _, value = line.split()[0].partition("=")
            composed(verb, [] if value in ("…", "null") else [f"{key}={value}"])


def test_help_says_what_the_yaml_says_of_each_setting_and_of_a_model_that_is_named() -> None:
    text = told.text("train", "trains", ["model=item_knn", "--help"])
    own, rest = text.split("of model=item_knn")
    assert "overwrite=false" in own
    assert "  model.neighbours=auto       most similar items kept per item" in rest
    assert "smallest difference that matters" in " ".join(rest.split())
    assert "  split=temporal              each dataset names its own default; customers," in rest
    assert "hydra" not in text.replace("hydra.run.dir", "")


def test_help_costs_no_heavy_import() -> None:
    code = "import sys; from shopkeeper.pipeline.shell.verbs import run_verb; run_verb('train', ['-h']); "
    code += "print({'torch', 'hydra', 'polars', 'mlflow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("set()", "{'numpy'}")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert coloured("a", "bold", Terminal()) == "\x1b[1ma\x1b[0m"
    assert coloured("a", "bold", io.StringIO()) == "a"
    assert columns(io.StringIO()) == 80
    monkeypatch.setenv("COLUMNS", "120")
    assert columns(Terminal()) == 120
    monkeypatch.setenv("COLUMNS", "40")
    assert columns(Terminal()) == 80
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("a", "bold", Terminal()) == "a"


def test_a_comparison_is_coloured_by_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    rows = ["model    ndcg@10 ↑", "-----  ----------", "a            0.50"]
    text = "\n".join(
        [*rows, "", "alarm: b is odd", "a is better than b by 0.1", "cannot tell a and c apart;", "  more"]
    )
    assert tinted(text, io.StringIO()) == text
    assert tinted(text, Terminal()).split("\n") == [
        f"\x1b[1m{rows[0]}\x1b[0m", *rows[1:], "", "\x1b[31malarm: b is odd\x1b[0m",
        "\x1b[32ma is better than b by 0.1\x1b[0m", "\x1b[33mcannot tell a and c apart;", "  more\x1b[0m",
    ]  # fmt: skip


def test_a_table_has_all_intervals_where_they_fit_and_else_that_of_the_headline() -> None:
    of = {name: {"value": v, "low": v - 0.1, "high": v + 0.1, "n": 10} for name, v in
          (("ndcg@10", 0.5), ("recall@10", 0.25), ("hit@10", 0.75), ("mrr", 0.125))}  # fmt: skip
    about = {"dataset": "d", "split": "s", "protocol": "strict", "filter_seen": False, "test": of}
    words = SimpleNamespace(beneath=())
    section: dict[str, Any] = {
        "about": words, "headline": "ndcg@10", "confidence": 0.95, "names": ["a_model_of_mine"], "tables": {},
        "metrics": {"a_model_of_mine": about}, "comparisons": [], "sanity": {"seeds": {}},
    }  # fmt: skip
    narrow = as_text({"t": section})
    assert max(map(len, narrow.splitlines())) <= 80
    row = next(line for line in narrow.splitlines() if line.startswith("a_model"))
    assert row.split("  ")[1].strip() == "0.500 (0.400–0.600)"
    assert row.split()[-3:] == ["0.250", "0.750", "0.125"]
    assert "ndcg@10 ↑  recall@10 ↑" in narrow
    wide = as_text({"t": section}, 200)
    assert "0.1250 (0.0250 to 0.2250)" in wide


def run(name: str, value: float, task: str = "t", headline: str = "log_loss", direction: str = "minimize") -> RunFolder:
    figures = {headline: {"value": value, "low": value - 0.01, "high": value + 0.01}}
    of_task = {"name": task, "headline": headline, "direction": direction}
    return RunFolder(Path(name), {"task": of_task}, {"task": task, "model": "m", "validation": figures}, {})


def test_a_sweep_ends_with_its_table_the_best_first_by_what_differs() -> None:
    jobs = [(["model=m", "seed=1", "model.lr=0.1"], run("m-1", 0.5)), (["model=m", "seed=1"], run("m-2", 0.25))]
    assert [line.split() for line in sweep_table(jobs).splitlines()] == [
        ["t,", "on", "validation:"],
        ["run", "lr", "log_loss", "↓"],
        ["---", "---", "-------------------"],
        ["m-2", "–", "0.250", "(0.240–0.260)"],
        ["m-1", "0.1", "0.500", "(0.490–0.510)"],
    ]
    assert show.arrow("novelty@10") == "novelty@10"
    both = [*jobs, (["model=m", "seed=2"], run("m-3", 0.9, "u", "ndcg@10", "maximize"))]
    assert "u, on validation:" in sweep_table(both)


def module(epochs: int, patience: int, best: int, trained: int, every: int = 1, steps: int = 0) -> Any:
    history = [{"ndcg@10": 0.1} if (n + 1) % every == 0 else {} for n in range(trained)]
    recipe = Recipe(epochs=epochs, patience=patience, validate_every=every, patience_steps=steps)
    return SimpleNamespace(recipe=recipe, n_batches=4, step=4 * trained, best={"epoch": best}, history=history,
                           objective=SimpleNamespace(headline="ndcg@10"))  # fmt: skip


def test_the_time_left_ends_where_patience_does() -> None:
    assert ends_by(module(200, 10, 13, 15)) == 23
    assert ends_by(module(200, 10, 15, 15, every=5)) == 65
    assert ends_by(module(20, 10, 13, 15)) == 20
    assert ends_by(module(200, 0, 13, 15)) == 200
    assert ends_by(module(200, 10, -1, 0)) == 200
    assert ends_by(module(200, 10, 13, 15, steps=41)) == 24
    assert ends_by(module(200, 10, 15, 15, every=5, steps=100)) == 65
    assert ends_by(module(200, 10, 1, 12)) == 12  # validation rises, so that it goes on beyond


def test_what_ended_a_training_is_said() -> None:
    assert ended(module(200, 10, 13, 23)) == (
        "trained 23 of at most 200 epochs, ended by no better ndcg@10 in 10 validations; the best is epoch 13"
    )
    assert ended(module(20, 10, 13, 20)).startswith("trained 20 of at most 20 epochs, ended by the limit; ")
    assert ended(module(20, 10, -1, 20)) == "trained 20 of 20 epochs"
