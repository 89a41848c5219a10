"""Every YAML that is shipped, each value in turn of another kind, each key misspelt or left out.

A key counts as said where the message holds it; a misspelt one where the message holds both spellings. What is taken as
valid is then worked with: datasets by preparing one that uses every key.
"""

from __future__ import annotations

import copy
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from shipped import CHECKS, CONF, GROUPED, VERBS, composed, group_of, words_of
from shopkeeper.errors import UserError
from shopkeeper.ingest.dataset import parse
from shopkeeper.pipeline import context
from shopkeeper.pipeline import told as told_to
from shopkeeper.pipeline.preparing.data import prepare_data
from shopkeeper.pipeline.preparing.split import prepare_split
from shopkeeper.pipeline.stages.compose import PLAN
from shopkeeper.pipeline.told import TaskSettings, Train, check_config, settings
from shopkeeper.shapes import check_shape
from shopkeeper.timeline import customer_windows

Path_ = tuple[Any, ...]
WRONG = (None, "x", 7, -1.5, float("nan"), float("inf"), True, [], ["a", "b"], [{"a": 1}], {}, {"q": {"r": [1]}})


def places(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Every key, at every depth, those in lists of blocks too."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, deeper in inner:
        yield (*at, key)
        yield from places(deeper, (*at, key))


def holder(config: Any, at: Path_) -> Any:
    for key in at[:-1]:
        config = config[key]
    return config


def copied(config: Any, at: Path_) -> tuple[Any, Any]:
    """The configuration, with copies of the blocks that lead to a key and all others as they are; the key's block."""
    config = block = copy.copy(config)
    for key in at[:-1]:
        block[key] = block = copy.copy(block[key])
    return config, block


def changed(config: Any, at: Path_, value: Any) -> Any:
    config, block = copied(config, at)
    block[at[-1]] = value
    return config


def removed(config: Any, at: Path_) -> Any:
    config, block = copied(config, at)
    del block[at[-1]]
    return config


def slipped(key: str) -> str:
    """`test_days` -> `test_dasy`."""
    return key[:-2] + key[-1] + key[-2] if len(key) > 3 and key[-1] != key[-2] else key + "q"


def misspelt(config: Any, at: Path_) -> Any:
    config, block = copied(config, at)
    items = [(slipped(str(key)) if key == at[-1] else key, value) for key, value in block.items()]
    block.clear()
    block.update(items)
    return config


def said(at: Path_, message: str) -> bool:
    keys = [str(key) for key in at if not isinstance(key, int)]
    return "\n" not in message and any(key in message for key in keys[-2:])


# Blocks whose keys are names of a person's own choice, or of the data's: there, nothing can be misspelt.
FREE = (
    "event_type.map", "extra", "items.columns", "items.from_events", "items.lists", "users.columns",
    "users.from_events", "model.candidates", "model.members",
    "model.candidates.two_stage.candidates", "rerank", "placement.fallback", "placement.baselines",
    "task.baselines", "export.since", "export.renamed", "audience.who.features", "audience.blocks",
)  # fmt: skip
MADE = re.compile(r"steps\.\d+\.(\w+\.columns|also\.taking)$")  # columns of a step: names of a person's own choice
# Said when the file is read or made, see below.
LATER = ("dataset.reader", "dataset.items.reader", "dataset.users.reader", "dataset.simulate")


def slips(cfg: dict[str, Any], root: Path_, work: Callable[[dict[str, Any]], Any], named: bool = True) -> list[str]:
    """What was not answered as it should be: place and answer. `named`: a value of another kind is to be named."""
    bad, before = [], copy.deepcopy(cfg)
    for at in places(holder(cfg, (*root, None)), root):
        dotted, old = ".".join(map(str, at)), holder(cfg, at)[at[-1]]
        for value in (w for w in WRONG if repr(w) != repr(old)):
            try:
                tried = changed(cfg, at, value)
                work(tried)
            except UserError as e:
                if not said(at, str(e)) and (named or "\n" in str(e)):
                    bad.append(f"{dotted}={value}: {e}")
            except Exception as e:
                bad.append(f"{dotted}={value}: {type(e).__name__} {e}")
        try:
            work(removed(cfg, at))
        except UserError as e:
            if "\n" in str(e):
                bad.append(f"{dotted} left out: {e}")
        except AssertionError:  # then it is the default, and no longer the file's
            pass
        except Exception as e:
            bad.append(f"{dotted} left out: {type(e).__name__} {e}")
        block = dotted.rpartition(".")[0].removeprefix("dataset.")
        if isinstance(at[-1], int) or block in FREE or MADE.search(block):
            continue
        try:
            work(misspelt(cfg, at))
            bad.append(f"{dotted} misspelt is taken")
        except UserError as e:
            if slipped(str(at[-1])) not in str(e) or str(at[-1]) not in str(e):
                bad.append(f"{dotted} misspelt: {e}")
        except Exception as e:
            bad.append(f"{dotted} misspelt: {type(e).__name__} {e}")
    assert repr(cfg) == repr(before)  # what is asked of shares all blocks but those on its way
    return bad


@pytest.mark.parametrize("path", GROUPED, ids=lambda p: p.relative_to(CONF).as_posix())
def test_every_value_of_another_kind_and_every_misspelt_key_is_named_or_valid(path: Path):
    group = group_of(path)

    def work(cfg: dict[str, Any]) -> None:
        check_config(cfg)
        CHECKS[group](
            cfg,
            cfg[group]["name"]
            if group in ("audience", "campaign", "dataset", "model", "placement", "task")
            else path.stem,
        )

    root, cfg = (
        ("dataset",) if group == "source" else tuple(group.split("/")),
        composed(VERBS.get(group, "train"), *words_of(path)),
    )
    if group == "source":  # without what the dataset says that it was put into
        own = {"name", "raw", *yaml.safe_load(path.read_text())}
        cfg["dataset"] = {key: value for key, value in cfg["dataset"].items() if key in own}
    if group == "tuning":
        del cfg["tuning"]["space"]  # of the model
    bad = slips(cfg, root, work)
    bad = [b for b in bad if not (b.endswith("is taken") and b.startswith(LATER))]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(
    "verb", ["config", "prepare", "evaluate", "export", "recommend", "score", "segments", "audience", "tune", "uplift"]
)
def test_every_setting_of_a_verb_of_another_kind_and_every_misspelt_one_is_named_or_valid(verb: str):
    own = yaml.safe_load((CONF / f"{verb}.yaml").read_text())
    cfg = composed(verb, *(["run=somewhere"] if verb in ("recommend", "score") else []))
    if verb == "evaluate":
        cfg["report"] = {k: v for k, v in cfg["report"].items() if "baselines" not in k}  # those are models

    def work(tried: dict[str, Any]) -> None:
        same = tried.get("evaluation") == cfg.get("evaluation")  # the block that is read before others are resolved
        told = settings(tried if same else OmegaConf.create(tried), told_to.VERBS.get(verb, Train))
        if isinstance(told, Train):
            context.check_task(told)

    bad = [slip for key in own if key not in ("defaults", "hydra") and isinstance(own[key], dict)
           for slip in slips(cfg, (key,), work)]  # fmt: skip
    for key in own:  # misspelt at the top, Hydra says so
        for value in WRONG:
            try:
                if key not in ("defaults", "hydra"):
                    work(cfg | {key: value})
            except UserError as e:
                if not said((key,), str(e)):
                    bad.append(f"{key}={value}: {e}")
            except Exception as e:
                bad.append(f"{key}={value}: {type(e).__name__} {e}")
    assert not bad, "\n".join(bad)


def test_every_value_of_another_kind_in_the_plan_of_the_pipeline_is_named_or_valid():
    plan = yaml.safe_load((CONF / "pipeline.yaml").read_text())
    bad = slips(plan, (), lambda tried: check_shape(tried, PLAN, "conf/pipeline.yaml"))
    bad = [b for b in bad if not (b.startswith(("models.", "training.")) and b.endswith("is taken"))]
    assert not bad, "\n".join(bad)


LOG = """; exported by hand
shop;card;day;clock;what;kind;units;paid;bill;visit;door;label;page
"""
EVERY_KEY = """
name: all_keys
title: Every key at once
source: nowhere
licence: none
target_events: [purchase]
filter_seen: false
raw: {folder: all, files: [log*.csv]}
reader: {format: csv, delimiter: ";", quote: "", encoding: utf-8, header: true, decimal: ",", skip_lines: 1}
columns:
  user_id: [shop, card]
  item_id: what
  timestamp: [day, clock]
  order_id: bill
  session_id: visit
  quantity: units
  price: paid
  channel: door
timestamp: {format: "%Y-%m-%d %H:%M", time_zone: Europe/London, not_before: 2020-01-01, not_after: 2026-01-01}
event_type:
  value: view
  column: kind
  map: {buy: purchase, look: view}
  rules: [{column: bill, matches: "^R", value: return}]
reject: [{column: what, matches: "^POST", reason: postage}]
schema:
  price: {required: true, required_for: [purchase], min: 0, above: -1, max: 99999}
  quantity: {required: false}
  item_id: {matches: "."}
price_is: total
extra: {page: page}
items:
  file: items.csv
  id: sku
  reader: {format: csv}
  columns: {title: title, tags: tags}
  lists: {tags: "|"}
  id_map: {file: map.txt}
  from_events: {label: label}
users: {}
filters:
  event_types: [purchase, view]
  retention_days: 900
  repeats: {seconds: 0, of: orders}
  bots: {per_hour: 99, per_day: 999}
  consecutive_repeats: true
  k_core: 1
  min_history: 1
  max_history: 999
missing: {order_id: [NA]}
order_days: 1
max_rejected_share: 0.1
observed_from: 2024-01-01
observed_until: 2024-03-25
temporal: {validation_days: 10, test_days: 10, validation: null, test: null, end: null, targets: first}
churn: {horizon_days: 10, active_days: 20, gap_days: 0, min_history_days: 5, n_train: null, test: null,
  calibration: null}
profit: {currency: EUR, customer_value: 120, offer_cost: 10, contact_cost: 0.5, success_rate: 0.2, success_trials: 200}
consent: {file: consent.csv, columns: {account: account}, purpose: personalisation, as_of: cutoff}
erasure: {file: erased.csv, column: user_id}
pseudonyms: {key_env: SHOPKEEPER_PSEUDONYM_KEY}
ties: {order: shuffled, seed: 1}
"""


def write_all_keys(raw: Path) -> None:
    raw.mkdir(parents=True)
    rows = [
        f"s;c{i % 7};2024-{1 + i // 28:02d}-{1 + i % 28:02d};1{i % 10}:00;w{i % 5};{'buy' if i % 3 else 'look'};"
        f"1;2,5;b{i};v{i};web;mug;p\n"
        for i in range(84)
    ]
    (raw / "log1.csv").write_text(LOG + "".join(rows))
    (raw / "items.csv").write_text("sku,title,tags\n" + "".join(f"x{i},t{i},a|b\n" for i in range(5)))
    (raw / "map.txt").write_text("".join(f"w{i} x{i}\n" for i in range(5)))
    (raw / "consent.csv").write_text(
        "account,purpose,granted\n" + "".join(f"s|c{i},personalisation,2020-01-01\n" for i in range(7))
    )
    (raw / "erased.csv").write_text("user_id\nnobody\n")


def test_what_every_key_of_a_dataset_may_not_be_is_said_before_or_while_it_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setenv("SHOPKEEPER_PSEUDONYM_KEY", "k" * 64)
    write_all_keys(tmp_path / "raw/all")
    cfg = composed(
        "prepare",
        "dataset=online_retail",
        "split.protocol=published",
        f"paths.raw={tmp_path / 'raw'}",
        "progress=false",
    )
    cfg["dataset"] = yaml.safe_load(EVERY_KEY)
    cfg["paths"]["prepared"] = str(tmp_path / "prepared")
    keys = list(places(cfg["dataset"]))
    count, taken = itertools.count(), itertools.count()

    def work(dataset: dict[str, Any]) -> None:
        tried = cfg | {"dataset": dataset, "prepared_folder": str(tmp_path / f"prepared/{next(count)}")}
        check_config(tried)
        told = settings(tried, Train)
        context.check_task(told)
        parse(tried["dataset"])
        if list(places(dataset)) == keys and next(taken) % 4:  # of such with the same keys, every fourth is prepared
            return
        prepared = prepare_data(told)
        prepare_split(told, prepared)
        customer_windows(context.customer_spec(replace(told, task=TaskSettings("churn"))), *prepared.span)

    work(cfg["dataset"])
    bad = slips(cfg["dataset"], (), work, named=False)
    assert not bad, "\n".join(bad)
