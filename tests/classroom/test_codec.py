"""What a student's process may say: data that comes back as it was, or an error that the judge expects."""

import json
import math
import socket
import threading
import types
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qcourse.checks.watch import RemoteError
from qcourse.classroom import wire
from qcourse.classroom.codec import NUMPY, TORCH, CodecError, decode, encode
from qcourse.classroom.limits import Limits
from qcourse.classroom.remote import Proxy, Remote

SHAPES = st.lists(st.integers(0, 4), max_size=4)


def random_bits(dtype, shape, seed):
    """A tensor of any bits at all: NaNs, denormals, both zeros."""
    out = torch.empty(shape, dtype=TORCH[dtype])
    raw = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 256, out.numel() * out.itemsize)
    if out.numel():
        out.reshape(-1).view(torch.uint8).copy_(torch.from_numpy(raw))
    return out


TENSORS = st.builds(random_bits, st.sampled_from(sorted(TORCH)), SHAPES, st.integers(0, 99))
ARRAYS = st.builds(lambda d, s: np.arange(math.prod(s)).astype(NUMPY[d]).reshape(s), st.sampled_from(sorted(NUMPY)), SHAPES)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), TENSORS, ARRAYS)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v) | st.tuples(v, v) | st.dictionaries(st.text() | st.integers(), v), max_leaves=8
)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):  # bit for bit, NaNs too
        return a.dtype == b.dtype and a.shape == b.shape and encode(a) == encode(b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


@given(VALUES)
def test_what_goes_in_comes_out(value):
    assert same(decode(encode(value)), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_data_or_a_codec_error(data):
    with suppress(CodecError):
        decode(data)


WORDS = st.sampled_from(["tensor", "ndarray", "bytes", "dict", "float", "int8"])
HEADERS = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), WORDS),
    lambda v: st.lists(v, max_size=5) | st.dictionaries(st.text(max_size=3), v, max_size=3), max_leaves=12,
)  # fmt: skip


@given(HEADERS, st.binary(max_size=20))
def test_any_header_is_data_or_a_codec_error(tree, blob):
    header = json.dumps(tree).encode()
    with suppress(CodecError):
        decode(len(header).to_bytes(4, "little") + header + blob)


@pytest.mark.parametrize(
    "header",
    [
        b'["tensor","float32",[1000000000,1000000000],0]',  # more than there is: refused before it is allocated
        b'["tensor","float32",[1099511627775,1099511627775,1099511627775],0]',
        b'["tensor","float32",[2],-4]',
        b'["tensor","float32",[true],0]',
        b'["tensor","complex64",[1],0]',
        b'["ndarray","object",[1],0]',
        b"[" * 100_000,
        b"1" * 5000,
        b"NaN",
        b'["dict",[[["list",[]],1]]]',
        b'["import","os"]',
    ],
)
def test_malice_is_refused(header):
    with pytest.raises(CodecError):
        decode(len(header).to_bytes(4, "little") + header + bytes(64))


def test_a_small_message_does_not_become_a_large_value():
    """All parts together are no longer than what came: the same bytes cannot be asked for a thousand times."""
    for part in (["bytes", 64, 0], ["tensor", "uint8", [64], 0]):
        header = json.dumps(["list", [part, part]]).encode()
        with pytest.raises(CodecError, match="64 bytes at 0"):
            decode(len(header).to_bytes(4, "little") + header + bytes(64))


def test_what_is_not_data_is_named():
    loop = []
    loop.append(loop)
    cases = [(object(), "object"), (len, "builtin"), (torch.nn.Linear(1, 1), "Linear"), (loop, "deep"), ({1, 2}, "set")]
    cases += [(torch.zeros(1, dtype=torch.complex64), "complex64"), (np.array([None]), "object")]
    for value, word in cases:
        with pytest.raises(CodecError, match=word):
            encode(value)


def test_a_class_that_pretends_is_sent_as_what_it_is():
    class Pretender(float):
        def __eq__(self, other):
            return True

        __hash__ = float.__hash__

    assert type(decode(encode(Pretender(2.5)))) is float


def other_side(*replies):
    """A Remote whose student's process is this test: it has said `replies` (raw bytes) and hung up."""
    ours, theirs = socket.socketpair()
    for data in replies:
        theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    zygote = types.SimpleNamespace(stop=lambda pid, wait: (0, ""), start=lambda *a: pytest.fail("no restart wanted"))
    remote = Remote(zygote, [], Limits(grace=0.1), [])
    remote.pid, remote.socket = 2**22 + 1, ours
    return remote, theirs


def frame(data):
    return len(data).to_bytes(8, "little") + data


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=64), st.binary(max_size=64).map(frame), VALUES.map(encode).map(frame)))
def test_whatever_a_process_answers_the_judge_gets_a_value_or_a_remote_error(said):
    remote, theirs = other_side(said)
    with theirs, remote:
        try:
            Proxy(remote, "01.1", "f")(torch.zeros(2))
        except RemoteError as error:
            assert type(error.kind) is type(error.message) is str


@pytest.mark.parametrize(
    "answer", [{"ok": 1}, {"ok": True, "changed": {0: "x", 9: 1, "a": 2}}, {"kind": ["list"], "message": 3}]
)
def test_answers_of_the_wrong_shape(answer):
    remote, theirs = other_side(frame(encode(answer)))
    with theirs, remote:
        if answer.get("ok") is True:
            assert Proxy(remote, "01.1", "f")(torch.zeros(2)) is None
        else:
            with pytest.raises(RemoteError):
                Proxy(remote, "01.1", "f")(torch.zeros(2))


def test_a_drip_of_bytes_does_not_hold_the_judge():
    """One byte before each timeout would keep a naive reader for ever: the limit is for the whole answer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((10**9).to_bytes(8, "little"))
        over = threading.Event()

        def drip():
            while not over.wait(0.01):
                theirs.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with pytest.raises(TimeoutError):
                wire.receive(ours, 10**9, 0.2)
        finally:
            over.set()
            dripping.join()


def test_an_announced_gigabyte_is_not_allocated():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((1 << 40).to_bytes(8, "little"))
        with pytest.raises(wire.TooLong, match="at most 100"):
            wire.receive(ours, 100, 1.0)
