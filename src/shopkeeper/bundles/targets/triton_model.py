"""A bundle as a model of Triton's Python backend: requests as JSON in, answers as JSON out, whatever its family.

Made by `shopkeeper target triton`; the bundle lies beside this file. Triton's Python needs `shopkeeper[serving]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # of Triton's Python backend

from shopkeeper.bundles.answer import Bundle
from shopkeeper.bundles.answer.lines import answer_some, as_json
from shopkeeper.bundles.answer.verify import wrong_answers
from shopkeeper.errors import UserError


class TritonPythonModel:
    """Triton finds it by this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle; what is changed in it, or answers its golden requests otherwise, is not served."""
        self.bundle = Bundle.load(Path(__file__).parent / "bundle")
        if wrong := wrong_answers(self.bundle):
            raise UserError(f"{self.bundle.path}: {wrong[0]}; export it again")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer what Triton has put together in one call; a wrong request has `error` in its answer, and only that."""
        asked = [pb_utils.get_input_tensor_by_name(one, "request").as_numpy() for one in requests]
        answers = iter(answer_some(self.bundle, [bytes(line) for array in asked for line in array.ravel()]))
        responses = []
        for array in asked:
            found = np.array([as_json(next(answers)) for _ in range(array.size)], object).reshape(array.shape)
            responses.append(pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("answer", found)]))
        return responses
