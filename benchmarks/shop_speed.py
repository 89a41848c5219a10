"""How long models of shops take, beside RecTools and Cornac: fits, and two stages over a wide catalogue.

    python benchmarks/shop_speed.py --note "…"        # everything; 25 minutes on two cores
    python benchmarks/shop_speed.py --only wide       # some of: wide, two_stages, item_knn, ease, tifu_knn: a file of
                                                      # their own

The shop is drawn: customers order some eight times a year, half of what they take is of a dozen favourites, the rest by
popularity falling as (rank + 20)^-0.9.

`wide`: 100,000 customers x 50,000 items; all candidate models that carry so many items, features and trees, the best 10
for everybody. `two_stages`: the same two candidate models (popularity, item-kNN), so many candidates of each and trees
of the same size, beside RecTools' `CandidateRankingModel`, which has their scores and ranks as features where this
project has 50. Both are trained before the clock starts. `item_knn`, `ease`: `fit` alone on ml_1m, whose prepared rows
both are given. `tifu_knn`: `fit` and answers beside Cornac. Each run is a process of its own with two threads; systems
take turns; the peers live in .venv-rectools and .venv-cornac, made when they are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from _results import ROOT, at_least, at_most, not_had, row, write_result
from _timed import ASKED, DAY, PER_MODEL, TREES, timed
from _training import child, environment

WIDE, NARROW, BASKETS = (100_000, 50_000), (20_000, 10_000), (3_000, 3_000)  # customers, items
KINDS = {
    "wide": [],
    "two_stages": ["rectools"],
    "item_knn": ["rectools"],
    "ease": ["rectools"],
    "tifu_knn": ["cornac"],
}
SAID = {  # what a peer cannot choose by itself: one fit is timed
    "item_knn": ("model.neighbours=50", "model.shrinkage=0", "model.half_life_events=2", "model.self_similarity=null"),
    "ease": ("model.l2=250", "model.half_life_events=null", "model.self_similarity=0"),
}
REQUIRED = {"two_stages": 10.0, "item_knn": 3.0, "ease": 3.0, "tifu_knn": 20.0}


def drawn(customers: int, items: int) -> dict[str, np.ndarray]:
    """A year of orders: customer, item, order (all from 0), time in seconds, by time."""
    rng = np.random.default_rng(0)
    share = np.cumsum((np.arange(items) + 20.0) ** -0.9)
    by_popularity = rng.permutation(items)

    def popular(n: int) -> np.ndarray:
        return by_popularity[np.searchsorted(share / share[-1], rng.random(n))]

    owner = np.repeat(np.arange(customers), 1 + rng.poisson(7, customers))
    day = rng.integers(0, 365, len(owner))
    order = np.repeat(np.arange(len(owner)), 1 + rng.poisson(4, len(owner)))
    customer = owner[order]
    favourites = popular(12 * customers).reshape(customers, 12)
    own = favourites[customer, rng.integers(0, 12, len(order))]
    item = np.where(rng.random(len(order)) < 0.5, own, popular(len(order)))
    at = 1_700_000_000 + day[order] * DAY + 36_000
    by_time = np.argsort(at, kind="stable")
    columns = {"user": customer, "item": item, "order": order, "at": at}
    return {name: values[by_time] for name, values in columns.items()}


def shop(customers: int, items: int, folder: Path) -> Path:
    """The drawn log, prepared with a temporal split; beside it `log.npz` for the peers."""
    import polars as pl

    from shopkeeper.arrange.prepare import prepare_dataset
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.splits.write import write_split

    place = folder / f"shop-{customers}-{items}"
    if (place / "log.npz").is_file():
        return place
    place.mkdir(parents=True)
    log = drawn(customers, items)
    names = {"user": "user_id", "item": "item_id", "order": "order_id", "at": "timestamp"}
    frame = pl.DataFrame({names[name]: values for name, values in log.items()})
    frame.with_columns(event_type=pl.lit("purchase"), price=5.0).write_csv(place / "log.csv")
    config = {
        "name": "drawn", "raw": {"folder": "", "files": ["log.csv"]}, "reader": {"format": "csv"},
        "columns": {name: name for name in (*names.values(), "event_type", "price")}, "timestamp": {"unit": "s"},
        "target_events": ["purchase"], "filter_seen": False, "max_rejected_share": 0,
    }  # fmt: skip
    prepared = Prepared.open(prepare_dataset(config, place, place / "prepared", progress=False))
    write_split(prepared, {"name": "temporal", "validation_days": 28, "test_days": 28, "target_events": ["purchase"]})
    np.savez(place / "log.npz", allow_pickle=False, **log)
    return place


def opened(prepared_folder: Path) -> tuple[Any, Any]:
    from shopkeeper.data.prepared import Prepared
    from shopkeeper.data.split import Split

    prepared = Prepared.open(prepared_folder)
    return prepared, Split.named(prepared, next((prepared.path / "splits").iterdir()).name)


def settings(model: str, *words: str) -> dict[str, Any]:
    from shopkeeper.pipeline.stages.compose import composed
    from shopkeeper.pipeline.told import plain

    return plain(composed("train", ["dataset=demo_shop", f"model={model}", "tracking=none", *words]))["model"]


def two_stages(place: Path, kind: str) -> dict[str, float]:
    """The best 10 for every customer of the shop; the fit is kept beside it."""
    from shopkeeper.data.requests import Requests
    from shopkeeper.features.candidates import Reached, best_items
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make

    few = [f"model.per_model={PER_MODEL}", "model.windows=1", "model.window_days=14", "model.patience=null"]
    told = settings("two_stage", *few, f"model.trees={TREES}")
    if kind == "two_stages":
        told["candidates"] = {name: told["candidates"][name] for name in ("item_knn", "popularity")}
        told["for_new_items"] = []
    prepared, split = opened(place / "prepared")
    model, kept = make(told), place / kind
    if not (kept / "weights.npz").is_file():
        model.fit(prepared, split, Fit(1, target_events=("purchase",), filter_seen=False))
        model.save(kept)
        return {}
    model.load(kept)
    end = np.asarray(split.train_end)
    now = np.full(len(end), int(prepared.events.timestamp.max()))
    everybody = Requests(prepared.events, prepared.offsets[:-1], end, now, np.arange(1, len(end) + 1, dtype=np.int32))
    open_V = np.zeros(prepared.n_items + 1, bool)
    open_V[split.catalogue] = True

    def answer() -> None:
        for first in range(0, len(everybody), 4096):
            part = everybody[first : first + 4096]
            best_items(Reached(model.reached(part), model.rest_V), open_V, 10)

    return timed(answer)


def fitted(model: str, prepared_folder: Path) -> dict[str, float]:
    """`fit` of item-kNN (cosine, 50 neighbours, as RecTools') or EASE."""
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make

    prepared, split = opened(prepared_folder)
    made = make(settings(model, *SAID.get(model, ())))
    import torch  # noqa: F401 (RecTools imports it, too, before its clock starts)

    return timed(lambda: made.fit(prepared, split, Fit(1, target_events=("view",), filter_seen=True)))


def tifu_knn(place: Path) -> dict[str, float]:
    """`fit`, and scores after all orders of the first customers."""
    from shopkeeper.data.requests import Requests
    from shopkeeper.models.fit import Fit
    from shopkeeper.models.make import make

    prepared, split = opened(place / "prepared")
    model = make(settings("tifu_knn", "model.neighbours=100", "model.decay=groups"))
    whole = Requests(prepared.events, prepared.offsets[:-1], np.asarray(split.train_end))

    def work() -> None:
        model.fit(prepared, split, Fit(1, target_events=("purchase",), filter_seen=False))
        model.score(whole[:ASKED])

    return timed(work)


def ours(kind: str, place: Path) -> dict[str, float]:
    """One run of this project, in this process."""
    if kind in ("item_knn", "ease"):
        return fitted(kind, place)
    return tifu_knn(place) if kind == "tifu_knn" else two_stages(place, kind)


def for_peers(prepared_folder: Path, path: Path) -> Path:
    """The training rows of a split as two columns."""
    prepared, split = opened(prepared_folder)
    offsets, rows = split.training_rows()
    np.savez(path, user=np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), item=prepared.events.item[rows])
    return path


def measured(kind: str, repetitions: int, folder: Path, log: Path, scale: float) -> list[dict[str, Any]]:
    """Every run of every system, in turn."""
    if kind in ("item_knn", "ease"):
        ours_at, peers_at = log, for_peers(log, folder / "rows.npz")
    else:
        size = {"wide": WIDE, "two_stages": NARROW, "tifu_knn": BASKETS}[kind]
        customers, items = (round(n * scale) for n in size)
        ours_at = shop(customers, items, folder)
        peers_at = ours_at / "log.npz"
    mine = [sys.executable, __file__, "--run", kind, str(ours_at)]
    if kind in ("wide", "two_stages"):
        child(mine, 3600)  # fits
    systems = {"shopkeeper": mine}
    for peer in KINDS[kind]:
        if python := environment(peer):
            systems[peer] = [str(python), str(Path(__file__).with_name("shop_peers.py")), kind, str(peers_at)]
    found = []
    for _ in range(repetitions):
        for name, command in systems.items():
            got = child(command, 3600)
            if isinstance(got, str):
                raise RuntimeError(f"{name}, {kind}: {got}")
            print(f"{kind}, {name}: {got}", flush=True)
            found.append({"system": name} | got)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs=2, metavar=("KIND", "FOLDER"), help="one run in this process")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--prepared", type=Path, default=ROOT / "data" / "prepared" / "ml_1m")
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "bench", help="drawn shops and their fits")
    parser.add_argument("--scale", type=float, default=1.0, help="of the drawn shops; a smaller one writes no result")
    parser.add_argument("--note", help="what a reader of the result must know, e.g. other work on the machine")
    a = parser.parse_args()
    if a.run:
        print(json.dumps(ours(a.run[0], Path(a.run[1]))))
        return
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in a.only:
            folder = Path(scratch) if kind in ("item_knn", "ease") else a.folder
            found = measured(kind, a.repetitions, folder, a.prepared, a.scale)
            names = list(dict.fromkeys(run["system"] for run in found))
            of = {name: [run for run in found if run["system"] == name] for name in names}
            for name, runs in of.items():
                versions |= {name: runs[0]["version"]} if "version" in runs[0] else {}
                for figure, unit in (("seconds", "s"), ("cpu_seconds", "s of processor time"), ("peak_gib", "GiB")):
                    rows.append(row(name, kind, figure, unit, [run[figure] for run in runs]))
            median = {(r["system"], r["figure"]): r["median"] for r in rows if r["dataset"] == kind}
            if kind == "wide":
                size = f"{WIDE[0]:,} customers x {WIDE[1]:,} items, {PER_MODEL} candidates of each model"
                claims.append(at_most("Shops", f"{size}: all lists, seconds", median["shopkeeper", "seconds"], 60))
                claims.append(at_most("Shops", f"{size}: GiB", median["shopkeeper", "peak_gib"], 3))
            for peer in KINDS[kind]:
                what = f"{kind}: times as fast as {peer}, by processor time"
                if peer in of:
                    # A clock's seconds are those of a machine with nothing else to do; the processor's always hold.
                    ratio = median[peer, "cpu_seconds"] / median["shopkeeper", "cpu_seconds"]
                    claims.append(at_least("Shops", what, ratio, REQUIRED[kind]))
                else:
                    claims.append(not_had("Shops", what, REQUIRED[kind], f"no environment .venv-{peer}"))
    if a.scale == 1:
        write_result(
            "shop_speed" + ("" if a.only == list(KINDS) else "_" + "_".join(a.only)),
            rows,
            claims,
            versions=versions,
            note=a.note,
        )


if __name__ == "__main__":
    main()
