"""`recommend`: answer for one person, who need never have been in the training data, from a finished run."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from omegaconf import DictConfig

from shopkeeper.bundles.answer.events import read_event
from shopkeeper.data.queries import as_typed
from shopkeeper.data.requests import Requests
from shopkeeper.errors import UserError, nearest
from shopkeeper.identifiers import normal_id
from shopkeeper.models.about import LISTS
from shopkeeper.pipeline import context, places, show
from shopkeeper.pipeline.runs import open_run, say_contradictions
from shopkeeper.pipeline.told import Recommend, settings
from shopkeeper.recommenders.base import untyped_event
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.tasks.find import find_task

log = logging.getLogger(__name__)


def _recommends(run: places.Listed) -> bool:
    return find_task({"name": run.task}, context.named_targets()).asks == REQUESTS


def recommend(config: DictConfig) -> None:
    """The verb: print the best items for `history=[…]` (external ids or [id, event type], oldest first).

    With `basket=[…]`, the order so far, which stands behind the history: what goes with it. With `placement=…` as that
    place of the shop answers: its filter, order and fallback; on an item's page that item is the last of the history,
    on a category's (`category=…`) its items alone are listed.
    """
    cfg = settings(config, Recommend)
    root = cfg.paths.runs
    place = places.find(cfg.run, root) if cfg.run else places.latest(root, places.told(cfg.plain), _recommends)
    run = open_run(place, context.named_targets())
    say_contradictions(cfg.plain, [run])
    if run.about.asks != REQUESTS:
        raise UserError(f"{run.path} is a {run.task} model, which does not recommend items; give a run that does")
    context.say_if_raw_changed(run.manifest, cfg.paths.raw)
    prepared = context.prepared_of(run.manifest)
    split = context.split_of(prepared, run.manifest)
    model = run.model()
    if cfg.placement is not None:
        model = run.placed(model, cfg.placement, cfg.filter_seen)
    elif cfg.category is not None:
        raise UserError(f"category={cfg.category} says whose page it is; add placement=category")
    usual = untyped_event(model, split.timeline["spec"].get("target_events") or ())
    item_ids = prepared.items["item_id"].to_pylist()
    internal = {str(item): i + 1 for i, item in enumerate(item_ids)}
    known, types, n_history = list[int](), list[int](), 0
    for key, lines in (("history", cfg.history), ("basket", cfg.basket)):  # the order so far comes last
        n_history = len(known)
        rows = [read_event(x if isinstance(x, list) else str(x), key, usual, prepared.zone) for x in lines]
        events = [(normal_id(row.item_id), row.event_type) for row in rows]  # as the log spells them
        if strange := [item_id for item_id, _ in events if item_id not in internal]:
            log.info("left out, not in the data: %s", ", ".join(strange))
        known += [internal[item_id] for item_id, _ in events if item_id in internal]
        types += [kind for item_id, kind in events if item_id in internal]
    time = prepared.events.timestamp
    instant = None if time is None else [int(time.max()) + 1]  # asked right after what the log knows
    requests = Requests.from_histories([known], [types], instant=instant)
    if cfg.basket:  # its lines are one order
        one_order = (np.arange(len(known)) >= n_history).astype(np.int32)
        requests = replace(requests, events=replace(requests.events, order=one_order))
    shut = known[n_history:]
    if cfg.placement is not None and cfg.placement.split.asks == "product":
        shut = shut or known[-1:]  # the item whose page it is
    if shut:
        requests = replace(requests, barred=(np.array([0, len(shut)]), np.array(shut, np.int32)))
    if cfg.category is not None:
        code_V, names = prepared.first_category
        if cfg.category not in names:
            raise UserError(f"category={cfg.category}: {prepared.name} has none.{nearest(cfg.category, names)}")
        open_to = split.catalogue[code_V[split.catalogue] == names.index(cfg.category) + 1]
        requests = replace(requests, candidates=(np.array([0, len(open_to)]), open_to))
    k = cfg.k
    if cfg.placement is not None:  # its lists are as long as asked for
        listed = np.asarray(model.recommend(requests, min(k, len(split.catalogue))))[0]
        listed = listed[listed > 0]
        scores_V = np.full(prepared.n_items + 1, -np.inf)
        scores_V[listed] = 1 / np.arange(1, len(listed) + 1)
    elif model.about.answers == LISTS:  # places say all that it says
        listed = np.asarray(model.recommend(requests, min(k + len(known), len(split.catalogue))))[0]
        scores_V = np.full(prepared.n_items + 1, -np.inf)
        scores_V[listed[::-1]] = 1 / np.arange(len(listed), 0, -1)
    else:
        scores_V = np.asarray(model.score(requests))[0].astype(np.float64)
    allowed = np.zeros(len(scores_V), bool)
    allowed[split.catalogue] = True
    if run.metrics["filter_seen"] if cfg.filter_seen is None else cfg.filter_seen:
        allowed[known] = False
    allowed[shut] = False
    allowed &= scores_V > -np.inf
    order = np.argsort(-np.where(allowed, scores_V, -np.inf), kind="stable")[: min(k, int(allowed.sum()))]
    extra = [c for c in prepared.items.column_names if c not in ("item", "item_id")][:3]
    attributes = {c: prepared.items[c].to_pylist() for c in extra}
    texts = item_ids if prepared.queries is None else [as_typed(name) for name in item_ids]
    shown = [[texts[i - 1], f"{scores_V[i]:.4f}", *(str(attributes[c][i - 1]) for c in extra)] for i in order.tolist()]
    print(show.table(["item", "score", *extra], shown))
