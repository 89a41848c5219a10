"""`python -m shopkeeper erased <user>`: is the customer gone from all that was made? If not, what must be re-run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shopkeeper.errors import UserError
from shopkeeper.ids.spelling import normal_id, other_spellings

if TYPE_CHECKING:
    from shopkeeper.people.search import Search

KEY_VARIABLE = "SHOPKEEPER_PSEUDONYM_KEY"


def erased(user: str, *roots: Path, key_env: str = KEY_VARIABLE) -> list[tuple[Path, str, int, str]]:
    """Every place below the roots that still holds a customer: (file, where in it, how often, what must be re-run).

    With 0 times: it was made from data that is no longer there, so nobody can tell.
    Also looked for under the pseudonym when the environment variable `key_env` holds the key. An empty list is the
    proof that the customer is gone.
    """
    found = []
    for root in roots:
        search, _ = _search(user, Path(root), key_env)
        _something(search, Path(root))
        found += [(t.path, t.where, t.count, t.step) for t in search.traces + search.unknown]
        found += [
            (path, "hides its customers", 0, f"put the key of its pseudonyms into {variable} and ask again")
            for (variable, _), path in search.hidden.items()
        ]
    return found


def print_erased(user: str, root: Path = Path("."), key_env: str = KEY_VARIABLE) -> None:
    """Print where the customer still is; a `UserError` (exit code 1) when anywhere, or when nothing was looked at."""
    search, names = _search(user, Path(root), key_env)
    shown = normal_id(user)
    also = " (and its pseudonym)" if len(names) > 1 else ""
    if shown != user:
        print(f"customer {user!r} is spelled '{shown}' here")
    tally = search.tally
    print(
        f"looked for customer '{shown}'{also} in {tally.files:,} files below {root}: "
        f"{tally.rows:,} rows and lines, {tally.bytes:,} bytes"
    )
    if tally.other:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(tally.other.items()))
        print(f"  files of kinds that hold no texts, not read: {kinds}")
    if search.ours:
        print("  not looked at: the shop's raw data, which an erasure list keeps out of all that is made")
    for server in search.elsewhere:
        print(f"  not looked at: {server}; look for the customer there")
    for folder in search.nobody:
        print(f"  '{shown}' stands for nobody in {folder} (its setting `missing`): rows of that name are no customer's")
    for other, folder in _near(shown, search, key_env):
        print(f"  not looked for: '{other}' of {folder}, another id; if both are one person, ask for it, too")
    for trace in search.traces:
        times = f", {trace.count} times" if trace.count > 1 else ""
        print(f"  {trace.path}: {trace.where}{times}")
    for trace in search.unknown:
        print(f"  cannot tell: {trace.path} {trace.where}")
    if search.traces or search.unknown:
        print("run again, in this order:")
        for step in sorted({t.step for t in search.traces + search.unknown}, key=_order):
            print(f"  {step}")
    if search.traces:
        raise UserError(
            f"customer '{shown}' is still in {len({t.path for t in search.traces})} files; see the steps above"
        )
    if unread := len(tally.unreadable):
        raise UserError(f"{unread} files cannot be read, so nobody can tell whether '{shown}' is gone; see them above")
    for (variable, key_id), path in search.hidden.items():
        raise UserError(
            f"the customers of {path} have pseudonyms, and {variable} does not hold their key (id {key_id}), so nobody "
            f"can tell whether '{shown}' is gone; set it and ask again"
        )
    if search.unknown:
        raise UserError(
            f"no file names customer '{shown}', but {len(search.unknown)} things were made from data that is no longer "
            f"here and may remember them; see the steps above"
        )
    _something(search, root)
    print("gone: no file names the customer, and nothing here was made from data that did")


def _search(user: str, root: Path, key_env: str) -> tuple[Search, set[str]]:
    """The search for an id and for its pseudonym under every key that a dataset was made with and that is here.

    What stays under `hidden` are datasets whose key is not.
    """
    from shopkeeper.people.erasure import key_id, pseudonym
    from shopkeeper.people.search import find_customer

    keys = {v.encode() for v in (os.environ.get(key_env),) if v}
    names = _names(user, key_env)
    search = find_customer(names, root)
    known = {key_id(key) for key in keys}
    for variable, id_of_key in search.hidden:
        key = os.environ.get(variable, "").encode()
        if id_of_key not in known and key and key_id(key) == id_of_key:
            known.add(id_of_key)
            names = names | {pseudonym(normal_id(user), key)}
    if len(names) > 1 + len(keys):
        search = find_customer(names, root)
    hidden = {about: path for about, path in search.hidden.items() if about[1] not in known}
    return replace(search, hidden=hidden), names


def _near(name: str, search: Search, key_env: str) -> list[tuple[str, Path]]:
    """Customers of prepared datasets whose ids differ by leading zeros or capitals alone; under a known key, too."""
    from shopkeeper.people.erasure import pseudonym
    from shopkeeper.people.search import key_of, near

    others = other_spellings(name)
    ids = {other: other for other in others}
    variables = {key_env, *(about[0] for folder in search.datasets if (about := key_of(folder)))}
    for key in {os.environ.get(variable, "") for variable in variables} - {""}:
        ids |= {pseudonym(other, key.encode()): other for other in others}
    return near(ids, search.datasets)


def _something(search: Search, root: Path) -> None:
    """A `UserError` where nothing was looked at: that proves nothing."""
    if search.files == 0 or not (search.ours or search.traces or search.unknown):
        raise UserError(
            f"nothing to look at: below {root} is nothing that this project made ({search.files:,} files), which is no "
            f"proof; give the folder that holds data, models, reports and exports as --root"
        )


def _names(user: str, key_env: str) -> set[str]:
    from shopkeeper.people.erasure import pseudonym, pseudonym_key

    if not normal_id(user):
        raise UserError("give the customer's external id, e.g. `python -m shopkeeper erased 13085`")
    name = normal_id(user)
    return {name, pseudonym(name, pseudonym_key(key_env))} if os.environ.get(key_env) else {name}


def _order(step: str) -> tuple[int, str]:
    verbs = (
        "shopkeeper prepare",
        "shopkeeper tune",
        "shopkeeper train",
        "train again",
        "shopkeeper evaluate",
        "shopkeeper export",
        "MLflow",
        "delete",
        "dvc gc",
    )
    return next((i for i, verb in enumerate(verbs) if verb in step), len(verbs)), step
