"""The vendor's INT3, and the registry through which it, or a learner's class, is read."""

import json

import pytest
import torch
from bounds import near
from torch import nn

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.checkpoints.writer import write_tensors
from qcourse.gemm.choose import choose
from qcourse.layers.config import get_quantization_config
from qcourse.layers.int3 import Int3Config, Int3LinearMethod
from qcourse.layers.linear import Linear, quantize_layers
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.layers.registry import QUANTIZATION_CONFIGS, register_quantization_config
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.generate import generate
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.models.save import save_model
from qcourse.models.save_int3 import save_int3
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import int_weight
from qcourse.packing.packed import pack, unpack

SMALL = LlamaConfig(64, 64, 128, 1, 2, 1, 32, tie_word_embeddings=False)
UP = "model.layers.0.mlp.up_proj"


def small():
    model = LlamaForCausalLM(SMALL)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped model in INT3."""
    path = tmp_path_factory.mktemp("int3")
    save_int3("shipped", path)
    return path


@pytest.fixture(scope="module")
def w3():
    return load_model(quantization={"scheme": "W3A16", "group_size": 64})


@pytest.fixture
def in_file_bytes(monkeypatch):
    """What `load_model` takes for INT3 in this test: the class that keeps 3 bits, for the reference."""

    class Kept(Int3Config):
        def __init__(self, group_size, ignore):
            super().__init__(group_size, ignore, kernel_bits=3)

    monkeypatch.setitem(QUANTIZATION_CONFIGS, Int3Config.name, Kept)


@pytest.fixture
def registry(monkeypatch):
    """The registry, put back afterwards."""
    before = dict(QUANTIZATION_CONFIGS)
    yield QUANTIZATION_CONFIGS
    QUANTIZATION_CONFIGS.clear()
    QUANTIZATION_CONFIGS.update(before)


def tensors_of(W, G):
    """qweight and scale of W, by counting bits in Python's integers: the format's second implementation."""
    q = quantize(W, int_weight(3, per_group(G)))
    rows = []
    for row in q.codes.tolist():
        number = sum((code + 4) << (3 * i) for i, code in enumerate(row))
        rows.append(list(number.to_bytes(len(row) * 3 // 8, "little")))
    return {"qweight": torch.tensor(rows, dtype=torch.uint8), "scale": q.scale}, q


def filled(method, sizes, K, tensors, **attrs):
    """A bare layer of the parts' sizes, with `tensors` behind each other along output_dim, as vLLM's loaders lay them."""
    layer = nn.Module()
    method.create_weights(layer, K, sizes, K, sum(sizes), torch.bfloat16, **attrs)
    for name in ("qweight", "scale"):
        param, begin = getattr(layer, name), 0
        for n, part in zip(sizes, tensors, strict=True):
            param.data.narrow(param.output_dim, begin, n).copy_(part[name])
            begin += n
    method.process_weights_after_loading(layer)
    return layer


def test_the_file_is_the_format_bit_by_bit(tmp_path):
    model = small()
    save_int3(model, tmp_path / "out", group_size=32)
    found = SafetensorsFile(tmp_path / "out" / "model.safetensors")
    want, _ = tensors_of(model.linears()[UP].weight, 32)
    for name, t in want.items():
        read = found.read(f"{UP}.{name}")
        assert torch.equal(read, t) and read.dtype == t.dtype
    assert found.read("lm_head.weight").dtype == torch.bfloat16 and f"{UP}.weight" not in found.tensors
    said = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert said == {"quant_method": "qcourse-int3", "group_size": 32, "ignore": ["lm_head"]}


def test_codes_are_those_of_w3a16(folder, w3):
    model = load_model(folder)
    for (name, layer), ours in zip(model.linears().items(), w3.linears().values(), strict=True):
        a, b = unpack(layer.product.p), unpack(ours.product.p)
        assert torch.equal(a.codes, b.codes) and torch.equal(a.scale, b.scale), name
        assert torch.equal(layer.dequantized(), ours.dequantized())


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (2, 70)])
def test_with_the_files_bytes_logits_are_w3a16s_bit_for_bit(folder, w3, in_file_bytes, shape):
    ids = torch.randint(0, 2000, shape)
    with torch.inference_mode():
        assert torch.equal(load_model(folder)(ids), w3(ids))


@pytest.mark.parametrize("kernel_bits", [3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("tokens", [1, 5, 200])
def test_apply_keeps_the_law(kernel_bits, dtype, tokens):
    tensors, q = tensors_of(torch.randn(32, 128), 64)
    method = Int3LinearMethod(64, kernel_bits)
    layer = filled(method, [32], 128, [tensors])
    with torch.inference_mode():
        x = torch.randn(tokens, 128).to(dtype)
        y = method.apply(layer, x)
        assert y.dtype == dtype and near(y, x, q)
        bias = torch.randn(32).to(dtype)
        assert torch.equal(method.apply(layer, 0 * x, bias), bias.expand(tokens, 32))
    assert torch.equal(method.dequantized(layer), dequantize(q))
    assert torch.equal(LinearMethodBase.embedding(method, layer, torch.tensor([3])), dequantize(q)[3:4])


def test_the_repacked_codes_are_the_int4_kernels_own():
    """What it multiplies is what that kernel is handed for the same numbers as int4: no other kernel, no other rounding."""
    tensors, q = tensors_of(torch.randn(16, 128), 64)
    layer, x = filled(Int3LinearMethod(64), [16], 128, [tensors]), torch.randn(3, 128)
    four = pack(type(q)(q.codes, q.scale, None, int_weight(4, per_group(64))), "row")
    assert torch.equal(layer.product.p.data, four.data) and torch.equal(layer.product(x), choose(four)(x))


@pytest.mark.parametrize(("kernel_bits", "bits"), [(3, 3 + 16 / 64), (4, 4 + 16 / 64)])
def test_bytes_are_those_that_the_docstring_says(kernel_bits, bits):
    tensors, _ = tensors_of(torch.randn(16, 128), 64)
    layer = filled(Int3LinearMethod(64, kernel_bits), [16], 128, [tensors])
    assert sum(8 * t.nbytes for t in layer.buffers()) == bits * 16 * 128 and not list(layer.parameters())
    assert sum(8 * t.nbytes for t in tensors.values()) == 3.25 * 16 * 128


def test_merged_layers_are_their_parts_behind_each_other():
    parts = [tensors_of(torch.randn(n, 64), 32)[0] for n in (24, 8, 8)]
    method = Int3LinearMethod(32)
    layer, x = filled(method, [24, 8, 8], 64, parts, weight_loader=print), torch.randn(2, 64)
    each = [method.apply(filled(method, [n], 64, [p]), x) for n, p in zip((24, 8, 8), parts, strict=True)]
    assert torch.equal(method.apply(layer, x), torch.cat(each, -1))


def test_parameters_say_to_vllms_loaders_how_they_are_cut():
    layer = nn.Module()
    Int3LinearMethod(32).create_weights(layer, 64, [8, 8], 64, 16, torch.bfloat16, weight_loader=print)
    for p in (layer.qweight, layer.scale):
        assert (p.output_dim, p.input_dim, p.packed_dim, p.weight_loader) == (0, 1, None, print) and not p.requires_grad
    tensors, q = tensors_of(torch.randn(8, 64), 32)
    half = {name: t.narrow(1, t.shape[1] // 2, t.shape[1] // 2) for name, t in tensors.items()}  # rank 1 of 2
    method = Int3LinearMethod(32)
    assert torch.equal(method.dequantized(filled(method, [8], 32, [half])), dequantize(q)[:, 32:])


def test_generates_and_brings_its_tokenizer(folder):
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = tokenizer.encode("def main(", bos=True)
    ours = generate(model, ids, 16)
    whole = load_model(folder)  # q, k, v as one product, or each by itself
    for layer in whole.linears().values():
        layer.register_forward_hook(lambda *_: None)
    assert generate(whole, ids, 16) == ours


def test_dequantized_it_is_a_model_in_16_bits(folder):
    plain = load_model(folder, dequantize=True)
    for layer, codes in zip(plain.linears().values(), load_model(folder).linears().values(), strict=True):
        assert isinstance(layer.quant_method, UnquantizedLinearMethod) and not list(layer.buffers())
        assert torch.equal(layer.weight, codes.dequantized().bfloat16())
    with pytest.raises(ValueError, match="quantized already"):
        load_model(folder, "W4A16")


def test_a_model_in_memory_and_its_folder_give_the_same_tensors(tmp_path):
    save_model(small(), tmp_path / "bf16")
    save_int3(tmp_path / "bf16", tmp_path / "a", 32)
    save_int3(load_model(tmp_path / "bf16"), tmp_path / "b", 32)
    save_int3(load_model(tmp_path / "bf16"), tmp_path / "b", 32)  # its own folder, again
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_what_cannot_be_written_is_said_before(tmp_path):
    with pytest.raises(ValueError, match=r"model.layers.0.self_attn.q_proj: group_size=48 does not divide K=64"):
        save_int3(small(), tmp_path / "out", 48)
    with pytest.raises(ValueError, match="group_size=0: at least 1"):
        save_int3(small(), tmp_path / "out", 0)
    with pytest.raises(ValueError, match="is quantized"):
        save_int3(quantize_layers(small(), get_quantization_config("W8A16")), tmp_path / "out", 32)
    assert not (tmp_path / "out").exists()
    save_model(small(), tmp_path / "other")
    with pytest.raises(ValueError, match="holds another model"):
        save_int3(small(), tmp_path / "other", 32)


@pytest.mark.parametrize(("G", "K", "says"), [
    (64, 96, "group_size=64 does not divide K=96"),
    (4, 12, "K has to be a multiple of 8"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_naming_the_layer(G, K, says):
    with pytest.raises(ValueError, match=says) as refusal:
        Linear(K, 8, quant_config=Int3Config(G), prefix=UP)
    assert str(refusal.value).startswith(UP)


@pytest.mark.parametrize(("config", "says"), [
    ({"group_size": None}, "group_size is missing"),
    ({"group_size": 64.0}, "int expected"),
    ({"group_size": -1}, "group_size=-1"),
    ({"bits": 3}, "unknown key 'bits'"),
    ({"ignore": "lm_head"}, "list expected"),
    ({"ignore": [3]}, "layer names"),
    ({"ignore": ["up_projj"]}, "'up_projj', and this model has no such layer"),
])  # fmt: skip
def test_a_config_is_honoured_or_refused(config, says, tmp_path):
    save_int3(small(), tmp_path, 32)
    said = json.loads((tmp_path / "config.json").read_text())
    said["quantization_config"] |= config
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=says):
        load_model(tmp_path)


@pytest.mark.parametrize("kernel_bits", [2, 5, "4"])
def test_other_kernels_are_refused(kernel_bits):
    with pytest.raises((ValueError, TypeError), match="kernel_bits"):
        Int3Config(64, kernel_bits=kernel_bits)


@pytest.mark.parametrize(("name", "change", "says"), [
    ("qweight", lambda t: t[:, :-3], r"has shape \(128, 21\): \(128, 24\) expected"),
    ("qweight", lambda t: t.view(torch.int8), "is int8: uint8 expected"),
    ("scale", lambda t: t.half(), "is float16: bfloat16 expected"),
    ("scale", lambda t: t * float("nan"), "a scale is NaN or inf"),
    ("scale", None, "is missing"),
])  # fmt: skip
def test_a_tensor_is_what_create_weights_declared_or_refused_by_name(name, change, says, tmp_path):
    save_int3(small(), tmp_path, 32)
    file = SafetensorsFile(tmp_path / "model.safetensors")
    tensors = {n: file.read(n) for n in file.tensors}
    t = tensors.pop(f"{UP}.{name}")
    if change is not None:
        tensors[f"{UP}.{name}"] = change(t).contiguous()
    write_tensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=says) as refusal:
        load_model(tmp_path)
    assert UP in str(refusal.value)


def test_an_ignored_layer_stays_in_16_bits_whole():
    config = Int3Config(32, ["lm_head", "down_proj", "model.layers.1"])
    kept = [p for p in (UP, "model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_up_proj", "lm_head")
            if isinstance(config.get_quant_method(None, p), UnquantizedLinearMethod)]  # fmt: skip
    assert kept == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.gate_up_proj", "lm_head"]
    with pytest.raises(ValueError, match="qkv_proj is one layer here, and ignore names only some of it: .*v_proj"):
        Int3Config(32, ["v_proj"]).get_quant_method(None, "model.layers.0.self_attn.qkv_proj")


class Halves(LinearMethodBase):
    """A learner's first format, with nothing but what vLLM asks for: int8 codes of half a unit each."""

    def create_weights(
        self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype, **attrs
    ):
        """One tensor."""
        shape = (sum(output_partition_sizes), input_size_per_partition)
        layer.register_parameter("codes", nn.Parameter(torch.empty(shape, dtype=torch.int8), requires_grad=False))

    def apply(self, layer, x, bias=None):
        """Decode, multiply."""
        return nn.functional.linear(x, layer.codes.to(x.dtype) / 2, bias)


def halves_folder(path):
    """A folder in that format, and its weights."""
    model = small()
    save_model(model, path)
    codes = {f"{n}.codes": torch.randint(-2, 3, m.weight.shape, dtype=torch.int8) for n, m in model.linears().items()}
    rest = {n: p for n, p in model.named_parameters() if n.removesuffix(".weight") not in model.linears()}
    write_tensors(path / "model.safetensors", rest | codes)
    said = json.loads((path / "config.json").read_text()) | {"quantization_config": {"quant_method": "halves"}}
    (path / "config.json").write_text(json.dumps(said))
    return codes


def test_a_learners_class_is_one_line(tmp_path, registry):
    codes = halves_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"quant_method = 'halves'.*register_quantization_config"):
        load_model(tmp_path)

    @register_quantization_config("halves")
    class HalvesConfig(QuantizationConfig):
        @classmethod
        def from_config(cls, config):
            return cls()

        def get_quant_method(self, layer, prefix):
            return Halves()

    assert registry["halves"] is HalvesConfig and HalvesConfig().get_name() == "HalvesConfig"
    model = load_model(tmp_path)
    for name, layer in model.linears().items():
        assert torch.equal(layer.dequantized(), codes[f"{name}.codes"].float() / 2)
    ids = generate(model, [1, 2, 3], 5)
    plain = load_model(tmp_path, dequantize=True)
    assert ids == generate(plain, [1, 2, 3], 5) and not any("codes" in n for n, _ in plain.named_parameters())
    register_quantization_config("halves")(Int3Config)  # a cell is run again: the last one wins
    with pytest.raises(CheckpointError, match="qcourse-int3"):
        load_model(tmp_path)


def test_a_key_that_a_class_misses_is_an_error_of_the_file(tmp_path, registry):
    halves_folder(tmp_path)

    @register_quantization_config("halves")
    class HalvesConfig(Int3Config):
        @classmethod
        def from_config(cls, config):
            return cls(config["group_size"])

    with pytest.raises(CheckpointError, match="config.json, quantization_config: 'group_size' is missing"):
        load_model(tmp_path)


def test_only_configs_can_be_registered(registry):
    with pytest.raises(TypeError, match="not a subclass"):
        register_quantization_config("halves")(Halves)
    with pytest.raises(ValueError, match="as text"):
        register_quantization_config(None)
    assert "halves" not in registry
