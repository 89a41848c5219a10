"""`audience`: whom to write to as of today or another instant, with what, and who is left alone to see the effect."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from omegaconf import DictConfig

from shopkeeper.campaigns.audience import card, sessions
from shopkeeper.campaigns.audience.blocks import Recommend
from shopkeeper.campaigns.audience.layout import KIND
from shopkeeper.campaigns.audience.make import Given, Made, Waits, make
from shopkeeper.campaigns.audience.scores import Scores, as_asked
from shopkeeper.campaigns.audience.settings import ASKED
from shopkeeper.campaigns.sheets import without_formulas, write_sheet
from shopkeeper.campaigns.upload.contacts import read_list
from shopkeeper.customers.folds import rows_of
from shopkeeper.customers.waits.days import LEVELS, MEDIAN
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.evaluation.profit import Profit
from shopkeeper.evaluation.rows.segments import SLICED, read_segments
from shopkeeper.files import atomic_folder, sha256_tree, write_json, write_text
from shopkeeper.folders import Unlike, check_target
from shopkeeper.hashing import sealed
from shopkeeper.models.about import DAYS, LISTS, PROBABILITIES
from shopkeeper.models.shares import Contributions
from shopkeeper.pipeline import context, places, told
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.recommend import with_nightly
from shopkeeper.pipeline.runs import RunFolder, open_run
from shopkeeper.pipeline.score import said_as_of
from shopkeeper.pipeline.segments import instant_asked
from shopkeeper.pipeline.shell.which_dataset import with_dataset
from shopkeeper.reranking.model import Reranked
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.tasks.find import find_task
from shopkeeper.timeline import instant, iso
from shopkeeper.timeline.zones import clock

log = logging.getLogger(__name__)
EARLY = LEVELS.index(0.25)


def audience(config: DictConfig) -> None:
    """The verb: write the folder, and print how many are in it, and why others are not."""
    cfg = told.settings(with_dataset(config, "audience"), told.Audience)
    cfg.audience.check()
    whole = prepare_data(cfg)
    at = instant_asked(cfg, whole)
    prepared = prepare_data(cfg, at) if context.known_per_cutoff(cfg) else whole
    # Of another day it stays: its arms are needed to read it out.
    name = f"{cfg.audience.name}-{clock(at, prepared.zone):%Y-%m-%d}"
    out = cfg.out or cfg.paths.audiences / prepared.name / name
    unlike = None if cfg.overwrite else _unlike(prepared.name, cfg.audience.name, iso(at))
    out = check_target(out, KIND, unlike)
    facts = {
        "format_version": 1,
        "kind": KIND,
        "audience": cfg.audience.name,
        "dataset": prepared.name,
        "dataset_fingerprint": prepared.fingerprint,
        "as_of": iso(at),
        "erasure_list": prepared.erasure_list,
        "commit": context.git_commit(),
    }
    if cfg.audience.sessions is not None:
        said = _write_sessions(cfg, prepared, at, out, unlike, facts)
    else:
        said = _write_customers(cfg, prepared, at, out, unlike, facts)
    for text in said["warnings"]:
        log.warning("%s", text)
    log.info("as of %s; audience: %s", iso(at), context.relative(out))


def _write_customers(
    cfg: told.Audience, prepared: Prepared, at: int, out: Path, unlike: Unlike | None, facts: Mapping[str, Any]
) -> dict[str, Any]:
    warnings: list[str] = []
    scores = None if cfg.scores is None else _scores(cfg, prepared, at, warnings)
    needed = any(block["from"] in ASKED for block in cfg.audience.blocks.values())
    recommend = _recommender(cfg, prepared, at, warnings) if needed and cfg.recommender is not None else None
    segments = None if cfg.segments is None else _segments(cfg.segments, prepared, at)
    waits = None if cfg.waits is None else _waits(_run(cfg, cfg.waits, prepared), prepared, at)
    profit = Profit.of(cfg.dataset.profit, cfg.dataset.name)
    given = Given(
        cfg.audience, prepared, at, scores, segments, recommend, cfg.consents, cfg.sent, cfg.stock, waits, profit,
        currency=cfg.dataset.currency or ("" if profit is None else profit.currency),
    )  # fmt: skip
    made = make(given)
    with atomic_folder(out, KIND, unlike) as folder:
        _write_tables(made, folder, cfg.chunk)
        said = card.card(made, warnings, cfg.evaluation.confidence)
        write_json(folder / "card.json", said)
        write_text(folder / "card.md", card.as_markdown(said))
        write_json(folder / "manifest.json", sealed({**facts, "files": sha256_tree(folder)}))
    print(f"{len(made):,} customers: {made.power['treatment']:,} to write to, {made.power['control']:,} in control")
    for reason, count in made.left_out.most_common():
        if count:
            print(f"  left out, {reason}: {count:,}")
    return said


def _write_tables(made: Made, folder: Path, size: int) -> None:
    """The audience as Parquet, and as CSV that no spreadsheet runs, a chunk of customers at a time."""
    sheet = parquet = None
    try:
        for chunk in made.chunks(size):
            safe = without_formulas(chunk)
            if parquet is None or sheet is None:
                parquet = pq.ParquetWriter(folder / "audience.parquet", chunk.schema)
                sheet = pyarrow.csv.CSVWriter(folder / "audience.csv", safe.schema)
            parquet.write_table(chunk)
            sheet.write_table(safe)
    finally:
        for writer in (parquet, sheet):
            if writer is not None:
                writer.close()


def _write_sessions(
    cfg: told.Audience, prepared: Prepared, at: int, out: Path, unlike: Unlike | None, facts: Mapping[str, Any]
) -> dict[str, Any]:
    ready = sessions.ready_sessions(prepared, cfg.audience, at)
    said = sessions.card_of(ready, cfg.audience, prepared, iso(at))
    with atomic_folder(out, KIND, unlike) as folder:
        pq.write_table(ready.table, folder / "sessions.parquet")
        write_sheet(ready.table, folder / "sessions.csv")
        write_json(folder / "card.json", said)
        write_text(folder / "card.md", sessions.as_markdown(said))
        write_json(folder / "manifest.json", sealed({**facts, "files": sha256_tree(folder)}))
    print(f"{ready.table.num_rows:,} of {ready.sessions:,} sessions were ready; {ready.bought:,} bought all the same")
    return said


def _unlike(dataset: str, name: str, at: str) -> Unlike:
    """What another folder is of: another dataset, audience or instant."""

    def unlike(manifest: Mapping[str, Any]) -> str | None:
        for key, ours in (("dataset", dataset), ("audience", name), ("as_of", at)):
            if manifest.get(key) != ours:
                return f"{key}={manifest.get(key)}, not {ours}"
        return None

    return unlike


def _scores(cfg: told.Audience, prepared: Prepared, at: int, warnings: list[str]) -> Scores:
    assert cfg.scores is not None
    if cfg.scores.is_file():
        found = _scores_of_file(cfg.scores, prepared, at)
        warnings.append(f"{cfg.scores} holds scores alone: reasons, and how good they are, only a run says")
    else:
        found = _scores_of_run(_run(cfg, cfg.scores, prepared), prepared, at, warnings)
    return as_asked(found, cfg.audience.who.score.of, str(cfg.scores))


def _scores_of_run(run: RunFolder, prepared: Prepared, at: int, warnings: list[str]) -> Scores:
    if run.about.asks == REQUESTS:
        raise UserError(f"scores={run.path} recommends items; give a run about customers here, that as recommender=…")
    if run.about.truth is not None and run.about.truth.by:
        raise UserError(
            f"scores={run.path} answers of each customer and {run.about.truth.by}, and an audience needs one score of "
            f"a customer; give the run of another task"
        )
    said = said_as_of(run, at)
    if said.prepared.fingerprint != prepared.fingerprint:
        raise UserError(f"scores={run.path} was trained on other data than {prepared.path}; train it again")
    if (test := ((run.manifest.get("windows") or {}).get("test"))) is not None and at < _first(test):
        warnings.append(f"{run.path} may have learnt from what came after {iso(at)}: it is judged from {test} on")

    def explain(customer: np.ndarray) -> tuple[Contributions, np.ndarray, tuple[str, ...]]:
        asked = rows_of(said.cohort, said.row[customer - 1])
        return said.model.contributions(asked), asked.features, asked.feature_names

    truth = run.about.truth
    assert truth is not None
    quality = {
        name: run.metrics["test"][name]
        for name in card.SHOWN
        if (run.metrics.get("test") or {}).get(name, {}).get("value") is not None
    }
    return Scores(
        said.value, said.reason, said.cohort.answers, said.low, said.high,
        leaving=said.cohort.of_nothing == 1,
        explain=explain if said.model.about.explains and not said.model.untrainable else None,
        about={"run": context.relative(run.path), "task": run.task, "model": run.metrics["model"],
               "horizon_days": said.cohort.horizon_days, "quality": quality},
    )  # fmt: skip


def _run(cfg: told.Audience, word: Path, prepared: Prepared) -> RunFolder:
    """A run of the audience's dataset, named by its folder or in short."""
    return open_run(places.find(word, cfg.paths.runs, {"dataset": prepared.name}), context.named_targets())


def _waits(run: RunFolder, prepared: Prepared, at: int) -> Waits:
    path, truth = run.path, run.about.truth
    if truth is None or truth.answers != DAYS:
        raise UserError(
            f"waits={path} does not say when the next order comes; give a run of such a task, or leave it out"
        )
    said = said_as_of(run, at)
    if said.prepared.fingerprint != prepared.fingerprint:
        raise UserError(f"waits={path} was trained on other data than {prepared.path}; train it again")
    assert said.quantile is not None, "days come with their quantiles"
    inside = np.where(said.quantile < said.cohort.horizon_days, said.quantile, np.nan)
    about = {"run": context.relative(path), "task": run.task, "model": run.metrics["model"]}
    return Waits(inside[:, EARLY], inside[:, MEDIAN], about)


def _first(test: Any) -> int:
    """The instant of a window as a manifest writes it."""
    return instant(test[0] if isinstance(test, list) else test, "windows.test")


def _scores_of_file(path: Path, prepared: Prepared, at: int) -> Scores:
    """What `score` wrote: of this dataset, as of this instant."""
    table = read_list(path)
    about = json.loads((table.schema.metadata or {}).get(b"shopkeeper", b"{}"))
    if path.suffix != ".parquet" or not about:
        raise UserError(f"{path} does not say as of when its scores are; give the Parquet file of `shopkeeper score`")
    if about.get("dataset") != prepared.name:
        raise UserError(f"{path} holds scores of dataset={about.get('dataset')}, not {prepared.name}; give its own")
    if about.get("as_of") != iso(at):
        raise UserError(
            f"{path} holds scores as of {about.get('as_of')}, and the audience is of {iso(at)}; run `shopkeeper score "
            f"at={iso(at)}`, or give at={about.get('as_of')} here"
        )
    if about.get("fingerprint") not in (None, prepared.fingerprint):
        raise UserError(f"{path} holds scores of other data than {prepared.path}; run `shopkeeper score` again")
    answers, leaving = _what_it_says(about, path)
    row = pc.index_in(prepared.users["user_id"].combine_chunks().cast(pa.string()), value_set=table["user_id"])
    mine = table.take(row)

    def numbers(name: str) -> np.ndarray | None:
        there = name in mine.column_names
        return np.asarray(pc.fill_null(mine[name], np.nan).to_numpy(), np.float64) if there else None

    value = numbers("probability" if answers == PROBABILITIES else "expected")
    if value is None:
        raise UserError(f"{path} holds no scores: {answers}, its own words say; run `shopkeeper score` again")
    reason = np.array(pc.fill_null(mine["blank_reason"], "not in the file").to_pylist(), object)
    about = {key: about[key] for key in ("task", "model", "horizon_days")} | {"run": str(path), "quality": {}}
    return Scores(value, reason, answers, numbers("low"), numbers("high"), leaving=leaving, about=about)


def _what_it_says(about: Mapping[str, Any], path: Path) -> tuple[str, bool]:
    """What a file's scores are, and whether they say that nothing is bought.

    Of a file that does not say so itself (before 2026-11-29) by its task, where that is one of this package.
    """
    if "answers" in about:
        return str(about["answers"]), bool(about.get("leaving"))
    try:
        truth = find_task({"name": about["task"]}).truth
    except UserError:
        raise UserError(f"{path} does not say what its scores are; run `shopkeeper score` again") from None
    assert truth is not None
    return truth.answers, float(truth.label(np.zeros(1, np.int64))[0]) == 1


def _segments(folder: Path, prepared: Prepared, at: int) -> dict[str, np.ndarray]:
    as_of, table = read_segments(folder, prepared.name)
    if as_of != at:
        raise UserError(
            f"{folder} holds segments as of {iso(as_of)}, and the audience is of {iso(at)}; run `shopkeeper "
            f"segments at={iso(at)}`"
        )
    ids = prepared.users["user_id"].combine_chunks().cast(pa.string())
    mine = table.take(pc.index_in(ids, value_set=table["user_id"].combine_chunks()))
    return {name: np.array(mine[name].to_pylist(), object) for name in SLICED if name in mine.column_names}


def _recommender(cfg: told.Audience, prepared: Prepared, at: int, warnings: list[str]) -> Recommend:
    assert cfg.recommender is not None
    run = _run(cfg, cfg.recommender, prepared)
    if run.about.asks != REQUESTS:
        raise UserError(f"recommender={run.path} is about customers; give a run that recommends, that as scores=…")
    if run.manifest["dataset_fingerprint"] != prepared.fingerprint:
        raise UserError(f"recommender={run.path} was trained on other data than {prepared.path}; train it again")
    if (until := run.manifest.get("trained_until")) and at < instant(until, "trained_until"):
        warnings.append(f"{run.path} has learnt from what came after {iso(at)}, until {until}")
    model = run.model()
    split = context.split_of(context.prepared_of(run.manifest), run.manifest)
    if cfg.placement is not None:
        model = run.placed(model, cfg.placement)
    elif model.about.answers != LISTS or run.config.get("placement") is None:
        model = Reranked(model, [], split, bool(run.metrics["filter_seen"]))
    return lambda asked, k: model.recommend(with_nightly(asked, model, split), k)
