"""The two pages of the cheatsheet, drawn from the rows of its neighbours. See `cheatsheet`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qcourse.study.cheatsheet_formats import ECOSYSTEMS, SHAPE, Format, Lost
from qcourse.study.cheatsheet_formulas import Formula
from qcourse.study.cheatsheet_methods import INVARIANTS, LIMITS, METHODS, NONE, invariants, kind, needs, won
from qcourse.study.cheatsheet_names import TITLES
from qcourse.study.cheatsheet_page import BODY, EDGE, LEAD, WIDTH, Cell, Column, Theme, blank, heading, table, width, write
from qcourse.study.cheatsheet_pictures import calls, flow, number_lines
from qcourse.study.dispatch import Route
from qcourse.study.picture import Picture


@dataclass(frozen=True)
class Content:
    """What stands on the pages. formats: group → rows · names: rows of the table of names · lines: of the dispatch ·
    results: capture → what it holds · sources: what each page cites."""

    formats: dict[str, list[Format]]
    formulas: Sequence[Formula]
    names: Sequence[tuple[str, ...]]
    lines: dict[str, dict[str, Route]]
    results: dict[str, dict]
    sources: tuple[str, str]


ROOM = WIDTH - 2 * EDGE
NAMED = (0.01, 1)
LEAST, MOST = 3e-4, 6.0  # bits/byte: the ends of the axis of what is lost
MARKS = {"shipped": ("o", "int"), "smollm2": ("D", "loud")}
PLOT, BAR = 53.9, 44.0  # points: of the picture of what is lost, of eight bits
FORMATS = (
    Column("format", 61), Column("grid", 68), Column("a scale for", 36), Column("scale stored as", 81),
    Column("input rounded to", 76), Column("true bits a weight", 74), Column("CPU kernel", 66), Column("GPU kernel", 66),
    *(Column(short, max(18.0, width(short, BODY, True) + 4), "center") for short in ECOSYSTEMS),
    Column("lost: shipped", 36, "right"), Column("lost: SmolLM2", 38, "right"),
    Column("both, log scale", PLOT - 1),
)  # fmt: skip


def lost(a: Lost | None) -> str:
    """Added bits/byte in two digits; "≈ 0" within two standard errors of nothing; "–" where it does not fit the model."""
    if a is None:
        return "–"
    return "≈ 0" if abs(a.added) < 2 * a.stderr else digits(a.added)


def digits(value: float) -> str:
    """Two digits and a sign: +0.0096, +3.8."""
    places = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:+.{min(places, 4)}f}".replace("-", "−")


def regrouped(row: Format, subject: str) -> str:
    """A star where the model's rows asked for groups of 64."""
    a = row.lost[subject]
    return "*" if a is not None and a.name != row.name else "\u2002"  # as wide, so that digits stand in a column


def format_cells(row: Format, theme: Theme) -> list:
    """A row of the table."""
    color = theme.kinds[row.kind]
    dots = [Cell("●" if short in row.files else "", color) for short in ECOSYSTEMS]
    return [
        Cell(row.name, color, True), row.grid, row.shared, row.scale, row.activations, f"{row.bits:.3f}",
        row.cpu or Cell("–", theme.soft), row.gpu or Cell("–", theme.soft), *dots,
        *(lost(row.lost[s]) + regrouped(row, s) for s in MARKS), "",
    ]  # fmt: skip


def draw_row(ax, row: Format, top: float, bottom: float, theme: Theme) -> None:
    """The bits as a bar (full: codes, pale: scales and zero points), and what is lost as two points."""
    middle, color = (top + bottom) / 2, theme.kinds[row.kind]
    begin = EDGE + sum(c.room for c in FORMATS[:5]) + 27
    per_bit = BAR / 8.5
    for left, right, alpha in ((0, row.codes, 0.85), (row.codes, row.bits, 0.4)):
        ax.fill_between((begin + left * per_bit, begin + right * per_bit), middle - 2.2, middle + 2.2, color=color,
                        alpha=alpha, lw=0)  # fmt: skip
    left = WIDTH - EDGE - PLOT + 6
    for subject, (marker, tone) in MARKS.items():
        a = row.lost[subject]
        if a is not None:
            x = left + place(a.added) * (PLOT - 12)
            shade = theme.loud if tone == "loud" else theme.ink
            ax.plot(x, middle, marker, ms=2.8, mew=0.7, mec=shade, mfc=shade if tone == "loud" else theme.paper, zorder=4)


def place(value: float) -> float:
    """Where a loss lies on the axis, from 0 to 1."""
    return (math.log10(min(max(value, LEAST), MOST)) - math.log10(LEAST)) / (math.log10(MOST) - math.log10(LEAST))


def grid_of_losses(ax, top: float, bottom: float, theme: Theme) -> None:
    """Thin lines at 0.001, 0.01, 0.1 and 1 bits/byte."""
    left = WIDTH - EDGE - PLOT + 6
    for value in (0.001, 0.01, 0.1, 1):
        x = left + place(value) * (PLOT - 12)
        ax.plot((x, x), (top, bottom), color=theme.rule, lw=0.6, zorder=1)
        if value in NAMED:
            write(ax, x, bottom + 1.5, f"{value:g}", theme, color=theme.soft, align="center")


def page_one(content: Content, theme: Theme) -> Picture:
    """Formats; grids; bytes; invariants."""
    alt = (
        "Page 1: a table of formats, the values of their grids as ticks on lines, laws for bytes, the six invariants. The "
        "tables below say the same in words."
    )
    fig, ax, y = blank(theme, "LLM quantization 1 · formats and bytes", content.sources[0], alt)
    rows = [row for title, some in content.formats.items() for row in ([Cell(title)], *some)]
    cells = [row if isinstance(row, list) else format_cells(row, theme) for row in rows]
    spans = table(ax, EDGE, y, FORMATS, cells, theme, pad=0.5)
    grid_of_losses(ax, spans[0][0], spans[-1][1], theme)
    for row, (top, bottom) in zip(rows, spans, strict=True):
        if isinstance(row, Format):
            draw_row(ax, row, top, bottom, theme)
    y = spans[-1][1] + 1.5
    files = ", ".join(f"{short} {name}" for short, name in ECOSYSTEMS.items() if short.lower() != name)
    notes = (
        f"Bits: of a weight of {SHAPE[0]} × {SHAPE[1]}; full bar codes, pale scales and zeros. Kernel: for few tokens; –: "
        f"the reference decodes all of W. ● can say and hold it: {files}.",
        "Lost: bits/byte added on held-out text; ○ shipped model, ◆ SmolLM2; ≈ 0 within two standard errors; – does not "
        "divide its rows; * in groups of 64.",
    )
    for note in notes:
        write(ax, EDGE, y, note, theme, color=theme.soft)
        y += LEAD * BODY
    y += 8
    half = ROOM * 0.42
    y_grids = heading(ax, EDGE, y, "Where a grid has its values", "all codes, over the largest", theme)
    below = number_lines(ax, EDGE, y_grids, half, theme)
    right = EDGE + half + 22
    y_law = heading(ax, right, y, "Bytes", "Llama 3 in 8B and 70B, GPU of 80 GB and 3.35 TB/s: computed", theme)
    columns = (Column("", 86), Column("law", 164), Column("example", ROOM - half - 22 - 250))
    spans = table(
        ax, right, y_law, columns, [(Cell(f.what, bold=True), f.law, f.example) for f in content.formulas], theme, pad=0.7
    )
    draw_invariants(ax, max(below, spans[-1][1]) + 6, theme)
    return fig


def draw_invariants(ax, y: float, theme: Theme, columns: int = 3) -> None:
    """Numbered, in columns, read across."""
    y = heading(ax, EDGE, y, "The invariants", "what all of it comes down to; page 2 cites them", theme)
    for i, text in enumerate(INVARIANTS):
        x, row = EDGE + i % columns * ROOM / columns, y + i // columns * LEAD * BODY
        write(ax, x, row, str(i + 1), theme, color=theme.loud, bold=True)
        write(ax, x + 9, row, text, theme)


def gain(a: str, x: float, other: str, y: float) -> str:
    """What is lost before and after: "W4A16_G64 +0.13 → W4A16_ASYM_G64 +0.094"; the second name only where it is another."""
    return f"{a} {digits(x)} → {f'{other} ' if other else ''}{digits(y)}"


def method_cells(m, captures: dict, theme: Theme) -> list:
    """A row of the table of methods."""
    data, some = needs(m.name), [gain(*one) for one in won(m, captures)]
    where = "" if m.won[0].startswith("smollm2") else " (shipped)"
    color = {"quantizer": theme.kinds["int"], "transform": theme.kinds["float"], "training": theme.kinds["codebook"]}
    return [Cell(m.name, color[kind(m.name)], True), kind(m.name), m.does, Cell(data, None if data == NONE else theme.loud),
            m.least, m.cost, m.when, "\n".join(f"{one}{where}" for one in some)]  # fmt: skip


def page_two(content: Content, theme: Theme) -> Picture:
    """Methods; the dispatch; what limits you; names."""
    alt = (
        "Page 2: a table of methods, curves from schemes to the kernels that multiply them, what limits you, and the same "
        "thing by six names. The tables below say the same in words."
    )
    fig, ax, y = blank(theme, "LLM quantization 2 · methods, kernels, names", content.sources[1], alt)
    columns = (Column("method", 56), Column("kind", 42), Column("what it does", 122), Column("needs data?", 92),
               Column("minimizes", 146), Column("cost", 98), Column("when", 106),
               Column("lost on SmolLM2, before → after", ROOM - 662))  # fmt: skip
    y = table(ax, EDGE, y, columns, [method_cells(m, content.results, theme) for m in METHODS], theme, pad=0.8)[-1][1] + 7
    half = ROOM * 0.56
    said = "the model's code knows no format; a layout that no kernel reads is repacked or refused"
    y_flow = heading(ax, EDGE, y, "From a file to a kernel", said, theme)
    y_flow = calls(ax, EDGE, y_flow, half, theme) + 2
    right = EDGE + half + 16
    y_if = heading(ax, right, y, "What limits you?", "first the question, then a format", theme)
    rows = [(Cell(limit, bold=True), take, invariants(why)) for limit, (take, why) in LIMITS.items()]
    fastest = (
        "of those that fit (weights + KV ≤ memory) and surely lose little (added + 2 standard errors ≤ limit), the fastest"
    )
    rows.append((Cell("Several would do", bold=True), fastest, ""))
    columns = (Column("", 112), Column("take", ROOM - half - 16 - 150), Column("invariant", 38))
    below = table(ax, right, y_if, columns, rows, theme, pad=0.8)[-1][1]
    flow(ax, content.lines, EDGE, y_flow, half, below - y_flow - LEAD * BODY, theme)
    said = (
        "tensors: the layouts' slots; keys: the configs that are written; of GGUF a Q4_K block's fields, of ModelOpt NVFP4"
    )
    y = heading(ax, EDGE, below + 7, "The same thing by six names", said, theme)
    label, rest = 82, (ROOM - 82) / len(TITLES)
    columns = (Column("", label), *(Column(title, rest) for title in TITLES.values()))
    table(ax, EDGE, y, columns, [(Cell(row[0], bold=True), *row[1:]) for row in content.names], theme, pad=0.5)
    return fig
