"""Charts as HTML and SVG strings. Positions are percentages, so that a chart fits any width with text at one size.

Colours are those of Okabe and Ito (2008), told apart with any colour vision; each also has a shape of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from shopkeeper.evaluation.report.figures import Model, Value, one_per_group

SHAPES = (
    '<circle r="5.5"/>',
    '<rect x="-5" y="-5" width="10" height="10"/>',
    '<path d="M0-6.5 6 5H-6Z"/>',
    '<path d="M0-7 7 0 0 7-7 0Z"/>',
    '<path d="M-2-6h4v4h4v4H2v4h-4V2h-4v-4h4Z"/>',
    '<path d="M0 6.5 6-5H-6Z"/>',
    '<path d="M-6-3.5 0-7 6-3.5v7L0 7l-6-3.5Z"/>',
)
_WIDTH, _LETTER = 500, 7.5  # pixels: of a two-dimensional chart, about, and of a letter
_SHIFTS = (0, 14, -14, 22, -22, 30, -30, 40)  # of a name beside its mark, until it hides nothing
GREY = len(SHAPES)  # colour index of baselines
CEILING = GREY + 1  # and of oracles


def definitions() -> str:
    """The shapes, once per page."""
    shapes = [
        *SHAPES,
        '<path d="M-5-5 5 5M5-5-5 5" class="cross"/>',
        '<path d="M0-6.5 6.5 0 0 6.5-6.5 0Z" class="hollow"/>',
    ]
    marks = "".join(f'<g id="m{i}">{shape}</g>' for i, shape in enumerate(shapes))
    return f'<svg width="0" height="0" class="defs" aria-hidden="true"><defs>{marks}</defs></svg>'


def key(model: Model) -> str:
    """A model's mark and name, as in a legend."""
    return f'<span class="key">{mark(model.colour)}<span>{escape(model.label)}</span></span>'


def legend(models: Iterable[Model]) -> str:
    """Marks and names, one per model whatever its seeds, as a list."""
    parts = []
    for m in one_per_group(list(models)):
        parts.append(f'<li><span class="key">{mark(m.colour)}<span>{escape(m.group_label)}</span></span></li>')
    return f'<ul class="legend">{"".join(parts)}</ul>'


def mark(colour: int) -> str:
    """The mark alone."""
    return (
        f'<svg class="mark c{colour}" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">'
        f'<use href="#m{colour}"/></svg>'
    )


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def span(values: Sequence[Value], zero: bool = True, pad: float = 0.04) -> tuple[float, float]:
    """An axis that holds every value and interval; from 0 unless the values lie far above it."""
    lows = [v.value if v.low is None else min(v.low, v.value) for v in values]
    highs = [v.value if v.high is None else max(v.high, v.value) for v in values]
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    if zero:
        low = min(low, 0.0)
    room = (high - low or abs(high) or 1.0) * pad
    return (low if zero and low == 0 else low - room), high + room


def percent(x: float, axis: tuple[float, float]) -> str:
    """Position on an axis, for an SVG attribute."""
    return f"{100 * (x - axis[0]) / (axis[1] - axis[0]):.2f}%"


def number(x: float | None, digits: int = 3) -> str:
    """A figure as text; a true minus sign, "–" for nothing."""
    if x is None or not math.isfinite(x):
        return "–"
    text = f"{x:.{digits}f}".replace("-", "\u2212")
    return text if any(c in "123456789" for c in text) else text.lstrip("\u2212")  # no minus before nothing


def interval(v: Value, digits: int = 3) -> str:
    """ "0.123 (0.118 to 0.129)"."""
    if v.low is None or v.high is None:
        return number(v.value, digits)
    return f"{number(v.value, digits)} ({number(v.low, digits)} to {number(v.high, digits)})"


def tick_text(x: float) -> str:
    """Shortest text of a tick."""
    return f"{x:g}".replace("-", "\u2212")


def track(
    rows: Sequence[tuple[int, Value]], axis: tuple[float, float], gap: int = 11, ceiling: float | None = None
) -> str:
    """One cell with a dot and whisker per (colour, value), below each other on a shared axis."""
    height = gap * len(rows) + 13
    parts = [
        f'<line class="grid" x1="{percent(t, axis)}" x2="{percent(t, axis)}" y1="0" y2="100%"/>' for t in ticks(*axis)
    ]
    if ceiling is not None:
        x = percent(ceiling, axis)
        parts.append(f'<line class="ceiling" x1="{x}" x2="{x}" y1="0" y2="100%"/>')
    for i, (colour, v) in enumerate(rows):
        y = (height - gap * (len(rows) - 1)) / 2 + gap * i
        if v.low is not None and v.high is not None:
            parts.append(
                f'<line class="whisker c{colour}" x1="{percent(v.low, axis)}" x2="{percent(v.high, axis)}" '
                f'y1="{y:g}" y2="{y:g}"/>'
            )
        parts.append(f'<use href="#m{colour}" class="dot c{colour}" x="{percent(v.value, axis)}" y="{y:g}"/>')
    return f'<svg class="track" height="{height}" aria-hidden="true">{"".join(parts)}</svg>'


def axis_row(axis: tuple[float, float]) -> str:
    """The numbers under a column of tracks."""
    texts = "".join(
        f'<text x="{percent(t, axis)}" y="14" text-anchor="middle">{tick_text(t)}</text>' for t in ticks(*axis)
    )
    return f'<svg class="track axis" height="18" aria-hidden="true">{texts}</svg>'


def frame(
    marks: str,
    x_axis: tuple[float, float],
    y_axis: tuple[float, float],
    x_name: str,
    y_name: str,
    height: int,
    summary: str,
) -> str:
    """Axes, grid and names around the marks of a two-dimensional chart; `summary` is read out in its place."""
    grid = []
    for t in ticks(*x_axis):
        x = percent(t, x_axis)
        grid.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>')
        grid.append(f'<text class="tick" x="{x}" y="100%" dy="18" text-anchor="middle">{tick_text(t)}</text>')
    for t in ticks(*y_axis):
        y = percent(y_axis[1] + y_axis[0] - t, y_axis)
        grid.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        grid.append(f'<text class="tick" x="-8" y="{y}" dy="4" text-anchor="end">{tick_text(t)}</text>')
    return (
        f'<div class="chart"><p class="y-name" aria-hidden="true">{escape(y_name)}</p>'
        f'<div class="plot" style="height:{height}px"><svg role="img" aria-label="{escape(summary, quote=True)}">'
        f'{"".join(grid)}{marks}</svg></div><p class="x-name" aria-hidden="true">{escape(x_name)}</p></div>'
    )


def scatter(
    points: Sequence[tuple[Model, Value, Value]], x_name: str, y_name: str, height: int = 320, zero: bool = True
) -> str:
    """Models by two figures (x, y), whiskers where there are intervals, names beside the marks."""
    x_axis = span([x for _, x, _ in points], zero, 0.08)
    y_axis = span([y for _, _, y in points], zero, 0.1)
    parts = []
    top = y_axis[1] + y_axis[0]
    place: dict[str, tuple[float, float]] = {}  # of each mark, in pixels of a plot of usual width
    for model, x, y in sorted(points, key=lambda p: -p[2].value):
        px, py = percent(x.value, x_axis), percent(top - y.value, y_axis)
        if y.low is not None and y.high is not None:
            ends = percent(top - y.low, y_axis), percent(top - y.high, y_axis)
            parts.append(f'<line class="whisker c{model.colour}" x1="{px}" x2="{px}" y1="{ends[0]}" y2="{ends[1]}"/>')
        parts.append(f'<use href="#m{model.colour}" class="dot c{model.colour}" x="{px}" y="{py}"/>')
        place[model.name] = _WIDTH * float(px[:-1]) / 100, height * float(py[:-1]) / 100
    taken: list[tuple[float, float, float]] = []  # left, right and middle of the names so far
    for model in one_per_group([m for m, _, _ in sorted(points, key=lambda p: -p[2].value)]):
        own = sorted((m for m, _, _ in points if m.group == model.group), key=lambda m: place[m.name])
        right = place[own[-1].name][0] < 0.6 * _WIDTH
        at_x, at_y = place[own[-1 if right else 0].name]
        length = _LETTER * len(model.group_label)
        left, end = (at_x + 12, at_x + 12 + length) if right else (at_x - 12 - length, at_x - 12)
        others = [(x - 6, x + 6, y) for name, (x, y) in place.items() if name not in {m.name for m in own}]
        free = [
            s for s in _SHIFTS if not any(left < b and a < end and abs(at_y + s - y) < 15 for a, b, y in taken + others)
        ]
        shift = free[0] if free else 0
        taken.append((left, end, at_y + shift))
        side = 'dx="12"' if right else 'dx="-12" text-anchor="end"'
        x_text, y_text = f"{100 * at_x / _WIDTH:.2f}%", f"{100 * at_y / height:.2f}%"
        name = escape(model.group_label)
        parts.append(f'<text class="name" x="{x_text}" y="{y_text}" {side} dy="{shift + 4:g}">{name}</text>')
    said = "; ".join(f"{m.label}: {x_name} {number(x.value)}, {y_name} {interval(y)}" for m, x, y in points)
    return frame("".join(parts), x_axis, y_axis, x_name, y_name, height, said)


def lines(
    series: Sequence[tuple[Model, Sequence[float], Sequence[float]]],
    x_axis: tuple[float, float],
    y_axis: tuple[float, float],
    x_name: str,
    y_name: str,
    *,
    marked: bool = True,
    diagonal: bool = False,
    height: int = 260,
) -> str:
    """One line per model; a mark at every point, or (`marked=False`) at its end only."""
    parts = ['<line class="diagonal" x1="0" y1="100%" x2="100%" y2="0"/>'] if diagonal else []
    for model, xs, ys in reversed(series):  # the best on top
        at = [
            (percent(x, x_axis)[:-1], percent(y_axis[1] + y_axis[0] - y, y_axis)[:-1])
            for x, y in zip(xs, ys, strict=True)
        ]
        # A picture of its own, stretched: points of a polyline cannot be percentages.
        path = " ".join(f"{x},{y}" for x, y in at)
        parts.append(
            f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%" aria-hidden="true" '
            f'class="line c{model.colour}"><polyline points="{path}"/></svg>'
        )
        parts += [
            f'<use href="#m{model.colour}" class="dot c{model.colour}" x="{x}%" y="{y}%"/>'
            for x, y in (at if marked else at[-1:])
        ]
    said = "; ".join(f"{m.label}: " + ", ".join(f"{number(y, 2)} at {x:g}" for x, y in zip(xs, ys, strict=True))
                     for m, xs, ys in series)  # fmt: skip
    return frame("".join(parts), x_axis, y_axis, x_name, y_name, height, said)


def reliability(
    points: Sequence[tuple[float, float, float, float, int]], histogram: Sequence[int], colour: int, label: str
) -> str:
    """Observed share over predicted probability, with the diagonal; below, how often each probability is given."""
    axis = (0.0, 1.0)
    parts = ['<line class="diagonal" x1="0" y1="100%" x2="100%" y2="0"/>']
    most = max(histogram, default=0) or 1
    width = 100 / max(len(histogram), 1)
    for i, count in enumerate(histogram):
        h = 14 * count / most
        parts.append(
            f'<rect class="bar" x="{i * width + 0.4:.2f}%" width="{width - 0.8:.2f}%" '
            f'y="{100 - h:.2f}%" height="{h:.2f}%"/>'
        )
    for p, share, low, high, _ in points:
        x = percent(p, axis)
        parts.append(
            f'<line class="whisker c{colour}" x1="{x}" x2="{x}" y1="{percent(1 - low, axis)}" '
            f'y2="{percent(1 - high, axis)}"/>'
            f'<use href="#m{colour}" class="dot c{colour}" x="{x}" y="{percent(1 - share, axis)}"/>'
        )
    said = "; ".join(f"said {number(p, 2)}, seen {number(s, 2)} ({n} customers)" for p, s, _, _, n in points)
    return frame("".join(parts), axis, axis, "predicted probability", "share that did", 260, f"{label}: {said}")
