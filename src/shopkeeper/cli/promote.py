"""`promote`: a challenger becomes champion in MLflow's registry, or is told why not; `--rollback` goes back."""

from __future__ import annotations

from typing import Any

from shopkeeper.errors import UserError


def promote_model(name: str, rollback: bool, uri: str | None, gates: dict[str, Any]) -> None:
    """Print what each gate found; a `UserError` where the challenger is refused."""
    from shopkeeper.pipeline.handed.promote import Gates, promote, roll_back, settings_of

    tracking = settings_of(uri)
    if rollback:
        gone, back = roll_back(tracking, name)
        print(f"{name}: version {back} is the champion again, in place of version {gone}")
        return
    found = promote(tracking, name, Gates(**gates))
    for one in found:
        print(f"{one.gate:<12} {'holds' if one.holds else 'does not hold'}: {one.said}")
    if refused := [one for one in found if not one.holds]:
        which, way_out = ", ".join(one.gate for one in refused), refused[0].way
        raise UserError(f"{name}: the challenger does not become champion ({which}); {way_out}")
    print(f"{name}: the challenger is the champion")
