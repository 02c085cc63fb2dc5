"""Where two answers first differ, in words. Only plain data is compared, so no clever `__eq__` can agree with everything."""

import numpy as np
import torch

from qcourse.checks.written import apart, dtype, short

DEPTH = 32  # of tuples in tuples
PLAIN = "plain data is expected: tensors, arrays, numbers, text, bytes, and tuples, lists or dicts of them"
GARBAGE = (TypeError, ValueError, AttributeError, IndexError, RuntimeError, ArithmeticError)  # of answers like 10**400


def plain(value, depth: int = 0):
    """`value` in plain types: arrays as CPU tensors, numpy scalars as Python's, lists as tuples, subclasses as their base.

    A namedtuple is a tuple and an np.matrix an array: the kinds that may also leave a student's process when it is graded.
    Raises TypeError naming any other type.
    """
    if depth > DEPTH:
        raise TypeError(f"tuples nested more than {DEPTH} deep came back")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return _array(value)
    for kind, base in ((str, str.__str__), (int, int.__int__), (float, float.__float__), (bytes, bytes.__bytes__)):
        if isinstance(value, kind):
            return base(value)
    if isinstance(value, tuple | list):
        return tuple(plain(v, depth + 1) for v in value)
    if isinstance(value, dict):
        if any(not isinstance(k, bool | int | float | str | None) for k in value):
            raise TypeError("a dict came back whose keys are not numbers or text")
        return {k: plain(v, depth + 1) for k, v in value.items()}
    raise TypeError(f"a {type(value).__name__} came back; {PLAIN}")


def _array(value):
    """A tensor, array or numpy scalar, whatever its class, as an ordinary tensor or number."""
    if isinstance(value, np.generic):
        item = np.generic.item(value)
        return item if type(item) in (bool, int, float, str) else _array(np.array(value))
    if isinstance(value, np.ndarray):
        base = np.ndarray.view(value, np.ndarray)
        base = base if base.dtype.isnative else base.astype(base.dtype.newbyteorder("="))
        try:
            return torch.from_numpy(np.ascontiguousarray(base) if base.ndim else base.copy())
        except TypeError:
            raise TypeError(f"an array of dtype {base.dtype} came back; numbers are expected") from None
    with torch._C.DisableTorchFunctionSubclass():
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise TypeError(f"a {value.layout} tensor on {value.device} came back; an ordinary tensor is expected")
        return value.detach().as_subclass(torch.Tensor).cpu().resolve_conj().resolve_neg()


def difference(got, expected, rtol=0.0, atol=0.0, names=(), bits=0, where="the result") -> str | None:
    """None if `got` is `expected` within atol + rtol·|expected|; otherwise a text naming the first differing index.

    Shapes must be equal, and integer dtypes too (they are bytes); any float dtype may stand for another. NaN equals NaN, and
    an infinity only itself. Tuples and lists are one; `names` names their elements. `bits` shows integers as bits.

    >>> difference(torch.tensor([1, 2]), torch.tensor([1, 3]), where="codes")
    'codes[1]: expected 3, got 2'
    """
    try:
        got = plain(got)
    except GARBAGE as problem:
        return f"{where}: {problem}"
    return _compare(got, plain(expected), (rtol, atol, bits), names, where)


def structure(got, expected, names=(), where="the result") -> str | None:
    """Like `difference`, but values do not matter: only kinds, lengths, shapes and dtypes."""
    return _compare(plain(got), plain(expected), None, names, where)


def _compare(got, expected, how, names, where) -> str | None:
    if isinstance(expected, tuple | dict):
        return _containers(got, expected, how, names, where)
    if isinstance(expected, torch.Tensor) and not isinstance(got, torch.Tensor) and expected.dim() == 0:
        fits = type(got) in (bool, float) or (type(got) is int and abs(got) < 2**63)
        got = torch.tensor(got) if fits else got
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
        fits = all(abs(v) < 1e300 for v in (got, expected))  # an int may be larger than any float
        close = got == expected or nan or (fits and abs(got - expected) <= atol + rtol * abs(expected) < float("inf"))
        return None if close else f"{where}: {apart(expected, got, how[2])}"
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
    return f"{place}: {apart(expected[index].item(), got[index].item(), bits)}{count}"
