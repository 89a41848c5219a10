"""The answer in words: which model, by how much, how sure, and for whom not.

What is emphasised is `Markup`; its `format` and `join` escape what is put in, and the page escapes plain text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from shopkeeper.evaluation.report.charts import interval, number
from shopkeeper.evaluation.report.figures import Board, Difference, Model, Value, label_of_model
from shopkeeper.evaluation.report.names import heading_of, label_of, labelled

SLICES = {
    "history_length": "Events before the request",
    "lifecycle": "Kind of customer",
    "item_popularity": "Popularity of what was taken",
    "user": "Customer known from training",
    "item": "Item known from training",
    "category": "Category of what was taken",
    "channel": "Channel",
    "last_channel": "Channel last used",
    "time_of_day": "Time of day",
    "weekday": "Day",
    "price_band": "Price of what was taken",
    "orders": "Orders so far",
    "recency": "Last order",
}


@dataclass(frozen=True)
class Answer:
    """The top of a board."""

    question: str
    headline: str
    paragraphs: list[str]
    tiles: list[tuple[str, str]]  # figure, what it is


def answer(b: Board) -> Answer:
    """Which model, by how much, for whom not, and how far from the best possible."""
    question = b.words.question or b.task.replace("_", " ").capitalize()
    if not b.models:
        nothing = f"Nothing can be said: {label_of(b.metric)} is not defined for {', '.join(b.unscored)}"
        return Answer(question, nothing, [], [])
    if not b.rivals:
        return Answer(question, "Only the ceiling was measured", [], [])
    best = b.rivals[0]
    said = (
        _wrong(b), _how_good(b, best), _by_how_much(b, best), _over_seeds(b, best), _for_whom_not(b, best),
        _ceiling(b, best),
    )  # fmt: skip
    paragraphs = [p for p in said if p]
    return Answer(question, _headline(b, best), paragraphs, _tiles(b, best))


OF_THE_CLOCK = ("time_of_day", "weekday")


def slice_name(name: str, zone: str) -> str:
    """A way to cut the requests, as a heading; the shop's time zone where it is cut by its clock."""
    if name in SLICES:
        return f"{SLICES[name]} ({zone})" if name in OF_THE_CLOCK else SLICES[name]
    own = name.removeprefix("user_").replace("_", " ")
    return f"Customer’s {own}" if name.startswith("user_") else own.capitalize()


def _inside(heading: str) -> str:
    """A heading inside of a sentence; a zone keeps its capitals."""
    return heading[:1].lower() + heading[1:]


def strong(text: str) -> Markup:
    """Emphasised, escaped."""
    return Markup("<strong>{}</strong>").format(text)


def _against(b: Board, one: str, other: str) -> Difference | None:
    return next((d for d in b.differences if {d.better, d.worse} == {one, other}), None)


def _others(b: Board, best: Model) -> list[Model]:
    """The rivals that are another model than the best, not another seed of it."""
    return [m for m in b.rivals if m.group != best.group]


def _headline(b: Board, best: Model) -> str:
    others = _others(b, best)
    if not others:
        return Markup("{} stands alone: nothing to compare it with").format(strong(best.group_label))
    found = [(m.group_label, _against(b, best.name, m.name)) for m in others]
    unclear = dict.fromkeys(name for name, d in found if d is None or not d.clear)
    ahead = dict.fromkeys(name for name, d in found if d is not None and d.clear and d.better != best.name)
    first = strong(best.group_label)
    if ahead:  # the first by its mean over seeds, or over rows that the other has no value of
        verb = "is" if len(ahead) == 1 else "are"
        return Markup("{} comes first, but side by side {} {} better").format(first, _listed(ahead), verb)
    if unclear:
        return Markup("{} leads, but cannot be told apart from {}").format(first, _listed(unclear))
    return Markup("{} {}").format(first, b.words.verb)


def _listed(names: Iterable[str]) -> Markup:
    *some, last = map(strong, names)
    return Markup(" and ").join([Markup(", ").join(some), last]) if some else last


def _how_good(b: Board, best: Model) -> str:
    metric, sentence = b.words.said
    if said := best.metrics.get(metric.format(k=b.k)):
        text = escape(sentence).format(share=_share(said), interval=interval(said), n=b.n, places=b.places)
        return text + _all_ranked(b) + _calibration(best)
    value = best.metrics[b.metric]
    return f"{heading_of(b.metric)} {interval(value)} over {b.n:,} {b.words.row}s."


def _all_ranked(b: Board) -> str:
    n = b.meta.get("n_catalogue")
    return f" All {n:,} items of the catalogue competed for the {b.places} places." if n else ""


def _calibration(best: Model) -> str:
    ece, expected = best.metrics.get("ece"), best.metrics.get("ece_if_calibrated")
    if ece is None or expected is None or expected.high is None:
        return ""
    if ece.value > expected.high:
        digits = next(n for n in range(1, 9) if n == 8 or f"{ece.value:.{n}%}" != f"{expected.high:.{n}%}")
        return (
            f" Its probabilities are off by {ece.value:.{digits}%} on average, more than the "
            f"{expected.high:.{digits}%} that chance explains at this number of customers."
        )
    return (
        f" Nothing speaks against its probabilities: they are off by {ece.value:.1%} on average, and "
        f"perfect ones would show up to {expected.high:.1%} at this number of customers."
    )


def _by_how_much(b: Board, best: Model) -> str:
    names = [m.name for m in b.models]
    wanted = [m for i, m in enumerate(_others(b, best)) if i == 0 or m is b.base]
    found = [d for m in wanted if (d := _against(b, best.name, m.name))]
    sentences = [labelled(d.statement, names) for d in found]
    return " ".join(f"{s[:1].upper() + s[1:]}." for s in sentences)


def _over_seeds(b: Board, best: Model) -> str:
    """How much of the best model's figure may be luck in training."""
    row = next((r for r in b.seeds if r.model == best.group), None)
    if row is None:
        return ""
    return Markup(
        "Trained with {} seeds, {} has {} {} ({}, for new customers and new seeds) on average; "
        "from seed to seed it moves by {}."
    ).format(
        len(row.seeds), best.group_label, label_of(b.metric), strong(number(row.mean.value)), _bounds(row.mean),
        number(row.spread, 4),
    )  # fmt: skip


def _for_whom_not(b: Board, best: Model) -> str:
    rows = [(p, r) for p in b.slices for r in p.rows]
    losses = [(p, r) for p, r in rows if r.loses_to]
    tested = sum(not r.small for _, r in rows)
    if not tested or not _others(b, best):
        return ""
    who = f"{b.words.row}s"
    if not losses:
        return Markup(
            "{} In none of the {} kinds of {} that are large enough to tell is another model significantly better."
        ).format(strong("For whom not?"), tested, who)
    listed = Markup("; ").join(
        Markup("{} <em>{}</em> ({:,}): {} is better").format(
            _inside(slice_name(p.name, b.zone)), r.value, r.n, strong(label_of_model(r.loses_to))
        )
        for p, r in losses[:4]
    )
    more = f"; and {len(losses) - 4} more, marked below" if len(losses) > 4 else ""
    return _warning("For whom not?", listed + more)


def _wrong(b: Board) -> str:
    """Sanity checks that say that something is broken; what is merely worth knowing stands further down."""
    found = [f"{check}: {finding}".replace("\n", "; ") for check, finding, state in b.sanity if state == "bad"]
    return _warning("Look at this first.", ". ".join(found)) if found else ""


def _warning(what: str, text: str) -> Markup:
    return Markup('<span class="warn">{} {}.</span>').format(strong(what), text)


def _ceiling(b: Board, best: Model) -> str:
    top = b.ceiling
    if top is None or b.metric not in top.metrics:
        return ""
    ours, best_possible = best.metrics[b.metric].value, top.metrics[b.metric].value
    name = label_of(b.metric)
    if b.higher_is_better:
        return Markup("The shop is simulated, so the best possible score is known: {} {}. {} reaches {} of it.").format(
            name, number(best_possible), best.label, strong(f"{ours / best_possible:.0%}")
        )
    return (
        f"The shop is simulated, so the best possible {name} is known: {number(best_possible)}; "
        f"{best.label} is {number(ours - best_possible)} above it."
    )


def _tiles(b: Board, best: Model) -> list[tuple[str, str]]:
    """Three or four figures at a glance."""
    tiles: list[tuple[str, str]] = []
    m = best.metrics
    if auc := m.get("auroc"):
        tiles.append((number(auc.value), f"AUROC ({number(auc.low)} to {number(auc.high)})"))
    tiles.append((number(m[b.metric].value), f"{heading_of(b.metric)} ({_bounds(m[b.metric])})"))
    base = b.base
    if base is not None and base is not best and b.higher_is_better and base.metrics[b.metric].value > 0:
        ratio = m[b.metric].value / base.metrics[b.metric].value
        tiles.append((f"{ratio:.1f}×", f"the {label_of(b.metric)} of {base.label.lower()}"))
    top = b.ceiling
    if top is not None and b.higher_is_better:
        tiles.append((f"{m[b.metric].value / top.metrics[b.metric].value:.0%}", "of the best possible score"))
    elif coverage := m.get(f"coverage@{b.k}"):
        tiles.append((f"{coverage.value:.0%}", "of the catalogue is shown to somebody"))
    return tiles[:4]


def _share(v: Value) -> str:
    if v.low is None or v.high is None:
        return strong(f"{v.value:.1%}")
    return Markup("{} ({:.1f} to {:.1f})").format(strong(f"{v.value:.1%}"), 100 * v.low, 100 * v.high)


def _bounds(v: Value) -> str:
    return "no interval" if v.low is None else f"{number(v.low)} to {number(v.high)}"
