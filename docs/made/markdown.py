"""Docstrings and settings as Markdown: formulas become MathML, which browsers draw without a script."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from latex2mathml.converter import convert

from shopkeeper.pipeline.shell.yaml_comments import Setting

MATH, INLINE = re.compile(r"^\.\. math:: ?(.*)$"), re.compile(r":math:`([^`]+)`")
REFERENCE, CITED = re.compile(r"^\.\. \[(\w+)\] "), re.compile(r"\[(\w+)\]_")


def cell(text: str) -> str:
    """Text in a cell of a table: a | would end it, a <word> would be a tag."""
    return re.sub(r"<(?=[\w/])", "&lt;", text.replace("|", "\\|"))


def code(text: str) -> str:
    """Text as code in a cell; nothing for none."""
    return f"`{text.replace('|', chr(92) + '|')}`" if text else ""


def table(settings: Iterable[Setting]) -> list[str]:
    """Settings of a YAML as lines of a table."""
    return ["| setting | shipped | what it is |", "|---|---|---|"] + [
        f"| `{one.name}` | {code(one.value)} | {cell(one.said)} |" for one in settings
    ]


def formula(latex: str, block: bool = False) -> str:
    """A formula as MathML.

    >>> formula("k")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>k</mi></mrow></math>'
    """
    return str(convert(latex, display="block" if block else "inline"))


def docstring(text: str) -> str:
    """A docstring as Markdown: reST's formulas and citations, doctests and indented tables as blocks of code."""
    found: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if match := MATH.match(line):
            latex, at = _block(lines, at, match[1])
            found += ["", formula(latex, block=True), ""]
        elif line.startswith(">>>"):
            end = next((i for i in range(at, len(lines)) if not lines[i].strip()), len(lines))
            found += ["```pycon", *lines[at:end], "```"]
            at = end
        elif line.startswith("    ") and (not found or not found[-1].strip()):
            end = next(
                (i for i in range(at, len(lines)) if lines[i].strip() and not lines[i].startswith("    ")), len(lines)
            )
            found += ["```text", *textwrap.dedent("\n".join(lines[at:end])).rstrip().splitlines(), "```", ""]
            at = end
        else:
            line = REFERENCE.sub(r"\1: ", line)
            line = INLINE.sub(lambda m: formula(m[1]), line)
            found.append(CITED.sub(r"[\1]", line))
            at += 1
    return "\n".join(found).strip()


def _block(lines: list[str], at: int, first: str) -> tuple[str, int]:
    """The formula that begins in a line and goes on in the indented ones below it, and the line after it."""
    latex, at = [first], at + 1
    while at < len(lines) and (lines[at].startswith("   ") or (not lines[at].strip() and not "".join(latex).strip())):
        latex.append(lines[at].strip())
        at += 1
    return " ".join(latex).strip(), at
