"""A misspelt word on the command line ends in one line that names the nearest valid one, and exit code 1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shipped import composed
from shopkeeper.errors import UserError
from shopkeeper.pipeline.told import VERBS, Train, settings

ROOT = Path(__file__).parents[2]


def run(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train.py", "model=sasrek"), "Did you mean 'sasrec'?"),
        (("train.py", "dataset=ml_100"), "Did you mean 'ml_100k'?"),
        (("train.py", "modle=sasrec"), "Did you mean 'model'?"),
        (("train.py", "model=popularity", "model.half_life_day=3"), "Did you mean 'half_life_days'?"),
        (("train.py", "sed=3"), "Did you mean 'seed'?"),
        (("train.py", "evaluation.resample=3"), "Did you mean 'resamples'?"),
        (("train.py", "seed==3"), "see `--help`"),
        (("recommend.py", "run=nowhere"), "there is no run folder nowhere"),
        (("-m", "shopkeeper", "comparee"), "Did you mean 'compare'?"),
    ],
)
def test_a_misspelt_word_gets_one_line_with_the_nearest_name(words: tuple[str, ...], expected: str):
    done = run(*words)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert expected in lines[0]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_program_alone_lists_its_verbs_and_commands():
    done = run("-m", "shopkeeper")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("usage: shopkeeper <verb> [key=value …]\n")
    for word in ("prepare ", "train ", "new-dataset ", "leaderboard "):
        assert f"\n  {word}" in done.stdout or f"\n    {word}" in done.stdout, word


def test_what_hydra_says_of_the_configuration_is_said_once():
    done = run("-m", "shopkeeper", "train", "--info", "defaults-tree")
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count("Defaults Tree") == 1


def test_help_lists_the_choices_of_every_group():
    text = run("train.py", "--help").stdout
    for choice in ("demo_shop", "ml_100k", "online_retail", "sasrec", "leave_one_out", "temporal"):
        assert choice in text


@pytest.mark.parametrize(
    ("verb", "key", "said"),
    [
        ("export", "nam", "Did you mean 'name'?"),
        ("evaluate", "outt", "Did you mean 'out'?"),
        ("recommend", "histry", "Did you mean 'history'?"),
        ("train", "modl", "Did you mean 'model'?"),
        ("evaluate", "run", "Did you mean 'runs'? `evaluate` takes several: runs=[…]."),
        ("evaluate", "history", "Only `recommend` knows it; leave it out here."),
        ("train", "epochs", "Did you mean 'trainer.max_epochs' or 'model.epochs'?"),
        ("train", "lr", "Did you mean 'model.lr'?"),
        ("tune", "trials", "Did you mean 'tuning.trials'?"),
        ("export", "rerank", "`evaluate` knows it; write placement=home 'placement.rerank=[{mmr: {attributes"),
        ("recommend", "rerank", "`evaluate` knows it; write placement=home 'placement.rerank=[{mmr: {attributes"),
        ("train", "rerank", "Only `evaluate` knows it; leave it out here."),
        ("train", "placement", "Only `audience`, `evaluate`, `export` and `recommend` know it; leave it out here."),
        ("uplift", "campain", "Did you mean 'campaign'?"),
        ("tune", "tunning", "Did you mean 'tuning'?"),
        ("train", "dataset.order_days", "to add it, write `+dataset.order_days=…`"),
    ],
)
def test_a_misspelt_option_has_the_verbs_own_names_beside_it(
    verb: str, key: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    from shopkeeper.pipeline.shell.entry import _nearest_key

    for words in ([f"{verb}.py", f"{key}=1"], ["/somewhere/shopkeeper", verb, f"{key}=1"]):
        monkeypatch.setattr("sys.argv", words)
        assert said in _nearest_key(key)


@pytest.mark.parametrize(
    ("verb", "word", "said"),
    [
        ("train", "+rerank={diverse: {steps: [mmr]}}", "rerank is what `evaluate` is told"),
        ("train", "+out=elsewhere", "out is what `uplift`, `audience`, `segments` and `evaluate` are told"),
        ("train", "+golden=3", "golden is what `export` is told"),
        ("train", "+report.ids=true", "report is what `evaluate` is told"),
        ("tune", "+name=mine", "name is what `export` and `train` are told"),
        ("train", "+tuning.trials=3", "tuning is what `tune` is told"),
        ("prepare", "+k=3", "k is what `recommend` and `export` are told"),
        (
            "prepare",
            "+overwrite=false",
            "overwrite is what `uplift`, `audience`, `segments`, `export`, `evaluate` and `train` are told",
        ),
        ("tune", "+out=elsewhere", "out is what `uplift`, `audience`, `segments` and `evaluate` are told"),
        ("export", "+report.ids=true", "report is what `evaluate` is told"),
        ("evaluate", "+extend=data/old", "extend is what `prepare` is told"),
        ("recommend", "+golden=2", "golden is what `export` is told"),
    ],
)
def test_what_another_verb_is_told_is_refused_where_it_would_do_nothing(verb: str, word: str, said: str):
    told = composed(verb, word, *["run=a"] * (verb == "recommend"))
    with pytest.raises(UserError, match=f"^{said}, and here it would do nothing; leave it out$"):
        settings(told, VERBS[verb])


def test_what_all_verbs_share_and_what_says_nothing_is_told_to_each_of_them():
    for verb in ("prepare", "evaluate", "export"):
        settings(composed(verb, "seed=3", "trainer.max_epochs=1", "model=item_knn"), VERBS[verb])
    for word in ("+runs=null", "+rerank={}", "+history=[]"):
        settings(composed("train", word), Train)


@pytest.mark.parametrize(
    "words", [("train.py", "--help"), ("-m", "shopkeeper", "doctor"), ("-m", "shopkeeper", "prepare", "--cfg", "job")]
)
def test_where_nobody_reads_on_a_program_ends_without_a_word(words: tuple[str, ...]):
    started = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert started.stdout is not None
    started.stdout.close()
    _, said = started.communicate()
    assert (started.returncode, said) == (141, b"")


def test_a_connection_that_breaks_is_an_error_while_somebody_reads():
    code = (
        "from shopkeeper.pipeline.shell.entry import until_reader_leaves\n"
        "with until_reader_leaves(): raise BrokenPipeError('the server is gone')"
    )
    done = run("-c", code)
    assert done.returncode == 1
    assert done.stderr.endswith("BrokenPipeError: the server is gone\n")
