"""What will they search for next? The query of each customer's next search, among those that several customers ask.

The models of next items serve it: a query is an item of another kind (`data/queries.py`).
"""

from __future__ import annotations

from shopkeeper.tasks.base import Task, Words

TASK = Task(
    "next_query",
    baseline="popularity",
    rows="searches.parquet",
    shown=("ndcg@{k}", "hit@{k}", "recall@{k}", "mrr", "coverage@{k}"),
    beneath=("ndcg_repeat@{k}", "ndcg_explore@{k}"),
    words=Words(
        question="What will they search for next?",
        models="Suggestions",
        verb="suggests best",
        row="search",
        slices="Next searches, by kind",
        who="Whose next search is known how well",
        said=(
            "hit@{k}",
            "In {share} of {n:,} test searches, its {places} suggestions hold what the customer then typed.",
        ),
    ),
    served_by="next_item",
    baseline_setting="next_query_baseline",
)
