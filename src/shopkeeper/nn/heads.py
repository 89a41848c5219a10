"""What is asked of a customer at an instant, answered from a sequence network's vector of the last event before it.

Shapes: J questions (customer, instant), D width, H heads (one per task).
"""

from __future__ import annotations

from torch import Tensor, nn

from shopkeeper.nn.days import Days


class Heads(nn.Module):
    """A logit for each task. That nothing has happened since the last event is told by the days since then."""

    def __init__(self, width: int, n: int):
        super().__init__()
        self.since = Days(width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, n)

    def forward(self, last_JD: Tensor, since_J: Tensor) -> Tensor:
        """Vectors, and days float32 from the last event to the instant -> logits (J, H)."""
        x_JD = last_JD + self.since(since_J).to(last_JD.dtype)
        logits_JH: Tensor = self.out(self.hidden(x_JD).relu())
        return logits_JH
