"""what_moved with one of its questions asked in another way: what the mistakes of 13.2 are made of."""

from collections import Counter

import torch


def same(a, b):
    """Number by number."""
    return a.shape == b.shape and torch.equal(a, b)


def nearly(a, b):
    """Nine numbers in ten."""
    return (a == b).float().mean().item() > 0.9


def moves(z, tz):
    """Zero points less the twin's."""
    return z.int() - tz.int()


def by_one(z, tz):
    """All up by one, or all down."""
    d = moves(z, tz)
    return bool((d == 1).all() or (d == -1).all())


def neighbours(t, dim=1):
    """Exchanged along an axis as far as they come in pairs; the last of an odd number stays."""
    at = torch.arange(t.shape[dim])
    return t.index_select(dim, torch.where((at ^ 1) < len(at), at ^ 1, at))


def rows_of(c, z):
    """Each row with its zero points."""
    return [tuple(a + b) for a, b in zip(c.tolist(), z.tolist(), strict=True)]


def counted(c, z, tc, tz):
    """The same rows, as often."""
    return Counter(rows_of(c, z)) == Counter(rows_of(tc, tz))


def asked(
    order="zpnr", equal=same, same_zeros=same, moved=by_one, swap=neighbours, swap_zeros=same, rows=counted, swapped=None
):
    """what_moved with one question changed. order: of "nothing and zero points", "nibbles" and "rows", by letters;
    swapped: how codes with neighbours exchanged are compared (None: as `equal` does)."""

    def wrong(codes, zeros, twin_codes, twin_zeros):
        args = codes, zeros, twin_codes, twin_zeros
        questions = {
            "z": lambda: equal(codes, twin_codes) and same_zeros(zeros, twin_zeros) and "nothing",
            "p": lambda: equal(codes, twin_codes) and moved(zeros, twin_zeros) and "zero points",
            "n": lambda: (swapped or equal)(codes, swap(twin_codes)) and swap_zeros(zeros, twin_zeros) and "nibbles",
            "r": lambda: rows(*args) and "rows",
        }
        return next((answer for letter in order if (answer := questions[letter]())), "another")

    return wrong


def anything(*given):
    """Not asked."""
    return True


def columnwise(dim):
    """Sorted along one axis, each column or row by itself."""
    return lambda c, z, tc, tz: same(c.sort(dim).values, tc.sort(dim).values)


def columnwise_with_zeros(c, z, tc, tz):
    """Codes and zero points, each column by itself."""
    return columnwise(0)(c, z, tc, tz) and same(z.sort(0).values, tz.sort(0).values)


def values(t):
    """How often each code is there."""
    return torch.bincount(t.flatten().int(), minlength=16)
