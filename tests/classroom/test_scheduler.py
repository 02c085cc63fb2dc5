"""More than one machine: a dask scheduler and two workers on loopback, one of them killed in the middle."""

import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, add, command, rows, solved, stored, text

pytest.importorskip("distributed")
STUDENTS = [f"student{i:02d}" for i in range(8)]


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and its two workers."""
    address = tmp_path / "scheduler.json"
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", address]
    running = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *options], **quiet)]
    try:
        while not address.exists():
            assert running[0].poll() is None
            time.sleep(0.05)
        options = ["--scheduler-file", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        for _ in range(2):
            running.append(subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", *options], **quiet))
        yield re.search(r"tcp://[\d.:]+", address.read_text())[0], running[1:]
    finally:
        for process in running:
            process.kill()
            process.wait()


def test_a_worker_dies_and_everybody_has_one_grade(cluster, tmp_path):
    address, workers = cluster
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in STUDENTS:
        (folder / f"{name}.ipynb").write_bytes(text(add(solved(), "import time\ntime.sleep(0.3)")))
    (folder / "torn.ipynb").write_text("{")
    grader = subprocess.Popen(command(folder, "--out", out, "--scheduler", address, "--quiet"), cwd=ROOT)
    while len(list((out / ".results").glob("[0-9a-f]*.json"))) < 2:
        assert grader.poll() is None
        time.sleep(0.02)
    workers[0].send_signal(signal.SIGKILL)
    assert grader.wait(timeout=1800) == 0
    table = rows(out)
    assert list(table) == [*STUDENTS, "torn"] and table["torn"]["status"] == "refused"
    assert {table[s]["status"] for s in STUDENTS} == {"graded"} and set(stored(out)) == set(STUDENTS)
    assert all(r["total"] == r["max"] for s, r in table.items() if s != "torn")


def test_no_scheduler_there():
    script = "from qcourse.classroom.scheduler import connect; connect('tcp://127.0.0.1:9', 0.5)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "ValueError: no dask scheduler answers at tcp://127.0.0.1:9" in result.stderr
