"""A small log as a DataFrame: 40 customers who walk round 12 items, each from another start, for 90 days."""

from __future__ import annotations

import numpy as np
import pandas as pd


def frame(customers: int = 40, days: int = 90) -> pd.DataFrame:
    """`who` (7, 14, …), `sku` (`s1` …), `bought` (times without a zone), `price`; a purchase every third day."""
    rows = [
        (7 * (c + 1), f"s{(c + d // 3) % 12 + 1}", pd.Timestamp("2024-01-01 09:00") + pd.Timedelta(days=d, minutes=c))
        for c in range(customers)
        for d in range(c % 3, days, 3)
    ]
    found = pd.DataFrame(rows, columns=["who", "sku", "bought"])
    found["price"] = np.round(1.5 + found["sku"].str[1:].astype(int) / 4, 2)
    return found


COLUMNS = {"user": "who", "item": "sku", "time": "bought", "price": "price"}
