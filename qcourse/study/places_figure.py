"""A weight's bits in seven files, as a picture that is dragged and as a table.

Bits(where).picture(row, column)     the bytes around the code in every file, and its bits
places_table(where, n, k)            code, scale and zero point of each file: where, which bytes, what they say
seven_view(files, layer, n, k)       the picture with two sliders
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.patches import Rectangle

from qcourse.study.picture import Picture, Table
from qcourse.study.places import NAMES, Place, Whereabouts
from qcourse.study.plots import BLUE, GREY, RED, described, figure
from qcourse.study.raw_elements import Part
from qcourse.study.widgets.explore import Explorer, explore

SHOWN = 8  # bytes of a file in a row of the picture
HEX, BITS, LAW, WIDE = 2.2, 4.32, 7.62, 10  # where its columns begin, and its width, in inches
LETTER = 14 / 180  # the width of a monospaced letter, in inches: whole pixels of the PNG, to which its advance is rounded
SIZE = 72 * LETTER / 0.60206  # its size in points (DejaVu Sans Mono)
PALE = "#dbe6f3"


def around(part: Part) -> tuple[int, bytes]:
    """(offset, bytes) of the SHOWN bytes of the file that hold the part, beginning at a multiple of SHOWN."""
    begin = part.begin // SHOWN * SHOWN
    with part.path.open("rb") as file:
        file.seek(begin)
        return begin, file.read(SHOWN)


def apart(cells: list[str], mine: range, gap: str) -> tuple[str, str]:
    """Cells as two lines of the same width, which lie over each other: the others', and mine."""
    return tuple(gap.join(c if (i in mine) == want else " " * len(c) for i, c in enumerate(cells)) for want in (False, True))


def bits_of(part: Part) -> tuple[str, str, int, int]:
    """(the other bits, its bits, first letter of these, their letters): highest first, nibbles apart."""
    whole = 8 * len(part.data)
    shown = f"{int.from_bytes(part.data, 'little'):0{whole}b}"
    first, last = whole - part.shift - part.width, whole - part.shift
    lines = ["".join(b if (first <= i < last) == want else " " for i, b in enumerate(shown)) for want in (False, True)]
    spaced = [" ".join(line[i : i + 4] for i in range(0, whole, 4)) for line in lines]
    return spaced[0], spaced[1], first + first // 4, part.width + (part.width - 1) // 4


def draw(ax, y: float, name: str, place: Place) -> None:
    """One file: the bytes around the code, the number that they make, and the law."""
    code = place.code
    begin, data = around(code)
    mono = {"family": "monospace", "size": SIZE, "va": "center"}
    small = {"color": GREY, "size": 7.5, "va": "center"}
    ax.text(0, y + 0.18, name, weight="bold", size=9, va="center")
    ax.text(0, y - 0.2, short_name(code.tensor), **small)
    ax.text(HEX - 0.1, y, f"{begin:,}", ha="right", **small)
    mine = range(code.begin - begin, code.begin - begin + len(code.data))
    others, own = apart([f"{byte:02x}" for byte in data], mine, " ")
    ax.text(HEX, y, others, color=GREY, **mono)
    ax.text(HEX, y, own, color=BLUE, weight="bold", **mono)
    others, own, first, letters = bits_of(code)
    ax.add_patch(Rectangle((BITS + LETTER * first - 0.02, y - 0.3), LETTER * letters + 0.04, 0.6, fc=PALE, ec=RED, lw=0.8))
    ax.text(BITS, y, others, color=GREY, **mono)
    ax.text(BITS, y, own, color=RED, weight="bold", **mono)
    value = f"{place.value:.4f}"
    ax.text(LAW, y, f"{place.law} = {value}" if len(place.parts) > 1 else value, size=8.5, va="center")


def short_name(tensor: str) -> str:
    """The last part of a tensor's name; a GGUF name whole."""
    return tensor if tensor.startswith("blk.") else tensor.rpartition(".")[2]


class Bits:
    """What the two sliders of `seven_view` draw."""

    def __init__(self, where: Whereabouts):
        self.where = where

    def picture(self, row: int, column: int) -> Picture:
        """Weight (row, column) in each of the seven files."""
        places = {name: self.where.place(name, row, column) for name in NAMES}
        title = f"{self.where.layer.removeprefix('model.')}, weight ({row}, {column}): one number, seven places"
        fig, ax = figure(1, title, width=WIDE, height=4)
        for i, (name, place) in enumerate(places.items()):
            draw(ax, -i, name, place)
        heads = {0: "file, tensor", HEX: "bytes from that offset on", BITS: "as one number, highest bit first",
                 LAW: "what they say"}  # fmt: skip
        for x, head in heads.items():
            ax.text(x, 0.8, head, color=GREY, size=8.5, va="center")
        ax.set(xlim=(0, WIDE - 0.1), ylim=(0.5 - len(places), 1.0))
        ax.axis("off")
        said = "; ".join(
            f"{n}: byte {p.code.begin:,}, bits {p.code.shift} to {p.code.shift + p.code.width - 1}, stored {p.code.stored}, "
            f"{p.value:.4f}" for n, p in places.items()
        )  # fmt: skip
        return described(fig, f"For each file the bytes around the code, and its bits. {said}.")


def places_table(where: Whereabouts, n: int, k: int) -> Table:
    """Every part of weight (n, k) in every file."""
    rows = []
    for name in NAMES:
        for part in where.place(name, n, k).parts:
            bits = "all" if part.width == 8 * len(part.data) else f"{part.shift}–{part.shift + part.width - 1}"
            first = name if part.role in ("number", "code") else ""
            rows.append((first, part.role, short_name(part.tensor), f"{part.begin:,}", part.data.hex(" "), bits,
                         part.stored, f"{part.number:.4g}"))  # fmt: skip
    return Table(("file", "part", "tensor", "first byte", "bytes", "its bits", "stored", "means"), rows)


def seven_view(files: Mapping[str, Path], layer: str, row: int, column: int, span: int = 64) -> Explorer:
    """The picture, with sliders over `span` rows and columns around a weight.

    Raises KeyError for a layer that is not there, IndexError for a weight that there is not.
    """
    where, choices = Whereabouts(files, layer), {}
    for name, at, size in (("row", row, where.shape[0]), ("column", column, where.shape[1])):
        begin = at // span * span
        choices[name] = [at, *(i for i in range(begin, min(begin + span, size)) if i != at)]
    return explore(Bits(where).picture, **choices)
