"""How fast and in how much memory: ranking 100,000 users in 50,000 items, the bootstrap, and evaluating SASRec.

    python benchmarks/evaluate.py            # everything; RecTools in .venv-rectools, made when it is missing
    python benchmarks/evaluate.py --one NAME # one system in this process, as the above runs each

Data: random float32 vectors of width 64, one target and 50 seen items per user; the same for every system, which must
agree on NDCG@10. Each system runs in a process of its own on two threads; times exclude making the data and imports.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RECTOOLS = ROOT / ".venv-rectools"
N_ITEMS, WIDTH, SEEN, K, THREADS = 50_000, 64, 50, 10, 2
DATASET = "100,000 users x 50,000 items x 64"


def vectors(n_users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Item vectors (row i is item i; row 0 is padding), user vectors, targets, and seen items without the target."""
    rng = np.random.default_rng(0)
    item = rng.standard_normal((N_ITEMS + 1, WIDTH), dtype=np.float32)
    user = rng.standard_normal((n_users, WIDTH), dtype=np.float32)
    target = rng.integers(1, N_ITEMS + 1, n_users)
    user += 0.35 * item[target]  # so that some targets reach the first ten
    seen = rng.integers(1, N_ITEMS + 1, (n_users, SEEN))
    return item, user, target, np.where(seen == target[:, None], seen % N_ITEMS + 1, seen)


def now() -> tuple[float, float]:
    """Wall clock and processor time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def resident_gib() -> float:
    """Memory that this process holds now, in GiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30


def since(start: tuple[float, float]) -> dict:
    """Both times since `start`."""
    wall, processor = now()
    return {"seconds": wall - start[0], "cpu_seconds": processor - start[1]}


def matmul(n_users: int, tile: int) -> dict:
    """The bare matrix product into one reused buffer."""
    import torch

    item, user, _, _ = vectors(n_users)
    user_t, item_t = torch.from_numpy(user), torch.from_numpy(item).T.contiguous()
    buffer = torch.empty(tile, N_ITEMS + 1)
    start = now()
    for a in range(0, n_users, tile):
        part = user_t[a : a + tile]
        torch.mm(part, item_t, out=buffer[: len(part)])
    return {**since(start)}


def shopkeeper(n_users: int, lists: bool) -> dict:
    """Ranks and every list metric per user; with lists also the ten best, coverage and novelty."""
    from shopkeeper.metrics.beyond_accuracy import coverage, exposure, novelty
    from shopkeeper.metrics.ranker import Ranker
    from shopkeeper.metrics.ranking import compute, metric_names
    from shopkeeper.metrics.ranks import Flat, Hits

    item, user, target, seen = vectors(n_users)
    targets = Flat(np.arange(n_users + 1), target)
    gone = Flat(np.arange(n_users + 1) * SEEN, seen.ravel())
    inputs = resident_gib()
    start = now()
    ranker = Ranker(N_ITEMS + 1, item_VD=item, k=K if lists else 0)
    step, means, shown, new = 8192, [], np.zeros(N_ITEMS + 1, np.int64), []
    popularity = np.bincount(seen.ravel(), minlength=N_ITEMS + 1)
    for a in range(0, n_users, step):
        b = min(a + step, n_users)
        ranked = ranker.rank_vectors(user[a:b], targets.rows(a, b), gone.rows(a, b))
        hits = Hits.of(ranked, targets.rows(a, b).offsets, target[a:b])
        means.append(np.stack([compute(hits, name) for name in metric_names([K])]).sum(1))
        if lists:
            shown += exposure(ranked.top_item, N_ITEMS + 1)
            new.append(novelty(ranked.top_item, popularity))
    value = dict(zip(metric_names([K]), np.sum(means, 0) / n_users, strict=True))
    if lists:
        value |= {"coverage": coverage(shown, N_ITEMS), "novelty": float(np.concatenate(new).mean())}
    return {**since(start), "ndcg": float(value["ndcg@10"]), "inputs_gib": inputs}


def rectools(n_users: int, torch_ranker: bool) -> dict:
    """RecTools' ranker and `calc_metrics`; making its frames is within the time."""
    import pandas as pd
    import rectools as package
    from rectools.metrics import MRR, NDCG, CatalogCoverage, HitRate, MeanInvUserFreq, calc_metrics
    from rectools.models.rank import Distance, ImplicitRanker, TorchRanker
    from scipy import sparse

    item, user, target, seen = vectors(n_users)
    item, target, seen = item[1:], target - 1, seen - 1
    known = sparse.csr_matrix((np.ones(seen.size, np.float32), np.sort(seen, 1).ravel(), np.arange(n_users + 1) * SEEN),
                              shape=(n_users, N_ITEMS))  # fmt: skip
    known.sum_duplicates()
    start = now()
    if torch_ranker:
        import torch

        torch.set_num_threads(THREADS)
        ranker = TorchRanker(distance=Distance.DOT, device="cpu", subjects_factors=user, objects_factors=item)
        found = ranker.rank(subject_ids=np.arange(n_users), k=K, filter_pairs_csr=known)
    else:
        ranker = ImplicitRanker(distance=Distance.DOT, subjects_factors=user, objects_factors=item, num_threads=THREADS)
        found = ranker.rank(subject_ids=np.arange(n_users), k=K, filter_pairs_csr=known)
    reco = pd.DataFrame({"user_id": found[0], "item_id": found[1], "score": found[2]})
    reco["rank"] = np.tile(np.arange(1, K + 1), n_users)
    truth = pd.DataFrame({"user_id": np.arange(n_users), "item_id": target})
    past = pd.DataFrame({"user_id": np.repeat(np.arange(n_users), SEEN), "item_id": seen.ravel(), "weight": 1.0})
    metrics = {"ndcg": NDCG(k=K, divide_by_achievable=True), "hit": HitRate(k=K), "mrr": MRR(k=K),
               "coverage": CatalogCoverage(k=K, normalize=True), "novelty": MeanInvUserFreq(k=K)}  # fmt: skip
    value = calc_metrics(metrics, reco=reco, interactions=truth, prev_interactions=past, catalog=np.arange(N_ITEMS))
    return {**since(start), "ndcg": float(value["ndcg"]), "version": package.__version__}


def bootstrap(n_users: int) -> dict:
    """Means of 20 metrics with 1,000 resamples of the users."""
    from shopkeeper.evaluation.intervals import mean_interval

    value = np.random.default_rng(0).random((n_users, 20))
    start = now()
    mean_interval(value, np.arange(n_users), resamples=1000)
    return {**since(start)}


SYSTEMS = {
    "matmul-64": lambda n: matmul(n, 64),
    "matmul-128": lambda n: matmul(n, 128),
    "matmul-512": lambda n: matmul(n, 512),
    "shopkeeper": lambda n: shopkeeper(n, lists=False),
    "shopkeeper-lists": lambda n: shopkeeper(n, lists=True),
    "rectools-implicit": lambda n: rectools(n, torch_ranker=False),
    "rectools-torch": lambda n: rectools(n, torch_ranker=True),
    "bootstrap": bootstrap,
}


def one(name: str, n_users: int) -> None:
    """Run one system here and print its figures as JSON."""
    if not name.startswith("rectools"):
        import torch

        torch.set_num_threads(THREADS)
    figures = SYSTEMS[name](n_users)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**figures, "peak_gib": peak}))


def in_process(name: str, n_users: int, python: str = sys.executable) -> dict:
    threads = {v: str(THREADS) for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    threads["OMP_WAIT_POLICY"] = "PASSIVE"  # waiting threads sleep: other work on the machine slows all alike
    command = [python, __file__, "--one", name, "--users", str(n_users)]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name:20s} {n_users:,} users {figures}", flush=True)
    return figures


def make_rectools() -> str | None:
    """The interpreter of RecTools' own environment, made when it is missing; None when it cannot be had."""
    python = RECTOOLS / "bin" / "python"
    if not python.is_file():
        made = subprocess.run([sys.executable, "-m", "venv", str(RECTOOLS)]).returncode == 0
        wanted = ["rectools[torch]==0.19.*", "implicit", "numpy<2", "pandas<3"]
        if not made or subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted]).returncode:
            return None
    return str(python)


def everything(n_users: int, repetitions: int) -> None:
    from _results import at_least, at_most, not_had, row, write_result

    ours = ["matmul-64", "matmul-128", "matmul-512", "shopkeeper", "shopkeeper-lists", "bootstrap"]
    found: dict[str, list[dict]] = {name: [] for name in ours}
    python = make_rectools()
    peers = ["rectools-implicit", "rectools-torch"] if python else []
    found |= {name: [] for name in peers}
    for _ in range(repetitions):  # in turn, so that a busy spell of the machine hits all alike
        for name in ours:
            found[name].append(in_process(name, n_users))
        for name in peers:
            if name == "rectools-torch":
                # Its memory grows with the users, to 23 GiB: half of them are asked, the time counted twice.
                part = in_process(name, n_users // 2, str(python))
                part |= {"seconds": 2 * part["seconds"], "cpu_seconds": 2 * part["cpu_seconds"]}
                found[name].append({key: value for key, value in part.items() if key != "ndcg"})
            else:
                found[name].append(in_process(name, n_users, str(python)))
    half = in_process("shopkeeper-lists", n_users // 2)
    rows = []
    for name, runs in found.items():
        rows.append(row(name, DATASET, "time", "s", [r["seconds"] for r in runs]))
        rows.append(row(name, DATASET, "processor time", "s", [r["cpu_seconds"] for r in runs]))
        rows.append(row(name, DATASET, "peak memory", "GiB", [r["peak_gib"] for r in runs]))
    rows.append(row("shopkeeper-lists", "half of the users", "peak memory", "GiB", [half["peak_gib"]]))
    above = [r["peak_gib"] - r["inputs_gib"] for r in (found["shopkeeper-lists"][0], half)]
    rows.append(row("shopkeeper-lists", DATASET, "peak memory above the inputs", "GiB", above[:1]))
    rows.append(row("shopkeeper-lists", "half of the users", "peak memory above the inputs", "GiB", above[1:]))
    middle = {r["system"]: r["median"] for r in rows if r["figure"] == "time"}
    product = min(middle[n] for n in ours if n.startswith("matmul"))
    values = [r["ndcg"] for name, runs in found.items() for r in runs if "ndcg" in r]
    assert max(values) - min(values) < 1e-4, f"the systems disagree on NDCG@10: {values}"
    issue, peak = "evaluation", max(r["peak_gib"] for n in ours[3:5] for r in found[n])
    claims = [
        at_most(
            issue, "ranking metrics, times the bare matrix product (fastest tile)", middle["shopkeeper"] / product, 2
        ),
        at_most(issue, "ranking metrics, peak memory of the process, GiB", peak, 1),
        at_most(issue, "memory above the inputs, 100,000 users less 50,000 users, GiB", above[0] - above[1], 0.05),
        at_most(issue, "bootstrap of 100,000 users x 20 metrics x 1,000 resamples, s", middle["bootstrap"], 5),
    ]
    what = (
        "times as fast as RecTools' fastest ranker with calc_metrics",
        "times as fast as RecTools' default ranker (twice half of the users)",
    )
    # Asked for are full ranking metrics, which come from ranks. calc_metrics also gives coverage and novelty, which
    # need the ten best: the variant that makes those, too, is the stricter comparison, and an aim.
    kinds = (("shopkeeper", "ranking metrics", None), ("shopkeeper-lists", "lists, coverage and novelty, too", "aim"))
    for name, text, required in zip(("rectools-implicit", "rectools-torch"), what, (2.5, 8.0), strict=True):
        for system, does, kind in kinds:
            if name in middle:
                claims.append(at_least(issue, f"{does}, {text}", middle[name] / middle[system], required, kind))
            else:
                claims.append(not_had(issue, f"{does}, {text}", required, "RecTools could not be installed"))
    versions = {"rectools": found["rectools-implicit"][0]["version"]} if peers else {}
    write_result("evaluate", rows, claims, versions=versions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=SYSTEMS)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    A = parser.parse_args()
    if A.one:
        one(A.one, A.users)
    else:
        everything(A.users, A.repetitions)
