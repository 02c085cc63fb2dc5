"""Layers quantized on other processes or machines: `qcourse quantize … --scheduler tcp://HOST:8786`.

    here                                        on a worker of dask.distributed
    a layer's weight, recipe, statistics  →     `layers.sequential.choose`, which needs nothing else
    its codes, its report                 ←

Layers that do not wait for each other are under way together: q, k, v; gate, up; all of a block where no layer is calibrated
on what quantized ones produce. A worker that disappears has its layers given to another one by dask. The bytes are those of
a run without workers: the same code, as many threads as here, tensors that lie in memory as here; and a worker whose sums
come out in other bits (another processor, another library) is refused. Neither a model nor code travels: a function is
named, a tensor is its bytes (dask itself pickles what it sends: `qcourse.cluster`). The scheduler needs no qcourse. Memory:
the weights of a block once more, here, and what is under way, in the scheduler. A worker process does one layer at a time,
whatever its threads: `dask worker tcp://HOST:8786 --nthreads 1`.
"""

import errno
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache, partial
from importlib import import_module

import torch

from qcourse.cluster import SECONDS, connect, course_version
from qcourse.layers.sequential import Chooser, LayerReport, Task, choose
from qcourse.methods.calibration import InputStats
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.codebooks import Codebook, ExponentGrid
from qcourse.numerics.granularity import Granularity
from qcourse.numerics.grids import FloatGrid, IntGrid
from qcourse.numerics.qtensor import QTensor

DECIDES = ("numerics/", "methods/", "layers/sequential.py", "models/quantize_workers.py")  # about codes
PATIENCE = 60.0  # seconds without any worker, after which none is waited for: nannies start a new one within a few
_alone = threading.Lock()  # warnings, which become notes, and the number of threads belong to the whole process


@contextmanager
def workers(address: str | None, quantizer: str) -> Iterator[Chooser | None]:
    """Who chooses codes by `quantizer` (a name of QUANTIZERS): the workers of a scheduler; None without an address.

    Raises ImportError without dask.distributed, and ValueError: nobody answers in `cluster.SECONDS`, no worker comes in as
    many, or one has another qcourse or torch, or another processor. What goes wrong later is an OSError: no worker for
    PATIENCE seconds, no scheduler, a layer that no worker survives.
    """
    torch.set_num_threads(torch.get_num_threads())  # MKL, too, takes that many from now on: here as on a worker
    if address is None:
        yield None
        return
    with connect(address) as client:
        import dask

        refuse_strangers(client, address)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):  # layers are large
            yield partial(choose_there, client, address, quantizer)


def refuse_strangers(client, address: str) -> None:
    """Raise ValueError, naming the worker, for one without qcourse or with other versions; or when there is none."""
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError:
        said = f"the dask scheduler at {address} has no workers (waited {SECONDS:g} s); start one: dask worker {address}"
        raise ValueError(said) from None
    ours = facts(torch.get_num_threads())
    for worker, theirs in by_name(client.run, "facts", ours["threads"], on_error="return").items():
        if isinstance(theirs, Exception):
            raise ValueError(f"dask worker {worker} cannot run qcourse ({theirs}): install the same there, or stop it")
        if differ := difference(ours, theirs):
            raise ValueError(f"dask worker {worker}: {differ}")


def by_name(call: Callable, name: str, argument, **options):
    """call(function, …) with a function of this file that is looked up over there. A worker that cannot import it says so;
    handed the function itself, it would lose its connection while it unpickles it, and the task would never end."""
    where = {"import_module": import_module, "argument": argument}
    return call(eval, f"import_module({__name__!r}).{name}(argument)", where, **options)


@cache
def facts(threads: int) -> dict:
    """What decides about a result's bits, beside the task; `sums`: a digest of what a product, a sum and a Cholesky factor
    make here of the same numbers."""
    torch.set_num_threads(threads)
    x = torch.arange(384 * 384, dtype=torch.float32).reshape(384, 384).mul_(0.7).sin_()
    H = (x.T @ x).double() + torch.eye(384)
    made = (x @ x, H, torch.linalg.cholesky(H), x.abs().mean(), x.square().sum(0, dtype=torch.float64))
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in made)).hexdigest()
    return {
        "qcourse": course_version(*DECIDES),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "sums": digest[:16],
    }


def difference(ours: dict, theirs: dict) -> str:
    """In words, or ""."""
    for name in ("qcourse", "torch", "threads"):
        if ours[name] != theirs[name]:
            return f"{name} {theirs[name]} there, {ours[name]} here: the bytes could differ; make them the same, or stop it"
    return "" if ours == theirs else "its sums come out in other bits than here (another processor?); stop it"


def choose_there(client, address: str, quantizer: str, tasks: Iterable[Task]) -> Iterator[tuple[QTensor, LayerReport]]:
    """All tasks at once to the workers; their results in the tasks' order. Raises ValueError as the quantizer does, and
    OSError for what became of the workers."""
    common = {"quantizer": quantizer, "facts": facts(torch.get_num_threads())}
    waiting = []
    for task in tasks:
        key = f"{task.name}-{uuid.uuid4().hex}"
        waiting.append((task.name, by_name(client.submit, "choose_here", common | {"task": sent(task)}, key=key)))
    while waiting:
        name, future = waiting.pop(0)
        q, report = result(client, address, name, future)
        yield received(q), received(report)


def result(client, address: str, name: str, future):
    """What a worker answered, once it has. Raises ValueError as the quantizer does; OSError when workers or scheduler are
    gone."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    seen, lost = time.monotonic(), partial(OSError, errno.ECONNABORTED)
    try:
        while not future.done():
            with suppress(TimeoutError):
                future.exception(timeout=1)
            seen = time.monotonic() if client.nthreads() else seen
            if time.monotonic() - seen > PATIENCE:
                break
        error = future.exception() if future.done() else None
        if future.done() and error is None:
            return future.result()
    except (CancelledError, OSError, RuntimeError) as e:  # what dask raises depends on what it was doing at that moment
        raise lost("the dask scheduler is gone", address) from e
    if error is None:
        raise lost(f"no dask worker for {PATIENCE:g} s", address)
    if isinstance(error, ValueError):
        raise error
    if isinstance(error, KilledWorker):
        raise lost(f"{name}: every dask worker that tried it died (out of memory?)", address)
    raise lost(f"{name}, on a dask worker: {type(error).__name__}: {error}", address)


def choose_here(message: dict) -> dict:
    """Runs on a worker. Raises OSError for one that came later than `refuse_strangers`, and would have been refused."""
    from distributed import get_worker

    with _alone:
        ours = message["facts"]
        if differ := difference(ours, facts(ours["threads"])):
            raise OSError(f"{get_worker().address}: {differ}")
        torch.set_num_threads(ours["threads"])
        with torch.inference_mode():
            q, report = choose(received(message["task"]), QUANTIZERS[message["quantizer"]])
        return sent(q), sent(report)


RECORDS = {record.__name__: record for record in (Task, InputStats, QTensor, LayerReport, QuantizationArgs, Granularity,
                                                  IntGrid, FloatGrid, Codebook, ExponentGrid)}  # fmt: skip


def sent(x):
    """A record as a dict of its fields, a tensor as its bytes, a dtype as its name; what is plain already as it is. Nothing
    in it needs qcourse or torch to be passed on, and nothing but RECORDS is made of it."""
    if isinstance(x, torch.Tensor):
        raw = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return {"dtype": str(x.dtype).removeprefix("torch."), "shape": tuple(x.shape), "bytes": raw}
    if isinstance(x, torch.dtype):
        return {"dtype": str(x).removeprefix("torch.")}
    if type(x).__name__ in RECORDS:
        return {"record": type(x).__name__} | {f.name: sent(getattr(x, f.name)) for f in fields(x)}
    return x


def received(x):
    """What was sent. Tensors lie where torch puts them, aligned as here: the order of sums may depend on that."""
    if not isinstance(x, dict):
        return x
    if "record" in x:
        return RECORDS[x["record"]](**{name: received(value) for name, value in x.items() if name != "record"})
    if "bytes" in x:
        t = torch.empty(x["shape"], dtype=getattr(torch, x["dtype"]))
        t.reshape(-1).view(torch.uint8).numpy()[:] = x["bytes"]
        return t
    return getattr(torch, x["dtype"])
