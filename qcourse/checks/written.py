"""Values written for a reader: numbers with the digits that tell them apart, small inputs whole, tables as tables."""

import torch

from qcourse.shapes import Tensor

WHOLE = 64  # numbers of an argument that can be followed by hand
SHOWN = 600  # numbers that are still shown
WIDE = 96  # characters of a line of numbers
INDENT = "       "


def dtype(t: Tensor) -> str:
    """float32, not torch.float32."""
    return str(t.dtype).removeprefix("torch.")


def show(value, bits: int = 0, places: int = 7) -> str:
    """A number as it is compared: `places` digits of a float; an integer with its bits, in nibbles from the left.

    >>> show(33, 8)
    '33 (0010 0001)'
    """
    if isinstance(value, float):
        return f"{value:.{places}g}"
    if not bits or isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    pattern = f"{value & ((1 << bits) - 1):0{bits}b}"
    if bits == 32:
        return f"0x{value & 0xFFFFFFFF:08X}"
    return f"{value} ({' '.join(pattern[max(0, i - 4) : i] for i in range(len(pattern) % 4 or 4, len(pattern) + 1, 4))})"


def apart(expected, got, bits: int = 0) -> str:
    """Two numbers that differ, with as many digits as it takes to see it.

    >>> apart(4.125, 4.1250000001)
    'expected 4.125, got 4.1250000001'
    """
    pairs = ((show(expected, bits, places), show(got, bits, places)) for places in (7, 9, 12, 17))
    right, wrong = next((p for p in pairs if p[0] != p[1]), (show(expected, bits, 17), show(got, bits, 17)))
    return f"expected {right}, got {wrong}"


def short(value) -> str:
    """What a value is, in a few words: a tensor's shape and dtype (and its numbers when they are few), or its repr."""
    if isinstance(value, torch.Tensor):
        few = f" {value.tolist()}" if 0 < value.numel() <= 16 and value.dim() else ""
        return f"a tensor {tuple(value.shape)} {dtype(value)}{few}" if value.dim() else show(value.item())
    if isinstance(value, tuple):
        return f"({', '.join(short(v) for v in value[:8])}{', …' if len(value) > 8 else ''})"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def size(value) -> int:
    """How many numbers a value holds."""
    if isinstance(value, tuple | list | dict):
        return sum(size(v) for v in (value.values() if isinstance(value, dict) else value))
    return value.numel() if isinstance(value, torch.Tensor) else len(value) if isinstance(value, bytes) else 1


def whole(value, most: int = WHOLE) -> bool:
    """Whether a value has at most `most` numbers: few enough to be followed by hand, or (SHOWN) to be shown."""
    parts = [v for v in value if isinstance(v, torch.Tensor)] if isinstance(value, tuple | list) else []
    return len(parts) <= 4 and all(size(v) <= most for v in parts) if parts else size(value) <= most


def describe(name: str, value, words: bool = False) -> str:
    """An argument as the student would write it, its numbers if they are few; packed `words` in hexadecimal.

    >>> describe("packed", torch.tensor([[213]], dtype=torch.uint8), words=True)
    'packed = uint8 [[0xD5]]'
    """
    if isinstance(value, torch.Tensor):
        if not whole(value, SHOWN):
            return f"{name}: {dtype(value)} {tuple(value.shape)}"
        return matrix(f"{name} = {dtype(value)} ", value.tolist(), 2 * value.element_size() if words else 0)
    if isinstance(value, tuple | list) and any(isinstance(v, torch.Tensor) for v in value):
        few = [one(v) for v in value[:4]] + ["…"] * (len(value) > 4)
        return f"{name} = " + f",\n{INDENT}".join(few)
    if isinstance(value, dict | list | tuple):
        if not whole(value, SHOWN):
            return f"{name}: {type(value).__name__} of {len(value)}"
        return table(name, value)
    if isinstance(value, bytes):
        return f"{name} = " + f"\n{INDENT}".join(lines(value)) if len(value) <= SHOWN else f"{name}: {len(value)} bytes"
    return f"{name} = {digits(value)}"


def lines(value: bytes) -> list[str]:
    """Bytes as Python writes them, on lines of equal width."""
    rows = [b""]
    for byte in value:
        if len(repr(rows[-1])) + len(repr(bytes([byte]))) - 3 > WIDE:
            rows.append(b"")
        rows[-1] += bytes([byte])
    return list(map(repr, rows))


def one(value) -> str:
    """One tensor of a list."""
    if not isinstance(value, torch.Tensor):
        return digits(value)
    if not whole(value, SHOWN):
        return f"{dtype(value)} {tuple(value.shape)}"
    return matrix(f"{dtype(value)} ", value.tolist()).replace("\n", f"\n{INDENT}")


def matrix(start: str, rows, places: int = 0) -> str:
    """Nested lists; the rows of a matrix below each other, its columns aligned; a long row is broken."""
    if isinstance(rows, list) and len(rows) > 1 and all(isinstance(r, list) for r in rows):
        if all(not isinstance(v, list) for r in rows for v in r):
            cells = aligned([[digits(v, places) for v in r] for r in rows])
            lines = ["[" + ", ".join(r) + "]" for r in cells]
        else:
            lines = [digits(r, places) for r in rows]
        return f"{start}[{(',' + chr(10) + ' ' * (len(start) + 1)).join(lines)}]"
    return broken(start + digits(rows, places))


def table(name: str, value) -> str:
    """Rows that are dicts under one line of names; rows that are tuples below each other; a dict one entry a line."""
    if isinstance(value, dict) and value:
        rows = aligned([[f"{k}:", digits(v)] for k, v in value.items()], left=1)
    elif value and all(isinstance(r, dict) and r.keys() == value[0].keys() for r in value):
        rows = aligned([list(map(str, value[0])), *([digits(v) for v in r.values()] for r in value)])
    elif value and all(isinstance(r, tuple | list) and len(r) == len(value[0]) for r in value):
        rows = aligned([[digits(v) for v in r] for r in value])
    else:
        return broken(f"{name} = {digits(value)}")
    return "\n".join([f"{name} =", *("  " + "  ".join(r).rstrip() for r in rows)])


def aligned(rows: list[list[str]], left: int = 0) -> list[list[str]]:
    """Cells of equal width in each column, to the right; the first `left` columns to the left."""
    if len({len(r) for r in rows}) != 1:
        return rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))] for r in rows]


def broken(line: str) -> str:
    """A long line of numbers on several."""
    lines = [""]
    for part in line.split(", "):
        if len(lines[-1]) + len(part) > WIDE:
            lines.append(INDENT)
        lines[-1] += ("" if lines[-1] in ("", INDENT) else ", ") + part
    return (",\n").join(lines)


def digits(x, places: int = 0) -> str:
    """Nested lists of numbers, floats with six digits, integers in `places` hexadecimal ones if that is not 0."""
    if isinstance(x, list | tuple):
        ends = "[]" if isinstance(x, list) else "()"
        return ends[0] + ", ".join(digits(v, places) for v in x) + ends[1]
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k}: {digits(v)}" for k, v in x.items()) + "}"
    if type(x) is float:
        return f"{x:.6g}"
    if type(x) is not int:
        return short(x)
    return f"0x{x & (16**places - 1):0{places}X}" if places else str(x)
