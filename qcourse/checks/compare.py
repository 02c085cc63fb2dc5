"""Where two answers first differ, in words. Only plain data is compared, so no clever `__eq__` can agree with everything."""

import numpy as np
import torch

from qcourse.shapes import Tensor

SCALARS = (bool, int, float, str, type(None))
PLAIN = "plain data is expected: tensors, arrays, numbers, text, and tuples, lists or dicts of them"


def plain(value):
    """`value` with arrays as CPU tensors, numpy scalars as Python's. Raises TypeError naming any other type."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind in (torch.Tensor, torch.nn.Parameter):
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise TypeError(f"a {value.layout} tensor on {value.device} came back; an ordinary tensor is expected")
        return value.detach().cpu().resolve_conj().resolve_neg()
    if kind is np.ndarray:
        try:
            return torch.from_numpy(np.ascontiguousarray(value) if value.ndim else np.array(value))
        except TypeError:
            raise TypeError(f"an array of dtype {value.dtype} came back; numbers are expected") from None
    if isinstance(value, np.generic) and type(value).__module__ == "numpy":
        return plain(value.item()) if type(value.item()) in SCALARS else plain(np.asarray(value))
    if kind in (tuple, list):
        return tuple(plain(v) for v in value)
    if kind is dict:
        return {k: plain(v) for k, v in value.items()}
    raise TypeError(f"a {kind.__name__} came back; {PLAIN}")


def difference(got, expected, rtol=0.0, atol=0.0, names=(), bits=0, where="the result") -> str | None:
    """None if `got` is `expected` within atol + rtol·|expected|; otherwise a text naming the first differing index.

    Shapes must be equal, and integer dtypes too (they are bytes); any float dtype may stand for another. NaN equals NaN, and
    an infinity only itself. Tuples and lists are one; `names` names their elements. `bits` shows integers as bits.

    >>> difference(torch.tensor([1, 2]), torch.tensor([1, 3]), where="codes")
    'codes[1]: expected 3, got 2'
    """
    try:
        got = plain(got)
    except TypeError as problem:
        return f"{where}: {problem}"
    return _compare(got, plain(expected), (rtol, atol, bits), names, where)


def structure(got, expected, names=(), where="the result") -> str | None:
    """Like `difference`, but values do not matter: only kinds, lengths, shapes and dtypes."""
    return _compare(plain(got), plain(expected), None, names, where)


def _compare(got, expected, how, names, where) -> str | None:
    if isinstance(expected, tuple | dict):
        return _containers(got, expected, how, names, where)
    if isinstance(expected, torch.Tensor) and not isinstance(got, torch.Tensor) and expected.dim() == 0:
        got = torch.tensor(got) if type(got) in (bool, int, float) else got
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor):
            return f"{where}: a tensor of shape {tuple(expected.shape)} is expected, {short(got)} came back"
        return _tensors(got, expected, how, where)
    if isinstance(got, torch.Tensor) and got.dim() == 0:
        got = got.item()
    number = type(expected) in (int, float) and type(got) in (int, float)
    if type(got) is not type(expected) and not number:
        return f"{where}: expected {short(expected)}, got {short(got)}"
    if number and how is None:
        return None
    if number:
        rtol, atol, _ = how
        nan = expected != expected and got != got
        close = got == expected or nan or abs(got - expected) <= atol + rtol * abs(expected) < float("inf")
        return None if close else f"{where}: expected {show(expected, how[2])}, got {show(got, how[2])}"
    return None if how is None or got == expected else f"{where}: expected {short(expected)}, got {short(got)}"


def _containers(got, expected, how, names, where) -> str | None:
    kind = "dict" if isinstance(expected, dict) else "tuple"
    if not isinstance(got, dict if kind == "dict" else tuple):
        what = f"{len(expected)} values ({', '.join(names)})" if names else f"a {kind} of {len(expected)}"
        return f"{where}: {what} expected, {short(got)} came back"
    if kind == "dict":
        if got.keys() != expected.keys():
            return f"{where}: the keys are {short(sorted(map(str, got)))}, expected {sorted(map(str, expected))}"
        pairs = [(f"{where}[{k!r}]", got[k], expected[k]) for k in expected]
    else:
        if len(got) != len(expected):
            which = f": {', '.join(names)}" if names else ""
            return f"{where}: {len(got)} values came back, expected {len(expected)}{which}"
        labels = names or [f"{where}[{i}]" for i in range(len(expected))]
        pairs = list(zip(labels, got, expected, strict=True))
    return next((text for label, a, b in pairs if (text := _compare(a, b, how, (), label))), None)


def _tensors(got, expected, how, where) -> str | None:
    if got.shape != expected.shape:
        return f"{where}: the shape is {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if got.dtype != expected.dtype and not (got.is_floating_point() and expected.is_floating_point()):
        return f"{where}: the dtype is {dtype(got)}, expected {dtype(expected)}"
    if how is None:
        return None
    rtol, atol, bits = how
    if expected.is_floating_point():
        a, b = got.double(), expected.double()
        wrong = ~((a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() <= atol + rtol * b.abs()) & b.isfinite())
    elif rtol or atol:
        a, b = got.double(), expected.double()
        wrong = (a - b).abs() > atol + rtol * b.abs()
    else:
        wrong = got != expected
    if not wrong.any():
        return None
    index = tuple(torch.nonzero(wrong)[0].tolist())
    place = f"{where}[{', '.join(map(str, index))}]" if index else where
    count = f"   ({int(wrong.sum())} of {wrong.numel()} elements differ)" if wrong.sum() > 1 else ""
    return f"{place}: expected {show(expected[index].item(), bits)}, got {show(got[index].item(), bits)}{count}"


def dtype(t: Tensor) -> str:
    """float32, not torch.float32."""
    return str(t.dtype).removeprefix("torch.")


def show(value, bits: int = 0) -> str:
    """A number as it is compared: seven digits of a float; an integer with its bits, in nibbles from the left.

    >>> show(33, 8)
    '33 (0010 0001)'
    """
    if isinstance(value, float):
        return f"{value:.7g}"
    if not bits or isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    pattern = f"{value & ((1 << bits) - 1):0{bits}b}"
    if bits == 32:
        return f"0x{value & 0xFFFFFFFF:08X}"
    return f"{value} ({' '.join(pattern[max(0, i - 4) : i] for i in range(len(pattern) % 4 or 4, len(pattern) + 1, 4))})"


def short(value) -> str:
    """What a value is, in a few words: a tensor's shape and dtype (and its numbers when they are few), or its repr."""
    if isinstance(value, torch.Tensor):
        few = f" {value.tolist()}" if 0 < value.numel() <= 16 and value.dim() else ""
        return f"a tensor {tuple(value.shape)} {dtype(value)}{few}" if value.dim() else show(value.item())
    if value is None:
        return "None (did you forget `return`?)"
    if isinstance(value, tuple):
        return f"({', '.join(short(v) for v in value[:8])}{', …' if len(value) > 8 else ''})"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def size(value) -> int:
    """How many numbers a value holds."""
    if isinstance(value, tuple | list | dict):
        return sum(size(v) for v in (value.values() if isinstance(value, dict) else value))
    return value.numel() if isinstance(value, torch.Tensor) else 1


def describe(name: str, value, words: bool = False) -> str:
    """An argument as the student would write it, its numbers if they are few; packed `words` in hexadecimal.

    >>> describe("packed", torch.tensor([[213]], dtype=torch.uint8), words=True)
    'packed = uint8 [[0xD5]]'
    """
    if isinstance(value, tuple | list) and any(isinstance(v, torch.Tensor) for v in value):
        few = [describe("", v).strip(" =:") for v in value[:4]]
        return f"{name} = {f',{BELOW}'.join(few)}{f',{BELOW}…' if len(value) > 4 else ''}"
    if not isinstance(value, torch.Tensor):
        return f"{name} = {None if value is None else short(value)}"
    if value.numel() > 24:
        return f"{name}: {dtype(value)} {tuple(value.shape)}"
    return f"{name} = {dtype(value)} {digits(value.tolist(), 2 * value.element_size() if words else 0)}"


BELOW = "\n       "  # the next tensor of a list, on a line of its own


def digits(x, places: int = 0) -> str:
    """Nested lists of numbers, floats with five digits, integers in `places` hexadecimal ones if that is not 0."""
    if isinstance(x, list):
        return "[" + ", ".join(digits(v, places) for v in x) + "]"
    if type(x) is float:
        return f"{x:.5g}"
    return f"0x{x & (16**places - 1):0{places}X}" if places else str(x)
