"""Opens an exported churn or propensity model and scores customers from their features, with NumPy alone.

bundle = CustomerBundle.load(Path("exports/churn"))
bundle.predict([{"orders": 3, "days_since_order": 12.5, …}])
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shopkeeper.bundles.answer.integrity import AGAIN, checked_files
from shopkeeper.bundles.answer.scorers import SCORERS, calibrated
from shopkeeper.errors import UserError, nearest

SAME_PROBABILITY = 1e-6


@dataclass(frozen=True)
class CustomerBundle:
    """A customer model that was exported."""

    path: Path
    manifest: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def load(cls, path: Path | str) -> CustomerBundle:
        """Check every hash, then open. A `UserError` when this is no customer model, or damaged, or newer."""
        path = Path(path)
        manifest, content = checked_files(path)
        if manifest.get("kind") != "customer":
            raise UserError(f"{path} holds a {manifest.get('kind')!r} bundle, not a customer model; use `Bundle.load`")
        if manifest.get("scorer") not in SCORERS:
            raise UserError(
                f"{path} needs the scorer '{manifest.get('scorer')}', unknown to this shopkeeper; update it"
            )
        if "arrays.npz" not in content:
            raise UserError(f"{path / 'arrays.npz'} is not listed in the manifest of this customer model; {AGAIN}")
        with np.load(io.BytesIO(content["arrays.npz"]), allow_pickle=False) as file:
            return cls(path, manifest, {name: file[name] for name in file.files})

    @property
    def feature_names(self) -> list[str]:
        """Features in the order of the columns."""
        return list(self.manifest["feature_names"])

    def predict(self, customers: np.ndarray | Sequence[Mapping[str, float | None]]) -> np.ndarray:
        """Calibrated probability per customer, float64 (n,).

        Args:
            customers: float array (n, F) in the order of `feature_names`, or one mapping per customer. A feature that
                is None, NaN or absent is unknown.

        Raises:
            UserError: a wrong number of columns, an unknown feature name, a value that is not a number.
        """
        features_nF = customers if isinstance(customers, np.ndarray) else self._table(customers)
        if features_nF.ndim != 2 or features_nF.shape[1] != len(self.feature_names):
            raise UserError(
                f"features have the shape {features_nF.shape}; expected (customers, {len(self.feature_names)}), "
                f"in the order of `feature_names`"
            )
        raw_n = SCORERS[self.manifest["scorer"]](features_nF.astype(np.float64), self.arrays)
        calibrator = self.manifest["calibrator"]
        return raw_n if calibrator is None else calibrated(raw_n, calibrator)

    def _table(self, customers: Sequence[Mapping[str, float | None]]) -> np.ndarray:
        """Mappings -> float64 (n, F), NaN where unknown."""
        column = {name: j for j, name in enumerate(self.feature_names)}
        table_nF = np.full((len(customers), len(column)), np.nan)
        for row, customer in enumerate(customers):
            for name, value in customer.items():
                if name not in column:
                    raise UserError(f"customer {row}: there is no feature '{name:.80}'.{nearest(name, column)}")
                if value is not None and not isinstance(value, int | float):
                    raise UserError(
                        f"customer {row}: feature '{name}' is {value!r:.80}, not a number; give one, or null"
                    )
                table_nF[row, column[name]] = np.nan if value is None else value
        return table_nF
