"""Calls that never end, that swallow everything, that break what they were given: the caller lives."""

import signal
import threading
import time

import pytest
import torch

from qcourse.checks.watch import RemoteError, TimeLimit, call, limited, timed

LIMIT = 0.2


def forever():
    while True:
        pass


def swallows_exceptions():
    while True:
        try:  # noqa: SIM105
            time.sleep(0.01)
        except Exception:
            pass


def swallows_everything():
    while True:
        try:  # noqa: SIM105
            torch.ones(8).sum()
        except:  # noqa: E722
            pass


def swallows_once():
    try:
        forever()
    except BaseException:
        forever()


def in_torch():
    x = torch.ones(64, 64)
    while True:
        x = (x @ x).clamp(max=1)


def sleeps():
    time.sleep(60)


ENDLESS = [forever, swallows_exceptions, swallows_everything, swallows_once, in_torch, sleeps]


@pytest.mark.parametrize("fn", ENDLESS)
def test_an_endless_call_is_stopped(fn):
    began = time.perf_counter()
    result = call(fn, (), LIMIT)
    assert result.kind == "TimeLimit" and "stopped after 0.2 s" in result.message
    assert time.perf_counter() - began < 30  # of 60: it did not simply run out
    assert fn.__name__ in result.trace
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("fn", [forever, swallows_exceptions, swallows_once])
def test_away_from_the_main_thread_too(fn):
    found = []
    worker = threading.Thread(target=lambda: found.append(call(fn, (), LIMIT)))
    worker.start()
    worker.join(30)
    assert found[0].kind == "TimeLimit"


def test_values_and_errors_come_through_a_thread():
    found = []
    work = lambda: found.extend([call(lambda x: x + 1, (1,)), call(lambda: 1 // 0, ())])  # noqa: E731
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert found[0].value == 2 and found[1].kind == "ZeroDivisionError"


def test_somebody_elses_alarm_still_rings():
    rung = []
    old = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert call(lambda: 1, (), LIMIT).value == 1
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
        time.sleep(0.5)
        assert rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_the_limit_is_no_exception():
    assert not issubclass(TimeLimit, Exception)
    with pytest.raises(TimeLimit):
        limited(swallows_exceptions, (), 0.05)


def test_the_traceback_is_the_students():
    def inner(x):
        return x @ torch.ones(3)

    def outer(x):
        return inner(x)

    result = call(outer, (torch.ones(2, 2),))
    assert result.kind == "RuntimeError" and "RuntimeError" in result.bases
    lines = result.trace.splitlines()
    assert len(lines) == 2 and "in outer" in lines[0] and "in inner:   return x @ torch.ones(3)" in lines[1]


def test_leaving_is_an_error_and_an_interrupt_is_not_ours():
    assert call(lambda: exit(3), ()).kind == "SystemExit"

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(interrupt, ())


def test_an_exception_that_cannot_be_printed():
    class Sad(Exception):
        def __str__(self):
            raise ValueError

    def fn():
        raise Sad

    assert call(fn, ()).message == "(its message could not be printed)"


def test_arguments_are_copies_and_changes_are_noticed():
    x, y = torch.ones(3), [torch.ones(2)]
    assert call(lambda a, b: a.add_(1), (x, y)).modified == 0
    assert call(lambda a, b: b[0].numpy().fill(7), (x, y)).modified == 1
    assert call(lambda a, b: b.append(1), (x, y)).modified == 1
    assert call(lambda a, b: a + 1, (x, y)).modified is None
    assert torch.equal(x, torch.ones(3)) and len(y) == 1


def test_errors_from_another_process():
    def proxy(*_):
        raise RemoteError("ValueError", "odd", "line 3, in f")

    def changed(*_):
        raise RemoteError("ModifiedInput", "1")

    result = call(proxy, (1,))
    assert (result.kind, result.message, result.trace) == ("ValueError", "odd", "line 3, in f")
    assert call(changed, (1, 2)).modified == 1


def test_timing_asks_the_proxy_where_there_is_one():
    class Proxy:
        def seconds(self, args, repeats):
            return 42.0

    calls = []
    assert timed(Proxy(), (), 3) == 42.0
    assert timed(lambda: calls.append(1), (), 3) >= 0 and len(calls) == 4
