"""From a config to a fitted model and its answers: the same sequence for every task.

What the config asks is made ready; for each turn a model is fitted, audited, and asked for the rows of its parts; what
is better than it can be raises an alarm; figures and facts follow from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from shopkeeper.models.about import Learned
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.forms.fitting import TellEpoch, fit_of, forgotten_if_it_fails, told_apart
from shopkeeper.pipeline.forms.form import about_of, facts_of, model_of, task_of
from shopkeeper.pipeline.runs import declared_facts
from shopkeeper.pipeline.told import Train


@dataclass(frozen=True)
class Result:
    """What training leaves: the model, what its fit told, and what is written beside it into the run folder."""

    model: Any
    learned: Learned
    facts: dict[str, Any]  # for `manifest.json`
    metrics: dict[str, Any]  # `metrics.json`
    tables: dict[str, pa.Table]  # by part, a row per question


def learn(cfg: Train, parts: tuple[str, ...], log_epoch: TellEpoch, held: ExitStack) -> Result:
    """Fit the config's model and answer every question of the parts.

    Until `held` is closed, the checkpoints are this process' alone.
    """
    from shopkeeper.evaluation.profit import Profit
    from shopkeeper.evaluation.table import summarise
    from shopkeeper.pipeline.audit import say

    form, model = form_of(task_of(cfg), cfg.dataset), model_of(cfg)
    asked = form.ask(cfg, parts, model.about)
    fit = fit_of(cfg, facts_of(cfg, asked), model, log_epoch, held, **asked.fit)
    learned, tables, auto = Learned(), dict[str, pa.Table](), dict[str, dict[str, Any]]()
    curve: Sequence[Mapping[str, float]] = ()  # of the training that validation followed, not of one anew
    for turn in asked.turns:
        if tables:
            asked, fit = form.further(cfg, asked, fit, learned, held)
            fit = replace(fit, log=told_apart(fit.log))
        with forgotten_if_it_fails(fit, parts):
            model, learned = form.fitted(cfg, asked, fit, turn)
        curve = curve or learned.history
        form.audit(cfg, asked, fit, turn, model, learned)
        tables |= {part: form.answered(cfg, asked, model, part) for part in turn}
        auto |= {part: told for part in turn if (told := learned.left_open)}
    facts = facts_of(cfg, asked) | declared_facts(model)
    if "test" in tables:
        facts |= say(form.alarm(cfg, asked, tables["test"]))
    e = cfg.evaluation
    metrics = about_of(cfg, asked) | {"confidence": e.confidence, "target_hash": asked.target_hash}
    metrics |= {"auto": auto} if auto else {}
    profit = Profit.of(metrics.get("profit"), metrics["dataset"])
    for part, table in tables.items():
        metrics[part] = summarise(table, resamples=e.resamples, confidence=e.confidence, profit=profit)
    return Result(model, replace(learned, history=curve), facts, metrics, tables)
