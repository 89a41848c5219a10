"""The table of a finished campaign: who got what, what came of it, and what was known before.

Shapes: n customers of one arm and the control group, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopkeeper.campaigns.sheets import read_sheet
from shopkeeper.campaigns.uplift.learners import Trial
from shopkeeper.campaigns.uplift.settings import Campaign
from shopkeeper.errors import UserError, nearest

MOST_VALUES = 20  # of a text that is a feature: each is a column


@dataclass(frozen=True)
class Told:
    """The table, read."""

    table: pa.Table
    campaign: Campaign
    names: tuple[str, ...]  # of the features' columns
    features: np.ndarray  # float64 (rows, F)

    @property
    def arms(self) -> list[str]:
        """The arms beside control."""
        return sorted(set(self._arm) - {str(self.campaign.control)})

    @property
    def _arm(self) -> list[str]:
        return [str(x) for x in self.table[self.campaign.treatment].to_pylist()]

    def trial(self, arm: str, outcome: str) -> tuple[np.ndarray, Trial]:
        """Rows of an arm and the control group, and what is known of them."""
        of = np.array(self._arm, object)
        rows = np.flatnonzero((of == arm) | (of == str(self.campaign.control)))
        treated = of[rows] == arm
        said = self.campaign.probability
        if said is None:
            chance = np.full(len(rows), treated.mean())
        elif isinstance(said, str):
            chance = _numbers(self.table, said, self.campaign)[rows]
        else:
            chance = np.full(len(rows), float(said))
        return rows, Trial(self.features[rows], treated, chance, _numbers(self.table, outcome, self.campaign)[rows])


def read_campaign(campaign: Campaign, raw: Path) -> Told:
    """Read the table of a campaign.

    Raises:
        UserError: the file or a column is missing, nobody is in the control group, a customer has several rows, an
            outcome is no number or is missing, an outcome is among the features.
    """
    path = raw / campaign.file
    if not path.is_file():
        raise UserError(f"there is no file {path}; set paths.raw or campaign.file")
    table = read_sheet(path, [campaign.customer] if campaign.customer else ())
    of_chance = [campaign.probability] if isinstance(campaign.probability, str) else []
    wanted = [campaign.treatment, *campaign.outcomes, *campaign.features, *of_chance]
    for name in [*wanted, *([campaign.customer] if campaign.customer else [])]:
        if name not in table.column_names:
            raise UserError(
                f"campaign={campaign.name}: {path} lacks the column '{name}'.{nearest(name, table.column_names)}"
            )
    for name in {campaign.treatment, *campaign.outcomes, *of_chance} & set(campaign.features):
        raise UserError(
            f"campaign={campaign.name}: {name} is among the features, and was not known before the mail; take it out"
        )
    values = {str(x) for x in table[campaign.treatment].unique().to_pylist()}
    if str(campaign.control) not in values or len(values) < 2:
        raise UserError(
            f"campaign={campaign.name}: control={campaign.control} is no arm of {campaign.treatment}, or the only one."
            f"{nearest(str(campaign.control), values)} Without a control group there is no effect to see"
        )
    if campaign.customer and pc.count_distinct(table[campaign.customer]).as_py() < table.num_rows:
        raise UserError(
            f"campaign={campaign.name}: {campaign.customer} has several rows of one customer; give one row each, with "
            "the sum of the outcomes"
        )
    for name in campaign.outcomes:
        _numbers(table, name, campaign)
    columns: dict[str, np.ndarray] = {}
    for name in campaign.features:
        columns |= _feature(table, name, campaign)
    return Told(table, campaign, tuple(columns), np.stack(list(columns.values()), axis=1))


def _numbers(table: pa.Table, name: str, campaign: Campaign) -> np.ndarray:
    column = table[name].combine_chunks()
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)) or column.null_count:
        raise UserError(f"campaign={campaign.name}: column '{name}' holds something else than a number in every row")
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _feature(table: pa.Table, name: str, campaign: Campaign) -> dict[str, np.ndarray]:
    """A number as it is, with NaN where it is unknown; a text as a column for each of its values."""
    column = table[name].combine_chunks()
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return {name: column.cast(pa.float64()).to_numpy(zero_copy_only=False)}
    values = sorted(str(x) for x in column.unique().to_pylist() if x is not None)
    if not pa.types.is_string(kind) or len(values) > MOST_VALUES:
        raise UserError(
            f"campaign={campaign.name}: feature '{name}' is neither a number nor a text of up to {MOST_VALUES} values "
            f"(a key to customers tells nothing of others); take it out"
        )
    texts = np.array(column.to_pylist(), object)
    return {f"{name}={value}": (texts == value).astype(float) for value in values}
