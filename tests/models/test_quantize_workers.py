"""`qcourse quantize --scheduler`: two dask workers make the bytes that one process makes, whichever of them is killed."""

import sys

import pytest
import torch
from test_stream import GPTQ, W4, files, quantize, random_model

from qcourse import cluster as cluster_module
from qcourse.cli import main
from qcourse.layers import sequential
from qcourse.layers.config import scheme_of
from qcourse.layers.sequential import Task, choose
from qcourse.methods.calibration import InputStats
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.models import quantize_workers
from qcourse.models.loader import save_model
from qcourse.models.quantize_workers import by_name, choose_there, difference, facts, received, result, sent, workers
from qcourse.models.stream import Method
from qcourse.numerics.qtensor import QTensor

distributed = pytest.importorskip("distributed")
METHODS = {"rtn": Method((), "rtn"), "gptq": GPTQ, "awq+gptq": Method(("awq",), "gptq", sequential=False)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two would wait for each other on a busy machine, and there are two workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    save_model(random_model(num_hidden_layers=2), folder)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A scheduler, and two worker processes, each with a nanny that starts another one when it dies."""
    options = {"dashboard_address": ":0", "worker_dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(n_workers=2, processes=True, threads_per_worker=1, **options) as found:
        yield found


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as found:
        found.wait_for_workers(2)
        yield found


@pytest.fixture
def nothing_here(monkeypatch):
    """This process chooses no codes."""
    monkeypatch.setattr(sequential, "choose", None)


@pytest.fixture(scope="module")
def here(source, tmp_path_factory):
    """The files of runs in one process, by method."""
    root = tmp_path_factory.mktemp("here")
    for name, method in METHODS.items():
        quantize(source, root / name, method=method)
    return {name: files(root / name) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_two_workers_make_the_same_bytes(source, tmp_path, cluster, here, nothing_here, name):
    quantize(source, tmp_path / "out", method=METHODS[name], scheduler=cluster.scheduler_address)
    assert files(tmp_path / "out") == here[name]


def task(name="layer", quantizer="rtn"):
    x = torch.randn(64, 64)
    stats = InputStats(64, with_hessian=True)
    stats.update(x)
    return Task(name, torch.randn(32, 64).bfloat16(), W4.weights, stats if QUANTIZERS[quantizer].data else None)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8)) and a.shape == b.shape
    if isinstance(a, QTensor):
        return all(same(getattr(a, f), getattr(b, f)) for f in ("codes", "scale", "zero_point", "args", "order"))
    return a == b


@pytest.mark.parametrize("scheme", ["W4A16", "FP8", "NVFP4A16", "MXFP4A16", "Q4_K", "NF4"])
def test_what_is_sent_is_received(scheme):
    """Codes of every kind, with scales under scales; statistics and their empty parts."""
    args, stats = scheme_of(scheme).weights, InputStats(256, with_hessian=True)
    stats.update(torch.randn(40, 256))
    q, report = choose(Task("a.b", torch.randn(64, 256), args, stats), QUANTIZERS["rtn"])
    assert same(q, received(sent(q))) and received(sent(report)) == report
    back = received(sent(Task("a.b", torch.randn(3, 256), args, stats)))
    assert back.args == args and back.name == "a.b" and back.W.is_contiguous()
    for name, value in vars(stats).items():
        assert same(value, getattr(back.stats, name)), name


def test_what_a_quantizer_refuses_is_refused_in_its_own_words(cluster, client):
    with pytest.raises(ValueError, match="layer.weight: GPTQ needs the Hessian"):
        list(choose_there(client, cluster.scheduler_address, "gptq", [task()]))


WITHOUT = "import sys; sys.modules['qcourse.models.quantize_workers'] = None"
OTHER = "from qcourse.models import quantize_workers as w; w.course_version = lambda *_: 'another'; w.facts.cache_clear()"
BACK = "import sys; sys.modules.pop('qcourse.models.quantize_workers', None)"


@pytest.mark.parametrize(
    ("change", "said"),
    [(WITHOUT, "cannot run qcourse .*install the same"), (OTHER, "qcourse another there, [0-9a-f]+ here")],
)
def test_a_worker_that_would_make_other_bytes_is_refused_by_name(source, tmp_path, cluster, client, change, said):
    """Before any work; and one that came later, by the task that it gets."""
    address, stranger = cluster.scheduler_address, sorted(client.nthreads())[0]
    client.run(exec, change, {}, workers=[stranger])
    try:
        with pytest.raises(ValueError, match=f"dask worker {stranger}:? {said}"):
            quantize(source, tmp_path / "out", scheduler=address)
        assert not list(tmp_path.iterdir())
        client.run(exec, change, {})
        with pytest.raises(OSError, match="layer, on a dask worker: .*(halted|another there)"):
            list(choose_there(client, address, "rtn", [task()]))
    finally:
        client.run(exec, BACK, {})
    assert len(list(choose_there(client, address, "rtn", [task(), task()]))) == 2


def test_in_what_two_machines_may_differ(client):
    """A worker takes as many threads as it is told to."""
    for theirs in by_name(client.run, "facts", 3).values():
        assert theirs["threads"] == 3
    ours = facts(1)
    assert difference(ours, dict(ours)) == ""
    assert "torch 2.0 there" in difference(ours, ours | {"torch": "2.0"})
    assert "other bits" in difference(ours, ours | {"sums": "0"})


def test_nobody_answers(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster_module, "SECONDS", 0.5)
    command = ["quantize", "shipped", "--scheme", "W8A16", "--method", "rtn", "--out", str(tmp_path / "out"), "--quiet"]
    with pytest.raises(SystemExit):
        main([*command, "--scheduler", "tcp://127.0.0.1:9"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("; start one: dask scheduler\n")
    assert "no dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s" in said
    with pytest.raises(ValueError, match="no dask scheduler answers at nonsense://1"):
        quantize(source, tmp_path / "out", scheduler="nonsense://1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="needs dask.distributed .*pip install"):
        quantize(source, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_a_scheduler_without_workers_and_one_that_goes(monkeypatch):
    monkeypatch.setattr(quantize_workers, "SECONDS", 0.2)
    monkeypatch.setattr(quantize_workers, "PATIENCE", 0.2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty:
        address = empty.scheduler_address
        with pytest.raises(ValueError, match="has no workers .*start one: dask worker tcp"), workers(address, "rtn"):
            pass
        client = cluster_module.connect(address, 0.5)
        future = client.submit(abs, -1)
        with pytest.raises(OSError, match="no dask worker for 0.2 s.*tcp"):
            result(client, address, "layer", future)
    with client, pytest.raises(OSError, match=f"scheduler is gone.*{address}"):
        result(client, address, "layer", future)


DIES_ONCE = """
import os, signal
from dataclasses import replace
from qcourse.methods.quantizers import QUANTIZERS

usual = QUANTIZERS["gptq"]

def dies_once(W, args, stats, name):
    if name == "model.layers.1.self_attn.k_proj.weight":
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return usual.run(W, args, stats, name)

QUANTIZERS["gptq"] = replace(usual, run=dies_once)
"""


def test_a_worker_is_killed_in_the_middle_and_the_bytes_are_the_same(source, tmp_path, cluster, client, here, nothing_here):
    """kill -9, at a layer of the second block. The layer is given to another one."""
    client.wait_for_workers(2)
    before = client.run(exec, DIES_ONCE, {"marker": str(tmp_path / "killed")})
    quantize(source, tmp_path / "out", scheduler=cluster.scheduler_address)
    assert files(tmp_path / "out") == here["gptq"] and (tmp_path / "killed").exists()
    assert set(client.nthreads()) != set(before)


def test_a_layer_that_no_worker_survives_is_named_and_what_is_done_stays(
    source, tmp_path, cluster, client, monkeypatch, here
):
    """The same command goes on from there."""
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    client.wait_for_workers(2)
    before = client.run(exec, DIES_ONCE, {"marker": str(tmp_path / "killed")})
    where = {"scheduler": cluster.scheduler_address}
    said = r"layers.1.self_attn.k_proj: every dask worker that tried it died .*; what is done stays in .*out.part: the same"
    with pytest.raises(OSError, match=said) as e:
        quantize(source, tmp_path / "out", **where)
    assert e.value.filename == cluster.scheduler_address
    assert len(list((tmp_path / "out.part").glob("*.safetensors"))) == 2 and len(before) == 2
    quantize(source, tmp_path / "out", **where)
    assert files(tmp_path / "out") == here["gptq"]
