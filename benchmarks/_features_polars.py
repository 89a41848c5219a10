"""The features of `features/customer/rfm.py` as a plain Polars script would have them: one cutoff after the other.

What `customers_speed.py` sets the one pass against, and what its numbers are checked with. Lazy, so that Polars may use
all its threads and read what it needs; no loop over customers.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

WINDOWS, HABIT = (30, 60, 90, 180), (90, 180)
PERIODS = {"weeks": (7, 3), "months": (30, 0)}
DAY = 86_400_000_000  # µs


def features(log: pl.DataFrame, cutoffs: Sequence[int]) -> pl.DataFrame:
    """A row per cutoff and customer with any event before it, by cutoff and customer.

    `log`: user, item, category, type (purchase, return, view, add_to_cart), time (µs), price, quantity, order; sorted
    by user and time.
    """
    return pl.concat([at_cutoff(log.lazy(), t).collect() for t in cutoffs])


def at_cutoff(log: pl.LazyFrame, t: int) -> pl.LazyFrame:
    """Of all customers at one instant."""
    before = log.filter(pl.col("time") < t)
    kind = pl.col("type")
    money = (pl.col("price") * pl.col("quantity")).round(4)
    bought = before.filter(kind == "purchase")

    def since(days: int) -> pl.Expr:
        return pl.col("time") >= t - days * DAY

    def ago(when: pl.Expr) -> pl.Expr:
        return (t - when) / DAY

    events = before.group_by("user").agg(
        days_since_event=ago(pl.col("time").max()),
        views_30d=((kind == "view") & since(30)).sum(),
        days_since_view=ago(pl.col("time").filter(kind == "view").max()),
        carts_30d=((kind == "add_to_cart") & since(30)).sum(),
        days_since_cart=ago(pl.col("time").filter(kind == "add_to_cart").max()),
        lines=(kind == "purchase").sum(),
        returned=(kind == "return").sum(),
        spent=money.filter(kind == "purchase").sum(),
        back=money.filter(kind == "return").sum(),
        units=pl.col("quantity").filter(kind == "purchase").sum(),
        items=pl.col("item").filter(kind == "purchase").n_unique(),
        categories=pl.col("category").filter(kind == "purchase").drop_nulls().n_unique(),
        **{f"money_{w}d": money.filter((kind == "purchase") & since(w)).sum() for w in WINDOWS},
    )
    placed = bought.group_by("user", "order").agg(time=pl.col("time").min()).sort("user", "time")
    gap = (pl.col("time").diff() // 1_000_000).cast(pl.Float64) * 1_000_000 / DAY
    orders = placed.group_by("user", maintain_order=True).agg(
        days_since_order=ago(pl.col("time").last()),
        days_since_first_order=ago(pl.col("time").first()),
        orders=pl.len(),
        **{f"orders_{w}d": since(w).sum() for w in WINDOWS},
        gap_mean=gap.mean(),
        gap_std=pl.when(pl.len() > 1).then(gap.std(ddof=0)),
        gap_last=gap.last(),
    )
    habits = []
    for name, (length, passed) in PERIODS.items():
        first = placed.group_by("user", (pl.col("time") // DAY + passed) // length).agg(began=pl.col("time").min())
        habits.append(first.group_by("user").agg(
            pl.len().alias(f"order_{name}"),
            *((pl.col("began") >= t - w * DAY).sum().alias(f"order_{name}_{w}d") for w in HABIT),
        ))  # fmt: skip
    visits = (
        before.group_by("user", pl.col("time") // DAY, maintain_order=True)
        .agg(began=pl.col("time").min())
        .group_by("user", maintain_order=True)
        .agg(
            *((pl.col("began") >= t - w * DAY).sum().alias(f"visits_{w}d") for w in (30, 90)),
            visit_gap_mean=((pl.col("began").diff() // 1_000_000).cast(pl.Float64) * 1_000_000 / DAY).mean(),
        )
    )
    found = events
    for part in (orders, *habits, visits):
        found = found.join(part, on="user", how="left")
    return (
        found.with_columns(
            money=pl.col("spent"),
            money_per_order=pl.col("spent") / pl.col("orders"),
            recency_over_gap=pl.col("days_since_order") / pl.col("gap_mean"),
            lines_per_order=pl.col("lines") / pl.col("orders"),
            units_per_order=pl.col("units") / pl.col("orders"),
            repeat_share=1 - pl.col("items") / pl.col("lines"),
            return_share=pl.col("returned") / pl.col("lines"),
            money_returned_share=pl.col("back") / pl.col("spent"),
            recency_over_visit_gap=pl.col("days_since_event") / pl.col("visit_gap_mean"),
            cutoff=pl.lit(t),
        )
        .drop("lines", "returned", "spent", "back", "units")
        .sort("user")
    )
