"""Whether probabilities can be believed, and in which direction they are off: "promises 42 of 100, 32 left"."""

from __future__ import annotations

from shopkeeper.evaluation.report import charts
from shopkeeper.evaluation.report.charts import number
from shopkeeper.evaluation.report.figures import Board, Reliability
from shopkeeper.evaluation.report.templating import Section, fill


def direction(r: Reliability, did: str) -> str:
    """Where the probabilities are most clearly off, as counts of 100 customers; that nothing shows, where it is so."""
    off = [(p, share, low, high) for p, share, low, high, _ in r.points if not low <= p <= high]
    chance = r.ece_expected.high
    if not off or (chance is not None and r.ece <= chance):
        worst = max(r.points, key=lambda x: x[4] * abs(x[0] - x[1]), default=None)
        if worst is None:
            return ""
        return (
            f"Its probabilities can be taken as they are: where they differ most, it promises {100 * worst[0]:.0f} of "
            f"100 and {100 * worst[1]:.0f} {did}, no more than chance explains."
        )
    p, share, low, high = max(off, key=lambda x: abs(x[0] - x[1]))
    over = sum((q - s) * n for q, s, _, _, n in r.points) / max(sum(n for *_, n in r.points), 1)
    all_of = f"over all customers {100 * abs(over):.1f} of 100 too {'many' if over > 0 else 'few'}"
    return (
        f"It promises too {'much' if p > share else 'little'} where it is furthest off: of those to whom it gives "
        f"{100 * p:.0f} of 100, {100 * share:.0f} {did} ({100 * low:.0f} to {100 * high:.0f}); {all_of}."
    )


def reliability(b: Board) -> Section | None:
    """Predicted against observed."""
    if not b.reliability:
        return None
    cards = []
    for r in b.reliability:
        model = next(m for m in b.models if m.name == r.model)
        e, note, off = r.ece_expected, f"ECE {number(r.ece)}", False
        if e.low is not None:
            off = e.high is not None and r.ece > e.high
            note += f"; perfect probabilities would show {number(e.low)} to {number(e.high)} here"
            note += "" if off else ": nothing speaks against them"
        chart = charts.reliability(r.points, r.histogram, model.colour, model.label)
        said = direction(r, b.words.did or "did it") if off else ""
        cards.append({"model": model, "note": note, "off": off, "said": said, "chart": chart})
    lead = (
        "Do 30 % of those who were given 30 % do it? On the diagonal, yes; below it less happened than was promised, "
        "above it more. Each mark is a tenth of the customers with its 95 % interval; the bars below show how often "
        "each probability is given."
    )
    title = f"Can the {b.task.replace('_', ' ')} probabilities be believed?"
    return Section(f"reliability-{b.task}", "Reliability", title, lead, fill("reliability.html", cards=cards))
