"""A result for the eye: plain text in a terminal, a coloured card in Jupyter. Both are made here, of a `Result`'s parts.

A part is a paragraph with its style: "text" (ours: `names` are code, *words* are stressed), "code" (what came from the
student: nothing in it is markup), "inputs", "mistake" and "seed".
"""

import os
import re
from html import escape

COLORS = {"right": "#1e7a3c", "wrong": "#b3261e", "raised": "#a04a00", "not attempted": "#5f6670"}  # behind white text
FIXED = "font-family:monospace;font-size:90%"
STRESSED = re.compile(r"(?<![\w*`])\*([^\s*`<>](?:[^*`<>\n]*[^\s*`<>])?)\*(?![\w*`])")


def headline(result) -> str:
    """01.2 dequantize: right, 2 of 2 points."""
    points = f"{round(result.score * result.points, 2):g} of {result.points:g} point{'s' * (result.points != 1)}"
    return f"{result.task} {result.function}: {result.outcome}, {points}"


def properties(result) -> list[str]:
    """One line a property; nothing for a task that has not been tried."""
    if result.outcome == "not attempted":
        return []
    aside = dict.fromkeys(result.idle, " (counts beside an answer that is right)")
    return [f"{'✓' if ok else '✗'} {name}{aside.get(name, '')}" for name, ok in result.passed.items()]


def parts(result) -> list[tuple[str, str]]:
    """(style, text) of every paragraph of the message."""
    if result.outcome == "not attempted":
        return [("text", result.problem)]
    found = []
    if result.outcome == "right":
        found.append(("text", f"`{result.function}` holds on {result.cases} random cases."))
    if result.error:
        found.append(("code", result.error + (f"\n{result.trace}" if result.trace else "")))
    elif result.problem:
        found.append(("text", result.problem + (f"\n{result.advice}" if result.advice and not result.mistake else "")))
        found += [("code", result.trace)] * bool(result.trace)
    if result.inputs:
        found.append(("inputs", result.inputs))
    if result.mistake:
        opening = "This is" if result.sure else "One thing to mend first; it looks like"
        found.append(("mistake", f"{opening}: {result.mistake}.\n{result.hint}"))
        found.append(("text", f"What it breaks: {result.invariant}"))
    elif result.outcome == "wrong":
        numbers = "follow these numbers by hand" if result.whole else "look at this one number first"
        nudge = f'A nudge: hint("{result.task}")'
        found.append(("text", nudge if result.advice else f"None of the mistakes that we know: {numbers}. {nudge}"))
    found += [("text", borrowed(result))] * bool(result.uses)
    return found + [("seed", f"(seed {result.seed})")] * (result.outcome != "right" and result.seed is not None)


def borrowed(result) -> str:
    """To a learner whose function calls the package."""
    names = ", ".join(f"`{name}`" for name in result.uses)
    return (
        f"Your function lets the course's own package do the work ({names}). Nothing is taken off for that; but this lab is "
        "about writing it once yourself. Try it with torch or NumPy alone."
    )


def message(result) -> str:
    """Every paragraph as plain text."""
    return "\n\n".join(terminal(*part) for part in parts(result))


def terminal(style: str, part: str) -> str:
    """A paragraph as plain text: names keep their backticks, stressed words lose their asterisks."""
    return part if style in ("code", "inputs") else STRESSED.sub(r"\1", part)


def text(result) -> str:
    """Plain text. While nbgrader grades, only the points: it reads a cell's score off this text."""
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return f"{result.score * result.points:.6g}"
    lines = [headline(result), *(f"  {line}" for line in properties(result))]
    return "\n".join([*(terminal("text", line) for line in lines), "", message(result)])


def html(result) -> str:
    """A card; everything that came from the student is escaped."""
    lines = "".join(f"<div>{inline(p)}</div>" for p in properties(result))
    inside = f"<div style='font-size:90%;margin:2px 0'>{lines}</div>{paragraphs(parts(result))}"
    return box(result.outcome, headline(result), inside)


def box(outcome: str, head: str, inside: str) -> str:
    """A card in the colour of its outcome. Colour is behind the headline only: text on the page keeps the theme's own."""
    color = COLORS[outcome]
    badge = f"background:{color};color:#fff;padding:1px 8px;border-radius:3px"
    return (
        f"<div style='border-left:4px solid {color};padding:4px 12px;margin:4px 0;max-width:60em'>"
        f"<b style='{badge}'>{inline(head)}</b>{inside}</div>"
    )


def paragraphs(found: list[tuple[str, str]]) -> str:
    """Parts as HTML: numbers and lines of code in a fixed width, the mistake's name in bold, the seed small."""
    return "".join(paragraph(style, part) for style, part in found)


def paragraph(style: str, part: str) -> str:
    """One part as HTML."""
    margin = "margin:6px 0"
    if style == "seed":
        return f"<div style='{margin};font-size:80%'>{escape(part)}</div>"
    if style == "inputs":
        return (
            f"<div style='white-space:pre;overflow:auto;max-height:20em;{margin};{FIXED}' tabindex='0'>{escape(part)}</div>"
        )
    if style == "code":
        return f"<div style='white-space:pre-wrap;overflow-wrap:anywhere;{margin};{FIXED}'>{escape(part)}</div>"
    lines = [inline(line) for line in part.split("\n")]
    if style == "mistake":
        lines[0] = f"<b>{lines[0]}</b>"
    return f"<div style='white-space:pre-wrap;overflow-wrap:anywhere;{margin}'>" + "\n".join(lines) + "</div>"


def inline(line: str) -> str:
    """Escaped text in which `names` are code and *words* stressed.

    >>> inline("two *neighbouring* columns, `word & 0xF`")
    'two <em>neighbouring</em> columns, <code>word &amp; 0xF</code>'
    """
    pieces = re.split(r"`([^`]+)`", line)  # every second one stood between backticks
    return "".join(
        f"<code>{escape(p)}</code>" if i % 2 else STRESSED.sub(r"<em>\1</em>", escape(p)) for i, p in enumerate(pieces)
    )


class Note(str):
    """Text that displays itself as the last line of a cell: a hint, or (as code) a solution."""

    code = False

    def __repr__(self) -> str:
        return str(self) if self.code else terminal("text", self)

    def _repr_html_(self) -> str:
        edge = "border-left:4px solid #3b6fb6;padding:4px 12px;margin:4px 0"
        if self.code:
            return f"<pre style='{edge}'>{escape(self)}</pre>"
        return f"<div style='{edge};max-width:60em'>{inline(self)}</div>"


class Code(Note):
    """A Note in a fixed-width font."""

    code = True
