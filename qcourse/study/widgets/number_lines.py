"""Number lines as SVG: built as strings, at once, so that they follow a dragging hand. Dark on light in every theme."""

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDE, EDGE = 720, 36
INK, FAINT, MARK, POINT, BAND = "#111", "#4f5761", "#b3400f", "#0072b2", "#f6e3d3"
PAPER = (
    "background:#fbfcfe;border:1px solid #9aa3ad;border-radius:4px;max-width:100%;height:auto;display:block;margin:.4em 0"
)
FONT = 'font-family="monospace" font-size="11"'
LETTER = 6.7  # pixels a letter of that font


@dataclass(frozen=True)
class Line:
    """A horizontal axis from `low` to `high`, at height `y` of a drawing. Its parts are SVG elements, as text."""

    low: float
    high: float
    y: float

    def x(self, value: float) -> float:
        """Where a value lies; what is outside lies at the end."""
        inside = min(max(value, self.low), self.high)
        return round(EDGE + (WIDE - 2 * EDGE) * (inside - self.low) / (self.high - self.low), 1)

    def axis(self) -> str:
        """The line itself."""
        return f'<path d="M{EDGE} {self.y}H{WIDE - EDGE}" stroke="{FAINT}"/>'

    def ticks(self, values: Iterable[float], half: float = 8, color: str = INK) -> str:
        """A stroke at each value that is inside."""
        strokes = "".join(f"M{self.x(v)} {self.y - half}v{2 * half}" for v in values if self.low <= v <= self.high)
        return f'<path d="{strokes}" stroke="{color}"/>' if strokes else ""

    def labels(self, texts: Iterable[tuple[float, str]], below: float = 22) -> str:
        """Texts under their values, the important ones first: what would overlap an earlier one is left out."""
        pieces, taken = [], []
        for value, text in texts:
            half = LETTER * len(text) / 2 + 4
            x = round(min(max(self.x(value), half), WIDE - half), 1)
            if self.low <= value <= self.high and all(abs(x - other) >= half + wide for other, wide in taken):
                taken.append((x, half))
                pieces.append(written(x, self.y + below, text, "middle"))
        return "".join(pieces)

    def band(self, begin: float, end: float, half: float = 8, color: str = BAND) -> str:
        """A coloured part of the line, at least three pixels wide."""
        left, right = self.x(begin), self.x(end)
        return (
            f'<rect x="{left}" y="{self.y - half}" width="{max(3, right - left):.1f}" height="{2 * half}" fill="{color}"/>'
        )

    def mark(self, value: float, text: str = "", above: float = 10) -> str:
        """A triangle that points at a value, a stroke through the line, and a text over it."""
        x, tip = self.x(value), self.y - above
        pieces = f'<path d="M{x} {tip}l-5 -9h10z" fill="{MARK}"/>'
        pieces += f'<path d="M{x} {tip}V{self.y + above}" stroke="{MARK}" stroke-width="2.5"/>'
        half = LETTER * len(text) / 2 + 4
        return pieces + (written(min(max(x, half), WIDE - half), tip - 13, text, "middle", MARK) if text else "")


def written(x: float, y: float, text: str, anchor: str = "start", color: str = INK) -> str:
    """Words in a drawing."""
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{color}" {FONT}>{html.escape(text)}</text>'


def drawing(height: int, about: str, parts: Sequence[str]) -> str:
    """The SVG of some parts; `about` is what it shows, in words, for who cannot see it."""
    size = f'width="{WIDE}" height="{height}" viewBox="0 0 {WIDE} {height}"'
    label = f'role="img" aria-label="{html.escape(about, quote=True)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label} style="{PAPER}">{"".join(parts)}</svg>'


def image(svg: str, about: str) -> str:
    """A drawing as an image: what is kept in a notebook must get past viewers that allow no SVG among HTML."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{html.escape(about, quote=True)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'
