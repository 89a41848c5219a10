"""Trained model -> the folder that a serving team receives, the same for both families.

Which files there are and what each holds is declared in `bundles/layout.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shopkeeper.bundles.answer.bundle import Bundle
from shopkeeper.bundles.answer.histories import VOCABULARY
from shopkeeper.bundles.answer.verify import verify
from shopkeeper.bundles.write.customers import CustomerQuestions
from shopkeeper.bundles.write.explain import explain
from shopkeeper.bundles.write.explain.origin import made_with, told_of
from shopkeeper.bundles.write.explain.preprocessing import preprocessing
from shopkeeper.bundles.write.items import ItemQuestions
from shopkeeper.bundles.write.made_from import MadeFrom
from shopkeeper.bundles.write.placements import Place
from shopkeeper.bundles.write.seal import another, seal
from shopkeeper.bundles.write.table import TableQuestions
from shopkeeper.customers.base import Cohort
from shopkeeper.data.prepared import Prepared
from shopkeeper.data.split import Split
from shopkeeper.errors import UserError
from shopkeeper.files import atomic_folder, write_json, write_text
from shopkeeper.programs.base import Exportable, Program

log = logging.getLogger(__name__)


def export_bundle(
    model: Any,
    prepared: Prepared,
    asked: Split | Cohort,
    run: MadeFrom,
    out: Path,
    *,
    k: int = 10,
    golden: int = 100,
    seed: int = 0,
    overwrite: bool = False,
    places: Mapping[str, Place] | None = None,
) -> Path:
    """Write the bundle of a trained model to `out`, whole or not at all, and prove that it answers as the model does.

    Args:
        model: trained; one that has a program (`programs.base.Exportable`).
        prepared: the dataset that it was trained on.
        asked: what it is asked: the requests of a split, whose catalogue goes into the bundle, or the customers of a
            cohort, usually test's. Some of them are compared, none of them travels along.
        run: what the manifest says of the run that trained it.
        out: the folder; a bundle of the same dataset, task and model that is there is replaced.
        k: length of the lists of a recommender; never longer than the catalogue.
        golden: number of invented requests that travel with the bundle.
        seed: invents them.
        overwrite: replace a bundle of another dataset, task or model, too.
        places: of a recommender: placements that it answers at, too, by name.

    Raises:
        UserError: the model cannot be exported, or the bundle does not answer as the trained model does.
    """
    if places and not isinstance(asked, Split):
        raise UserError(f"placements list items, which {type(model).__name__} does not; export it without")
    if k < 1 or golden < 1:
        raise UserError(f"export.k={k}, export.golden={golden}: both must be at least 1")
    if not isinstance(asked, Split) and model.untrainable:
        raise UserError(
            f"this {type(model).__name__} has no scores to export: {model.untrainable}; train it on more customers"
        )
    program = program_of(model, prepared.events.timestamp is not None)
    questions: ItemQuestions | CustomerQuestions | TableQuestions
    if isinstance(asked, Split):
        questions = ItemQuestions(model, program, prepared, asked, min(k, len(asked.catalogue)), places or {})
    elif asked.encoding is not None:
        questions = TableQuestions(model, program, prepared, asked)
    else:
        questions = CustomerQuestions(model, program, prepared, asked)
    unlike = None if overwrite else another(run, prepared.name)
    with atomic_folder(Path(out), "bundle", unlike) as folder:
        drawn, words = questions.write_program(folder), questions.vocabulary()
        write_json(folder / VOCABULARY, words)
        requests = list(questions.golden(golden, seed))
        lists = {"requests": requests}
        if places and isinstance(questions, ItemQuestions):
            lists["placements"] = list(questions.golden_of_places(golden, seed))
        parts = [f'"{name}": [\n' + ",\n".join(map(json.dumps, of)) + "\n]" for name, of in lists.items()]
        write_text(folder / "golden.json", "{" + ", ".join(parts) + "}\n")  # one request a line
        manifest = _manifest(prepared, run, questions, drawn)
        explain(folder, manifest, words, requests)
        seal(folder, manifest)
        wrong = verify(folder, repeat=0).wrong
        compared = golden
        if not wrong:
            wrong, compared = questions.compared(Bundle.load(folder), seed)
        if wrong:
            first = "train with trainer.precision=fp32, or " if program.module is not None else ""
            raise UserError(
                f"{out} was not written: the bundle and the trained model differ in {len(wrong)} of {compared} "
                f"requests (first: {wrong[0]}); {first}export another model meanwhile, and report this with what "
                f"`python -m shopkeeper doctor` prints"
            )
    if program.people:
        log.warning("%s holds what %d training customers did, without their ids: it is personal data, and to be "
                    "exported again when one of them is erased", out, program.people)  # fmt: skip
    return Path(out)


def program_of(model: Any, timed: bool) -> Program:
    """What a bundle of this model runs; a `UserError` says why there is none."""
    family = type(model).__name__
    if reason := model.about.not_exported:
        raise UserError(f"{family} models are not exported: {reason}; export another model")
    if not isinstance(model, Exportable):
        raise UserError(
            f"{family} models cannot be exported: they have no `program` (see `shopkeeper.programs.base`); "
            f"export another model"
        )
    return model.program(timed)


def _manifest(
    prepared: Prepared,
    run: MadeFrom,
    questions: ItemQuestions | CustomerQuestions | TableQuestions,
    drawn: Mapping[str, Any],
) -> dict[str, Any]:
    """What the bundle is, what it reads and where it comes from."""
    program = questions.program
    return {
        "kind": questions.kind,
        "scorer": program.scorer,  # onnx: model.onnx; else a function of `programs/` that reads arrays.npz
        "history": {
            "max_length": program.max_length,
            "event_types": None if program.event_types is None else list(program.event_types),
            "needs_time": program.needs_time,  # each event must have its time
            "needs_instant": program.needs_instant,  # `as_of` must be said
            "time_zone": prepared.zone,  # of times without an offset
            "usual_type": questions.usual_type,  # what an event without a type counts as, here and in `recommend`
        },
        "preprocessing": preprocessing(questions.kind, program, drawn, questions.buckets),
        "people": program.people,  # training customers whose data are in the arrays, without ids
        **{"model": run.model, "task": run.task, "seed": run.seed, "metrics": run.metrics},
        **{"chosen": run.chosen, "judged": run.judged, "git_commit": run.commit},
        "versions": made_with(program),
        "exported": datetime.now(UTC).date().isoformat(),
        "data": {
            "dataset": prepared.name,
            "fingerprint": prepared.fingerprint,
            **told_of(prepared, run),
            **questions.origin(run),
        },
        **questions.facts(run),
    }
