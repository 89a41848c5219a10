"""The standard error of a mean whose rows belong together."""

from __future__ import annotations

import numpy as np
import pytest

from shopkeeper.metrics.clusters import clustered_error


def test_rows_of_one_cluster_are_one_draw():
    value = np.random.default_rng(1).normal(size=50)
    error = clustered_error(value, np.arange(50))
    assert error == pytest.approx(value.std() / np.sqrt(50))
    assert clustered_error(np.repeat(value, 4), np.repeat(np.arange(50), 4)) == pytest.approx(error)
    assert clustered_error(np.repeat(value, 4), np.arange(200)) == pytest.approx(error / 2)  # taken for independent
