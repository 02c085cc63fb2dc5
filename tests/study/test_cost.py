import pytest
import torch

from qcourse.models.loader import SHIPPED, load_model
from qcourse.study import roofline
from qcourse.study.cost import decode_seconds, file_bytes, model_bytes, projected_bytes
from qcourse.study.speed import Speed, decode_speeds, fastest, prefill_speeds


def test_measured_bytes_equal_the_formula(shipped):
    c = shipped.config
    kv = c.num_key_value_heads * c.head_dim
    per_layer = c.hidden_size * (2 * c.hidden_size + 2 * kv + 3 * c.intermediate_size)
    b = model_bytes(shipped)
    assert b.weights == per_layer * c.num_hidden_layers and b.linear == 2 * b.weights and b.bits_per_weight == 16
    assert b.other == 2 * (c.vocab_size * c.hidden_size + (2 * c.num_hidden_layers + 1) * c.hidden_size)


@pytest.mark.parametrize(("spec", "bits"), [("W4A16", 4.125), ({"scheme": "W3A16", "group_size": 32}, 3.5)])
def test_quantized_bytes_count_the_scales(spec, bits):
    assert model_bytes(load_model(quantization=spec)).bits_per_weight == pytest.approx(bits)


def test_the_file_holds_what_memory_holds(shipped):
    assert 0 < file_bytes(SHIPPED) - model_bytes(shipped).total < 10_000  # the header


def test_the_projection_agrees_with_a_measured_model(shipped):
    four = load_model(quantization="W4A16")
    norms = 2 * (2 * shipped.config.num_hidden_layers + 1) * shipped.config.hidden_size
    assert projected_bytes(shipped.config, 16) + norms == model_bytes(shipped).total
    assert projected_bytes(shipped.config, 4.125) + norms == model_bytes(four).total


def test_decode_floor():
    assert decode_seconds(14e9, 3.35e12) == pytest.approx(4.18e-3, rel=1e-3)


def test_measure_reports_median_and_quartiles():
    t = roofline.Timing.of([4e-3, 1e-3, 3e-3, 2e-3, 9e-3])
    assert (t.best, t.median) == (1e-3, 3e-3) and t.best <= t.low < t.median < t.high
    assert str(t) == "3.00 ms (2.00–4.00)"


def test_rivals_are_timed_in_turns():
    order = []
    calls = {name: lambda i, name=name: order.append((name, i)) for name in "ab"}
    timings = roofline.interleaved(calls, repeats=3, warmup=1)
    assert order == [(name, i) for i in (-1, 0, 1, 2) for name in "ab"] and list(timings) == ["a", "b"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when a call says how long it took."""
    now = [0.0]
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_a_warm_up_does_not_count(clock):
    t = roofline.measure(lambda i: clock({-1: 0.5, 0: 0.1, 1: 0.2, 2: 0.3}[i]), repeats=3, warmup=1)
    assert (t.best, t.median) == (pytest.approx(0.1), pytest.approx(0.2))


@pytest.mark.parametrize(("takes", "rounds"), [(0.01, [-2, -1, 0, 1, 2, 3]), (1.0, [-2, -1, 0, 1]), (9.0, [-2, 0, 1])])
def test_a_slow_machine_measures_less_often_but_it_measures(clock, takes, rounds):
    seen = []
    roofline.interleaved({"a": lambda i: (seen.append(i), clock(takes))}, repeats=4, warmup=2, limit=2.5)
    assert seen == rounds


def test_a_reading_carries_its_spread():
    r = roofline.rate(6e9, roofline.Timing(median=2, low=1.5, high=3, best=1))
    assert (r.best, r.median, r.low, r.high) == (6e9, 3e9, 2e9, 4e9)
    assert str(r) == "6.0 G/s at best, half of the readings in 2.0–4.0"
    r = roofline.bandwidth(megabytes=1, repeats=4)
    assert 0 < r.low <= r.median <= r.high and r.median <= r.best  # an order, never a size


@pytest.mark.parametrize(("share", "word"), [(0.5, "busy"), (0.89, "busy"), (0.9, "quiet"), (1.0, "quiet")])
def test_a_busy_machine_is_said(share, word):
    text = str(roofline.Load(2, share))
    assert text.startswith(f"this machine is {word}: 2 computing threads got {share:.0%}")
    assert roofline.Load(2, share).busy == (word == "busy") == ("again" in text)


def test_load_is_processor_time_against_the_clock(monkeypatch):
    """Two clocks of our own: a thread that computes 3 of every 4 ticks of the wall."""
    wall = iter(range(0, 10**9, 4))
    cpu = iter(range(0, 10**9, 3 * 50))  # read twice a thread: at its begin and after 50 ticks of the other
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(roofline.time, "thread_time", lambda: next(cpu))
    assert roofline.load(milliseconds=200e3) == roofline.Load(1, 0.75)


def speed(median, spread):
    return Speed(median, median - spread, median + spread, median + spread)


def test_fastest_names_all_that_a_clock_cannot_tell_apart():
    assert fastest({"a": speed(100, 5), "b": speed(80, 5), "c": speed(96, 2)}) == ["a", "c"]
    assert fastest({"a": speed(100, 1), "b": speed(98, 0.5)}) == ["a"]


def test_gemm_cases_compute_on_weights_of_the_stated_size():
    cases = roofline.gemm_cases(N=64, K=256)
    assert cases["bf16"][0] == 2 * 64 * 256
    for name, (size, call) in cases.items():
        assert call(1).shape == (1, 64), name
        assert size < 3 * 64 * 256
    assert torch.isfinite(cases["bf16"][1](0)).all()


def test_the_families_are_timed_in_turns(shipped, monkeypatch):
    order, forward = [], type(shipped).forward
    four = load_model(quantization="W4A16")
    named = {id(shipped): "bf16", id(four): "w4a16"}
    monkeypatch.setattr(type(shipped), "forward", lambda m, *a: (order.append(named[id(m)]), forward(m, *a))[1])
    speeds = prefill_speeds({"bf16": shipped, "w4a16": four}, tokens=4, repeats=2)
    assert order == ["bf16", "w4a16"] * 3 and all(0 < s.low <= s.high for s in speeds.values())
    order.clear()
    decode_speeds({"bf16": shipped, "w4a16": four}, prompt=2, tokens=2, repeats=2)
    assert order == ["bf16", "w4a16"] + ["bf16", "bf16", "w4a16", "w4a16"] * 3  # prompts, then turns of two steps
