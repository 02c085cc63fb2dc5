"""Two nibbles in a byte and eight in a word, bit by bit: click a bit, or move a code, and see whose weight it was."""

from qcourse.packing.layouts import AWQ_ORDER
from qcourse.study.picture import Table
from qcourse.study.widgets import controls, static

CELL = "display:inline-block;width:1.7em;text-align:center;font-family:monospace;font-size:1.2em;border:1px solid #5f6670;"
SHADES = ("background:#cfe0f5;color:#111;", "background:#f8dfc3;color:#111;")


def byte_html(low: int, high: int, with_bits: bool = True) -> str:
    """The byte of two signed int4 codes as HTML: low code in the low nibble, each stored as q + 8.

    Raises ValueError for codes outside -8…7.
    """
    for code in (low, high):
        if not -8 <= code <= 7:
            raise ValueError(f"code {code}: int4 holds -8 to 7")
    byte = (low + 8) | (high + 8) << 4
    bits = "".join(f'<span style="{CELL}{SHADES[i < 4]}">{b}</span>' for i, b in enumerate(f"{byte:08b}"))
    formula = f"({low} + 8) | ({high} + 8) &lt;&lt; 4 = {low + 8} | {(high + 8) << 4} = <b>{byte}</b> = 0x{byte:02X}"
    legend = f'<span style="{SHADES[1]}">&nbsp;high nibble: W[n, 2i+1] = {high}&nbsp;</span> '
    legend += f'<span style="{SHADES[0]}">&nbsp;low nibble: W[n, 2i] = {low}&nbsp;</span>'
    shown = f"{bits}<br>" if with_bits else ""
    return f'<div role="status" style="line-height:2.1">{legend}<br>{shown}<code>{formula}</code></div>'


class NibbleView:
    """Two codes and the byte they make, from either side: sliders move the codes, clicks flip bits. `value` is the byte."""

    def __init__(self, low: int = -3, high: int = 5):
        self.low, self.high = low, high

    @property
    def value(self) -> int:
        """The byte as an integer."""
        return (self.low + 8) | (self.high + 8) << 4

    def _repr_html_(self) -> str:
        return byte_html(self.low, self.high)

    def widget(self):
        """Sliders, bits and what they mean; None when ipywidgets or anywidget is not installed."""

        def move(**code) -> None:
            vars(self).update(code)
            low.at, high.at = self.low + 8, self.high + 8
            row.values = [int(b) for b in f"{self.value:08b}"]
            view.value = byte_html(self.low, self.high, with_bits=False)

        def click(values: list[int]) -> None:
            byte = int("".join(map(str, values)), 2)
            move(low=(byte & 15) - 8, high=(byte >> 4) - 8)

        codes, shades = [str(q) for q in range(-8, 8)], ["1", "1", "1", "1 qc-gap", "0", "0", "0", "0"]
        try:
            import ipywidgets

            low = controls.slider("low code", codes, self.low + 8, lambda at: move(low=at - 8))
            high = controls.slider("high code", codes, self.high + 8, lambda at: move(high=at - 8))
            row = controls.bits("the byte, bit 7 first", [int(b) for b in f"{self.value:08b}"], shades, click)
        except ImportError:
            return None
        view = ipywidgets.HTML(byte_html(self.low, self.high, with_bits=False))
        return ipywidgets.VBox([low, high, row, view])

    def _ipython_display_(self):
        from IPython.display import HTML, display

        box = None if static() else self.widget()
        display(box if box is not None else HTML(self._repr_html_()))


class WordView:
    """Eight codes in an int32, as three ecosystems read the same 32 bits. `word` is the value, `flipped` the last bit."""

    def __init__(self, word: int = 0x76543210):
        self.word, self.flipped = word, None

    def table(self) -> Table:
        """Whose code each nibble is, and (once a bit was flipped) whom that bit belongs to."""
        nibbles = [self.word >> 4 * i & 15 for i in range(8)]
        awq = dict(zip(AWQ_ORDER, nibbles, strict=True))
        changed = None if self.flipped is None else self.flipped // 4
        rows = []
        for name, letter, codes, hit in (
            ("compressed-tensors, GPTQ", "k", nibbles, changed),
            ("AWQ", "n", [awq[n] for n in range(8)], None if changed is None else AWQ_ORDER[changed]),
        ):
            rows.append([f"{name}: {letter} = 0 … 7", *codes, "" if hit is None else f"{letter} = {hit}"])
        return Table(["", *"01234567", "your bit is in"], rows)

    def widget(self):
        """32 bits to click above the table; None when ipywidgets or anywidget is not installed."""

        def click(values: list[int]) -> None:
            word = int("".join(map(str, values)), 2)
            self.flipped, self.word = (word ^ self.word).bit_length() - 1, word
            view.value = self.html()

        shades = [f"{(i // 4) % 2}" + " qc-gap" * (i % 4 == 3) for i in range(32)]
        try:
            import ipywidgets

            row = controls.bits("the word, bit 31 first", [int(b) for b in f"{self.word:032b}"], shades, click)
        except ImportError:
            return None
        view = ipywidgets.HTML(self.html())
        return ipywidgets.VBox([row, view])

    def html(self) -> str:
        """The word in hexadecimal, and the table."""
        return f'<div role="status"><code>0x{self.word:08X}</code></div>{self.table().html()}'

    def __repr__(self) -> str:
        return f"0x{self.word:08X}\n{self.table()}"

    def _ipython_display_(self):
        from IPython.display import HTML, display

        box = None if static() else self.widget()
        display(box if box is not None else HTML(self.html()))
