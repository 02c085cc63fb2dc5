"""Frames on a socket: 8 bytes of length, then one message of `codec`. Every wait has an end and every length a limit."""

import socket
import time


class Gone(Exception):
    """The other side closed the connection."""


class TooLong(Exception):
    """The other side announced more than it may send."""


def send(sock: socket.socket, data: bytes, seconds: float | None = None) -> None:
    """Send one frame. Raises Gone, or TimeoutError if the other side does not read for `seconds`."""
    sock.settimeout(seconds)
    try:
        sock.sendall(len(data).to_bytes(8, "little") + data)
    except TimeoutError:
        raise
    except OSError as e:
        raise Gone(str(e)) from None


def receive(sock: socket.socket, limit: int, seconds: float | None = None) -> bytes:
    """One frame of at most `limit` bytes.

    Raises Gone, TooLong, or TimeoutError after `seconds` of wall time, however slowly the bytes drip in.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    size = int.from_bytes(_exactly(sock, 8, deadline), "little")
    if size > limit:
        raise TooLong(f"an answer of {size:,} bytes; at most {limit:,}")
    return bytes(_exactly(sock, size, deadline))


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> bytearray:
    got = bytearray()
    while len(got) < size:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("no answer in time")
        sock.settimeout(left)
        try:
            part = sock.recv(min(size - len(got), 1 << 20))
        except TimeoutError:
            continue
        except OSError as e:
            raise Gone(str(e)) from None
        if part == b"":
            raise Gone("the connection was closed")
        got += part
    return got
