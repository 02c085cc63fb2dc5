"""A strict JSON reader that walks over mapped bytes and builds only what its caller asks for.

`json.loads` first builds everything: a header of `[[],[],…` costs 20 times its length, `[[[[…` the C stack, and of two
equal keys the first silently vanishes. Here the caller says which value it expects where; each string, number and key
is bounded before it is made, and is paid for from the file's `Budget`.
"""

import json
import re
from collections.abc import Iterator

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.on_disk import Budget

SPACE = re.compile(rb"[ \t\n\r]*+")
STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"')
INTEGER = re.compile(rb"(?:0|[1-9][0-9]{0,18}+)(?![0-9.eE])")
SCALAR = re.compile(rb"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?|true|false|null)(?![0-9a-zA-Z.])")
DEPTH = 16


class Scanner:
    """A cursor over `data[at:end]`; every method raises CheckpointError naming file, place and what was expected."""

    def __init__(self, data, at: int, end: int, budget: Budget):
        self.data, self.at, self.end, self.budget, self.place = data, at, end, budget, "header"

    def fail(self, expected: str):
        """Raise CheckpointError: what stands here instead of `expected`."""
        found = bytes(self.data[self.at : min(self.at + 24, self.end)])
        shown = repr(found)[1:] if found else "the end"
        raise CheckpointError(f"{self.budget.path}: {self.place}: expected {expected}, found {shown} at byte {self.at}")

    def space(self) -> None:
        """Step over white space."""
        self.at = SPACE.match(self.data, self.at, self.end).end()

    def skip(self, char: bytes) -> bool:
        """Step over white space and then `char`, if it stands there."""
        self.space()
        found = self.at < self.end and self.data[self.at] == char[0]
        self.at += found
        return found

    def need(self, char: bytes, expected: str) -> None:
        """Step over `char`, or fail."""
        if not self.skip(char):
            self.fail(expected)

    def string(self, limit: int, what: str) -> str:
        """A string of at most `limit` bytes: valid UTF-8, no lone surrogates."""
        self.space()
        match = STRING.match(self.data, self.at, min(self.end, self.at + limit + 2))
        if match is None:
            self.fail(f"{what} (a string of at most {limit} bytes)")
        try:
            text = json.loads(match[0].decode("utf-8"))
            text.encode("utf-8")
        except UnicodeError:
            self.fail(f"{what} in valid UTF-8")
        self.at = match.end()
        self.budget.spend(text)
        return text

    def integer(self, what: str) -> int:
        """An integer in 0 … 2^63 - 1: no sign, no fraction, no exponent, no true."""
        self.space()
        match = INTEGER.match(self.data, self.at, self.end)
        if match is None or int(match[0]) >= 1 << 63:
            self.fail(f"{what} (an integer, 0 … 2^63 - 1)")
        self.at = match.end()
        return int(match[0])

    def integers(self, limit: int, what: str) -> tuple[int, ...]:
        """An array of at most `limit` integers."""
        found: list[int] = []
        for _ in self.items(what):
            if len(found) == limit:
                self.fail(f"at most {limit} numbers in {what}")
            found.append(self.integer(what))
        return tuple(found)

    def items(self, what: str) -> Iterator[None]:
        """Stops once before each item of an array; the caller reads it."""
        self.need(b"[", f"{what} (an array)")
        if self.skip(b"]"):
            return
        while True:
            yield
            if self.skip(b"]"):
                return
            self.need(b",", "',' or ']'")

    def members(self, what: str, limit: int = 4096) -> Iterator[str]:
        """The keys of an object, each before its value, which the caller reads. A key given twice is an error."""
        self.need(b"{", f"{what} (an object)")
        seen: set[str] = set()
        if self.skip(b"}"):
            return
        while True:
            key = self.string(limit, "a name")
            if key in seen:
                raise CheckpointError(f"{self.budget.path}: {self.place}: {key!r} is given twice in {what}")
            seen.add(key)
            self.need(b":", f"':' after {key!r}")
            yield key
            if self.skip(b"}"):
                return
            self.need(b",", "',' or '}'")

    def skip_value(self, depth: int = 0) -> None:
        """Step over any JSON value, at most 16 deep, building nothing but the keys (to find one given twice)."""
        if depth > DEPTH:
            self.fail(f"at most {DEPTH} levels of nesting")
        if self.skip(b"{"):
            self.at -= 1
            for _ in self.members("an object"):
                self.skip_value(depth + 1)
        elif self.skip(b"["):
            self.at -= 1
            for _ in self.items("an array"):
                self.skip_value(depth + 1)
        elif match := STRING.match(self.data, self.at, self.end) or SCALAR.match(self.data, self.at, self.end):
            self.at = match.end()
        else:
            self.fail("a JSON value")
