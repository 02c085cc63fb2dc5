"""How the course's figures and tables are displayed: sharp, with words for who cannot see them, and in dark themes too.

In a notebook that is worked in, a figure is HTML: JupyterLab shows no alternative text of a plain image, and only HTML
can follow its theme. In the edition for reading it is a plain PNG, which every viewer knows, with its words beside.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from qcourse.study.widgets import static

DARK = '<style>[data-jp-theme-light="false"] img.qc-figure{filter:invert(1) hue-rotate(180deg)}</style>'
TABLE = (
    "<style>table.qc-table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "table.qc-table th,table.qc-table td{padding:.15em .8em;text-align:right;white-space:nowrap}"
    "table.qc-table th:first-child,table.qc-table td:first-child{text-align:left}</style>"
)


class Picture(Figure):
    """A figure that displays itself. `alt`: what it shows, in words; `plots.figure` begins it with the conclusion."""

    alt = ""
    sharpness = 2  # device pixels a pixel

    def png(self) -> bytes:
        """As PNG, `sharpness` times as fine as it is shown."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi * self.sharpness)
        return buffer.getvalue()

    def size(self) -> tuple[int, int]:
        """Width and height as shown, in pixels."""
        width, height = self.get_size_inches() * self.dpi
        return round(width), round(height)

    def html(self) -> str:
        """An image with its alternative text, which dark themes invert."""
        data, (width, _) = base64.b64encode(self.png()).decode(), self.size()
        alt = html.escape(self.alt, quote=True)
        style = f"width:{width}px;max-width:100%;height:auto"
        return f'{DARK}<img class="qc-figure" alt="{alt}" style="{style}" src="data:image/png;base64,{data}">'

    def _ipython_display_(self):
        from IPython.display import display

        if not static():
            return display({"text/html": self.html(), "text/plain": self.alt or repr(self)}, raw=True)
        width, height = self.size()
        about = {"image/png": {"alt": self.alt, "width": width, "height": height}}
        data = {"image/png": base64.b64encode(small(self.png())).decode(), "text/plain": repr(self)}
        return display(data, metadata=about, raw=True)


def small(png: bytes) -> bytes:
    """A PNG with a palette of 128 colours: a third of the bytes, for what is kept in a repository."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


class Table:
    """Rows under headings: an HTML table in a notebook, aligned text elsewhere. The first column is text, others numbers."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence]):
        self.columns, self.rows = list(columns), [[str(cell) for cell in row] for row in rows]
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {len(self.columns)} cells is expected ({', '.join(self.columns)})")

    def __str__(self) -> str:
        wide = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = ([row[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(row[1:], wide[1:], strict=True))]
                 for row in (self.columns, *self.rows))  # fmt: skip
        return "\n".join("  ".join(line).rstrip() for line in lines)

    __repr__ = __str__

    def html(self) -> str:
        """As an HTML table whose numbers are not broken; a narrow window scrolls."""
        head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in self.rows)
        table = f'<table class="qc-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        return f'{TABLE}<div style="overflow-x:auto" tabindex="0" role="group" aria-label="table">{table}</div>'

    def _repr_html_(self) -> str:
        return self.html()
