"""What will they want next? The items that were taken after each request of a split."""

from __future__ import annotations

from shopkeeper.tasks.base import Task, Words

TASK = Task(
    "next_item",
    baseline="popularity",
    rows="requests.parquet",
    shown=("ndcg@{k}", "hit@{k}", "recall@{k}", "mrr", "coverage@{k}"),
    money=("margin@{k}", "revenue@{k}"),
    beneath=("ndcg_repeat@{k}", "ndcg_explore@{k}", "revenue@{k}", "margin@{k}"),
    words=Words(
        question="What will they want next?",
        models="Recommenders",
        verb="recommends best",
        row="request",
        who="Who is served how well",
        said=(
            "hit@{k}",
            "In {share} of {n:,} test requests, its {places} suggestions hold something that the customer then took.",
        ),
    ),
    baseline_setting="baseline",
)
