"""Compiled quantizers: byte for byte what `pack(quantize(W, args), layout)` gives, and the same errors."""

import pytest
import torch

from qcourse.gemm import convert_quantize
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.gemm.jit import has_jit
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, block_float
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.grids import E2M1, E2M3, E4M3
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS, int_weight
from qcourse.packing.packed import pack

pytestmark = pytest.mark.skipif(not has_jit(), reason="needs numba")
K = 512
INT4, INT8, FP8 = PRESETS["W4A16"].weights, PRESETS["W8A8"].weights, PRESETS["FP8_DYNAMIC"].weights
CASES = {kind: (args, "gguf") for kind, args in GGUF_ARGS.items() if kind != "MXFP4"} | {
    "Q4_1 in rows": (GGUF_ARGS["Q4_1"], "row"),
    "IQ4_NL in rows": (GGUF_ARGS["IQ4_NL"], "row"),
    "MXFP4": (block_float(E2M1), "mxfp4-pack-quantized"),
    "MXFP6": (block_float(E2M3), "mxfp6-pack-quantized"),
    "MXFP8": (block_float(E4M3), "mxfp8-quantized"),
    "NVFP4": (NVFP4_ARGS, "nvfp4-pack-quantized"),
    "FP8": (FP8, "float-quantized"),
    "FP8, ours": (FP8, "plain"),
    "int4": (INT4, "pack-quantized"),
    "int4, ours": (INT4, None),
    "int4, fp16 scales": (int_weight(4, per_group(32)).with_(scale=torch.float16), "row"),
    "int4 by channel": (int_weight(4, per_channel), "words"),
    "int8, ours": (INT8, "plain"),
    "int8": (INT8, "int-quantized"),
    "int8 in words": (int_weight(8, per_group(64)).with_(scale=torch.float32), "pack-quantized"),
}
OTHERS = {  # no loop
    "int4 with zero points": (PRESETS["W4A16_ASYM"].weights, None),
    "int3": (PRESETS["W3A16"].weights, "pack-quantized"),
    "int4 by the error": (INT4.with_(scaling="mse"), "row"),
    "restricted": (INT4.with_(grid=type(INT4.grid)(4, restricted=True)), "row"),
    "MXFP4 of GGUF": (GGUF_ARGS["MXFP4"], "gguf"),
    "Q4_0 by absmax": (GGUF_ARGS["Q4_0"].with_(scaling="absmax"), "gguf"),
    "NF4": (PRESETS["NF4"].weights, None),
    "FP8 by tensor": (PRESETS["FP8"].weights, "float-quantized"),
    "NVFP4, four over six": (PRESETS["NVFP4A16_46"].weights, "nvfp4-pack-quantized"),
    "MXFP4 by another rule": (block_float(E2M1, "ceil"), "mxfp4-pack-quantized"),
}


def tensors(N: int) -> dict[str, torch.Tensor]:
    """What a quantizer meets, and what it trips over (as tests/interop/authorities.py)."""
    W, powers = torch.randn(N, K), 2.0 ** torch.randint(-20, 15, (N, K))
    zeros, mixed = W.clone(), torch.zeros(N, K)
    zeros[0, :512], zeros[-1:, 512:], zeros[:, 1::2] = 0, -0.0, 0
    mixed[::2], mixed[:, ::3], mixed[:, 5::7] = -0.0, 0.0, -0.0
    return {
        "weights": 0.02 * W,
        "bf16": (0.05 * W).bfloat16().float(),
        "heavy tails": W / torch.rand(N, K).clamp(min=1e-3),
        "blocks 1e-30 to 1e4": W * torch.logspace(-30, 4, K // 16).repeat_interleave(16),
        "zeros": zeros,
        "0 and -0": mixed,
        "0, -0 and more": torch.where(torch.rand(N, K) < 0.8, mixed, torch.rand(N, K)),
        "ties": (8 * W).round() / 8,
        "quarters": torch.randint(-24, 25, (N, K)) / 4.0,
        "-0": torch.where(W.abs() < 0.5, -0.0, W),
        "powers of two": powers * W.sign(),
        "just below": torch.nextafter(powers, torch.zeros(())) * W.sign(),
        "one sign": W.abs(),
        "negative": -W.abs() - 1,
        "constant": torch.full((N, K), -0.3),
        "subnormal": 1e-39 * W,
        "1e-15": 1e-15 * W,
        "all zero": torch.zeros(N, K),
    }


def outcome(call):
    """A packed weight, or what was raised."""
    try:
        return call()
    except (ValueError, TypeError) as e:
        return f"{type(e).__name__}: {e}"


def same(W, args, layout, compiled=None):
    """Both ways give the same tensors, or the same error. compiled: whether no loop may, or must, have given up."""
    taken, law = [], convert_quantize.quantize
    convert_quantize.quantize = lambda *given: taken.append(1) or law(*given)
    try:
        found = outcome(lambda: quantize_packed(W, args, layout, "some.weight"))
    finally:
        convert_quantize.quantize = law
    expected = outcome(lambda: pack(quantize(W, args, "some.weight"), layout))
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert compiled is None or compiled == (not taken)
    assert (found.shape, found.args, found.layout) == (expected.shape, expected.args, expected.layout)
    assert found.nbytes <= expected.nbytes  # (a search's scales may be a part of more)
    assert list(found.tensors) == list(expected.tensors)
    for name, t in found.tensors.items():
        other = expected.tensors[name]
        assert (t.dtype, t.shape, t.is_contiguous()) == (other.dtype, other.shape, True), name
        differ = (t.reshape(-1).view(torch.uint8) != other.reshape(-1).view(torch.uint8)).sum().item()
        assert not differ, f"{name}: {differ} bytes"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("N", [1, 3, 67])
def test_every_byte(case, N):
    for W in tensors(N).values():
        same(W, *CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_ordinary_weights_never_fall_back(case):
    W = 0.02 * torch.randn(16, K)
    for V in (W, W.bfloat16(), W.half(), W.T.contiguous().T, torch.randn(16, 2 * K)[:, ::2], torch.zeros(16, K)):
        same(V, *CASES[case], compiled=True)


@pytest.mark.parametrize("case", CASES)
def test_errors_are_those_of_torch(case):
    W = 0.02 * torch.randn(3, K)
    for value in (torch.nan, torch.inf, -torch.inf):
        for at in ((0, 0), (1, 300), (2, K - 1)):
            V = W.clone()
            V[at] = value
            same(V, *CASES[case])
    for V in (1e6 * W, 1e30 * W, 3e38 * W.sign(), 1e-4 * W, W[:, :40], W[:, :272], W[:0], W[0], W.double()):
        same(V, *CASES[case])


@pytest.mark.parametrize("case", OTHERS)
def test_others_go_the_long_way(case):
    same(0.02 * torch.randn(16, K), *OTHERS[case], compiled=False)


@pytest.mark.parametrize("layout", [None, "gguf", "row", "gptq", "nonsense"])
@pytest.mark.parametrize("case", ["Q8_0", "Q4_K", "int4", "NVFP4"])
def test_layouts(case, layout):
    same(0.02 * torch.randn(16, K), CASES[case][0], layout)


def test_importance_is_heard():
    W, heard = torch.randn(8, K), torch.rand(K)
    found = quantize_packed(W, GGUF_ARGS["Q4_K"], "gguf", importance=heard).data
    assert torch.equal(found, pack(quantize(W, GGUF_ARGS["Q4_K"], importance=heard), "gguf").data)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "W4A16", "W8A8", "FP8_DYNAMIC", "NVFP4A16"])
def test_a_layer_holds_the_same_bytes(name):
    """Whether its quantizer is the plain one or another that does the same."""
    W, held = 0.02 * torch.randn(64, 512), []
    for quantizer in (quantize, lambda W, args, name: quantize(W, args, name)):
        layer, method = torch.nn.Module(), QuantizedLinearMethod(PRESETS[name], quantizer=quantizer)
        layer.prefix = "layer"
        method.create_weights(layer, 512, [64], 512, 64, torch.bfloat16)
        layer.weight.data.copy_(W)
        held.append(method.take(layer)[0])
    assert held[0].layout == held[1].layout and list(held[0].tensors) == list(held[1].tensors)
    for name, t in held[0].tensors.items():
        assert torch.equal(t.view(torch.uint8), held[1].tensors[name].view(torch.uint8))
