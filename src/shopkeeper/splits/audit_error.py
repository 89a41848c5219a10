"""The error of a split or a model that knows its own future."""

from __future__ import annotations

from shopkeeper.errors import UserError

SPLIT_THEN = "Mend this, delete the split's folder where it is there, and run prepare again"


class AuditError(UserError):
    """A split or a model that leaks; `violations` lists every finding."""

    def __init__(self, name: str, violations: list[str], what: str = "split", then: str = SPLIT_THEN) -> None:
        self.violations = violations
        found = "; ".join(f"({i}) {v}" for i, v in enumerate(violations, start=1))
        super().__init__(f"leak audit of {what} {name} failed: {found}. {then}")
