"""Published results on public data sets, reached again and passed: trained per seed, kept with every repetition.

    python benchmarks/records.py amazon_beauty ml_1m --seeds 1 2 3    # what is done already is not trained again
    python benchmarks/records.py --page                               # docs/records.md from the last result

Each seed of each set is `python train.py experiment=records/<set> seed=…`: leave-one-out over the whole log in stable
order, all items ranked but those of the history, the best epoch chosen by NDCG@10 on the second-last items, the last
ones asked once. Where a set has true times, the same is trained without them (`model.time=false`), which is what the
gain is counted from. Intervals are 95 %, over customers and seeds at once (`evaluation/seeds.py`).

Writes `benchmarks/results/records.json` after every training, and `docs/records.md`. Of each training the file holds
where every test item ranked, one character a customer (`RANKS`), so that intervals are made from it alone; trainings
stay as long as the settings that they had are still those of the experiment. A training that was stopped goes on from
its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _results import RESULTS, ROOT, at_least, not_had, row, write_result
from shopkeeper.evaluation.seeds import Seeds, difference, estimate
from shopkeeper.evaluation.table import read_table
from shopkeeper.files import sha256_json
from shopkeeper.pipeline.stages.compose import composed
from shopkeeper.pipeline.told import plain

NAME, PAGE = "records", ROOT / "docs" / "records.md"
METRICS = {"ndcg@10": "NDCG@10", "hit@10": "HR@10"}
RANKS = ".123456789A"  # of the test item: beyond the tenth place, 1, …, 10
GAIN = {"ndcg@10": np.array([0, *(1 / np.log2(1 + r) for r in range(1, 11))]), "hit@10": np.array([0.0] + [1.0] * 10)}
DECIDES = ("dataset", "split", "task", "timeline", "loss", "model")  # of the settings; the rest is the machine's
# Settings that came after trainings which are kept, as they always were before: at that value no part of a recipe.
SINCE = {"item_init": "random", "patience_steps": 100}  # of models; patience took more steps in each training
ANEW = {"hstu": "a bias for each block"}  # networks that are no longer what they were: what was trained before is gone


@dataclass(frozen=True)
class Record:
    """A set's published figures, what is to be reached, and with which words the experiment is trained for a peer."""

    published: Mapping[str, float] = field(default_factory=dict)  # by metric; none: no figure of this protocol is known
    source: str = ""
    must: float | None = None  # NDCG@10
    aim: float | None = None
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # what the experiment is compared with


def _both(ndcg: float, hit: float) -> dict[str, float]:
    return {"ndcg@10": ndcg, "hit@10": hit}


TIMELESS = {"without time": ("model.time=false",)}
RECORDS = {
    "amazon_beauty": Record(_both(0.0531, 0.0921), "SASRec+SS, blondered/transformer_benchmark", 0.0545, 0.06),
    "ml_1m": Record(_both(0.1821, 0.3152), "SASRec+, 64 wide, antklen/sasrec-bert4rec-recsys23", 0.18, 0.195),
    "ml_1m_wide": Record(
        _both(0.1858, 0.3207), "SASRec+, 256 wide, best of 108 by validation, monkey0head/time-to-split", 0.187, 0.195
    ),
    "amazon_beauty_bert4rec": Record(
        _both(0.0359, 0.0595), "SASRec of RecTools, blondered/bert4rec_repro", 0.0365, 0.04
    ),
    "ml_100k": Record(peers=TIMELESS),
    "ml_latest_small": Record(peers=TIMELESS),
}
ENOUGH = 3  # seeds

Training = dict[str, Any]  # one element of "trainings" in the result


def words_of(name: str, peer: str, seed: int) -> list[str]:
    """The words of the training's command."""
    return [f"experiment=records/{name}", f"seed={seed}", *(RECORDS[name].peers[peer] if peer else ())]


def recipe(name: str, peer: str, more: Sequence[str] = ()) -> str:
    """A hash of the settings that decide what is learned, whatever the seed."""
    cfg = plain(composed("train", [*words_of(name, peer, 1), *more]))
    limits = {k: cfg["trainer"][k] for k in ("max_epochs", "max_batches", "validation_requests")}
    newer = {k for k, value in SINCE.items() if cfg["model"].get(k) == value}
    cfg["model"] = {k: v for k, v in cfg["model"].items() if k not in {"target", *newer}}  # a class may move
    if cfg["model"].get("average") == "ema":
        cfg["model"]["average_epochs"] = 5  # nothing is of it there; as it was shipped when the kept ones were trained
    network = {"network": ANEW[cfg["model"]["name"]]} if cfg["model"]["name"] in ANEW else {}
    return sha256_json({k: cfg[k] for k in DECIDES} | limits | network)[:16]


def trained(name: str, peer: str, seed: int, of: str, more: Sequence[str], outputs: Path) -> Training:
    """Train one seed of recipe `of`, or take the run that is there; its figures and where every test item ranked."""
    run = outputs / name / f"{peer.replace(' ', '-') or 'record'}-{seed}-{of}"
    if not (run / "manifest.json").is_file():
        words = [*words_of(name, peer, seed), *more, "tracking=none", "progress=false"]
        subprocess.run([sys.executable, "train.py", *words, f"hydra.run.dir={run}"], cwd=ROOT, check=True)
    metrics, table = _json(run / "metrics.json"), read_table(run / "test.parquet", ["ranks"])
    learned = _json(run / "training.json")
    ranks = ranks_of(table["ranks"].to_pylist())
    figures = {m: values(ranks, m).mean() for m in METRICS}
    for metric, value in figures.items():
        if abs(value - metrics["test"][metric]["value"]) > 2e-5:  # ties share their gain; here a rank is whole
            sys.exit(f"{run}: by its ranks {metric} is {value:.6f}, which is not what metrics.json says")
    epochs = learned["history"]
    seconds = sum(e["seconds"] + e.get("validation_seconds", 0.0) for e in epochs)
    return {
        "name": name, "peer": peer, "seed": seed, "recipe": of, "target_hash": metrics["target_hash"],
        "validation ndcg@10": metrics["validation"]["ndcg@10"]["value"], "best_epoch": learned["best_epoch"],
        "epochs": len(epochs), "hours": round(seconds / 3600, 3), "commit": _json(run / "manifest.json")["commit"],
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "torch": torch.__version__,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"), "ranks": ranks,
    }  # fmt: skip


def ranks_of(ranks: Sequence[Sequence[float | None]]) -> str:
    """One character for each request's only target."""
    assert all(len(each) == 1 for each in ranks), "leave-one-out asks for one item each"
    return "".join(RANKS[round(r)] if r is not None and round(r) <= 10 else RANKS[0] for (r,) in ranks)


def values(ranks: str, metric: str) -> np.ndarray:
    """The metric of each request."""
    place = np.array([RANKS.index(character) for character in ranks])
    found: np.ndarray = GAIN[metric][place]
    return found


def by_seed(trainings: Sequence[Training], metric: str) -> np.ndarray:
    """Values of each customer (U) in each training (S): (U, S). All must have been asked the same."""
    if len({t["target_hash"] for t in trainings}) > 1:
        sys.exit(f"{trainings[0]['name']}: its trainings were asked for different items; prepare anew, train all again")
    return np.stack([values(t["ranks"], metric) for t in trainings], axis=1)


def of(trainings: Sequence[Training], name: str, peer: str = "") -> list[Training]:
    """A set's trainings in the order of their seeds."""
    return sorted((t for t in trainings if (t["name"], t["peer"]) == (name, peer)), key=lambda t: t["seed"])


def mean_of(trainings: Sequence[Training], metric: str) -> Seeds:
    """Over customers and seeds."""
    value_US = by_seed(trainings, metric)
    return estimate(metric, value_US, np.ones(len(value_US)))


def gain_of(trainings: Sequence[Training], peers: Sequence[Training], metric: str) -> Seeds:
    """What the record has more than its peer, customer by customer, over the seeds of both."""
    both = by_seed([*peers, *trainings], metric)
    return difference(metric, both[:, : len(peers)], both[:, len(peers) :], np.ones(len(both)))


def rows_of(trainings: Sequence[Training]) -> Iterator[dict[str, Any]]:
    """Every figure with its repetitions and its interval."""
    for name, record in RECORDS.items():
        own = of(trainings, name)
        for peer in ("", *record.peers):
            some = of(trainings, name, peer)
            for metric in METRICS if some else ():
                found = mean_of(some, metric)
                yield (row(f"records/{name} {peer}".strip(), name, f"{metric} on test", "1", found.per_seed)
                       | {"mean": found.mean, "low": found.low, "high": found.high, "seeds": [t["seed"] for t in some],
                          "published": record.published.get(metric) if not peer else None})  # fmt: skip
            if peer and some and own:
                gain = gain_of(own, some, "ndcg@10")
                each, bounds = gain.per_seed or [gain.mean], {"mean": gain.mean, "low": gain.low, "high": gain.high}
                yield row(f"records/{name} against {peer}", name, "difference of ndcg@10 on test", "1", each) | bounds


def claims_of(trainings: Sequence[Training]) -> Iterator[dict[str, Any]]:
    """What the figures must be."""
    for name, record in RECORDS.items():
        own = of(trainings, name)
        if record.must is not None:
            what = f"{name}, NDCG@10 on test of experiment=records/{name}"
            if not own:
                yield not_had("zoo", what, record.must, "no training of it has ended yet")
                continue
            found = mean_of(own, "ndcg@10")
            what += f", mean of {len(own)} {'seed' if len(own) == 1 else 'seeds'}"
            yield at_least("zoo", what, found.mean, record.must)
            yield at_least("zoo", f"{what}; the aim", found.mean, record.aim or record.must, "aim")
            yield at_least("zoo", f"{name}, lower bound of that NDCG@10 against the published figure", found.low,
                           record.published["ndcg@10"], "aim")  # fmt: skip
        for peer in record.peers:
            what, some = f"{name}, lower bound of what NDCG@10 gains over {peer}", of(trainings, name, peer)
            if own and some:
                yield at_least("zoo", what, gain_of(own, some, "ndcg@10").low, 0.0)
            else:
                yield not_had("zoo", what, 0.0, "no training of it has ended yet")
        yield at_least("zoo", f"{name}, seeds of the record", len(own), ENOUGH)


def page(result: Mapping[str, Any]) -> str:
    """`docs/records.md`."""
    trainings = result["trainings"]
    lines = [
        "| data | experiment | seeds | NDCG@10 (95 %) | HR@10 (95 %) | published | goal | reached | hours a seed |",
        "|---|---|---:|---|---|---|---:|---|---:|",
    ]  # fmt: skip
    gains = []
    for name, record in RECORDS.items():
        for peer in ("", *record.peers):
            some = of(trainings, name, peer)
            called = f"`records/{name}`" + (f" {peer}" if peer else "")
            if not some:
                goal = record.must or ""
                lines.append(f"| {name} | {called} | 0 | | | {_published(record, peer)} | {goal} | not run | |")
                continue
            found = {m: mean_of(some, m) for m in METRICS}
            shown = " | ".join(f"{f.mean:.4f} ({f.low:.4f} to {f.high:.4f})" for f in found.values())
            reached = "" if record.must is None else "yes" if found["ndcg@10"].mean >= record.must else "no"
            hours = np.mean([t["hours"] for t in some])
            lines.append(f"| {name} | {called} | {len(some)} | {shown} | {_published(record, peer)} | "
                         f"{record.must or ''} | {reached} | {hours:.2f} |")  # fmt: skip
            if peer and of(trainings, name):
                gain = gain_of(of(trainings, name), some, "ndcg@10")
                sure = "excludes" if gain.low > 0 or gain.high < 0 else "holds"
                gains.append(f"- {name}: {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) against {peer}; "
                             f"the interval {sure} 0.")  # fmt: skip
    sources = [f"- {name}: {r.source}." for name, r in RECORDS.items() if r.source]
    paired = ["Paired by customer, over the seeds of both, NDCG@10:", "", *gains, ""] if gains else []
    where = "Where the published figures are from (on GitHub):"
    return "\n".join([HEAD, *lines, "", *paired, where, "", *sources, ""])


HEAD = """# Records

Leave-one-out as papers do it (`split=leave_one_out`, `protocol: published`): the last item of every customer is asked
for, the one before it chooses the epoch, all items are ranked but those of the history, order is that of the file. Each
line is `python train.py experiment=records/<data> seed=…`; the settings and what led to them stand in
`conf/experiment/records/`. Intervals hold for other customers and other seeds. On ml_100k and ml_latest_small HSTU
reads when it is asked: its figures are not comparable with those of models that do not. Hours are those of a machine
that did other work, too. Published: NDCG@10 / HR@10.

Written by `python benchmarks/records.py --page` from `benchmarks/results/records.json`.
"""


def _published(record: Record, peer: str) -> str:
    return "" if peer or not record.published else " / ".join(f"{record.published[m]:.4f}" for m in METRICS)


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def kept(result: Mapping[str, Any], more: Sequence[str]) -> list[Training]:
    """The trainings of a result whose settings are still those of their experiment."""
    now = {(name, peer): recipe(name, peer, more) for name, r in RECORDS.items() for peer in ("", *r.peers)}
    return [t for t in result.get("trainings", []) if now.get((t["name"], t["peer"])) == t["recipe"]]


def main(
    names: Sequence[str], seeds: Sequence[int], more: Sequence[str], note: str | None, folder: Path, at_once: int = 1
) -> None:
    """Train what is missing; the result and, of the committed one, its page are written after each."""
    file = folder / f"{NAME}.json"

    def there() -> dict[str, Any]:  # read anew each time: another process may train other sets meanwhile
        found: dict[str, Any] = _json(file) if file.is_file() else {}
        return found

    outputs = ROOT / "outputs" / NAME if folder == RESULTS else folder / "runs"
    missing = [(name, peer, seed, recipe(name, peer, more))
               for name in names for seed in seeds for peer in ("", *RECORDS[name].peers)
               if not any(t["seed"] == seed for t in of(kept(there(), more), name, peer))]  # fmt: skip
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(trained, *each, more, outputs) for each in missing]):
            one = done.result()
            trainings = [*kept(there(), more), one]
            said = note or there().get("note")
            write_result(NAME, list(rows_of(trainings)), list(claims_of(trainings)), note=said,
                         more={"trainings": trainings}, folder=folder)  # fmt: skip
            if folder == RESULTS:
                PAGE.write_text(page(_json(file)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*RECORDS, []], help="sets; none: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", nargs="+", default=[], dest="more", help="further words of train.py: another recipe")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the result is written")
    parser.add_argument("--at-once", type=int, default=1, help="trainings at once, e.g. on a GPU that one leaves idle")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    parser.add_argument("--page", action="store_true", help="write the page anew, run nothing")
    a = parser.parse_args()
    if a.page:
        PAGE.write_text(page(_json(RESULTS / f"{NAME}.json")), encoding="utf-8")
    else:
        main(a.names or list(RECORDS), a.seeds, a.more, a.note, a.folder, a.at_once)
