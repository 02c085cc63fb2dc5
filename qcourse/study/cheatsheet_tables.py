"""The cheatsheet's tables as text, for whoever reads them in a notebook, not on paper: the same rows, the same words."""

from qcourse.study.cheatsheet_formats import ECOSYSTEMS
from qcourse.study.cheatsheet_methods import LIMITS, METHODS, invariants, kind, needs, won
from qcourse.study.cheatsheet_names import TITLES
from qcourse.study.cheatsheet_pages import MARKS, Content, gain, lost, regrouped
from qcourse.study.picture import Table


def tables(what: Content) -> dict[str, Table]:
    """Name → table: formats, bytes, methods, limits, names."""
    return {"formats": of_formats(what), "bytes": of_bytes(what), "methods": of_methods(what), "limits": of_limits(),
            "names": Table(("", *TITLES.values()), what.names)}  # fmt: skip


def of_formats(what: Content) -> Table:
    """A row a format; files by their short names."""
    head = ("format", "grid", "a scale for", "scale stored as", "input rounded to", "true bits a weight", "CPU kernel",
            "GPU kernel", ", ".join(ECOSYSTEMS), *(f"lost: {subject}" for subject in MARKS))  # fmt: skip
    rows = []
    for row in (row for group in what.formats.values() for row in group):
        some = [f"{lost(row.lost[s])}{regrouped(row, s)}".strip() for s in MARKS]
        rows.append((row.name, row.grid, row.shared, row.scale, row.activations, f"{row.bits:.3f}", row.cpu or "–",
                     row.gpu or "–", ", ".join(row.files), *some))  # fmt: skip
    return Table(head, rows)


def of_bytes(what: Content) -> Table:
    """A row a law."""
    return Table(("", "law", "example"), [(f.what, f.law, f.example) for f in what.formulas])


def of_methods(what: Content) -> Table:
    """A row a method; of what it wins, the first pair."""
    rows = []
    for m in METHODS:
        first = f"{gain(*won(m, what.results)[0])} ({m.won[0]})"
        rows.append((m.name, kind(m.name), m.does, needs(m.name), m.least, m.cost, m.when, first))
    return Table(
        ("method", "kind", "what it does", "needs data?", "minimizes", "cost", "when", "lost, before → after"), rows
    )


def of_limits() -> Table:
    """What limits you → what to take, and the invariants behind it."""
    rows = [(limit, take, invariants(why)) for limit, (take, why) in LIMITS.items()]
    return Table(("what limits you?", "take", "invariant"), rows)
