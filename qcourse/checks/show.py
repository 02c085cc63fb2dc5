"""A Result for the eye: plain text in a terminal, a coloured card in Jupyter."""

import os
import re
from html import escape

from qcourse.checks.task import TASKS, Result

COLORS = {"right": "#4a9a5b", "wrong": "#b8423f", "raised": "#d9822b", "not attempted": "#8a8f98"}
FIXED = "font-family:monospace;font-size:90%"
TRACE = re.compile(r"line \d+, in ")
NAMES = ("This is: ", "One thing to mend first: ")  # how a recognised mistake is introduced, in `judge.conclude`


def headline(result: Result) -> str:
    """01.2 dequantize: right, 2 of 2 points."""
    task = TASKS[result.task]
    points = f"{round(result.score * task.points, 2):g} of {task.points} point{'s' * (task.points != 1)}"
    return f"{task.id} {task.function}: {result.outcome}, {points}"


def properties(result: Result) -> list[str]:
    """One line a property; nothing for a task that has not been tried."""
    if result.outcome == "not attempted":
        return []
    return [f"{'✓' if ok else '✗'} {name}" for name, ok in result.passed.items()]


def text(result: Result) -> str:
    """Plain text. While nbgrader grades, only the points: it reads a cell's score off this text."""
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return f"{result.score * TASKS[result.task].points:.6g}"
    parts = [headline(result), *(f"  {line}" for line in properties(result)), "", result.message]
    return "\n".join(parts)


def html(result: Result) -> str:
    """A card with a coloured edge; everything that came from the student is escaped."""
    color = COLORS[result.outcome]
    tick = {"✓": COLORS["right"], "✗": COLORS["wrong"]}
    lines = "".join(f"<div style='color:{tick[p[0]]}'>{escape(p)}</div>" for p in properties(result))
    message = "".join(map(paragraph, result.message.split("\n\n")))
    return (
        f"<div style='border-left:4px solid {color};padding:4px 12px;margin:4px 0;max-width:60em'>"
        f"<b style='color:{color}'>{escape(headline(result))}</b>"
        f"<div style='font-size:90%;margin:2px 0'>{lines}</div>{message}</div>"
    )


def paragraph(part: str) -> str:
    """One paragraph of a message: numbers and lines of code in a fixed width, the mistake's name in bold, the seed small."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;margin:6px 0"
    if part.startswith("(seed "):
        return f"<div style='{style};font-size:80%;color:{COLORS['not attempted']}'>{escape(part)}</div>"
    if part.startswith("with "):
        return f"<div style='{style};{FIXED}'>{escape(part)}</div>"
    lines = [f"<span style='{FIXED}'>{escape(t)}</span>" if TRACE.match(t) else marked(t) for t in part.split("\n")]
    return f"<div style='{style}'>" + "\n".join(lines) + "</div>"


def marked(line: str) -> str:
    """Escaped text, `names` as code, and what names a mistake in bold."""
    line = re.sub(r"`([^`<>]+)`", r"<code>\1</code>", escape(line))
    return f"<b>{line}</b>" if line.startswith(NAMES) else line


class Note(str):
    """Text that displays itself as the last line of a cell: a hint, or (as code) a solution."""

    code = False

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        edge = "border-left:4px solid #3b6fb6;padding:4px 12px;margin:4px 0"
        if self.code:
            return f"<pre style='{edge}'>{escape(self)}</pre>"
        return f"<div style='{edge};max-width:60em'>{marked(self)}</div>"


class Code(Note):
    """A Note in a fixed-width font."""

    code = True
