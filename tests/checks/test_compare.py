"""Differences in words, and what never passes."""

import collections
import http

import numpy as np
import pytest
import torch

from qcourse.checks.compare import difference, plain, structure
from qcourse.checks.written import describe, show, whole

T = torch.tensor
Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (T([1.0, torch.nan]), T([1.0, torch.nan])),
        (np.array([1, 2], dtype=np.int8), T([1, 2]).to(torch.int8)),
        (np.float32(0.5), 0.5),
        (T(3), 3),
        (7.0, 7),
        ([T([1]), 2], (T([1]), 2)),
        ({"a": np.ones(2)}, {"a": torch.ones(2)}),
        (T([1.0], dtype=torch.float64), T([1.0])),
        (torch.ones(4)[::2], torch.ones(2)),
        (np.arange(6).reshape(2, 3)[:, ::-1], T([[2, 1, 0], [5, 4, 3]])),
        (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
        (0.5, T(0.5)),
        (None, None),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
        (Pair(T([1]), 2), (T([1]), 2)),
        (np.array([[1.0, 2.0]]).view(np.matrix), T([[1.0, 2.0]])),
        (np.ma.array([1.0, 2.0]), T([1.0, 2.0])),
        (collections.OrderedDict(a=1), {"a": 1}),
        (http.HTTPStatus.OK, 200),
        (b"\x00{}", b"\x00{}"),
        (np.array([1.5, 2], dtype=">f4"), T([1.5, 2.0])),
    ],
)
def test_the_same(got, expected):
    assert difference(got, expected) is None


class AgreesWithEverything:
    def __eq__(self, other):
        return True

    def __abs__(self):
        return 0.0

    __sub__ = __rsub__ = lambda self, other: 0.0
    __hash__ = None


class AgreeableTensor(torch.Tensor):
    def __eq__(self, other):
        return torch.ones(self.shape, dtype=torch.bool)

    __ne__ = lambda self, other: torch.zeros(self.shape, dtype=torch.bool)  # noqa: E731


class AgreeableArray(np.ndarray):
    def __eq__(self, other):
        return True


class AgreeableFloat(float):
    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    ("got", "expected", "says"),
    [
        (AgreesWithEverything(), T([1]), "AgreesWithEverything came back"),
        (T([5]).as_subclass(AgreeableTensor), T([1]), "expected 1, got 5"),
        (np.array([5]).view(AgreeableArray), T([1]), "expected 1, got 5"),
        (AgreeableFloat(5), 1.0, "expected 1, got 5"),
        (Pair(1, 3), (1, 2), "expected 2, got 3"),
        (np.array([[1, 2]]).view(np.matrix), T([1, 2]), "the shape is (1, 2)"),
        ([AgreesWithEverything()], (1,), "AgreesWithEverything came back"),
        (torch.empty(2, device="meta"), torch.ones(2), "ordinary tensor"),
        (torch.ones(2).to_sparse(), torch.ones(2), "ordinary tensor"),
        (np.array(["a"]), T([1]), "numbers are expected"),
        (None, T([1.0]), "None came back"),
        (T([1.0]), (T([1.0]), T([1.0])), "a tuple of 2 expected"),
        ((1,), (1, 2), "1 values came back, expected 2"),
        ({"a": 1}, {"b": 1}, "the keys are ['a'], expected ['b']"),
        (T([[1.0]]), T([1.0]), r"the shape is (1, 1), expected (1,)"),
        (T([1]), T([1]).to(torch.int8), "the dtype is int64, expected int8"),
        (T([1.0]), T([1]), "the dtype is float32, expected int64"),
        (T([True]), T([1]), "the dtype is bool"),
        (True, 1, "expected 1, got True"),
        (torch.nan, 1.0, "expected 1, got nan"),
        (T([torch.inf]), T([1.0]), "[0]: expected 1, got inf"),
        (T([1.0]), T([torch.inf]), "[0]: expected inf, got 1"),
        (T([1.0, 2.0, 4.0]), T([1.0, 3.0, 5.0]), "[1]: expected 3, got 2   (2 of 3 elements differ)"),
        ("int4", "int8", "expected 'int8', got 'int4'"),
        (b"a", b"b", "expected b'b', got b'a'"),
        (b"a", "a", "expected 'a', got b'a'"),
    ],
)
def test_what_differs_is_said(got, expected, says):
    assert says in difference(got, expected)


def test_the_tolerance_is_that_of_the_law():
    """atol + rtol·|expected|: at 100 with rtol 1e-3 the edge is 0.1, and an infinite tolerance saves no infinity."""
    assert difference(T([100.09]), T([100.0]), rtol=1e-3) is None
    assert difference(T([100.11]), T([100.0]), rtol=1e-3) is not None
    assert difference(T([torch.inf]), T([1.0]), rtol=1.0, atol=torch.inf) is None  # an honest tolerance of everything
    assert difference(torch.inf, 1.0, rtol=1e-3) is not None


def test_bits_are_shown_where_they_matter():
    assert difference(T([0x5D], dtype=torch.uint8), T([0xD5], dtype=torch.uint8), bits=8, where="packed") == (
        "packed[0]: expected 213 (1101 0101), got 93 (0101 1101)"
    )
    assert show(-1, 32) == "0xFFFFFFFF" and show(5, 6) == "5 (00 0101)"


def test_outputs_have_names_and_structure_ignores_values():
    got, expected = (T([1]), T([2.0])), (T([1]), T([3.0]))
    assert difference(got, expected, names=("codes", "scale")) == "scale[0]: expected 3, got 2"
    assert structure(got, expected) is None and structure(1, 2) is None and structure("a", "b") is None
    assert "shape" in structure((T([1]), T([[2.0]])), expected)


def test_inputs_are_written_as_a_student_would():
    assert describe("W", T([[1.0, -2.5]])) == "W = float32 [[1, -2.5]]"
    assert describe("W", torch.zeros(9, 9)).count("\n") == 8 and not whole(torch.zeros(9, 9))
    assert describe("W", torch.zeros(25, 25)) == "W: float32 (25, 25)"
    two = describe("W", T([[1.0, -2.5], [10.25, 1 / 3]]))
    assert two == "W = float32 [[    1,     -2.5],\n             [10.25, 0.333333]]"
    rows = [{"name": "int8", "bytes": 40}, {"name": "awq", "bytes": 7}]
    assert describe("table", rows) == "table =\n    name  bytes\n  'int8'     40\n   'awq'      7"
    assert describe("shapes", {"up": (8, 16), "embed": (4, 4)}) == "shapes =\n  up:     (8, 16)\n  embed:   (4, 4)"
    assert max(map(len, describe("steps", [0.123456789] * 40).split("\n"))) < 110
    assert (
        describe("data", b"\x02{}" * 60).split("\n")[1].startswith("       b'") and describe("data", b"x") == "data = b'x'"
    )
    assert describe("data", bytes(601)) == "data: 601 bytes"
    assert describe("G", 4) == "G = 4" and describe("bias", None) == "bias = None"
    assert describe("steps", [0.0] * 601) == "steps: list of 601"
    assert describe("batches", [torch.zeros(25, 25)] * 5).split(",\n       ")[3:] == ["float32 (25, 25)", "…"]
    assert describe("ids", [T([1, 2]), T([0.1])]) == "ids = int64 [1, 2],\n       float32 [0.1]"
    assert (
        describe("words", torch.tensor([-1, 16], dtype=torch.int32), words=True) == "words = int32 [0xFFFFFFFF, 0x00000010]"
    )


def test_plain_refuses_what_could_run_code():
    for value in (object(), len, {1}, bytearray(b"x"), iter([])):
        with pytest.raises(TypeError, match="plain data"):
            plain(value)
