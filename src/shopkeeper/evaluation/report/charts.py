"""Where the marks of a chart stand. Positions are percentages, so that a chart fits any width with text at one size.

A chart is a list of `Mark`s; `templates/charts.html` writes them as SVG. Colours are those of Okabe and Ito (2008),
told apart with any colour vision; each also has a shape of its own (`templates/shapes.html`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from shopkeeper.evaluation.report.figures import Model, Value, one_per_group

Axis = tuple[float, float]  # its ends

GREY = 7  # colour index of baselines: the first seven are the models'
CEILING = GREY + 1  # and of oracles
_WIDTH, _LETTER = 500, 7.5  # pixels: of a two-dimensional chart, about, and of a letter
_SHIFTS = (0, 14, -14, 22, -22, 30, -30, 40)  # of a name beside its mark, until it hides nothing


@dataclass(frozen=True)
class Mark:
    """One SVG element."""

    tag: str  # line | use | text | rect | polyline (in a picture of its own, stretched: its points have no unit)
    at: dict[str, str]  # attributes
    text: str = ""
    hover: str = ""  # what is said where a pointer rests on it


@dataclass(frozen=True)
class Track:
    """A cell with dots and whiskers on a scale that it shares with the other rows of its table."""

    height: int
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """A picture with two axes; `summary` is read out in its place."""

    marks: list[Mark]
    x_name: str
    y_name: str
    height: int
    summary: str


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values inside [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def span(values: Sequence[Value], zero: bool = True, pad: float = 0.04) -> Axis:
    """An axis that holds every value and interval; from 0 unless the values lie far above it."""
    lows = [v.value if v.low is None else min(v.low, v.value) for v in values]
    highs = [v.value if v.high is None else max(v.high, v.value) for v in values]
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    if zero:
        low = min(low, 0.0)
    room = (high - low or abs(high) or 1.0) * pad
    return (low if zero and low == 0 else low - room), high + room


def percent(x: float, axis: Axis) -> str:
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


def _line(css: str, x: tuple[str, str], y: tuple[str, str]) -> Mark:
    return Mark("line", {"class": css, "x1": x[0], "x2": x[1], "y1": y[0], "y2": y[1]})


def _dot(colour: int, x: str, y: str, hover: str = "") -> Mark:
    return Mark("use", {"href": f"#m{colour}", "class": f"dot c{colour}", "x": x, "y": y}, hover=hover)


def track(
    rows: Sequence[tuple[int, Value]],
    axis: Axis,
    gap: int = 11,
    ceiling: float | None = None,
    names: Sequence[str] = (),
) -> Track:
    """A dot and whisker per (colour, value), below each other; `names` of them, for who points at one."""
    height = gap * len(rows) + 13
    grid = [("grid", t) for t in ticks(*axis)] + ([("ceiling", ceiling)] if ceiling is not None else [])
    marks = [_line(css, (percent(t, axis),) * 2, ("0", "100%")) for css, t in grid]
    for i, (colour, v) in enumerate(rows):
        y = f"{(height - gap * (len(rows) - 1)) / 2 + gap * i:g}"
        if v.low is not None and v.high is not None:
            marks.append(_line(f"whisker c{colour}", (percent(v.low, axis), percent(v.high, axis)), (y, y)))
        marks.append(_dot(colour, percent(v.value, axis), y, f"{names[i]}: {interval(v)}" if names else interval(v)))
    return Track(height, marks)


def scale(axis: Axis) -> Track:
    """The numbers under a column of tracks."""
    at = [(tick_text(t), {"x": percent(t, axis), "y": "14", "text-anchor": "middle"}) for t in ticks(*axis)]
    return Track(18, [Mark("text", place, text) for text, place in at])


def _chart(marks: list[Mark], x_axis: Axis, y_axis: Axis, x_name: str, y_name: str, height: int, summary: str) -> Chart:
    """Axes and grid under the marks of a chart."""
    grid = []
    for t in ticks(*x_axis):
        x = percent(t, x_axis)
        at = {"class": "tick", "x": x, "y": "100%", "dy": "18", "text-anchor": "middle"}
        grid += [_line("grid", (x, x), ("0", "100%")), Mark("text", at, tick_text(t))]
    for t in ticks(*y_axis):
        y = percent(y_axis[1] + y_axis[0] - t, y_axis)
        at = {"class": "tick", "x": "-8", "y": y, "dy": "4", "text-anchor": "end"}
        grid += [_line("grid", ("0", "100%"), (y, y)), Mark("text", at, tick_text(t))]
    return Chart(grid + marks, x_name, y_name, height, summary)


def scatter(
    points: Sequence[tuple[Model, Value, Value]], x_name: str, y_name: str, height: int = 320, zero: bool = True
) -> Chart:
    """Models by two figures (x, y), whiskers where there are intervals, names beside the marks."""
    x_axis = span([x for _, x, _ in points], zero, 0.08)
    y_axis = span([y for _, _, y in points], zero, 0.1)
    marks = []
    top = y_axis[1] + y_axis[0]
    place: dict[str, tuple[float, float]] = {}  # of each mark, in pixels of a plot of usual width
    for model, x, y in sorted(points, key=lambda p: -p[2].value):
        px, py = percent(x.value, x_axis), percent(top - y.value, y_axis)
        if y.low is not None and y.high is not None:
            ends = percent(top - y.low, y_axis), percent(top - y.high, y_axis)
            marks.append(_line(f"whisker c{model.colour}", (px, px), ends))
        marks.append(_dot(model.colour, px, py, f"{model.label}: {x_name} {number(x.value)}, {y_name} {interval(y)}"))
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
        side = {"dx": "12"} if right else {"dx": "-12", "text-anchor": "end"}
        at = {"x": f"{100 * at_x / _WIDTH:.2f}%", "y": f"{100 * at_y / height:.2f}%", "dy": f"{shift + 4:g}"}
        marks.append(Mark("text", {"class": "name", **at, **side}, model.group_label))
    said = "; ".join(f"{m.label}: {x_name} {number(x.value)}, {y_name} {interval(y)}" for m, x, y in points)
    return _chart(marks, x_axis, y_axis, x_name, y_name, height, said)


_DIAGONAL = _line("diagonal", ("0", "100%"), ("100%", "0"))


def lines(
    series: Sequence[tuple[Model, Sequence[float], Sequence[float]]],
    x_axis: Axis,
    y_axis: Axis,
    x_name: str,
    y_name: str,
    *,
    marked: bool = True,
    diagonal: bool = False,
    height: int = 260,
    band: tuple[int, Sequence[float], Sequence[float], Sequence[float]] | None = None,
) -> Chart:
    """One line per model; a mark at every point, or (`marked=False`) at its end only.

    `band`: a colour, and the lower and upper ends of an interval at some places.
    """
    marks = [_DIAGONAL] if diagonal else []
    top = y_axis[1] + y_axis[0]
    if band is not None:
        colour, xs, lows, highs = band
        ends = [(x, low) for x, low in zip(xs, lows, strict=True)]
        ends += [(x, high) for x, high in zip(reversed(xs), reversed(highs), strict=True)]
        path = " ".join(f"{percent(x, x_axis)[:-1]},{percent(top - y, y_axis)[:-1]}" for x, y in ends)
        marks.append(Mark("polyline", {"class": f"line band c{colour}", "points": path}))
    for model, xs, ys in reversed(series):  # the best on top
        at = [(percent(x, x_axis), percent(y_axis[1] + y_axis[0] - y, y_axis)) for x, y in zip(xs, ys, strict=True)]
        path = " ".join(f"{x[:-1]},{y[:-1]}" for x, y in at)
        marks.append(Mark("polyline", {"class": f"line c{model.colour}", "points": path}))
        said_of = [f"{model.label}: {number(y, 2)} at {x:g}" for x, y in zip(xs, ys, strict=True)]
        some = list(zip(at, said_of, strict=True))
        marks += [_dot(model.colour, *place, hover) for place, hover in (some if marked else some[-1:])]
    said = "; ".join(
        f"{m.label}: " + ", ".join(f"{number(y, 2)} at {x:g}" for x, y in zip(xs, ys, strict=True))
        for m, xs, ys in series
    )
    return _chart(marks, x_axis, y_axis, x_name, y_name, height, said)


def reliability(
    points: Sequence[tuple[float, float, float, float, int]], histogram: Sequence[int], colour: int, label: str
) -> Chart:
    """Observed share over predicted probability, with the diagonal; below, how often each probability is given."""
    axis = (0.0, 1.0)
    marks = [_DIAGONAL]
    most = max(histogram, default=0) or 1
    width = 100 / max(len(histogram), 1)
    for i, count in enumerate(histogram):
        h = 14 * count / most
        at = {"x": f"{i * width + 0.4:.2f}%", "width": f"{width - 0.8:.2f}%"}
        given = (
            f"{count:,} customers are given {number(i / len(histogram), 2)} to {number((i + 1) / len(histogram), 2)}"
        )
        marks.append(Mark("rect", {"class": "bar", **at, "y": f"{100 - h:.2f}%", "height": f"{h:.2f}%"}, hover=given))
    for p, share, low, high, n in points:
        x = percent(p, axis)
        marks.append(_line(f"whisker c{colour}", (x, x), (percent(1 - low, axis), percent(1 - high, axis))))
        told = f"said {number(p, 2)}, seen {number(share, 2)} ({number(low, 2)} to {number(high, 2)}), {n:,} customers"
        marks.append(_dot(colour, x, percent(1 - share, axis), told))
    said = "; ".join(f"said {number(p, 2)}, seen {number(s, 2)} ({n} customers)" for p, s, _, _, n in points)
    return _chart(marks, axis, axis, "predicted probability", "share that did", 260, f"{label}: {said}")
