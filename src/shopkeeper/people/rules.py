"""From a dataset's config to what is done to its log before anything else: erasure, persons, consent, pseudonyms, ties.

    erasure:    {file: erased.csv, column: user_id}
    identity:   {file: links.csv, columns: {…}, as_of: cutoff}      or, of a log that has both in a row,
    identity:   {from_events: {account: user_id, key: user_pseudo_id}, as_of: cutoff}
    consent:    {file: consent.csv, columns: {…}, purpose: personalisation, as_of: cutoff}
    pseudonyms: {key_env: SHOPKEEPER_PSEUDONYM_KEY}
    ties:       {order: shuffled, seed: 0}

`as_of` is `cutoff` (the default: every split and every cohort sees what was known at its own cutoff), an instant, or,
for consent, `latest` (nobody who has withdrawn by now is in the data at all). Links as of each cutoff are not joined
here: the pipeline prepares the dataset once per cutoff, with that instant as `identity.as_of`.

Files lie beside the raw files (`raw.folder`) or have absolute paths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.arrange.ties import shuffle_log
from shopkeeper.data.consent import LATEST
from shopkeeper.errors import UserError
from shopkeeper.files import sha256_file
from shopkeeper.ingest.dataset_parts import CustomerRules, Identity
from shopkeeper.ingest.log import Log
from shopkeeper.ingest.matches import matched
from shopkeeper.people.consent import apply_consent, read_consents
from shopkeeper.people.erasure import (
    apply_erasure,
    pseudonym_key,
    pseudonymise,
    read_erasure,
    without_erased,
)
from shopkeeper.people.identity import links_of, merge_identities, read_links
from shopkeeper.shapes import Yaml, check_shape
from shopkeeper.timeline import instant
from shopkeeper.typed import made, shapes_of

CUTOFF = "cutoff"  # `as_of`: each split and each cohort as of its own cutoff
SHAPES = shapes_of(CustomerRules)
NEEDED = {
    "erasure": ("file",),
    "consent": ("file", "purpose"),
    "pseudonyms": ("key_env",),
}


def customer_rules(config: Yaml, raw: Path) -> Callable[[Log], dict[str, Any]] | None:
    """What `prepare_dataset(change=…)` shall do to the checked log, or None where the config asks for nothing.

    Order: erasure first of all, then persons from keys, consent, pseudonyms, and last the order of ties. The function
    returns what the manifest keeps of each under `changes`; no id and no key is in it.
    """
    if not (given := _checked(config)):
        return None
    rules, folder = made(CustomerRules, given), _folder(config, raw)

    def change(log: Log) -> dict[str, Any]:
        done: dict[str, Any] = {}
        key = pseudonym_key(str(rules.pseudonyms.key_env)) if rules.pseudonyms else None
        identity, links, as_of = rules.identity, None, None
        if identity:
            if identity.from_events:
                links = links_of(log, str(identity.from_events["account"]), str(identity.from_events["key"]))
            else:
                links = read_links(folder / str(identity.file), identity.columns)
            as_of = identity_instant(identity)
        if rules.erasure:
            path = folder / str(rules.erasure.file)
            ids = read_erasure(path, rules.erasure.column or "user_id")
            match = _listed(path.name, pa.array(sorted(ids), pa.string()), _customers(log))
            done["erasure"] = {**apply_erasure(log, ids, links, key), "match": match}
            links = without_erased(links, ids) if links is not None else None
        if identity and links is not None and as_of is not None:
            customers = _customers(log)
            done["identity"] = merge_identities(log, links, as_of)
            if identity.file:
                keys = pa.concat_arrays([links.account, links.key])
                done["identity"]["match"] = matched(identity.file, "keys", keys, customers)
        else:
            links = None  # every key is a customer of its own until a cutoff is given
        if rule := rules.consent:
            consents = read_consents(folder / str(rule.file), str(rule.purpose), rule.columns)
            until = _consent_instant(rule.as_of or CUTOFF)
            accounts = consents.account if links is None else pa.concat_arrays([consents.account, links.key])
            match = matched(str(rule.file), "customers with a record of consent", _customers(log), accounts)
            done["consent"] = {"purpose": rule.purpose, **apply_consent(log, consents, links, until, as_of)}
            done["consent"]["match"] = match
        if key is not None:
            log.real_users = log.ids["user_id"].values
            done["pseudonyms"] = pseudonymise(log, key)
        if rules.ties:
            done["ties"] = shuffle_log(log, rules.ties.seed)
        return done

    return change


def _listed(name: str, ids: pa.Array, customers: pa.Array) -> dict[str, Any]:
    """How an erasure list matches; other spellings are looked for among those who stay, also of ids that were found."""
    stay = customers.filter(pc.invert(pc.is_in(customers, value_set=ids)))
    others = matched(name, "listed customers", ids, stay)
    spelled = {key: others[key] for key in ("but_for_zeros", "but_for_case")}
    return matched(name, "listed customers", ids, customers) | spelled


def _customers(log: Log) -> pa.Array:
    """The texts of a log's customers."""
    return pc.cast(log.ids["user_id"].values, pa.string())


def identity_instant(identity: Identity) -> int | None:
    """The instant (µs) as of which a dataset's keys are joined; None: as of each cutoff."""
    as_of = identity.as_of or CUTOFF
    return None if as_of == CUTOFF else instant(as_of, "identity.as_of (an instant, or 'cutoff')")


def _consent_instant(as_of: Any) -> int | None:
    """None: each cutoff sees for itself; `LATEST`; or an instant, µs."""
    if as_of in (CUTOFF, "latest"):
        return None if as_of == CUTOFF else LATEST
    return instant(as_of, "consent.as_of (an instant, 'cutoff' or 'latest')")


def pin_rules(config: Yaml, raw: Path) -> dict[str, Any]:
    """The dataset config with the SHA-256 of each rule's file in it, so that a new erasure list makes data stale.

    Put it into whatever decides whether a prepared folder is up to date and where it lies. Rules that ask for nothing
    are left out; a config without any comes back unchanged.
    """
    rules, folder = _checked(config), _folder(config, raw)
    out = {key: value for key, value in config.items() if key not in SHAPES}
    for name, rule in rules.items():
        out[name] = dict(rule)
        if "file" in rule:
            path = folder / rule["file"]
            if not path.is_file():
                raise UserError(f"{path} is missing ({name}.file of dataset {config.get('name')}); put the table there")
            out[name]["sha256"] = sha256_file(path)
    return out


def _folder(config: Yaml, raw: Path) -> Path:
    return Path(raw) / str((config.get("raw") or {}).get("folder") or "")


def _checked(config: Yaml) -> dict[str, dict[str, Any]]:
    where = f"conf/dataset/{config.get('name')}.yaml"
    rules: dict[str, dict[str, Any]] = {}
    for name, shape in SHAPES.items():
        check_shape(config.get(name), shape, where, name)
        rule = {k: v for k, v in (config.get(name) or {}).items() if v is not None}
        if not rule or (name == "ties" and rule.get("order", "file") == "file"):
            continue
        if name == "identity" and bool(rule.get("file")) == bool(rule.get("from_events")):
            raise UserError(f"{where}: identity needs a file of links, or from_events, and not both; set one of them")
        if name == "identity" and len(rule.get("from_events") or "--") < 2:
            raise UserError(f"{where}: identity.from_events needs account and key, two columns of the log; set both")
        for key in NEEDED.get(name, ()):
            if key not in rule:
                raise UserError(f"{where}: {name}.{key} is missing; set it or leave `{name}` out")
        rules[name] = rule
    return rules
