"""Champion and challenger in MLflow's registry: the command `promote`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from shopkeeper.api.errors import plain_errors
from shopkeeper.api.frames import as_pandas
from shopkeeper.api.html import grid
from shopkeeper.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from shopkeeper.pipeline.handed.promote import Found


class Promotion:
    """What `promote` found of a challenger, and whether it is the champion now.

    Attributes:
        name: the registered model.
        granted: whether every gate holds, so that the challenger has become champion.
    """

    def __init__(self, name: str, found: Sequence[Found]) -> None:
        self.name, self._found = name, list(found)
        self.granted = all(one.holds for one in found)

    def to_pandas(self) -> pd.DataFrame:
        """A row per gate: `gate`, `holds`, `said`."""
        rows = [{"gate": one.gate, "holds": one.holds, "said": one.said} for one in self._found]
        return as_pandas(pa.Table.from_pylist(rows))

    @property
    def _verdict(self) -> str:
        becomes = "is the champion" if self.granted else "does not become champion"
        return f"{self.name}: the challenger {becomes}"

    def __repr__(self) -> str:
        """As the terminal shows it."""
        lines = [f"{one.gate}: {'holds' if one.holds else 'does not hold'}; {one.said}" for one in self._found]
        return "\n".join([*lines, self._verdict])

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        rows = [[one.gate, "holds" if one.holds else "does not hold", one.said] for one in self._found]
        return grid(self._verdict, ("gate", "", "why"), rows)


def promote(name: str, *, uri: str | None = None, rollback: bool = False, **gates: Any) -> Promotion:
    """Let MLflow's challenger become champion if nothing speaks against it: the command `shopkeeper promote`.

    A model becomes challenger by `Estimator.export` where its run was tracked: `fit(…, tracking="mlflow")`, or
    `tracking={"name": "mlflow", "uri": …}`.

    Args:
        name: the registered model, `<dataset>-<task>`.
        uri: MLflow's address. None: MLFLOW_TRACKING_URI, or `mlflow.db` in the current folder.
        rollback: make the previous champion the champion again, whatever the gates say.
        gates: how far the challenger may fall behind where it is better: `calibration=0.01`, `latency=1.5`, `size=2.0`,
            `confidence=0.95`, `smallest_effect=0.003`.

    Returns:
        What each gate found, and `granted`; a challenger that is refused is no error here.

    Raises:
        UserError: no such model, no challenger, or it is the champion already; nothing to go back to.

    Examples:
        >>> import shopkeeper as sk
        >>> sk.promote("demo_shop-next_item").granted  # doctest: +SKIP
    """
    from dataclasses import fields

    from shopkeeper.pipeline.handed import promote as verb

    known = [field.name for field in fields(verb.Gates)]
    if unknown := [gate for gate in gates if gate not in known]:
        raise UserError(f"promote has no gate '{unknown[0]}'.{nearest(unknown[0], known)}")
    with plain_errors():
        tracking = verb.settings_of(uri)
        if rollback:
            gone, back = verb.roll_back(tracking, name)
            said = f"version {back} is the champion again, in place of version {gone}"
            return Promotion(name, [verb.Found("rollback", True, said)])
        return Promotion(name, verb.promote(tracking, name, verb.Gates(**gates)))
