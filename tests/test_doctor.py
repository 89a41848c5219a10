"""What `python -m shopkeeper doctor` tells somebody who asks whether training will work here."""

from __future__ import annotations

import os
import re
from importlib import metadata

import pytest

from shopkeeper.cli.main import main


def test_the_doctor_says_what_is_here_and_how_fast_training_runs(capsys: pytest.CaptureFixture[str]):
    main(["doctor", "--seconds", "0.2"])
    table, verdict = capsys.readouterr().out.split("\n\n")
    assert re.search(r"^good: preparing, training networks, customer models, .* networks train on ", verdict, re.M)
    said = dict(re.split(r"\s{2,}|(?<=^.{22})\s", line, maxsplit=1) for line in table.splitlines())
    assert said["torch"] == metadata.version("torch")
    assert said["optuna"] == metadata.version("optuna")
    assert int(said["cores"]) == len(os.sched_getaffinity(0))
    assert re.fullmatch(r"\d+ GiB", said["free disk"])
    assert said["BLAS"] in ("MKL", "OpenBLAS or other")
    assert said["bf16 on the CPU"] in ("in hardware, taken by large networks", "emulated: fp32 is faster")
    assert said["GPUs"]
    rate = re.match(r"([\d,]+) events/s \(SASRec, width 64, .* events a customer", said["training loop"])
    assert rate
    assert int(rate[1].replace(",", "")) > 100


def test_a_package_that_is_missing_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, capsys):
    found = metadata.version

    def version(name: str) -> str:
        if name == "mlflow":
            raise metadata.PackageNotFoundError
        return found(name)

    monkeypatch.setattr(metadata, "version", version)
    main(["doctor", "--seconds", "0"])
    shown = capsys.readouterr().out
    assert re.search(r"^mlflow +not installed$", shown, re.M)
    assert "training loop" not in shown
    assert 'missing: MLflow needs mlflow: pip install "shopkeeper[track]"' in shown
    assert "MLflow" not in shown.splitlines()[-1]
