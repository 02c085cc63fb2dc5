"""What a stopped cell or call left running is ended with it; what ran before it goes on."""

import sys

import pytest
from conftest import told_by

SCRIPT = """
FORK = '''
import os, time
def leaves(then):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    time.sleep(0.1)
    while then == "hangs": time.sleep(0.01)
    return 1
'''
CELLS = [FORK, "leaves('ends')", "leaves('hangs')"]
def alive(remote):
    states = [(f / "stat").read_text().rpartition(")")[2].split()[0] for f, _ in tree(remote.pid)]
    return len([s for s in states if s not in "ZX"])
with Remote(zygote, [FORK], Limits(), []) as remote:
    remote.ready()
    usual = alive(remote)
with Remote(zygote, CELLS, Limits(cell_seconds=3, task_seconds=5), []) as remote:
    def below(expected):
        patience = time.monotonic() + 60
        while alive(remote) - usual != expected and time.monotonic() < patience:
            time.sleep(0.05)  # a killed process takes a moment to go
        return alive(remote) - usual
    remote.ready()
    said |= {"cells": below(1), "error": remote.errors[2]["kind"], "starts": remote.starts}
    said["answer"] = Proxy(remote, "01.1", "leaves")("ends")
    said["call"] = below(2)
    try:
        Proxy(remote, "01.1", "leaves")("hangs")
    except RemoteError as e:
        said["hung"] = e.kind
    said["after"] = below(2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is whose child")
@pytest.mark.parametrize("bare", [False, True])
def test_a_stopped_cell_leaves_nothing_running(bare):
    expected = {"cells": 1, "error": "TimeLimit", "starts": 1, "answer": 1, "call": 2, "hung": "TimeLimit", "after": 2}
    assert told_by(SCRIPT, bare) == expected
