"""What one code of a small float says: its fields, its value, what is special about it, and who its neighbours are."""

import html
import math
from bisect import bisect_left, bisect_right
from decimal import Decimal
from functools import cache

from qcourse.numerics.grids import FloatGrid

CHIP = "display:inline-block;padding:0 .45em;font-family:monospace;border:1px solid #5f6670;color:#111;background:"
SHADES = {"sign": "#ddd3f0", "exponent": "#f8dfc3", "mantissa": "#cfe0f5"}  # of the bits too: qc-2, qc-1, qc-0


@cache
def values(grid: FloatGrid) -> tuple[float, ...]:
    """The value of each code."""
    return tuple(grid.table().tolist())


@cache
def levels(grid: FloatGrid) -> tuple[float, ...]:
    """The different values in rising order, with inf where the format has it, and one zero."""
    return tuple(sorted({v + 0.0 for v in values(grid) if not math.isnan(v)}))


@cache
def in_order(grid: FloatGrid) -> tuple[int, ...]:
    """All codes by value, -0 before +0 and NaN at the ends: counting down through the negative ones, then up."""
    half = 1 << (grid.num_bits - 1)
    return (*range(2 * half - 1, half - 1, -1), *range(half))


def checked(grid: FloatGrid, code: int) -> int:
    """The code, if the format has it. Raises TypeError for a grid of another kind, ValueError for a code out of range."""
    if not isinstance(grid, FloatGrid):
        raise TypeError(f"{grid!r}: a FloatGrid is expected, such as E4M3 or E2M1 of qcourse.numerics.grids")
    top = (1 << grid.num_bits) - 1
    if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= top:
        raise ValueError(f"code {code!r}: {grid} has {grid.num_bits} bits, so the codes 0 to {top} (0x{top:02X})")
    return code


def fields(grid: FloatGrid, code: int) -> tuple[int, int, int]:
    """Sign, exponent field, mantissa field.

    >>> from qcourse.numerics.grids import E4M3
    >>> fields(E4M3, 0xC1)
    (1, 8, 1)
    """
    e, m = grid.exponent_bits, grid.mantissa_bits
    return code >> (e + m), code >> m & ((1 << e) - 1), code & ((1 << m) - 1)


def exact(value: float) -> str:
    """All decimals of a value: 0.001953125, and -0, inf, nan."""
    return f"{Decimal(value):f}" if math.isfinite(value) else str(value)


def brief(value: float) -> str:
    """As short as a label must be: 1.125 and 57344, but 0.00195."""
    return exact(value) if len(exact(value)) <= 6 else f"{value:.3g}"


def neighbours(grid: FloatGrid, code: int) -> tuple[float | None, float | None]:
    """The next smaller and the next larger value; None where there is none. Both zeros are one value."""
    value, found = values(grid)[code], levels(grid)
    if math.isnan(value):
        return None, None
    below, above = bisect_left(found, value) - 1, bisect_right(found, value)
    return found[below] if below >= 0 else None, found[above] if above < len(found) else None


def kind(grid: FloatGrid, code: int) -> str:
    """What is special about a code, in words."""
    value, (sign, e, m) = values(grid)[code], fields(grid, code)
    if math.isnan(value):
        return "NaN: not a number"
    if math.isinf(value):
        return "inf: beyond every number"
    if value == 0:
        return "-0: the second code for zero" if sign else "zero"
    if e == 0:
        last = m == (1 << grid.mantissa_bits) - 1
        ends = ["the smallest above 0"] * (m == 1) + ["the largest subnormal"] * last
        return ", ".join(["subnormal", *(ends if not sign else [f"in magnitude {end}" for end in ends])])
    if abs(value) == grid.max:
        return f"normal, -max: {grid} has none smaller" if sign else f"normal, max: {grid} has none larger"
    return "normal" if e > 1 or m else f"normal,{' in magnitude' if sign else ''} the smallest normal"


def meanings(grid: FloatGrid, code: int) -> dict[str, tuple[str, str]]:
    """Each field's bits, and what they mean."""
    value, (sign, e, m) = values(grid)[code], fields(grid, code)
    steps = 1 << grid.mantissa_bits
    bits = f"{code:0{grid.num_bits}b}"
    power, lead = f"2^({max(e, 1)} − {grid.bias})", 0 if e == 0 else 1
    exponent = f"{e}, less the bias {grid.bias}: {power} = {exact(2.0 ** (max(e, 1) - grid.bias))}"
    if e == 0:
        exponent = f"0: subnormal, {power} = {exact(2.0 ** (1 - grid.bias))} as for exponent 1, but no leading 1"
    mantissa = f"{m} of {steps}: {lead} + {m}/{steps} = {exact(lead + m / steps)}"
    if not math.isfinite(value):
        nan = "not 0: NaN" if grid.ieee else f"all ones too: NaN (with any other mantissa, an ordinary number of {grid})"
        exponent = f"{e}: the top one" + (", which means inf or NaN" if grid.ieee else "")
        mantissa = f"{m}, {nan if math.isnan(value) else 'which makes it inf'}"
    said = ("−" if sign else "+", exponent, mantissa)
    cuts = (bits[0], bits[1 : 1 + grid.exponent_bits], bits[1 + grid.exponent_bits :])
    return dict(zip(SHADES, zip(cuts, said, strict=True), strict=True))


def formula(grid: FloatGrid, code: int) -> str:
    """The value worked out, with numbers put in.

    >>> from qcourse.numerics.grids import E2M1
    >>> formula(E2M1, 0b0011), formula(E2M1, 0b1001)
    ('(−1)^0 · 2^(1 − 1) · (1 + 1/2) = 1.5', '(−1)^1 · 2^(1 − 1) · (0 + 1/2) = -0.5')
    """
    value, (sign, e, m) = values(grid)[code], fields(grid, code)
    if not math.isfinite(value):
        return f"the top exponent is no power of two here: {exact(value)}"
    lead = 0 if e == 0 else 1
    return f"(−1)^{sign} · 2^({max(e, 1)} − {grid.bias}) · ({lead} + {m}/{1 << grid.mantissa_bits}) = {exact(value)}"


def beside(grid: FloatGrid, code: int) -> list[str]:
    """The neighbours and the gaps to them, in words."""
    value = values(grid)[code]
    if math.isnan(value):
        return ["neighbours: none, NaN is not less than, equal to or greater than anything"]
    said = []
    for name, other in zip(("next smaller", "next larger"), neighbours(grid, code), strict=True):
        if other is None:
            end = "nothing is beyond" if math.isinf(value) else "whatever is beyond is rounded to this"
            said.append(f"{name}: none, {end}")
        elif math.isinf(other) or math.isinf(value):
            said.append(f"{name}: {exact(other)} (no finite gap)")
        else:
            said.append(f"{name}: {exact(other)} (gap {exact(abs(other - value))})")
    return said


def text(grid: FloatGrid, code: int) -> str:
    """Everything about a code, as plain text."""
    rows = [f"{name:<9}{bits:<6}{said}" for name, (bits, said) in meanings(grid, code).items()]
    head = f"{grid} code 0x{code:02X} = {exact(values(grid)[code])}   {kind(grid, code)}"
    return "\n".join([head, *rows, formula(grid, code), *beside(grid, code)])


def told(grid: FloatGrid, code: int) -> str:
    """Everything about a code, as HTML: the fields in the colours of their bits."""
    rows = "".join(
        f'<div><span style="{CHIP}{SHADES[name]}">{name} {bits}</span> {html.escape(said)}</div>'
        for name, (bits, said) in meanings(grid, code).items()
    )
    head = f"<b>{grid}</b> code 0x{code:02X} = <b>{exact(values(grid)[code])}</b> &nbsp; {html.escape(kind(grid, code))}"
    gaps = " &nbsp;·&nbsp; ".join(map(html.escape, beside(grid, code)))
    body = f"<div>{head}</div>{rows}<div><code>{formula(grid, code)}</code></div><div>{gaps}</div>"
    return f'<div role="status" style="line-height:1.9">{body}</div>'
