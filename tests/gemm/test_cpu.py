"""The CPU kernels against exact arithmetic, within what their own law allows, for every shape a model may bring."""

import inspect
import threading
from dataclasses import replace

import pytest
import torch
from bounds import UNIT, bound, near, sums, with_tensors

from qcourse.gemm import cpu, threads
from qcourse.gemm.choose import choose, home
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.gemm.jit import KERNELS, bf16_bits
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.operand import takes_blocks
from qcourse.gemm.reference import reference
from qcourse.gemm.warm_up import warm_up
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, int_weight
from qcourse.packing.packed import holders, pack

ARGS = {
    "int4 G=128": PRESETS["W4A16"].weights,
    "int4 G=128 asym": PRESETS["W4A16_ASYM"].weights,
    "int4 G=64": PRESETS["W4A16_G64"].weights,
    "int4 G=32": PRESETS["W4A16_G32"].weights,
    "int4 G=16 asym": int_weight(4, per_group(16), symmetric=False),
    "int4 G=48": int_weight(4, per_group(48)),
    "int4 G=96 asym": int_weight(4, per_group(96), symmetric=False),
    "int4 G=192": int_weight(4, per_group(192)),
    "int4 channel": PRESETS["W4A16_CHANNEL"].weights,
    "int4 channel asym, fp32 scales": int_weight(4, per_channel, False).with_(scale=torch.float32),
    "int8 channel": PRESETS["W8A16"].weights,
    "int8 tensor": PRESETS["W8A16_TENSOR"].weights,
    "int8 G=32, fp16 scales": int_weight(8, per_group(32)).with_(scale=torch.float16),
    "int8 G=64 asym": int_weight(8, per_group(64), False),
    "int4 G=32 asym, signed": QuantizationArgs(IntGrid(4), per_group(32), "minmax", zero=IntGrid(4)),
    "int8 channel asym, signed": QuantizationArgs(IntGrid(8), per_channel, "minmax", zero=IntGrid(8)),
    "int8 G=256 asym, fp16 scales": int_weight(8, per_group(256), False).with_(scale=torch.float16),
}


@pytest.mark.parametrize("name", ARGS)
@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
def test_agrees_with_exact_arithmetic(kernel, name, dtype):
    K = 4 * (ARGS[name].group_size or 128)
    q = quantize(torch.randn(37, K), ARGS[name])
    for M in (1, 2, 5, 33):
        x = torch.randn(M, K).to(dtype)
        assert near(kernel(x, pack(q)), x, q), M


@pytest.mark.parametrize("preset", [n for n, s in PRESETS.items() if takes_blocks(s.input_activations)])
@pytest.mark.parametrize("M", [1, 2, 3, 9])
def test_int8_activations_are_the_reference_and_within_their_law(preset, M):
    """The codes and scales of x are those of `quantize`, so the product is that of x̂, summed in fp32; and x̂ is at most half
    a step from x: |y - exact| ≤ Σ_blocks max|x of the block|/255 · Σ|ŵ| + fp32's roundings.
    """
    scheme = PRESETS[preset]
    q, x = quantize(torch.randn(37, 384), scheme.weights), torch.randn(M, 384)
    a = scheme.input_activations
    x_hat, W = fake_quantize(x, a), dequantize(q)
    y = cpu.int_dot(x, pack(q), block=a.group_size)
    assert ((y.double() - x_hat.double() @ W.double().T).abs() <= sums(x_hat, q)).all()
    loudest = x.unflatten(-1, (-1, a.group_size)).abs().amax(-1).double()
    law = loudest / 255 @ W.double().abs().unflatten(-1, (-1, a.group_size)).sum(-1).T
    assert ((y.double() - x.double() @ W.double().T).abs() <= law * (1 + 2.0**-20) + sums(x_hat, q)).all()
    assert ((y.double() - x.double() @ W.double().T).abs() > law / 40).any()  # and not much finer: these are 8 bits


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize(("N", "K"), [(1, 1), (3, 7), (129, 130), (257, 255), (40, 1000)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", UNIT, ids=str)
def test_rows_of_any_length(kernel, dtype, bits, N, K):
    q = quantize(torch.randn(N, K), int_weight(bits, per_channel))
    for M in (1, 3, 20):
        x = torch.randn(M, K).to(dtype)
        assert near(kernel(x, pack(q)), x, q)


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize(("bits", "K", "G"), [(4, 16, 16), (4, 48, 16), (4, 64, 32), (8, 16, 16), (8, 96, 32), (4, 192, 64)])
def test_what_lies_behind_a_short_row_does_not_matter(kernel, bits, K, G):
    """A vector may span several short rows: behind the last there is room, whatever memory follows the tensors."""
    q, x = quantize(torch.randn(9, K), int_weight(bits, per_group(G), False).with_(scale=torch.float32)), torch.randn(5, K)
    p = pack(q)
    tensors = {}
    for name, t in p.tensors.items():  # the same tensors, with the worst behind them
        room = torch.full((t.numel() + 512,), float("nan") if t.is_floating_point() else 255, dtype=t.dtype)
        room[: t.numel()] = t.flatten()
        tensors[name] = room[: t.numel()].view(t.shape)
    y = kernel(x, replace(p, tensors=tensors))
    assert near(y, x, q) and torch.equal(y, kernel(x, p))


@pytest.mark.parametrize("M", [1, 9, 1024])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("team", ["torch's own", "a pool"])
def test_threads_do_not_change_a_bit(M, threads, team, monkeypatch):
    """Every row is summed by one thread, so the result does not depend on how many there are, or whose they are."""
    monkeypatch.setattr("qcourse.gemm.threads.SMALL", 0)
    if team == "a pool":
        monkeypatch.setattr("qcourse.gemm.threads.openmp", lambda: None)
    q = quantize(torch.randn(261, 512), ARGS["int4 G=128"])
    x = torch.randn(M, 512)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = cpu.int_dot(x, pack(q))
        blocked = cpu.blocked(x, pack(q))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, cpu.int_dot(x, pack(q))) and near(y, x, q) and near(blocked, x, q)


def test_more_precise_than_bf16_activations():
    """The reason int16 activations are allowed: they lose less than rounding x to bf16 would."""
    q = quantize(torch.randn(64, 1024), ARGS["int4 G=128"])
    x = torch.randn(1, 1024)
    exact = x.double() @ dequantize(q).double().T
    ours, bf16 = cpu.int_dot(x, pack(q)), x.bfloat16().double() @ dequantize(q).double().T
    assert 20 * (ours - exact).norm() < (bf16 - exact).norm()


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize("name", ["int4 G=128", "int4 G=32", "int8 channel"])
class TestAwkwardInput:
    def weight(self, name):
        return quantize(torch.randn(8, 256), ARGS[name])

    def test_no_tokens(self, kernel, name):
        assert kernel(torch.zeros(2, 0, 256), pack(self.weight(name))).shape == (2, 0, 8)

    def test_views_that_are_not_contiguous(self, kernel, name):
        q, x = self.weight(name), torch.randn(256, 3)
        assert near(kernel(x.T, pack(q)), x.T, q)
        wide = torch.randn(3, 512)[:, 1::2]
        assert near(kernel(wide, pack(q)), wide, q)

    def test_leading_axes_and_bias(self, kernel, name):
        q, x, bias = self.weight(name), torch.randn(2, 3, 256), torch.randn(8)
        y = kernel(x, pack(q), bias)
        assert y.shape == (2, 3, 8) and near((y - bias).flatten(0, 1), x.flatten(0, 1), q, slack=2)

    @pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1e30])
    def test_quiet_and_loud_activations(self, kernel, name, scale):
        q, x = self.weight(name), torch.randn(2, 256) * scale
        assert near(kernel(x, pack(q)), x, q)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_a_token_that_is_not_finite_says_so_and_spares_the_others(self, kernel, name, bad):
        q, x = self.weight(name), torch.randn(3, 256)
        x[1, 200] = bad
        y = kernel(x, pack(q))
        assert not torch.isfinite(y[1]).any() and near(y[::2], x[::2], q)

    def test_wrong_input_is_named(self, kernel, name):
        p = pack(self.weight(name))
        with pytest.raises(ValueError, match="x has K=128"):
            kernel(torch.zeros(1, 128), p)
        with pytest.raises(TypeError, match="a floating dtype expected"):
            inspect.unwrap(kernel)(torch.zeros(1, 256, dtype=torch.int32), p)  # past the tests' own shape checker
        with pytest.raises(KernelMismatch, match="load the model with the device"):
            kernel(torch.zeros(1, 256, device="meta"), p)
        if "int4" in name:
            with pytest.raises(KernelMismatch, match="layout 'awq'"):
                kernel(torch.zeros(1, 256), pack(self.weight(name), "awq"))


def test_rows_padded_to_words_are_the_same_bytes():
    q, x = quantize(torch.randn(24, 384), ARGS["int4 G=128"]), torch.randn(2, 384)
    assert torch.equal(cpu.int_dot(x, pack(q)), cpu.int_dot(x, pack(q, "words")))


@pytest.mark.parametrize(("M", "N", "K"), [(1, 5, 7), (3, 33, 100), (12, 64, 1024), (2, 300, 4096)])
def test_int8_products_are_exact(M, N, K):
    x, w = (torch.randint(-128, 128, (r, K), dtype=torch.int8) for r in (M, N))
    assert torch.equal(cpu.int8_dots(x, w).long(), x.long() @ w.long().T)


def test_int8_sums_reach_the_edge_of_int32():
    x = torch.full((2, 131071), -128, dtype=torch.int8)
    assert (cpu.int8_dots(x, x) == 131071 * 16384).all()


def test_the_pool_leaves_torch_as_it_was(monkeypatch):
    monkeypatch.setattr("qcourse.gemm.threads.openmp", lambda: None)
    monkeypatch.setattr("qcourse.gemm.threads.SMALL", 0)
    threads.pool.cache_clear()
    q, before, later = quantize(torch.randn(64, 256), ARGS["int4 G=128"]), torch.get_num_threads(), []
    cpu.int_dot(torch.randn(1, 256), pack(q))
    other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert later == [before] == [torch.get_num_threads()]


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(n0, n1):
        raise ZeroDivisionError("in a thread")

    with pytest.raises(ZeroDivisionError, match="in a thread"):
        threads.rows_in_threads(fail, 64, threads.SMALL_IN_PYTHON)
    assert not threads.JOBS


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize("mistake", ["zero point off by one", "groups swapped", "nibbles swapped"])
def test_the_bound_notices_mistakes(kernel, mistake):
    q, x = quantize(torch.randn(16, 512), ARGS["int4 G=128 asym"]), torch.randn(3, 512)
    p = pack(q)
    wrong = {
        "zero point off by one": lambda: with_tensors(p, zero_point=p.zero_point + 1),
        "groups swapped": lambda: with_tensors(p, scale=p.scale.flip(1).contiguous()),
        "nibbles swapped": lambda: with_tensors(p, qweight=(p.data >> 4) | (p.data << 4)),
    }[mistake]()
    assert near(kernel(x, p), x, q) and not near(kernel(x, wrong), x, q)


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
def test_tensors_that_contradict_each_other_are_refused(kernel):
    p, x = pack(quantize(torch.randn(8, 256), ARGS["int4 channel"])), torch.randn(2, 512)
    with pytest.raises(ValueError, match=r"qweight has shape \(8, 128\): \(8, 256\) expected"):
        kernel(x, replace(p, shape=(8, 512)))
    with pytest.raises(ValueError, match="scale has shape .* expected"):
        kernel(x[:, :256], with_tensors(p, scale=torch.ones(8, 3)))
    for bias in (torch.zeros(3), torch.zeros(1, 8), torch.zeros(8).bfloat16()):
        with pytest.raises(ValueError, match="bias"):
            kernel(x[:, :256], p, bias)
    with pytest.raises(ValueError, match="no backward"):
        kernel(x[:, :256].clone().requires_grad_(), p)


def test_int8_codes_are_checked_before_memory_is_read():
    codes = torch.ones(2, 64, dtype=torch.int8)
    with pytest.raises(ValueError, match="w has K=32"):
        inspect.unwrap(cpu.int8_dots)(codes, codes[:, :32])
    with pytest.raises(TypeError, match="int8 codes expected"):
        inspect.unwrap(cpu.int8_dots)(codes.long(), codes)


def test_after_the_warm_up_nothing_is_compiled():
    warm_up()
    before = sum(k.versions for k in KERNELS)
    for scheme in PRESETS.values():
        q, a = quantize(torch.randn(2, 256), scheme.weights), scheme.input_activations
        layout = home(q.args, a, (2, 256), "cpu", holders(q.args, 2, 256)[0])
        quantize_packed(torch.randn(32, 256), q.args, layout)
        product = choose(pack(q, layout), a, torch.tensor(1.0) if a and a.calibrated else None)
        for dtype in (torch.float32, torch.bfloat16):
            for M in (1, 2, 3, 200):
                product(torch.randn(M, 256).to(dtype))
    assert sum(k.versions for k in KERNELS) == before


def test_the_reference_agrees_with_both():
    q, x = quantize(torch.randn(64, 512), ARGS["int4 G=128 asym"]), torch.randn(4, 512)
    expected = reference(x, pack(q))
    for kernel in (cpu.int_dot, cpu.blocked):
        assert ((kernel(x, pack(q)) - expected).abs() <= 2 * bound(x, q)).all()


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize("dtype", UNIT, ids=str)
def test_inference_mode_and_many_rows(kernel, dtype):
    """Large enough that worker threads take part; a thread does not inherit the caller's mode."""
    with torch.inference_mode():
        q, x = quantize(torch.randn(1500, 1024), ARGS["int4 G=128"]), torch.randn(3, 1024).to(dtype)
        assert near(kernel(x, pack(q)), x, q)


def test_bf16_outputs_are_rounded_as_torch_rounds():
    q, x = quantize(torch.randn(300, 512), ARGS["int4 G=128"]), torch.randn(2, 512).bfloat16()
    assert torch.equal(cpu.int_dot(x, pack(q)), cpu.int_dot(x.float(), pack(q)).bfloat16())
    values = torch.tensor([1.0, 1.00390625, 1.01171875, -3.4e38, torch.inf, -torch.inf, 1e-40, -0.0])
    ours = [bf16_bits(v) for v in values.numpy()]
    assert torch.tensor(ours, dtype=torch.uint16).equal(values.bfloat16().view(torch.uint16))
    assert torch.tensor(bf16_bits(torch.tensor(torch.nan).numpy()), dtype=torch.uint16).view(torch.bfloat16).isnan()


@pytest.mark.parametrize("kernel", [cpu.int_dot, cpu.blocked])
@pytest.mark.parametrize("M", [1, 5])
def test_zero_points_in_weight_units(kernel, M):
    """w = s·q - m (GGUF's Q4_1): the codes as above with z = 0, and m leaves through one product with the groups' sums.

    At most K + 4 roundings of Σ|x|·(s·q + |m|), and x in int16 where the codes are multiplied.
    """
    grid = IntGrid(4, signed=False)
    args = QuantizationArgs(grid, per_group(32), "minmax", torch.float16, torch.float16, "weights")
    q, x = quantize(torch.randn(24, 256), args), torch.randn(M, 256)
    exact = x.double() @ dequantize(q).double().T
    high = q.scale.double().repeat_interleave(32, 1) * q.codes + q.zero_point.double().abs().repeat_interleave(32, 1)
    law = (256 + 4) * 2.0**-24 * (x.double().abs() @ high.T) + x.double().abs().amax(-1, keepdim=True) / 65534 * high.sum(-1)
    assert ((kernel(x, pack(q)).double() - exact).abs() <= law).all()
    assert choose(pack(q)).rows[0].name == "int_dot"
