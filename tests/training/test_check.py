"""The doctor's check of the training loop."""

from __future__ import annotations

from shopkeeper.training.devices.speed_check import events_per_second


def test_the_check_counts_events_and_ends_in_time():
    found = events_per_second(0.2, n_items=50, max_length=10)
    assert found["events_per_second"] > 100
    assert found["items"] == 50
    assert found["precision"] in ("bf16", "fp32")
