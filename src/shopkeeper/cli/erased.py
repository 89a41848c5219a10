"""`python -m shopkeeper erased <user>`: is the customer gone from all that was made? If not, what must be re-run."""

from __future__ import annotations

import os
from pathlib import Path

from shopkeeper.errors import UserError

KEY_VARIABLE = "SHOPKEEPER_PSEUDONYM_KEY"


def erased(user: str, *roots: Path, key_env: str = KEY_VARIABLE) -> list[tuple[Path, str, int, str]]:
    """Every place below the roots that still holds a customer: (file, where in it, how often, what must be re-run).

    With 0 times: it was made from data that is no longer there, so nobody can tell.
    Also looked for under the pseudonym when the environment variable `key_env` holds the key. An empty list is the
    proof that the customer is gone.
    """
    from shopkeeper.events.consent_search import find_customer

    found = []
    for root in roots:
        search = find_customer(_names(user, key_env), Path(root))
        found += [(t.path, t.where, t.count, t.step) for t in search.traces + search.unknown]
    return found


def print_erased(user: str, root: Path = Path("."), key_env: str = KEY_VARIABLE) -> None:
    """Print where the customer still is; a `UserError` (exit code 1) when anywhere."""
    from shopkeeper.events.consent_search import find_customer

    names = _names(user, key_env)
    search = find_customer(names, Path(root))
    also = " (and its pseudonym)" if len(names) > 1 else ""
    print(f"looked for customer '{user}'{also} in {search.files} files below {root}")
    for trace in search.traces:
        times = f", {trace.count} times" if trace.count > 1 else ""
        print(f"  {trace.path}: {trace.where}{times}")
    for trace in search.unknown:
        print(f"  cannot tell: {trace.path} {trace.where}")
    if not search.gone:
        print("run again, in this order:")
        for step in sorted({t.step for t in search.traces + search.unknown}, key=_order):
            print(f"  {step}")
    if search.traces:
        raise UserError(
            f"customer '{user}' is still in {len({t.path for t in search.traces})} files; see the steps above"
        )
    if search.unknown:
        raise UserError(
            f"no file names customer '{user}', but {len(search.unknown)} things were made from data that is no longer "
            f"here and may remember them; see the steps above"
        )
    print("gone: no file names the customer, and nothing here was made from data that did")


def _names(user: str, key_env: str) -> set[str]:
    from shopkeeper.events.consent_erasure import pseudonym, pseudonym_key

    if not user.strip():
        raise UserError("give the customer's external id, e.g. `python -m shopkeeper erased 13085`")
    return {user, pseudonym(user, pseudonym_key(key_env))} if os.environ.get(key_env) else {user}


def _order(step: str) -> tuple[int, str]:
    verbs = (
        "prepare.py",
        "tune.py",
        "train.py",
        "train again",
        "evaluate.py",
        "export.py",
        "MLflow",
        "delete",
        "dvc gc",
    )
    return next((i for i, verb in enumerate(verbs) if verb in step), len(verbs)), step
