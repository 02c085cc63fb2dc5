"""Two nibbles in a byte, bit by bit: move a code and watch which bits change."""

from qcourse.study.widgets import static

CELL = "display:inline-block;width:1.7em;text-align:center;font-family:monospace;font-size:1.2em;border:1px solid #8a8f98;"
LOW, HIGH = "background:#cfe0f5;color:#111;", "background:#f8dfc3;color:#111;"


def byte_html(low: int, high: int) -> str:
    """The byte of two signed int4 codes as HTML: low code in the low nibble, each stored as q + 8.

    Raises ValueError for codes outside -8…7.
    """
    for code in (low, high):
        if not -8 <= code <= 7:
            raise ValueError(f"code {code}: int4 holds -8 to 7")
    byte = (low + 8) | (high + 8) << 4
    bits = "".join(f'<span style="{CELL}{HIGH if i < 4 else LOW}">{b}</span>' for i, b in enumerate(f"{byte:08b}"))
    formula = f"({low} + 8) | ({high} + 8) &lt;&lt; 4 = {low + 8} | {(high + 8) << 4} = <b>{byte}</b> = 0x{byte:02X}"
    legend = f'<span style="{HIGH}">&nbsp;high nibble: W[n, 2i+1] = {high}&nbsp;</span> '
    legend += f'<span style="{LOW}">&nbsp;low nibble: W[n, 2i] = {low}&nbsp;</span>'
    return f'<div style="line-height:2.1">{legend}<br>{bits}<br><code>{formula}</code></div>'


class NibbleView:
    """Two sliders and the byte they make. `value` is the byte."""

    def __init__(self, low: int = -3, high: int = 5):
        self.low, self.high = low, high

    @property
    def value(self) -> int:
        """The byte as an integer."""
        return (self.low + 8) | (self.high + 8) << 4

    def _repr_html_(self) -> str:
        return byte_html(self.low, self.high)

    def widget(self):
        """Sliders above the bits, or None when ipywidgets is not installed."""
        try:
            import ipywidgets
        except ImportError:
            return None
        view = ipywidgets.HTML(byte_html(self.low, self.high))
        sliders = []
        for name in ("low", "high"):
            slider = ipywidgets.IntSlider(getattr(self, name), -8, 7, description=name)

            def move(change, name=name):
                setattr(self, name, change["new"])
                view.value = byte_html(self.low, self.high)

            slider.observe(move, names="value")
            sliders.append(slider)
        return ipywidgets.VBox([*sliders, view])

    def _ipython_display_(self):
        from IPython.display import HTML, display

        box = None if static() else self.widget()
        display(box if box is not None else HTML(self._repr_html_()))
