"""The paper of the cheatsheet: a page in points, text that is measured before it is set, tables whose cells wrap.

Everything is drawn on one pair of axes as large as the page, x to the right and y downwards, both in points (1/72 inch):
what fits here fits on paper. Only matplotlib, and the font that comes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from qcourse.study.picture import Picture

WIDTH, HEIGHT = 841.9, 595.3  # A4, landscape, in points
EDGE = 22.0  # what a printer may not reach
BODY, HEAD, TITLE = 6.6, 8.6, 14.0  # sizes of type, in points; nothing is smaller than BODY
LEAD = 1.24  # from line to line, in sizes
FONT = "DejaVu Sans"


@dataclass(frozen=True)
class Theme:
    """Colours of a page. `kinds`: of integers, floats, codebooks, GGUF's blocks; `cpu` and `cuda`: of the two devices."""

    name: str
    paper: str
    ink: str
    soft: str
    rule: str
    band: str
    loud: str
    cpu: str
    cuda: str
    kinds: dict[str, str] = field(default_factory=dict)


THEMES = {
    t.name: t
    for t in (
        Theme(
            "light", "#ffffff", "#15181d", "#59626d", "#cfd5dc", "#edf1f5", "#b3400f", "#0072b2", "#9a5800",
            {"int": "#0072b2", "float": "#9a5800", "codebook": "#00795a", "gguf": "#87479a"},
        ),
        Theme(
            "dark", "#12161c", "#e9edf2", "#a3adb8", "#333c47", "#1d242d", "#ff9a6b", "#66b8ec", "#f2b14a",
            {"int": "#66b8ec", "float": "#f2b14a", "codebook": "#4fcf9f", "gguf": "#d39be6"},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What stands in a table's cell, if it is not plain text."""

    text: str
    color: str | None = None
    bold: bool = False


@dataclass(frozen=True)
class Column:
    """head: its title · room: its width in points · align: left, center, right."""

    head: str
    room: float
    align: str = "left"


@lru_cache(maxsize=4096)
def width(text: str, size: float = BODY, bold: bool = False) -> float:
    """Points that a line takes, from the font's own advances.

    >>> width("W4A16") < width("W4A16", bold=True)
    True
    """
    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


def wrap(text: str, room: float, size: float = BODY, bold: bool = False) -> list[str]:
    """Text cut between words, and at line ends of its own, into lines of at most `room` points. Raises ValueError for a word
    that is wider.

    >>> wrap("to be or not", width("to be or"))
    ['to be or', 'not']
    """
    lines: list[str] = []
    for part in text.split("\n"):
        lines.append("")
        for word in part.split(" "):
            if width(word, size, bold) > room:
                raise ValueError(
                    f"{word!r} takes {width(word, size, bold):.0f} points, there are {room:.0f}: a wider column"
                )
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if width(longer, size, bold) <= room:
                lines[-1] = longer
            else:
                lines.append(word)
    return lines


def blank(theme: Theme, title: str, under: str, alt: str):
    """An empty page with its title → (Picture, axes, y where the contents begin)."""
    fig = Picture(figsize=(WIDTH / 72, HEIGHT / 72), dpi=90, facecolor=theme.paper)
    fig.alt = alt
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    ax.set_axis_off()
    write(ax, EDGE, EDGE - 4, title, theme, size=TITLE, bold=True)
    write(ax, WIDTH - EDGE, EDGE + 4, under, theme, color=theme.soft, align="right")
    ax.plot((EDGE, WIDTH - EDGE), (EDGE + 17, EDGE + 17), color=theme.ink, lw=1.2)
    return fig, ax, EDGE + 22


def write(ax, x: float, y: float, text: str, theme: Theme, size: float = BODY, color: str | None = None,
          bold: bool = False, align: str = "left") -> Text:  # fmt: skip
    """One line whose top is y."""
    return ax.text(
        x, y + 0.95 * size, text, ha=align, va="baseline", size=size, color=color or theme.ink, family=FONT,
        weight="bold" if bold else "normal", parse_math=False,
    )  # fmt: skip


def paragraph(ax, x: float, y: float, text: str, room: float, theme: Theme, **how) -> float:
    """Lines under each other; returns the y below them."""
    size = how.get("size", BODY)
    for line in wrap(text, room, size, how.get("bold", False)):
        write(ax, x, y, line, theme, **how)
        y += LEAD * size
    return y


def heading(ax, x: float, y: float, text: str, beside: str, theme: Theme) -> float:
    """A section's title, with what explains it behind; returns the y below."""
    write(ax, x, y, text, theme, size=HEAD, bold=True)
    write(ax, x + width(text, HEAD, True) + 8, y + 1.8, beside, theme, color=theme.soft)
    return y + LEAD * HEAD + 2.5


def table(ax, x: float, y: float, columns: Sequence[Column], rows: Sequence[Sequence], theme: Theme, pad: float = 1.1):
    """Rows under headings → [(top, bottom) of each row], the last being the table's end.

    A row is cells (text or Cell), or one Cell alone: the title of those that follow. Raises ValueError where a word does not
    fit.
    """
    y, spans, whole = top_of(ax, x, y, columns, theme), [], sum(c.room for c in columns)
    for row in rows:
        if len(row) == 1:
            cell = row[0]
            write(ax, x + 2, y + pad + 0.5, cell.text, theme, color=cell.color, bold=True)
            spans.append((y, y + LEAD * BODY + 2 * pad + 0.6))
            ax.fill_between((x, x + whole), *spans[-1], color=theme.band, alpha=0.55, lw=0, zorder=0)
        else:
            bottom = y
            for at, column, cell in zip(starts(x, columns), columns, row, strict=True):
                bottom = max(bottom, set_cell(ax, at, y + pad, column, cell, theme))
            spans.append((y, bottom + pad))
        y = spans[-1][1]
        ax.plot((x, x + whole), (y, y), color=theme.rule, lw=0.4)
    return spans


def starts(x: float, columns: Sequence[Column]) -> list[float]:
    """Where each column begins."""
    return [x + sum(c.room for c in columns[:i]) for i in range(len(columns))]


def top_of(ax, x: float, y: float, columns: Sequence[Column], theme: Theme) -> float:
    """The headings on a band; returns the y below."""
    heads = [wrap(c.head, c.room - 3, BODY, True) for c in columns]
    deep = max(map(len, heads)) * LEAD * BODY + 2.4
    ax.fill_between((x, x + sum(c.room for c in columns)), y, y + deep, color=theme.band, lw=0, zorder=0)
    for at, column in zip(starts(x, columns), columns, strict=True):
        set_cell(ax, at, y + 1.2, column, Cell(column.head, bold=True), theme)
    return y + deep


def set_cell(ax, x: float, y: float, column: Column, cell, theme: Theme) -> float:
    """One cell from y on; returns the y below its last line."""
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    at = {"left": x + 2, "center": x + column.room / 2, "right": x + column.room - 3}[column.align]
    how = {"color": cell.color, "bold": cell.bold, "align": column.align}
    for line in wrap(cell.text, column.room - 3, BODY, cell.bold):
        if line:
            write(ax, at, y, line, theme, **how)
        y += LEAD * BODY
    return y
