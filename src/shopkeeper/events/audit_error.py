"""The error of a split that knows its own future."""

from __future__ import annotations

from shopkeeper.errors import UserError


class AuditError(UserError):
    """A split that leaks; `violations` lists every finding."""

    def __init__(self, split: str, violations: list[str]) -> None:
        self.violations = violations
        found = "; ".join(f"({i}) {v}" for i, v in enumerate(violations, start=1))
        then = "Mend this, delete the split's folder where it is there, and run prepare again"
        super().__init__(f"leak audit of split {split} failed: {found}. {then}")
