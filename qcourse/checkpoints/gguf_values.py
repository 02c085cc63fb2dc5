"""The typed values of a GGUF header, read from mapped bytes: every length is checked before anything is made of it.

string = u64 length, bytes (UTF-8)          array = u32 type, u64 count, items          bool = one byte, 0 or 1
"""

import struct
from collections.abc import Sequence

import numpy as np

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.on_disk import Budget

NUMBERS = dict(enumerate(("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4")))  # value type → NumPy's name
NUMBERS |= {10: "<u8", 11: "<i8", 12: "<f8"}
BOOL, STRING, ARRAY = 7, 8, 9
NARROWEST = {**{kind: np.dtype(d).itemsize for kind, d in NUMBERS.items()}, BOOL: 1, STRING: 8, ARRAY: 12}
DEPTH, MAX_TEXT, MAX_ITEM = 4, 1 << 24, 1 << 20


class Strings(Sequence):
    """An array of strings kept as one run of bytes and its offsets: 400,000 merges cost no more than in the file."""

    def __init__(self, data: bytes, ends: np.ndarray):
        self.data, self.ends = data, ends  # string i is data[ends[i] + 8 : ends[i + 1]]: its length stands before it

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return self.data[int(self.ends[i]) + 8 : int(self.ends[i + 1])].decode()

    def __eq__(self, other) -> bool:
        return isinstance(other, Strings | list) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None

    def __repr__(self) -> str:
        return f"Strings({self[:4]}…, {len(self)} in all)"


class Cursor:
    """A place in mapped bytes; `take` moves on. Raises CheckpointError naming file, place and what did not fit."""

    def __init__(self, data, budget: Budget):
        self.data, self.at, self.end, self.budget, self.place = data, 0, len(data), budget, "header"

    def fail(self, message: str):
        """Raise CheckpointError with the file and the place."""
        raise CheckpointError(f"{self.budget.path}: {self.place}: {message}")

    def room(self, count: int, size: int, what: str) -> None:
        """Fail unless `count` things of at least `size` bytes fit into the rest of the file."""
        if count * size > self.end - self.at:
            self.fail(f"{what} at byte {self.at}: {count} × {size} bytes, but {self.end - self.at} are left")

    def take(self, code: str, what: str):
        """One little-endian number, by its `struct` letter."""
        self.room(1, struct.calcsize("<" + code), what)
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self, what: str, limit: int = MAX_TEXT) -> str:
        """A string of at most `limit` bytes in valid UTF-8."""
        length = self.take("Q", what)
        if length > limit:
            self.fail(f"{what}: a string of {length} bytes, at most {limit} expected")
        self.room(1, length, what)
        self.budget.spend(None, 4 * length + 64)  # before it is made: a str takes up to 4 bytes for each of UTF-8
        try:
            text = self.data[self.at : self.at + length].decode()
        except UnicodeDecodeError:
            self.fail(f"{what}: not UTF-8")
        self.at += length
        return text

    def value(self, kind: int, depth: int = 0):
        """A value of type `kind`: int, float, bool, str, or for an array a NumPy array, `Strings`, or a list of arrays."""
        if kind in NUMBERS:
            return self.numbers(kind, 1)[0].item()
        if kind == BOOL:
            return bool(self.bools(1)[0])
        if kind == STRING:
            return self.string("the value")
        if kind != ARRAY:
            self.fail(f"value type {kind}: 0 to 12 are known")
        if depth == DEPTH:
            self.fail(f"arrays within arrays, more than {DEPTH} deep")
        inner, count = self.take("I", "the array's type"), self.take("Q", "the array's length")
        if inner not in NARROWEST:
            self.fail(f"an array of type {inner}: 0 to 12 are known")
        self.room(count, NARROWEST[inner], "an array")
        if inner in NUMBERS:
            return self.numbers(inner, count)
        if inner == BOOL:
            return self.bools(count)
        if inner == STRING:
            return self.strings(count)
        found = []
        for _ in range(count):
            self.budget.spend(None, 256)
            found.append(self.value(ARRAY, depth + 1))
        return found

    def numbers(self, kind: int, count: int) -> np.ndarray:
        """`count` numbers, copied."""
        dtype = np.dtype(NUMBERS[kind])
        self.room(count, dtype.itemsize, "a number")
        self.budget.spend(None, count * dtype.itemsize + 128)
        found = np.frombuffer(self.data, dtype, count, self.at).copy()
        self.at += found.nbytes
        return found

    def bools(self, count: int) -> np.ndarray:
        """`count` bytes, each 0 or 1."""
        found = self.numbers(0, count)
        if (found > 1).any():
            self.fail(f"a bool of {found.max()}: 0 or 1 expected")
        return found.view(bool)

    def strings(self, count: int) -> Strings:
        """`count` strings, checked, and kept as bytes."""
        dtype = np.dtype(np.uint32 if self.end < 1 << 32 else np.int64)
        self.budget.spend(None, dtype.itemsize * count + 256)
        start, ends = self.at, np.zeros(count + 1, dtype)
        for i in range(count):
            self.room(1, 8, "a string")
            (length,) = struct.unpack_from("<Q", self.data, self.at)
            self.at += 8
            self.room(1, length, f"string {i}")
            if length > MAX_ITEM:
                self.fail(f"string {i} has {length} bytes, at most {MAX_ITEM} expected")
            try:
                self.data[self.at : self.at + length].decode()
            except UnicodeDecodeError:
                self.fail(f"string {i} is not UTF-8")
            self.at += length
            ends[i + 1] = self.at - start
        self.budget.spend(None, self.at - start)
        return Strings(self.data[start : self.at], ends)
