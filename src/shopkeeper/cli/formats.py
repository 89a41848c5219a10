"""`formats`: what every file that this project writes holds, as docs/formats.md says it."""

from __future__ import annotations

from shopkeeper.bundles.layout import ANSWERS, BUNDLE, TRITON
from shopkeeper.campaigns.audience.layout import AUDIENCE
from shopkeeper.campaigns.segments.layout import SEGMENTS
from shopkeeper.campaigns.uplift.layout import UPLIFT
from shopkeeper.data.layout import PREPARED, SPLIT
from shopkeeper.formats import as_markdown
from shopkeeper.pipeline.layout import CUSTOMER_RUN, REPORT, RUN, SCORES
from shopkeeper.tuning.layout import STUDY

FOLDERS = [
    PREPARED,
    SPLIT,
    RUN,
    CUSTOMER_RUN,
    REPORT,
    BUNDLE,
    TRITON,
    ANSWERS,
    STUDY,
    SCORES,
    SEGMENTS,
    AUDIENCE,
    UPLIFT,
]


def page() -> str:
    """The page in Markdown."""
    return as_markdown(FOLDERS)
