"""A multi-layer perceptron over the features that trees and lines read (`nn/networks/mlp.py`), with several heads.

Trained by the loop that trains the networks of histories, and asked as they are; of a pair (customer, category or item)
it reads the features of the pair, as trees do. A bundle runs it as arrays.

Shapes: n rows, F features, W outputs of all heads.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from shopkeeper.customers.base import Cohort, Predictions
from shopkeeper.customers.networks.encoder import Start
from shopkeeper.customers.networks.sequence import SequenceCustomerModel
from shopkeeper.customers.state import same_features
from shopkeeper.errors import UserError
from shopkeeper.models.about import AMOUNTS, COUNTS, DAYS, PROBABILITIES, About
from shopkeeper.models.fit import Fit
from shopkeeper.nn.network import SequenceNetwork
from shopkeeper.nn.networks.mlp import MLPNetwork, MLPShape
from shopkeeper.programs.base import Program
from shopkeeper.training.objectives.customer_heads import CustomerHeads
from shopkeeper.training.objectives.feature_heads import FeatureHeads

AT_ONCE = 8192  # rows


class MLP(SequenceCustomerModel):
    """Settings: those of `MLPShape` (pieces, embedding, width, layers, dropout), of the base, `Recipe`."""

    format, network_class, shape_class = "shopkeeper.mlp/1", MLPNetwork, MLPShape
    of_histories = False

    def __init__(self, held_out: float = 0.1, min_positives: int = 20, **settings: Any):
        if told := [name for name in ("rare", "steps") if name in settings]:
            raise UserError(f"a MLP has no setting model.{told[0]}: it reads features, not events; leave it out")
        super().__init__(held_out, None, min_positives, **settings)

    @property
    def about(self) -> About:
        """It reads features alone."""
        return About(
            answers=PROBABILITIES,
            also=(COUNTS, AMOUNTS, DAYS),
            needs=("features",),
            pairs=True,
            further=True,
            resumes=True,
        )

    def predict(self, cohort: Cohort) -> Predictions:
        """As the base does, of the features it was fitted on."""
        same_features(cohort, self.feature_names)
        return super().predict(cohort)

    def program(self, timed: bool) -> Program:
        """The network as arrays, of what is asked first, and the calibration."""
        if self.kinds[0] == DAYS or len(self.heads) > 1:
            raise UserError(
                "a bundle of mlp says one probability, count or amount; use `shopkeeper score`, or export hazard or gru"
            )
        network = self._network()
        assert isinstance(network, MLPNetwork)
        heads, numbers = network.heads, network.numbers
        with torch.inference_mode():
            nothing = heads.since(torch.zeros(1))[0]
            linear = [*network.layers, heads.hidden, heads.out]
            arrays = {
                "low": numbers.low_FT,
                "high": numbers.high_FT,
                "weight": numbers.weight,
                "bias": numbers.bias,
                "undefined": numbers.undefined,
                **{f"layer{k}_{what}": getattr(layer, what)
                   for k, layer in enumerate(linear) for what in ("weight", "bias")},
                "since": nothing,
            }  # fmt: skip
        plain = {name: values.detach().double().numpy() for name, values in arrays.items()}
        plain |= {"unit": np.array(self.unit), "layers": np.array([len(network.layers)])}
        plain |= {"kind": np.array([self.kinds[0]])}
        return Program("mlp", plain, calibrator=self.calibrators[0].as_json())

    def _begun(self, train: Cohort, fit: Fit) -> tuple[SequenceNetwork, Start | None]:
        self.feature_names = train.feature_names
        torch.manual_seed(fit.seed)
        network = MLPNetwork(MLPShape(len(train.feature_names), **self.settings))
        network.numbers.know(train.features)
        return network, None

    def _objective(
        self, train: Cohort, network: SequenceNetwork, label_nH: np.ndarray, held_out: np.ndarray
    ) -> CustomerHeads:
        features, label = (values.astype(np.float32) for values in (train.features, label_nH))
        return FeatureHeads(self.heads, features, label, held_out, self.kinds)

    def _out(self, cohort: Cohort) -> torch.Tensor:
        """In float64, as a bundle's arrays are read."""
        network = copy.deepcopy(self._network()).double()
        assert isinstance(network, MLPNetwork)
        out = []
        with torch.inference_mode():
            for first in range(0, len(cohort), AT_ONCE):
                x_nF = torch.from_numpy(cohort.features[first : first + AT_ONCE])
                vector_nD = network(network.numbers(x_nF), ())
                out.append(network.heads(vector_nD, torch.zeros(len(x_nF))))
        return torch.cat(out)
