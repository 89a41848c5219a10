"""The code that makes pages is found as mkdocs finds it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "docs")]
