"""More machines than one, through dask.distributed (optional): what grading and quantizing ask of them.

Whoever can connect to a scheduler or a worker can run code there: dask pickles what it sends, and its workers trust each
other. Keep it on a private network, or use dask's TLS.
"""

import hashlib
import logging
from functools import cache
from pathlib import Path

SECONDS = 10.0  # that a scheduler may take to answer


@cache
def course_version(*parts: str) -> str:
    """A digest of every line of the package, or of these folders and files of it: another line, another version."""
    digest, package = hashlib.sha256(), Path(__file__).resolve().parent
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(parts or ("",)):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def connect(address: str, seconds: float | None = None):
    """A client of the scheduler. Raises ValueError naming the address when nobody answers there within `seconds`
    (SECONDS), ImportError without dask.distributed."""
    seconds = SECONDS if seconds is None else seconds
    try:
        from distributed import Client
    except ImportError as e:
        said = f"--scheduler needs dask.distributed ({e}): pip install 'qcourse[classroom]', or pip install distributed"
        raise ImportError(said) from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # who calls says it, in one line
    try:
        return Client(address, timeout=seconds)
    except (OSError, ValueError) as e:
        said = f"no dask scheduler answers at {address} within {seconds:g} s ({type(e).__name__}: {e})"
        raise ValueError(f"{said}; start one: dask scheduler") from None
