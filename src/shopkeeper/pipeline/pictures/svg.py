"""Plots as SVG text, for pages that only show pictures: dots, lines and whiskers on one scale, a panel below the other.

Written by hand: a plotting library takes longer to begin with than a small model takes to train. Positions are pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from shopkeeper.evaluation.report.charts import Axis, tick_text, ticks

Numbers = Sequence[float] | np.ndarray
WIDTH, TOP, BOTTOM, RIGHT, LETTER = 880, 34, 46, 18, 6.6
INK, GRID = "#333333", "#dddddd"


@dataclass
class Panel:
    """A plot. `marks` is SVG, made by the methods below in the order in which they are called."""

    x: Axis
    y: Axis  # from the lower edge to the upper one
    height: int  # of the area within the axes
    title: str = ""
    aside: str = ""  # at the right end of the title's line
    x_name: str = ""
    y_name: str = ""
    rows: Sequence[str] = ()  # names at y = 0, 1, … in the place of numbers
    width: int = WIDTH
    legend: list[tuple[str, str]] = field(default_factory=list)  # colour, text
    marks: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Where the area within the axes begins: right of the names."""
        longest = max(map(len, [*self.rows, *(tick_text(t) for t in self.y_ticks)]), default=0)
        return LETTER * longest + (38 if self.y_name else 18)

    @property
    def y_ticks(self) -> list[float]:
        """Numbers beside the axis; none where there are names."""
        return [] if self.rows else ticks(min(self.y), max(self.y), 5)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point in pixels from the panel's upper left corner."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        down = (self.y[1] - y) / (self.y[1] - self.y[0])
        return self.left + across * (self.width - self.left - RIGHT), TOP + down * self.height

    def dots(self, xs: Numbers, ys: Numbers, colour: str, radius: float = 3.5) -> None:
        """A dot at each point; points that are no numbers are left out."""
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                px, py = self.at(x, y)
                self.marks.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:g}" fill="{colour}"/>')

    def line(self, xs: Numbers, ys: Numbers, colour: str, width: float = 1.6) -> None:
        """A line through points, broken where one is no number."""
        piece: list[str] = []
        for x, y in [*zip(xs, ys, strict=True), (math.nan, math.nan)]:
            if math.isfinite(x) and math.isfinite(y):
                piece.append("{:.1f},{:.1f}".format(*self.at(x, y)))
                continue
            if len(piece) > 1:
                at = " ".join(piece)
                self.marks.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>')
            piece = []

    def svg(self) -> str:
        """Grid, marks, axes, title and legend."""
        left, right, low = self.left, float(self.width - RIGHT), TOP + self.height
        parts = []
        for t in ticks(min(self.x), max(self.x), 6):
            x, _ = self.at(t, 0)
            parts += [_line(x, TOP, x, low, GRID), _text(x, low + 17, tick_text(t), "middle")]
        for t in self.y_ticks:
            _, y = self.at(0, t)
            parts += [_line(left, y, right, y, GRID), _text(left - 8, y + 4, tick_text(t), "end")]
        for place, name in enumerate(self.rows):
            parts.append(_text(left - 8, self.at(0, place)[1] + 4, name, "end"))
        parts += self.marks
        parts += [_line(left, TOP, left, low, INK), _line(left, low, right, low, INK)]
        parts.append(_text(left, 20, self.title, "start", 13))
        parts.append(_text(right, 20, self.aside, "end"))
        parts.append(_text((left + right) / 2, low + 36, self.x_name, "middle"))
        if self.y_name:
            middle = TOP + self.height / 2
            parts.append(
                f'<g transform="translate(14 {middle:.1f}) rotate(-90)">{_text(0, 0, self.y_name, "middle")}</g>'
            )
        end = right
        for colour, text in reversed(self.legend):  # below the axis, where no mark lies
            parts.append(_text(end, low + 36, text, "end"))
            end -= LETTER * len(text) + 12
            parts.append(f'<circle cx="{end:.1f}" cy="{low + 32}" r="4" fill="{colour}"/>')
            end -= 20
        return "\n".join(part for part in parts if part)


def picture(*panels: Panel) -> str:
    """A whole SVG file: panels of one width below each other, on white."""
    heights = [TOP + panel.height + BOTTOM for panel in panels]
    width, down, body = panels[0].width, 0, []
    for panel, height in zip(panels, heights, strict=True):
        body.append(f'<g transform="translate(0 {down})">\n{panel.svg()}\n</g>')
        down += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{down}" viewBox="0 0 {width} {down}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def span(values: Numbers, pad: float = 0.05) -> Axis:
    """An axis that holds all numbers among the values."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    room = ((max(known) - min(known)) or abs(known[0]) or 1.0) * pad
    return min(known) - room, max(known) + room


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width=".8"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    if not text:
        return ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
