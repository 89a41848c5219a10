"""Which of RecBole's models run here: each is trained for an epoch on one small shop, asked, saved, and opened again.

    python benchmarks/recbole_models.py                      # all, some 20 minutes on two cores; needs `make recbole`
    python benchmarks/recbole_models.py --only SASRec BPR    # these anew; the others' rows stay
    python benchmarks/recbole_models.py --page               # docs/recbole.md from the last result, nothing is run

The shop is simulated (the purchases of 300 customers of `demo_shop`, with attributes of items), so that no data need
be had. A model that takes longer than `--limit-s`, or more memory than `--memory-gib`, is ended. Writes
`benchmarks/results/recbole_models.json` and `docs/recbole.md`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _results import RESULTS, ROOT, write_result
from shopkeeper.errors import UserError
from shopkeeper.models.fit import Fit
from shopkeeper.pipeline.preparing.split import prepare_to_train
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import Train, settings
from shopkeeper.recommenders.recbole.installed import KNOWLEDGE, Installed
from shopkeeper.recommenders.recbole.model import RecBole
from shopkeeper.training.config import TrainerConfig

NAME, PAGE = "recbole_models", ROOT / "docs" / "recbole.md"
CUSTOMERS, ASKED = 300, 100
FEWER = {"S3Rec": {"pretrain_epochs": 1}, "RaCT": {"pretrain_epochs": 1}}  # epochs of the stages before the last one
TRAINER = TrainerConfig(accelerator="cpu", threads=1)
HEAD = """# RecBole's models

`python train.py model=recbole model.name=<name>` after `make recbole`. Each was trained for one epoch on a small
simulated shop (purchases of {customers} customers), asked about {asked} test requests, saved, and opened again in a new
process. Seconds are those of the training with the start of RecBole, on one thread; a model was ended after
{limit_s:g} s, or with more than {memory_gib:g} GiB. Written by `python benchmarks/recbole_models.py --page` from
`benchmarks/results/{name}.json`.

General and context-aware models know the customers that they were trained on; sequential ones answer from a history.

{runs} of {n} run.

| model | kind | runs | seconds | why not |
|---|---|---|---:|---|
"""


def tried(name: str, prepared: Any, split: Any, limit_s: float, memory_gib: float) -> dict[str, Any]:
    """What becomes of a model: seconds of its training, or why it does not run."""
    about: dict[str, Any] = {"parameters": FEWER.get(name, {}), "epochs": 1, "event_types": ["purchase"]}
    about |= {"limit_minutes": limit_s / 60, "memory_gib": memory_gib}
    model, opened, start = RecBole(name, **about), RecBole(name, **about), time.perf_counter()
    try:
        model.fit(prepared, split, Fit(seed=1, trainer=TRAINER, progress=False))
        seconds = time.perf_counter() - start
        requests = split.part("test")[0]
        asked = requests.take(np.arange(min(ASKED, len(requests))))
        said = model.score(asked)
        if not np.isfinite(said).all():
            return {"runs": False, "why": "its scores are not finite", "values": [], "median": None}
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder))
            model.close()
            opened.load(Path(folder))
            again = opened.score(asked)
        if not np.allclose(said, again, rtol=1e-4, atol=1e-5):
            return {"runs": False, "why": "opened again, it answers otherwise", "values": [], "median": None}
        return {"runs": True, "why": "", "values": [round(seconds, 1)], "median": round(seconds, 1)}
    except UserError as e:
        return {
            "runs": False,
            "why": str(e).replace(f"RecBole's {name} ", "").split("; ")[0],
            "values": [],
            "median": None,
        }
    finally:
        model.close()
        opened.close()


def page(result: dict[str, Any]) -> str:
    """`docs/recbole.md`."""
    rows, said = result["rows"], result["claims"][0]
    head = HEAD.format(name=NAME, n=len(rows), runs=sum(r["runs"] for r in rows), **said["settings"])
    lines = [
        f"| {r['system']} | {r['kind']} | {'yes' if r['runs'] else 'no'} | "
        f"{'' if r['median'] is None else r['median']} | {r['why'].replace('|', '/')} |"
        for r in rows
    ]
    return head + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--limit-s", type=float, default=90)
    parser.add_argument("--memory-gib", type=float, default=6)
    parser.add_argument("--page", action="store_true", help="write the page anew, run nothing")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    file = RESULTS / f"{NAME}.json"
    if a.page:
        PAGE.write_text(page(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
        return
    kinds = Installed.needed().kinds
    rows = {r["system"]: r for r in json.loads(file.read_text())["rows"]} if a.only and file.is_file() else {}
    with tempfile.TemporaryDirectory() as place:
        words = ["dataset=demo_shop", f"dataset.simulate.customers={CUSTOMERS}", "tracking=none", "engine=arrays",
                 f"paths.prepared={place}", f"paths.raw={place}"]  # fmt: skip
        prepared, split = prepare_to_train(settings(composed("train", words), Train))
        for name, kind in kinds.items():
            if a.only and name not in a.only:
                continue
            found = {
                "runs": False,
                "why": "needs a knowledge graph, which logs do not have",
                "values": [],
                "median": None,
            }
            if kind != KNOWLEDGE:
                found = tried(name, prepared, split, a.limit_s, a.memory_gib)
            rows[name] = {
                "system": name,
                "dataset": "demo_shop",
                "figure": "one epoch",
                "unit": "s",
                "kind": kind,
            } | found
            print(name, kind, found, flush=True)
    told = {"customers": CUSTOMERS, "asked": ASKED, "limit_s": a.limit_s, "memory_gib": a.memory_gib}
    usable = [r for r in rows.values() if r["kind"] != KNOWLEDGE]
    n = sum(r["runs"] for r in usable)
    what = f"of RecBole's {len(usable)} general, sequential and context-aware models, those that run"
    claim = {"issue": "zoo", "what": what,
             "value": float(n), "required": 1.0, "sense": "at least", "holds": n >= 1, "settings": told}  # fmt: skip
    versions = {f"recbole: {p}": v for p, v in _versions().items()}
    written = write_result(
        NAME, [rows[k] for k in sorted(rows, key=str.lower)], [claim], versions=versions, note=a.note
    )
    PAGE.write_text(page(json.loads(written.read_text(encoding="utf-8"))), encoding="utf-8")


def _versions() -> dict[str, str]:
    package = Installed.needed().package
    found = (p.name.removesuffix(".dist-info").rpartition("-") for p in package.parent.glob("*.dist-info"))
    return {name: number for name, _, number in found if name in ("recbole", "torch", "numpy", "pandas", "scipy")}


if __name__ == "__main__":
    main()
