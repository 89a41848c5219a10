"""`promote`: a registered model's challenger becomes its champion when nothing speaks against it, or says what does.

Asked, in this order, of the rows that both were judged on, which the registry keeps, and of the bundles themselves:

    comparison    paired, on test: better than the champion (the first one: than the strongest baseline of its report)
    slices        significantly worse in none, all slices judged as one family
    calibration   of probabilities: its calibration error is not larger by more than `calibration`
    golden        its golden requests come out
    latency       its median answer takes no longer than `latency` times the champion's, both measured by turns
    size          its files are no larger than `size` times the champion's

What was found stands in tags of the version and at the end of its card there.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shopkeeper.errors import UserError, nearest
from shopkeeper.tasks.find import find_task, own_tasks
from shopkeeper.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version
from shopkeeper.tracking.settings import Tracking

log = logging.getLogger(__name__)
ROUNDS = 5
BEGINS = "\n## Promotion\n"
TAG, ROLLED_BACK = "promotion", "rolled back to version"


@dataclass(frozen=True)
class Gates:
    """How far a challenger may fall behind where it is better."""

    calibration: float = 0.01
    latency: float = 1.5
    size: float = 2.0
    confidence: float = 0.95
    resamples: int = 1000
    smallest_effect: float = 0.003


@dataclass(frozen=True)
class Found:
    """One gate: whether it holds, and why in words."""

    gate: str
    holds: bool
    said: str
    way: str = "train another"  # out, where it does not hold


def promote(tracking: Tracking, name: str, gates: Gates | None = None) -> list[Found]:
    """Move the alias `champion` to the challenger if every gate holds; what was found of each.

    Raises:
        UserError: tracking is off, there is no challenger, it is the champion already, somebody has rolled it back, or
            the two answered different requests.
    """
    registry = _registry(tracking)
    challenger, champion = registry.find(name, CHALLENGER), registry.find(name, CHAMPION)
    if challenger is None:
        names = registry.names()
        raise UserError(
            f"MLflow has no challenger of '{name}'; `shopkeeper export run=…` registers one."
            f"{nearest(name, names) if names else ''}"
        )
    if champion is not None and champion.number == challenger.number:
        raise UserError(f"version {champion.number} of {name} is the champion already; export another model")
    if (said := challenger.tags.get(TAG, "")).startswith(ROLLED_BACK):  # for what no gate saw
        raise UserError(f"version {challenger.number} of {name} was {said}; export another model, or delete its tag "
                        f"'{TAG}' in MLflow to ask the gates again")  # fmt: skip
    found = list(_gates(registry, challenger, champion, gates or Gates()))
    granted = all(one.holds for one in found)
    against = "no champion yet" if champion is None else f"version {champion.number}"
    why = "; ".join(one.said for one in found if one.holds == granted)
    tags = {TAG: "granted" if granted else "refused", "promotion.against": against, "promotion.why": why[:4900]}
    lines = [f"{'Granted' if granted else 'Refused'}, against {against}.", ""]
    lines += [f"- {one.gate}: {'holds' if one.holds else 'does not hold'}; {one.said}" for one in found]
    registry.note(challenger, tags, challenger.text.partition(BEGINS)[0] + BEGINS + "\n" + "\n".join(lines) + "\n")
    if granted:
        if champion is not None:
            registry.point(name, PREVIOUS, champion.number)
        registry.point(name, CHAMPION, challenger.number)
    return found


def roll_back(tracking: Tracking, name: str) -> tuple[str, str]:
    """Make the previous champion the champion again; the numbers of the one that goes and of the one that comes."""
    registry = _registry(tracking)
    champion, previous = registry.find(name, CHAMPION), registry.find(name, PREVIOUS)
    if champion is None and name not in (names := registry.names()):
        raise UserError(f"MLflow has no model '{name}'.{nearest(name, names) if names else ''}")
    if champion is None or previous is None:
        raise UserError(f"'{name}' has no previous champion to go back to; train a challenger and promote it")
    if champion.number == previous.number:
        raise UserError(
            f"version {champion.number} of {name} is the previous champion already; train a challenger and promote it"
        )
    registry.point(name, CHAMPION, previous.number)
    end = f"\nRolled back: version {previous.number} is the champion again.\n"
    registry.note(champion, {TAG: f"{ROLLED_BACK} {previous.number}"}, champion.text + end)
    end = f"\nThe champion again, in place of version {champion.number}, which was rolled back.\n"
    registry.note(previous, {}, previous.text + end)
    return champion.number, previous.number


def _registry(tracking: Tracking) -> Registry:
    if tracking.off:
        raise UserError("tracking=none keeps no registry; give the address of an MLflow store")
    return Registry(tracking, experiment=False)


def _gates(registry: Registry, challenger: Version, champion: Version | None, gates: Gates) -> Iterator[Found]:
    with registry.files(challenger) as (new, rows):
        if champion is None:
            yield _beside_baseline(new)
            yield _golden(new)
            return
        with registry.files(champion) as (old, old_rows):
            yield from _compared(rows, old_rows, str(challenger.tags["headline"]), gates)
            yield from _calibration(new, old, gates)
            yield _golden(new)
            yield _latency(new, old, gates)
            yield _size(new, old, gates)


def _beside_baseline(folder: Path) -> Found:
    manifest = _manifest(folder)
    judged, task = manifest.get("judged"), str(manifest.get("task"))
    if judged is None:
        way = "evaluate, then export again"
        if manifest["kind"] != "recommender" and task in own_tasks():  # whose baseline `evaluate` does not train
            way = f"`shopkeeper train model={find_task({'name': task}).baseline} task={task}`, {way}"
        none = (
            "no report sets it beside a baseline (the strongest one itself stands beside none: promote what beats it)"
        )
        return Found("comparison", False, f"there is no champion, and {none}; {way}", way)
    return Found("comparison", judged["better"], f"beside {judged['baseline']}: {judged['statement']}")


def _compared(rows: Path, old_rows: Path, headline: str, gates: Gates) -> Iterator[Found]:
    from shopkeeper.evaluation.aggregates import compare
    from shopkeeper.evaluation.slices import slice_results
    from shopkeeper.evaluation.table import read_table, slices_of

    tables: dict[str, pa.Table] = {CHAMPION: read_table(old_rows), CHALLENGER: read_table(rows)}
    options: dict[str, Any] = {"confidence": gates.confidence, "resamples": gates.resamples}
    found = compare(tables, [headline], smallest_effect=gates.smallest_effect, **options)
    if not found or not found[0].n_users:
        said = f"no row of test has {headline} of both, so that nothing can be said of them"
        yield Found("comparison", False, said, "export one that answers what the champion answers")
        return
    yield Found("comparison", found[0].winner == CHALLENGER, found[0].statement)
    first = tables[CHALLENGER]
    if headline in first.column_names and list(slices_of(first)):
        sliced = slice_results(tables, headline, winner=CHALLENGER, **options)
        said = "; ".join(loss["statement"] for loss in sliced["losses"])
        yield Found("slices", not sliced["losses"], said or f"worse in none of {sliced['tests']} that are large enough")


def _calibration(new: Path, old: Path, gates: Gates) -> Iterator[Found]:
    mine, theirs = (
        ((_manifest(one).get("metrics") or {}).get("test") or {}).get("ece", {}).get("value") for one in (new, old)
    )
    if mine is not None and theirs is not None:
        holds = mine <= theirs + gates.calibration
        said = f"calibration error {mine:.4f}, the champion's {theirs:.4f}"
        yield Found("calibration", holds, said, "train another, or allow more with --calibration")


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def _golden(folder: Path) -> Found:
    from shopkeeper.bundles.answer.bundle import Bundle
    from shopkeeper.bundles.answer.verify import wrong_answers

    bundle = Bundle.load(folder)
    wrong = wrong_answers(bundle)
    return Found("golden", not wrong, wrong[0] if wrong else f"all {len(bundle.golden)} golden requests come out")


def _latency(new: Path, old: Path, gates: Gates) -> Found:
    from shopkeeper.bundles.answer.bundle import Bundle
    from shopkeeper.bundles.answer.verify import replay

    bundles = [Bundle.load(folder) for folder in (new, old)]
    clock: Callable[[], int] = time.thread_time_ns
    spent: list[list[int]] = [[], []]
    for _ in range(ROUNDS + 1):
        for n, bundle in enumerate(bundles):
            for request in bundle.golden:
                start = clock()
                replay(bundle, request)
                spent[n].append(clock() - start)
    mine, theirs = (float(np.median(one[len(one) // (ROUNDS + 1) :])) / 1e6 for one in spent)  # the first round warms
    said = f"{mine:.2f} ms of processor time at the median, the champion {theirs:.2f} ms"
    return Found("latency", mine <= gates.latency * theirs, said, "train another, or allow more with --latency")


def _size(new: Path, old: Path, gates: Gates) -> Found:
    mine, theirs = (sum(path.stat().st_size for path in folder.iterdir()) for folder in (new, old))
    said = f"{mine:,} bytes, the champion {theirs:,}"
    return Found("size", mine <= gates.size * theirs, said, "train another, or allow more with --size")


def settings_of(uri: str | None) -> Tracking:
    """The store that the command line names, else the one of the configuration."""
    from shopkeeper.pipeline.stages.compose import composed
    from shopkeeper.pipeline.told import Export, settings

    told = settings(composed("export", []), Export).tracking
    return told if uri is None else replace(told, name="mlflow", uri=uri)
