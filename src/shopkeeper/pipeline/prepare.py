"""`prepare`: raw events -> prepared dataset -> split and its audit. What is there already is not made again."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace

from omegaconf import DictConfig

from shopkeeper import configuration
from shopkeeper.data.prepared import Prepared
from shopkeeper.errors import UserError
from shopkeeper.ingest.guesses.currencies import several
from shopkeeper.ingest.matches import as_line, doubtful, matches_of
from shopkeeper.pipeline import context
from shopkeeper.pipeline.comparing.commands import train_next
from shopkeeper.pipeline.forms import form_of
from shopkeeper.pipeline.forms.form import task_of
from shopkeeper.pipeline.preparing.data import fetch_raw, prepare_data, say_rejected
from shopkeeper.pipeline.preparing.orders import torn_line, without_orders
from shopkeeper.pipeline.preparing.split import training_cutoff
from shopkeeper.pipeline.told import Data, Prepare, TaskSettings, settings
from shopkeeper.tasks.base import REQUESTS
from shopkeeper.timeline import customer_windows, iso
from shopkeeper.timeline.observation import twice_line

log = logging.getLogger(__name__)


def prepare(config: DictConfig) -> None:
    """The verb: prepare the dataset and the split of a config, print what was kept, rejected and found."""
    cfg = settings(config, Prepare)
    fetch_raw(cfg)
    prepared = prepare_data(cfg)
    say_rejected(prepared.path, prepared.fingerprint)
    manifest = prepared.manifest
    log.info("%s: %s events, %s users, %s items in %s", prepared.name, f"{manifest['n_events']:,}",
             f"{prepared.n_users:,}", f"{prepared.n_items:,}", prepared.path)  # fmt: skip
    from shopkeeper.arrange.filters import as_lines, sent_again_line

    for line in as_lines(manifest.get("filters") or []):
        log.info("  %s", line)
    for doubt in manifest.get("id_doubts") or []:
        log.info("  %s", doubt)
    if twice := prepared.observation.get("twice"):
        log.warning("%s", twice_line(prepared.name, twice, prepared.zone))
    rows, told = manifest.get("currencies") or {}, manifest["config"]
    if rows and (said := several(rows, str(told["extra"]["currency"]), str(told.get("currency") or ""))):
        log.warning("%s: %s", prepared.name, said)
    for name, n in (manifest.get("unknown_of_purchases") or {}).items():
        if n and n < manifest["event_types"]["purchase"]:
            log.info("  purchases without a %s: %s; sums of it leave them out, and schema: {%s: {required_for: "
                     "[purchase]}} keeps them aside", name, f"{n:,}", name)  # fmt: skip
    if said := sent_again_line(manifest):
        log.info("  %s", said)
    if together := _torn(prepared):
        log.warning("%s", together)
    for rule, done in (manifest.get("changes") or {}).items():
        log.info("  %s: %s", rule, {k: v for k, v in done.items() if k != "match"})
    for match in matches_of(manifest):
        if not doubtful(match):
            log.info("  %s", as_line(match))
    if context.known_per_cutoff(cfg):
        _prepare_cutoffs(cfg, prepared)
    task = task_of(cfg)
    form_of(task, cfg.dataset).prepare(cfg, prepared)
    log.info("next: %s", shlex.join(train_next(cfg, task, prepared.n_items)))


def _torn(prepared: Prepared) -> str:
    """What is said where lines were bought together and nothing numbers orders; else ""."""
    if not (share := without_orders(prepared)):
        return ""
    columns = prepared.manifest["config"].get("columns") or {}
    by = [columns.get(ours) for ours in ("user_id", "timestamp")]
    told = "[customer, time]" if None in by else str(by).replace("'", "")
    return f"{prepared.name}: {torn_line(share)}; columns: {{order_id: {told}}} makes an order of them"


def _prepare_cutoffs(config: Data, prepared: Prepared) -> None:
    """The dataset as it was known at each cutoff that a split or a customer model of this config asks about."""
    instants = set()
    if prepared.events.timestamp is not None or task_of(config).asks == REQUESTS:
        instants.add(training_cutoff(config, prepared))
    for task in configuration.names("task"):
        if prepared.events.timestamp is not None and config.dataset.windows(task):
            spec = context.customer_spec(replace(config, task=TaskSettings(task)))
            try:
                windows = customer_windows(spec, *prepared.span).parts
            except UserError as e:  # of one task: others can be learned from this log
                log.warning("task=%s: %s", task, e)
                continue
            instants |= {t for cutoffs in windows.values() for t in cutoffs}
    for instant in sorted(instants):
        found = prepare_data(config, instant)
        done = found.manifest["changes"]["identity"]
        log.info("  as of %s: %s links known, %s users -> %s", iso(instant), done["links_known"], done["users_before"],
                 done["users_after"])  # fmt: skip
