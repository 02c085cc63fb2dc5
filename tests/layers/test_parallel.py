"""The two-shard law: what two ranks compute is what one computes, for every layout and format that can be cut and merged."""

import logging
from dataclasses import replace
from functools import cache

import pytest
import torch
from bounds import bound
from torch import nn

from qcourse.checkpoints.rules import Rule
from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.int3 import Int3LinearMethod
from qcourse.layers.linear import Linear
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.layers.parallel import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
    shares,
)
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.granularity import per_block
from qcourse.numerics.grids import E4M3
from qcourse.numerics.quantize import TWO_LEVEL, dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs, QuantizationScheme, int_weight
from qcourse.packing.packed import LAYOUTS, layout_of

FORMATS = {name: s.weights for name, s in PRESETS.items()} | {
    "NVFP4": NVFP4_ARGS,
    "NVFP4_MODELOPT": NVFP4_MODELOPT,
    "FP8_BLOCK": QuantizationArgs(E4M3, per_block(32, 128), scale=torch.float32),
    "INT8_BLOCK": int_weight(8, per_block(16, 64)),
    **GGUF_ARGS,
}
WHOLE = "bitsandbytes"  # scales over the ends of rows: neither cut nor merged


def shape_of(args: QuantizationArgs) -> tuple[int, int]:
    """(N, K) of q, k and v each: two blocks of 256 columns for those that have them; else two groups of 128, and two words
    of the 32 rows that GPTQ's 3-bit zero points have."""
    return (16, 512) if args in [GGUF_ARGS[n] for n in GGUF_ARGS if n.endswith("K") or n == "TQ2_0"] else (64, 256)


def holds(layout: str, args: QuantizationArgs) -> bool:
    try:
        return bool(LAYOUTS[layout].slots(args, *shape_of(args)))
    except ValueError:
        return False


STORED = {}  # formats that are stored alike once
for name, args in FORMATS.items():
    if not any(args.same_storage(other) for other in STORED.values()):
        STORED[name] = args
PAIRS = [(n, layout) for n, args in STORED.items() for layout in LAYOUTS if layout != WHOLE and holds(layout, args)]


@cache
def made(name: str, layout: str = "") -> dict:
    """q, k and v: QTensors, or their tensors in a layout. NVFP4's share a peak."""
    if layout:
        return {part: LAYOUTS[layout].pack(q) for part, q in legal(made(name), layout).items()}
    torch.manual_seed(len(name))
    args = FORMATS[name]
    weights = {part: torch.randn(*shape_of(args)) * 10**i for i, part in enumerate("qkv")}
    peak = max(w.abs().max().item() for w in weights.values()) if args.scaling in TWO_LEVEL else None
    return {part: quantize(w, args, peak=peak) for part, w in weights.items()}


def legal(parts: dict, layout: str) -> dict:
    if layout != "gptq" or parts["q"].zero_point is None:
        return parts
    return {n: replace(q, zero_point=q.zero_point.clamp(min=1)) for n, q in parts.items()}  # version 1 stores z - 1


def bytes_of(t):
    return t.contiguous().reshape(-1).view(torch.uint8)


def config(scheme, layout: str) -> RulesConfig:
    scheme = QuantizationScheme(scheme) if isinstance(scheme, QuantizationArgs) else scheme
    return RulesConfig([Rule("Linear", scheme, layout)], quantizer=None)


def loaded(layer, tensors: dict):
    """tensors: part → the file's."""
    for part, t in tensors.items():
        layer.load(t, part)
    layer.quant_method.process_weights_after_loading(layer)
    return layer


def as_one(name: str, layout: str) -> dict:
    """What a file holds of each part, as QTensors: NVFP4's has the reciprocal of its upper scale rounded to fp32."""
    args = FORMATS[name]
    return {p: LAYOUTS[layout].unpack(t, args, *shape_of(args)) for p, t in made(name, layout).items()}


@pytest.mark.parametrize(("name", "layout"), PAIRS)
def test_two_ranks_are_one(name, layout):
    """Weights bit for bit; outputs within what the law of the kernels allows of exact arithmetic (tests/bounds.py)."""
    files, whole, rules = made(name, layout), as_one(name, layout), config(FORMATS[name], layout)
    N, K = shape_of(FORMATS[name])
    W, x = {p: dequantize(q) for p, q in whole.items()}, torch.randn(3, K)
    law = {p: (x.double() @ W[p].double().T, bound(x, q)) for p, q in whole.items()}

    def check(layer, rows: dict):
        assert torch.equal(layer.dequantized(), torch.cat([W[p][slice(*r)] for p, r in rows.items()]))
        y = layer(x).double().split(layer.output_partition_sizes, -1)
        for (p, r), got in zip(rows.items(), y, strict=True):
            exact, allowed = (t[:, slice(*r)] for t in law[p])
            assert ((got - exact).abs() <= allowed).all()

    total, allowed = 0, 0
    for rank in range(2):
        here = {"rank": rank, "world": 2, "quant_config": rules}
        half = dict.fromkeys("qkv", (rank * N // 2, (rank + 1) * N // 2))
        check(loaded(ColumnParallelLinear(K, N, **here), {None: files["q"]}), {"q": half["q"]})
        merged = MergedColumnParallelLinear(K, [N, N], prefix="gate_up_proj", **here)
        check(loaded(merged, {0: files["k"], 1: files["v"]}), {"k": half["k"], "v": half["v"]})
        check(loaded(QKVParallelLinear(K, N // 2, 2, 2, prefix="qkv_proj", **here), files), half)
        row, columns = RowParallelLinear(K, N, **here), slice(rank * K // 2, (rank + 1) * K // 2)
        y = loaded(row, {None: files["k"]})(x[:, columns])
        assert torch.equal(row.dequantized(), W["k"][:, columns])
        part = LAYOUTS[layout].shard(files["k"], FORMATS[name], (N, K), None, (columns.start, columns.stop))
        allowed += bound(x[:, columns], LAYOUTS[layout].unpack(part, FORMATS[name], N, K // 2))
        total = total + y
    assert ((total.double() - law["k"][0]).abs() <= allowed + 2.0**-24 * total.abs()).all()  # and one sum in fp32


@pytest.mark.parametrize(("name", "layout"), PAIRS)
def test_shares_are_what_a_rank_gets(name, layout):
    args, t = FORMATS[name], made(name, layout)["k"]
    shape, slots = shape_of(args), LAYOUTS[layout].slots(args, *shape_of(args))
    for share in (s for along in "NK" for s in shares(layout, args, *shape, 2, along)):
        part = LAYOUTS[layout].shard(t, args, shape, share.rows, share.columns)
        assert not share.why and share.tensors.keys() <= part.keys()
        for n, extents in share.tensors.items():
            there = t[n].reshape(slots[n].shape)[tuple(slice(*e) for e in extents)]
            assert torch.equal(bytes_of(there), bytes_of(part[n]))
        assert share.nbytes == sum(part[n].nbytes for n in share.tensors)
        assert part.keys() - share.tensors.keys() <= {"weight_shape", "g_idx", "weight_g_idx"}


def test_all_layouts_and_formats_are_tried():
    assert {layout for _, layout in PAIRS} == set(LAYOUTS) - {WHOLE}
    assert {name for name, _ in PAIRS} == set(STORED) - {"NF4"}


class TestRefused:
    """What cannot be cut or merged says which layer, which tensor and why, when the layer is made: nothing is loaded yet."""

    @pytest.mark.parametrize(
        ("name", "layout", "make", "said"),
        [
            ("W4A16", "pack-quantized", lambda o: RowParallelLinear(1152, 64, **o), "weight_scale .* at 576: 128 of W"),
            ("W4A16_CHANNEL", "gptq", lambda o: RowParallelLinear(24, 64, **o), "qweight cannot be cut at 12: 8 of W"),
            ("W3A16", "pack-quantized", lambda o: RowParallelLinear(256, 64, **o | {"world": 16}), "_packed .* 16: 32"),
            ("Q4_K", "gguf", lambda o: RowParallelLinear(768, 64, **o), "blocks cannot be cut at 384: 256 of W"),
            ("NVFP4", "nvfp4-pack-quantized", lambda o: RowParallelLinear(48, 64, **o), "weight_scale .* 24: 16 of W"),
            ("W4A16_ASYM", "awq", lambda o: ColumnParallelLinear(256, 24, **o), "qweight cannot be cut at 12: 8 of W"),
            ("W4A16_ASYM", "pack-quantized", lambda o: ColumnParallelLinear(256, 24, **o), "weight_zero_point .* 12: 8"),
            ("FP8_BLOCK", "float-quantized", lambda o: ColumnParallelLinear(256, 96, **o), "weight_scale .* 48: 32 of W"),
            ("FP8_BLOCK", "fp8", lambda o: MergedColumnParallelLinear(256, [48, 64], prefix="gate_up_proj",
             **o | {"world": 1}), "gate_up_proj: weight_scale_inv cannot be cut at 48: 32 of W lie in one piece"),
            ("W4A16_ASYM", "awq", lambda o: QKVParallelLinear(256, 4, 6, 2, prefix="qkv_proj", **o), "qweight .* 12: 8"),
            *(("NF4", WHOLE, make, "weight cannot be cut at .*: 256 scales of neighbours share one, over the ends of rows")
              for make in (lambda o: RowParallelLinear(256, 64, **o), lambda o: ColumnParallelLinear(256, 64, **o),
                           lambda o: MergedColumnParallelLinear(256, [64, 64], prefix="gate_up_proj", **o | {"world": 1}))),
        ],
    )  # fmt: skip
    def test_words_groups_and_blocks(self, name, layout, make, said):
        with pytest.raises(ValueError, match=said), torch.device("meta"):
            make({"world": 2, "quant_config": config(FORMATS[name], layout)})

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: QKVParallelLinear(8, 4, 9, 3, world=2, prefix="a.qkv_proj"), "a.qkv_proj: heads = 9 .* world = 2"),
            (lambda: QKVParallelLinear(8, 4, 6, 4, world=2), "heads = 6 is not a multiple of kv_heads = 4"),
            (lambda: QKVParallelLinear(8, 4, 12, 3, world=2), "kv_heads = 3 is not a multiple of world = 2"),
            (lambda: QKVParallelLinear(8, 4, 12, 4, world=6), "world = 6 is not a multiple of kv_heads = 4"),
            (lambda: ColumnParallelLinear(8, 6, world=4, prefix="up"), "up: output_size = 6 is not a multiple of world = 4"),
            (lambda: RowParallelLinear(6, 8, world=4, prefix="down"), "down: input_size = 6 is not a multiple of world = 4"),
            (
                lambda: MergedColumnParallelLinear(8, [8, 6], world=4),
                r"output_sizes\[1\] = 6 is not a multiple of world = 4",
            ),
            (lambda: ColumnParallelLinear(8, 8, rank=2, world=2), "rank=2, world=2: a rank from 0 to world - 1"),
            (lambda: RowParallelLinear(8, 8, world=0), "rank=0, world=0: a rank from 0 to world - 1"),
            (lambda: QKVParallelLinear(8, 4, 2, 0), "heads = 2 is not a multiple of kv_heads = 0"),
        ],
    )
    def test_sizes_that_do_not_divide(self, make, said):
        with pytest.raises(ValueError, match=said):
            make()

    @pytest.mark.parametrize("layout", ["row", "gptq", "pack-quantized"])
    def test_act_order(self, layout):
        """A rank can have rows of it, and no columns; parts can be merged when they have the same."""
        args, orders = FORMATS["W4A16"], [torch.randperm(256).view(2, 128).sort(1).values.flatten() for _ in range(2)]
        weights = [quantize(torch.randn(64, 256), args) for _ in range(2)]
        (same, up), (_, other) = ([replace(q, order=o) for q, o in zip(weights, pair, strict=True)]
                                  for pair in ((orders[0], orders[0]), orders))  # fmt: skip
        same, up, other = (LAYOUTS[layout].pack(q) for q in (same, up, other))
        rules, W = config(args, layout), dequantize(replace(weights[1], order=orders[0]))
        for rank in range(2):
            layer = MergedColumnParallelLinear(256, [64, 64], rank=rank, world=2, quant_config=rules, prefix="gate_up_proj")
            assert torch.equal(loaded(layer, {0: same, 1: up}).dequantized()[32:], W[rank * 32 : rank * 32 + 32])
        row = RowParallelLinear(256, 64, world=2, quant_config=rules, prefix="model.layers.0.mlp.down_proj")
        with pytest.raises(ValueError, match="0.mlp.down_proj: .* cannot be cut at 128: act_order: the channels of a group"):
            row.load(same)
        layer = MergedColumnParallelLinear(256, [64, 64], quant_config=rules, prefix="gate_up_proj")
        with pytest.raises(
            ValueError, match=r"gate_up_proj: part 1 and part 0 sort .* \(act_order\), and one matrix reads x"
        ):
            loaded(layer, {0: same, 1: other})

    @pytest.mark.parametrize("layout", ["nvfp4-pack-quantized", "modelopt-nvfp4"])
    def test_upper_scales_that_differ(self, layout):
        args = LAYOUTS[layout].args
        parts = {i: LAYOUTS[layout].pack(quantize(torch.randn(32, 64) * f, args)) for i, f in enumerate((1, 8))}
        layer = MergedColumnParallelLinear(64, [32, 32], quant_config=config(args, layout), prefix="gate_up_proj")
        with pytest.raises(ValueError, match="gate_up_proj: .*under different numbers.*lose range.*shared_peaks"):
            loaded(layer, parts)


def test_a_whole_that_cannot_be_cut_is_held_whole():
    t = LAYOUTS[WHOLE].pack(made("NF4")["q"])
    layer = loaded(ColumnParallelLinear(256, 64, quant_config=config(FORMATS["NF4"], WHOLE)), {None: t})
    assert torch.equal(layer.dequantized(), dequantize(made("NF4")["q"]))


class TestBadTensors:
    def layer(self, **changes):
        return QKVParallelLinear(
            256, 32, 2, prefix="qkv_proj", **{"quant_config": config(FORMATS["W4A16"], "row")} | changes
        )

    def test_parts(self):
        layer, t = self.layer(), made("W4A16", "row")
        for part in (None, "w", 0):
            with pytest.raises(ValueError, match=f"qkv_proj.*{part!r} is none of its parts: 'q', 'k', 'v'"):
                layer.load(t["q"], part)
        layer.load(t["q"], "q")
        with pytest.raises(ValueError, match="qkv_proj, part 'q': loaded already"):
            layer.load(t["q"], "q")
        with pytest.raises(ValueError, match="qkv_proj: nothing was loaded for '[kv]', '[kv]'"):
            layer(torch.zeros(1, 256))
        with pytest.raises(ValueError, match="qkv_proj: nothing was loaded for"):
            layer.quant_method.process_weights_after_loading(layer)

    def test_tensors_of_another_format(self):
        layer, t = self.layer(), made("W4A16", "row")
        for wrong, said in (
            ({"qweight": t["q"]["qweight"]}, "part 'q': layout 'row': tensor 'scale' is missing"),
            (t["q"] | {"g_idx": t["q"]["scale"]}, "unexpected tensor 'g_idx'"),
            (t["q"] | {"qweight": t["q"]["qweight"][:32]}, "qweight has shape"),
            (t["q"] | {"bias": torch.zeros(64)}, "tensor 'bias' is unexpected"),
        ):
            with pytest.raises(ValueError, match=said):
                layer.load(wrong, "q")
        layer.load(t["q"], "q")
        with pytest.raises(ValueError, match="part 'k': scale is torch.float32, and torch.bfloat16 in the parts before"):
            layer.load(t["k"] | {"scale": t["k"]["scale"].float()}, "k")
        gptq = made("W4A16", "gptq")
        layer = self.layer(quant_config=config(FORMATS["W4A16"], "gptq"))
        layer.load(gptq["q"], "q")
        with pytest.raises(ValueError, match="g_idx comes with some of the parts only"):
            layer.load({n: t for n, t in gptq["k"].items() if n != "g_idx"}, "k")

    def test_weights_in_16_bits(self):
        for t, said in (
            (torch.zeros(32, 256), r"a tensor \(32, 256\): 64 along axis 0"),
            (torch.zeros(64, 128), "a share of shape .*64, 128.* for a place of shape .*64, 256"),
            (torch.zeros(64, 256, dtype=torch.uint8), "weight is torch.uint8: torch.bfloat16 expected"),
        ):
            with pytest.raises(ValueError, match=said):
                self.layer(quant_config=None).load({"weight": t}, "q")
        layer = self.layer(quant_config=None)
        with pytest.raises(ValueError, match="tensor 'qweight' has no place; it has weight"):
            layer.load({"weight": torch.zeros(64, 256), "qweight": torch.zeros(1)}, "q")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("world", [1, 2, 4])
def test_16_bits_and_biases(world, dtype):
    """kv heads fewer than ranks are held by several; a row-parallel bias is added once."""
    sizes = {"q": 64, "k": 32, "v": 32}
    file = {p: {"weight": torch.randn(n, 96).to(dtype), "bias": torch.randn(n).to(dtype)} for p, n in sizes.items()}
    down = {"weight": torch.randn(24, 64).to(dtype), "bias": torch.randn(24).to(dtype)}
    x, total = torch.randn(2, 3, 96), 0
    whole = {p: nn.functional.linear(x, t["weight"].float(), t["bias"].float()) for p, t in file.items()}
    for rank in range(world):
        here = {"rank": rank, "world": world, "bias": True}
        layer = loaded(QKVParallelLinear(96, 16, 4, 2, prefix="qkv_proj", **here), file)
        assert layer.weight.dtype == dtype and layer.output_size == (128 if world < 4 else 192)  # as vLLM counts
        got = layer(x).split(layer.output_partition_sizes, -1)
        for p, y in zip("qkv", got, strict=True):
            n = y.shape[-1]
            first = rank * n if p == "q" or world < 4 else rank // 2 * n
            torch.testing.assert_close(y, whole[p][..., first : first + n])
        row = loaded(RowParallelLinear(64, 24, **here), {None: down})
        total = total + row(whole["q"].chunk(world, -1)[rank])
        assert (row.bias is None) == (rank > 0)
    expected = nn.functional.linear(whole["q"], down["weight"].float(), down["bias"].float())
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)


DYNAMIC = [name for name, s in PRESETS.items() if s.input_activations is not None and not s.input_activations.calibrated]


class TestRounding:
    """Schemes that round x, and 16-bit weights that are rounded on the way in."""

    @pytest.mark.parametrize("name", DYNAMIC)
    def test_what_a_rank_rounds(self, name):
        """Outputs cut: x is rounded as by the whole layer. Inputs cut: likewise in groups; a scale a token is a rank's own,
        so that the sum differs by what the two roundings of x do."""
        scheme = replace(PRESETS[name], weights=FORMATS["W8A16"] if name == "FP8_BLOCK" else PRESETS[name].weights)
        q, x = quantize(torch.randn(64, 256), scheme.weights), torch.randn(5, 256)
        rules, tensors = config(scheme, "plain"), LAYOUTS["plain"].pack(q)
        whole = loaded(ColumnParallelLinear(256, 64, quant_config=rules), {None: tensors})(x)
        parts, total = [], 0
        for rank in range(2):
            here = {"rank": rank, "world": 2, "quant_config": rules}
            parts.append(loaded(ColumnParallelLinear(256, 64, **here), {None: tensors})(x))
            total = total + loaded(RowParallelLinear(256, 64, **here), {None: tensors})(x.chunk(2, -1)[rank])
        torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=1e-5, atol=1e-4)
        a = scheme.input_activations
        if a.group_size is not None:
            torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-4)
        else:
            both = (fake(x, a), torch.cat([fake(c, a) for c in x.chunk(2, -1)], -1))
            allowed = (both[0] - both[1]).abs() @ dequantize(q).abs().T
            assert (total != whole).any() and ((total - whole).abs() <= allowed + 1e-4).all()

    @pytest.mark.parametrize("name", ["W8A8_STATIC", "FP8"])
    def test_static_scales_of_parts(self, name, caplog):
        """Equal: nothing changes. Different: the largest is taken, and said; a part's error is that of the larger step."""
        scheme, layout = PRESETS[name], "int-quantized" if name == "W8A8_STATIC" else "float-quantized"
        parts = [quantize(torch.randn(32, 64), scheme.weights) for _ in range(2)]
        files = [LAYOUTS[layout].pack(q) for q in parts]
        x, limit = torch.randn(7, 64), scheme.input_activations.grid.limit
        own = x.abs().max().item() / limit
        for scales, top in (((own, own), own), ((own, 3 * own), 3 * own)):
            layer = MergedColumnParallelLinear(64, [32, 32], quant_config=config(scheme, layout), prefix="gate_up_proj")
            with caplog.at_level(logging.WARNING, "qcourse"):
                loaded(layer, {i: files[i] | {"input_scale": torch.tensor([s])} for i, s in enumerate(scales)})
            told = [r.message for r in caplog.records if "gate_up_proj: its parts have static input scales" in r.message]
            assert len(told) == (scales[0] != scales[1]) and layer.input_scale.item() == pytest.approx(top)
            rounded = fake(x, scheme.input_activations, layer.input_scale)
            torch.testing.assert_close(layer(x), rounded @ torch.cat([dequantize(q) for q in parts]).T, rtol=1e-5, atol=1e-4)
            if name == "W8A8_STATIC":
                assert (rounded - x).abs().max() <= top / 2 * 1.0001  # half a step of the largest, where own / 2 was
        for wrong, said in (({}, "tensor 'input_scale' is missing"), ({"input_scale": torch.ones(2)}, "has 2 numbers")):
            layer = MergedColumnParallelLinear(64, [32, 32], quant_config=config(scheme, layout), prefix="gate_up_proj")
            with pytest.raises(ValueError, match=said):
                layer.load(files[0] | wrong, 0)

    @pytest.mark.parametrize("name", ["W4A16", "W8A16_TENSOR", "FP8_BLOCK", "Q4_K", "NVFP4A16"])
    def test_on_the_way_in(self, name):
        """Parts as layers of their own; NVFP4's with one upper scale, which is the format's."""
        W, rules = [torch.randn(128, 512).bfloat16() * f for f in (1, 8)], get_quantization_config(name)
        layer = MergedColumnParallelLinear(512, [128, 128], quant_config=rules, prefix="gate_up_proj")
        loaded(layer, {i: {"weight": w} for i, w in enumerate(W)})
        peak = {"peak": max(w.abs().max().item() for w in W)} if name == "NVFP4A16" else {}
        args = PRESETS[name].weights
        assert torch.equal(layer.dequantized(), torch.cat([dequantize(quantize(w, args, **peak)) for w in W]))


def fake(x, args, scale=None):
    from qcourse.gemm.activations import fake_quantize_input

    return fake_quantize_input(x, args, scale)


class Vendor(LinearMethodBase):
    """As somebody writes one for vLLM: GPTQ-like words and zero points, and one number a part, by attributes alone."""

    def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype,
                       **extra_weight_attrs):  # fmt: skip
        self.called = {k: v for k, v in locals().items() if k not in ("self", "layer")}
        N, K, G = sum(output_partition_sizes), input_size_per_partition, 64
        along_n, along_k = {"packed_dim": 1, "packed_factor": 8}, {"packed_dim": 0, "packed_factor": 8}
        for name, t, attributes in (
            ("qweight", torch.empty(K // 8, N, dtype=torch.int32), {"input_dim": 0, "output_dim": 1, **along_k}),
            ("qzeros", torch.empty(K // G, N // 8, dtype=torch.int32), {"input_dim": 0, "output_dim": 1, **along_n}),
            ("scales", torch.empty(K // G, N, dtype=torch.float16), {"input_dim": 0, "output_dim": 1}),
            ("gain", torch.empty(len(output_partition_sizes)), {"needs_scalar_to_array": True}),
            ("version", torch.empty(1, dtype=torch.int32), {}),
        ):
            layer.register_parameter(name, nn.Parameter(t, requires_grad=False))
            for key, value in {**attributes, **extra_weight_attrs}.items():
                setattr(layer._parameters[name], key, value)
        layer.logical_widths = output_partition_sizes

    def apply(self, layer, x, bias=None):
        t, sizes = {n: p.data for n, p in layer.named_parameters() if n != "bias"}, layer.logical_widths
        K, N, gain = len(t["qweight"]) * 8, t["qweight"].shape[1], t.pop("gain")
        t.pop("version")
        args = FORMATS["W4A16_ASYM"].with_(granularity=PRESETS["W4A16_G64"].weights.granularity)
        W = dequantize(layout_of("gptq_v2").unpack(t, args, N, K)) * gain.repeat_interleave(torch.tensor(sizes)).view(-1, 1)
        return nn.functional.linear(x, W.to(x.dtype), bias)


class One(QuantizationConfig):
    """The same method for all layers."""

    def __init__(self, method):
        self.method = method

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError

    def get_quant_method(self, layer, prefix):
        return self.method


class TestSomebodyElsesMethod:
    def file(self, N: int, K: int, gain: float) -> dict:
        args = FORMATS["W4A16_ASYM"].with_(granularity=PRESETS["W4A16_G64"].weights.granularity)
        t = layout_of("gptq_v2").pack(quantize(torch.randn(N, K), args))
        t["scales"] = t["scales"].half()
        return {n: v for n, v in t.items() if n != "g_idx"} | {
            "gain": torch.tensor(gain),
            "version": torch.tensor([2]).int(),
        }

    def test_by_attributes(self):
        """Two ranks against one, for all four classes: a Linear of ours loads the same file whole."""
        files = {p: self.file(n, 256, g) for p, n, g in (("q", 64, 1.0), ("k", 32, 2.0), ("v", 32, 4.0))}
        whole, x = {}, torch.randn(3, 256)
        for p, t in files.items():
            layer = Linear(256, 64 if p == "q" else 32, quant_config=One(Vendor()))
            for name, value in t.items():
                layer._parameters[name].data = value.reshape(layer._parameters[name].shape)
            whole[p] = layer
        total = 0
        for rank in range(2):
            here = {"rank": rank, "world": 2, "quant_config": One(Vendor())}
            qkv = loaded(QKVParallelLinear(256, 16, 4, 2, prefix="qkv_proj", **here), files)
            merged = loaded(MergedColumnParallelLinear(256, [32, 32], **here), {0: files["k"], 1: files["v"]})
            column = loaded(ColumnParallelLinear(256, 64, **here), {None: files["q"]})
            cut = {p: whole[p](x).chunk(2, -1)[rank] for p in whole}
            for layer, parts in ((qkv, "qkv"), (merged, "kv"), (column, "q")):
                torch.testing.assert_close(layer(x), torch.cat([cut[p] for p in parts], -1))
                assert layer.dequantized().shape == (layer.output_size_per_partition, 256)
            row = loaded(RowParallelLinear(256, 64, **here), {None: files["q"]})
            assert row.dequantized().shape == (64, 128)
            total = total + row(x.chunk(2, -1)[rank])
        torch.testing.assert_close(total, whole["q"](x), rtol=1e-5, atol=1e-4)

    @pytest.mark.parametrize("kernel_bits", [3, 4])
    def test_int3(self, kernel_bits):
        files = {}
        for p, n in (("q", 64), ("k", 32), ("v", 32)):
            files[p] = {"qweight": torch.randint(0, 256, (n, 48)).byte(), "scale": torch.rand(n, 2).bfloat16() + 0.5}
        whole = {p: loaded(ColumnParallelLinear(128, len(t["scale"]), quant_config=One(Int3LinearMethod(64, kernel_bits))),
                           {None: t}).dequantized() for p, t in files.items()}  # fmt: skip
        for rank in range(2):
            here = {"rank": rank, "world": 2, "quant_config": One(Int3LinearMethod(64, kernel_bits))}
            layer = loaded(QKVParallelLinear(128, 16, 4, 2, prefix="qkv_proj", **here), files)
            assert torch.equal(layer.dequantized(), torch.cat([whole[p].chunk(2)[rank] for p in "qkv"]))
            row = loaded(RowParallelLinear(128, 64, **here), {None: files["q"]})
            assert torch.equal(row.dequantized(), whole["q"].chunk(2, 1)[rank])

    def test_what_create_weights_is_told(self):
        """vLLM's keywords and numbers; kv heads that two ranks share are counted twice in output_size."""
        for make, sizes, k, whole in (
            (lambda o: ColumnParallelLinear(256, 64, **o), [16], 256, 64),
            (lambda o: RowParallelLinear(256, 64, **o), [64], 64, 64),
            (lambda o: MergedColumnParallelLinear(256, [64, 96], **o), [16, 24], 256, 160),
            (lambda o: QKVParallelLinear(256, 16, 8, 2, **o), [32, 16, 16], 256, 256),
        ):
            method = Vendor()
            layer = make({"rank": 3, "world": 4, "quant_config": One(method), "dtype": torch.float16})
            loader = method.called["extra_weight_attrs"].pop("weight_loader")
            assert loader == layer.weight_loader and not method.called.pop("extra_weight_attrs")
            assert method.called == {
                "input_size_per_partition": k, "output_partition_sizes": sizes, "input_size": 256, "output_size": whole,
                "params_dtype": torch.float16,
            }  # fmt: skip

    def test_a_loader_of_its_own(self):
        """A parameter may bring one, as in vLLM: called with (param, tensor, part)."""
        seen = []

        class Own(Vendor):
            def create_weights(self, layer, *args, weight_loader, **sizes):
                super().create_weights(layer, *args, weight_loader=lambda param, t, *part: seen.append(part), **sizes)

        layer = MergedColumnParallelLinear(256, [32, 32], quant_config=One(Own()))
        layer.load(self.file(32, 256, 1.0), 1)
        assert seen == [(1,)] * 5

    def test_wrong_attributes_and_tensors(self):
        make = lambda **o: MergedColumnParallelLinear(256, [32, 32], quant_config=One(Vendor()), prefix="gate_up_proj", **o)  # noqa: E731
        t = self.file(32, 256, 1.0)
        with pytest.raises(ValueError, match="gate_up_proj, part 0: 0 to 4 of 32 would tear a word of 8"):
            make(world=8).load(t, 0)
        with pytest.raises(ValueError, match="scales is torch.float32: torch.float16 expected"):
            make().load(t | {"scales": t["scales"].float()}, 0)
        with pytest.raises(ValueError, match="tensor 'version' is missing"):
            make().load({n: v for n, v in t.items() if n != "version"}, 0)
        layer = make()
        layer.load(t, 0)
        with pytest.raises(ValueError, match="one tensor for all parts .*no output_dim.*, and the parts' differ"):
            layer.load(t | {"version": torch.tensor([1]).int()}, 1)


class TestFusedPrefixes:
    def test_parts_that_differ_are_named(self):
        prefix = "model.layers.0.self_attn.qkv_proj"
        for rules, said in (
            ([["v_proj", "W8A16"], ["Linear", "W4A16"]], "q_proj: int4, group_size=128.*v_proj: int8, per channel"),
            ([["re:.*k_proj", None], ["Linear", "W4A16"]], "q_proj: int4.*k_proj: 16 bits"),
        ):
            with pytest.raises(
                ValueError, match=rf"{prefix} is one layer here, and its parts .*{said}.*give model.layers.0"
            ):
                get_quantization_config({"rules": rules}).get_quant_method(None, prefix)
        layouts = [Rule("gate_proj", PRESETS["W4A16"], "gptq"), Rule("Linear", PRESETS["W4A16"], "awq")]
        with pytest.raises(ValueError, match="layout gptq; up_proj: .*layout awq"):
            RulesConfig(layouts, quantizer=None).get_quant_method(None, "mlp.gate_up_proj")

    def test_parts_that_agree(self):
        rules = get_quantization_config({"rules": [["model.layers.0", None], ["Linear", "W4A16"]], "ignore": []})
        assert isinstance(rules.get_quant_method(None, "model.layers.0.mlp.gate_up_proj"), UnquantizedLinearMethod)
        assert rules.get_quant_method(None, "model.layers.1.mlp.gate_up_proj").scheme == PRESETS["W4A16"]
        rules.refuse_unmatched(["model.layers.0.mlp.gate_proj"])

    def test_static_scales_from_a_config(self):
        scales = {f"m.{p}_proj": s for p, s in (("q", 0.5), ("k", 0.5), ("v", 0.25))}
        rules = get_quantization_config({"scheme": "W8A8_STATIC", "input_scales": scales})
        assert rules.get_quant_method(None, "m.qkv_proj").input_scale == 0.5


def test_shares_that_cannot_be():
    args = FORMATS["W4A16"]
    assert {s.why for s in shares("gptq", args, 64, 256, 3, "K")} == {"K=256 is not a multiple of world=3"}
    (first, second) = shares("gptq", args, 64, 256, 2, "K", act_order=True)
    assert "g_idx cannot be cut at 128: act_order" in first.why and not first.tensors and second.why == first.why
    assert shares("gptq", args, 64, 256, 2, act_order=True)[1].tensors["g_idx"] == ((0, 256),)
    for bad in ({"along": "M"}, {"world": 0}):
        with pytest.raises(ValueError, match="'N' or 'K', and at least one rank"):
            shares("row", args, 64, 256, **{"world": 2} | bad)
