"""What a sweep (`train -m`) ends with: one table of its runs, the best on validation first."""

from __future__ import annotations

from collections.abc import Sequence

from shopkeeper.pipeline import show
from shopkeeper.pipeline.comparing.choose import headline_of, lower_is_better, value_of
from shopkeeper.pipeline.runs import RunFolder
from shopkeeper.pipeline.shell.terminal import NARROW

Job = tuple[Sequence[str], RunFolder]  # the words that it was called with, and what it left


def sweep_table(jobs: Sequence[Job], width: int = NARROW) -> str:
    """The runs of each task and its headline by the words in which jobs differ. Test is not shown: it chooses nothing.

    A job that was told an option only by its default stands with a dash there.
    """
    told = [dict(word.lstrip("+~").partition("=")[::2] for word in words) for words, _ in jobs]
    keys = dict.fromkeys(key for words in told for key in words)
    differ = [key for key in keys if len({words.get(key) for words in told}) > 1]
    blocks = []
    for task, headline in dict.fromkeys((run.task, headline_of(run)) for _, run in jobs):
        here = [(words, run) for words, (_, run) in zip(told, jobs, strict=True) if run.task == task]
        sign = 1 if lower_is_better(here[0][1]) else -1
        here.sort(key=lambda job: float("inf") if value_of(job[1]) is None else sign * value_of(job[1]))
        figures = [(run.metrics.get("validation") or {}).get(headline) for _, run in here]
        rows = [
            [run.path.name, *(words.get(key, show.NOTHING) for key in differ), show.narrow(figure)]
            for (words, run), figure in zip(here, figures, strict=True)
        ]
        header = ["run", *(key.rpartition(".")[2] for key in differ), show.arrow(headline)]
        bare = [[*row[1:-1], row[-1]] for row in rows]
        text = show.table(header, rows)
        if max(map(len, text.splitlines())) > width and differ:
            text = show.table(header[1:], bare)
        blocks.append(f"{task}, on validation:\n{text}")
    return "\n\n".join(blocks)
