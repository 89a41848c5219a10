"""The page with the text for customers, from where bundles have theirs: one source for both."""

from __future__ import annotations

from shopkeeper.bundles.write.explain.statement import statement

LIST = {"kind": "recommender", "task": "next_item", "history": {"max_length": 200}, "data": {}, "filter_seen": False}
ESTIMATE = {"kind": "customer", "task": "churn", "history": {"max_length": None}, "data": {}, "horizon_days": 90,
            "answers": "probabilities"}  # fmt: skip


def page() -> str:
    """The page in Markdown."""
    lines = ["# What customers may be told", "", "Made from the text that every bundle carries as `statement.md`.",
             "There it is true of that bundle: how many events it reads, until when it learned.", "",
             "## Of a list of products", "", _below(statement(LIST, [])), "",
             "## Of an estimate about a customer (who may leave)", "", _below(statement(ESTIMATE, []))]  # fmt: skip
    return "\n".join(lines) + "\n"


def _below(text: str) -> str:
    """The statement with its headings one level down."""
    return text.replace("## ", "### ")
