"""A student's feedback page and the class on one page. Whatever came from a student is escaped; no student sees another."""

import re
from collections import Counter
from html import escape

from qcourse.classroom.results import digest
from qcourse.classroom.style import histogram, page


def page_name(student: str) -> str:
    """A file name that any system accepts and that two students never share.

    >>> page_name("Jane Doe (42)")
    'Jane_Doe_42-e689b8.html'
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", student).strip("_")[:40]
    return f"{plain or 'student'}-{digest(student)[:6]}.html"


def points(task: dict) -> float:
    """Points of one task, partial credit included."""
    return round(task["score"] * task["points"], 2)


def total(result: dict) -> tuple[float, float]:
    """(points reached, points to reach) of one result."""
    return round(sum(map(points, result["tasks"])), 2), sum(t["points"] for t in result["tasks"])


def remarks(result: dict) -> str:
    """What a teacher should know of one result; the student's own page leaves out what may name others."""
    return "; ".join(filter(None, [result["reason"], *result["notes"], *result.get("look", ())]))


def student_page(student: str, results: list[dict]) -> str:
    """Every lab of one student: each task's outcome, what held and what did not, and the hint."""
    parts = [f"<h1>{escape(student)}</h1>"]
    for result in results:
        reached, most = total(result)
        name = f"Lab {escape(result['lab'])}" if result["lab"] else "Unknown lab"
        parts.append(f"<h2>{name}: {reached:g} of {most:g} points</h2><p class='soft'>{escape(result['file'])}</p>")
        if result["reason"]:
            parts.append(f"<div class='card wrong'><b>Not graded.</b><pre>{escape(result['reason'])}</pre></div>")
        if result["notes"]:
            parts.append("<ul>" + "".join(f"<li>{escape(n)}</li>" for n in result["notes"]) + "</ul>")
        if not result["reason"]:
            parts += [_task(t) for t in result["tasks"]]
        parts += [_error(e) for e in result["errors"]]
    return page(f"Feedback: {student}", "\n".join(parts))


def _task(task: dict) -> str:
    reached = f"{points(task):g} of {task['points']:g}"
    marks = "".join(f"<li class='{'yes' if ok else 'no'}'>{escape(name)}</li>" for name, ok in task["passed"].items())
    marks = f"<ul class='marks'>{marks}</ul>" if task["outcome"] != "not attempted" else ""
    kind = {"right": "right", "wrong": "wrong", "raised": "raised"}.get(task["outcome"], "")
    return (
        f"<section class='card {kind}'><header><span>{escape(task['id'])} {escape(task['title'])}</span>"
        f"<span><span class='outcome'>{escape(task['outcome'])}</span>, {reached}</span></header>"
        f"{marks}<pre>{escape(task['message'])}</pre></section>"
    )


def _error(error: dict) -> str:
    lines = "\n".join(filter(None, [f"{error['kind']}: {error['message']}", error["traceback"]]))
    head = f"Code cell {error['cell']} stopped with an error"
    return f"<section class='card raised'><header>{head}</header><pre class='code'>{escape(lines)}</pre></section>"


def class_page(results: list[dict], labs: dict[str, list[dict]]) -> str:
    """Histograms, commonest misconceptions, what needs a human, and the table."""
    students = len({r["student"] for r in results})
    parts = [f"<h1>The class: {students} students, {len(results)} submissions</h1>"]
    for lab in sorted({r["lab"] for r in results} & labs.keys()):
        own = [r for r in results if r["lab"] == lab]
        parts += [f"<h2>Lab {lab}: {len(own)} submissions</h2>", _histograms(own, labs[lab]), _misconceptions(own)]
    parts += [_problems(results), _table(results), _isolation(results)]
    return page("The class", "\n".join(filter(None, parts)))


def _histograms(results: list[dict], tasks: list[dict]) -> str:
    figures = []
    for task in tasks:
        scores = [t["score"] for r in results for t in r["tasks"] if t["id"] == task["id"]]
        mean = sum(scores) / max(len(scores), 1)
        figures.append(histogram(scores, f"{task['id']} {task['title']} · {mean:.0%} on average"))
    return f"<p class='soft'>Students by share of a task's points, in %.</p><div class='grid'>{''.join(figures)}</div>"


def _misconceptions(results: list[dict]) -> str:
    found = Counter((t["id"], t["mistake"]) for r in results for t in r["tasks"] if t["mistake"])
    if not found:
        return ""
    rows = _rows([(n, f"{n / len(results):.0%}", task, name) for (task, name), n in found.most_common(20)], "num", "num")
    head = "<tr><th class='num'>students</th><th class='num'>share</th><th>task</th><th>misconception</th></tr>"
    return f"<h3>The commonest misconceptions</h3><div class='wide'><table>{head}{rows}</table></div>"


def _rows(table: list[tuple], *classes: str, link=None) -> str:
    """Table rows, escaped; `classes` of the first columns; `link(row)` is where the first cell leads."""
    html = ""
    for row in table:
        cells = [escape(str(cell)) for cell in row]
        if link is not None:
            cells[0] = f"<a href='{escape(link(row))}'>{cells[0]}</a>"
        styles = [*classes, *[""] * len(cells)]
        html += "<tr>" + "".join(f"<td class='{s}'>{c}</td>" for c, s in zip(cells, styles, strict=False)) + "</tr>"
    return html


def _problems(results: list[dict]) -> str:
    said = [(r["student"], r["file"], remarks(r)) for r in results]
    rows = _rows([row for row in said if row[2]])
    head = "<tr><th>student</th><th>file</th><th>what</th></tr>"
    return f"<h2>What needs a look</h2><div class='wide'><table>{head}{rows}</table></div>" if rows else ""


def _table(results: list[dict]) -> str:
    shown = [(r["student"], r["lab"], "{:g} / {:g}".format(*total(r)), r["status"]) for r in results]
    rows = _rows(shown, "", "", "num", link=lambda row: f"feedback/{page_name(row[0])}")
    head = "<tr><th>student</th><th>lab</th><th class='num'>points</th><th>status</th></tr>"
    return f"<h2>Grades</h2><div class='wide'><table>{head}{rows}</table></div>"


def _isolation(results: list[dict]) -> str:
    notes = sorted({n for r in results for n in r["isolation"]})
    if not notes:
        return ""
    return "<h2>Isolation in force</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul>"
