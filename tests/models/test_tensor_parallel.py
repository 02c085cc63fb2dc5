"""A model on several ranks has the logits of the model: shipped, quantized on the way in, as other libraries wrote it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qcourse.checkpoints.errors import CheckpointError
from qcourse.layers.config import get_quantization_config
from qcourse.layers.fused import shared_peaks
from qcourse.layers.int3 import Int3LinearMethod
from qcourse.models import loader
from qcourse.models.export_gguf import export_gguf
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model, save_model
from qcourse.models.parallel import bytes_of, tensor_parallel
from qcourse.models.save_int3 import save_int3

FILES = Path(__file__).parent.parent / "checkpoints" / "files"
NAMES = sorted(p.parent.name for p in FILES.glob("*/digests.json"))
SMALL = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, head_dim=16, max_position_embeddings=64)  # fmt: skip
REFUSED = {  # layer, and the reason: on one rank where parts cannot be merged, on two where shares cannot be cut
    "ct_fp8_block": (1, "qkv_proj: weight_scale cannot be cut at 32: 128 of W"),
    "ct_fp8_block_dynamic": (1, "qkv_proj: weight_scale cannot be cut at 16: 128 of W"),
    "ct_mixed": (1, "qkv_proj is one layer here, .*v_proj: 16 bits"),
    "ct_mxfp4a16": (2, "o_proj: weight_scale cannot be cut at 16: 32 of W"),
    "ct_mxfp6a16": (2, "o_proj: weight_scale cannot be cut at 16: 32 of W"),
    "ct_mxfp8": (2, "o_proj: weight_scale cannot be cut at 16: 32 of W"),
    "ct_nvfp4a16": (1, "_proj: the parts' scales lie under different numbers"),
    "ct_w3a16": (2, "o_proj: weight_packed cannot be cut at 16: 32 of W"),
    "ct_w3a16_asym": (1, "qkv_proj: weight_zero_point cannot be cut at 48: 32 of W"),
    "ct_w4a16": (2, "o_proj: weight_scale cannot be cut at 16: 32 of W"),
    "ct_w4a16_asym": (2, "o_proj: weight_scale cannot be cut at 16: 32 of W"),
    "ct_w5a16": (2, "o_proj: weight_packed cannot be cut at 16: 32 of W"),
    "ct_w7a16_asym": (1, "qkv_proj: weight_zero_point cannot be cut at 48: 32 of W"),
    "gguf_gpt2": (1, "qkv_proj is one layer here, .*layout gguf; k_proj: "),
    "gguf_kquants": (1, "qkv_proj is one layer here, .*layout gguf; k_proj: "),
    "gguf_mixed": (1, "qkv_proj is one layer here, .*layout gguf; k_proj: "),
    "gptq_3bit": (2, "gate_up_proj: qzeros cannot be cut at 16: 32 of W"),
    "gptq_3bit_asym": (1, r"qkv_proj: .*k_proj.g_idx is not that of .*q_proj \(act_order\)"),
    "gptq_act_order": (1, r"qkv_proj: .*k_proj.g_idx is not that of .*q_proj \(act_order\)"),
    "gptq_act_order_asym": (1, r"qkv_proj: .*k_proj.g_idx is not that of .*q_proj \(act_order\)"),
    "gptq_dynamic": (1, "qkv_proj is one layer here, .*k_proj: uint4"),
}
ROUNDED = ("ct_w8a8", "ct_fp8_dynamic", "ao_int8_dynamic")  # one scale a token: a rank with some of its columns has its own


def source(name: str) -> Path:
    gguf = FILES / name / "model.gguf"
    return gguf if gguf.exists() else FILES / name


def same(model, ranks, name: str, bound: float = 1e-4, count: int = 64):
    """fp32 sums in another order: 1e-4 of the largest logit, as against the reference libraries (test_reference_files), for
    so many tokens that no kernel rounds x to integers."""
    ids = torch.randint(0, model.config.vocab_size, (count, 16))
    expected, got = model(ids), ranks(ids)
    torch.testing.assert_close(got, expected, rtol=0, atol=bound * expected.abs().max().item())
    assert torch.equal(got.argmax(-1), expected.argmax(-1)), name


class TestShipped:
    @pytest.mark.parametrize("world", [1, 2, 4])
    def test_in_16_bits(self, shipped, world):
        """kv heads are two: four ranks hold each twice. Embedding and norms are everybody's."""
        ranks = tensor_parallel(world=world)
        same(shipped, ranks, "shipped", 1e-5, 4)
        ends = bytes_of(shipped.model.embed_tokens, shipped.model.norm)
        norms = bytes_of(*(n for b in shipped.model.layers for n in (b.input_layernorm, b.post_attention_layernorm)))
        twice = [m for b in shipped.model.layers for m in (b.self_attn.k_proj, b.self_attn.v_proj)]
        copies = sum(m.weight.nbytes for m in twice) * (world == 4)  # (after a decode step q, k, v share one storage)
        blocks = bytes_of(*shipped.linears().values()) + copies
        assert ranks.nbytes == [ends + norms + blocks // world] * world

    def test_quantized_on_the_way_in(self):
        """The codes are those of the whole: quantized before they are cut."""
        model, ranks = load_model(quantization="W4A16"), tensor_parallel(world=2, quantization="W4A16")
        same(model, ranks, "W4A16", 2e-4, 2)  # few tokens: x in int16
        assert max(ranks.nbytes) < 0.7 * bytes_of(model)

    def test_ranks_that_do_not_fit(self):
        for world, scheme, said in (
            (3, None, "qkv_proj: heads = 4 is not a multiple of world = 3"),
            (4, "W4A16", "o_proj: scale cannot be cut at 64: 128 of W lie in one piece"),
            (2, "FP8_BLOCK", "qkv_proj: scale cannot be cut at 192: 128 of W"),
            (1, "NF4", "qkv_proj: weight cannot be cut at 256: 256 scales of neighbours share one, over the ends of rows"),
        ):
            with pytest.raises(ValueError, match=f"^model.layers.0.self_attn.{said}"):
                tensor_parallel(world=world, quantization=scheme)

    def test_no_ranks(self):
        for world in (0, -1, 1.0, True):
            with pytest.raises(ValueError, match="world=.*: a number of ranks, at least 1"):
                tensor_parallel(world=world)

    def test_no_cache(self):
        with pytest.raises(ValueError, match="ranks keep no KV cache"):
            tensor_parallel(world=2)(torch.zeros(1, 1, dtype=torch.long), cache=object())


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_reference_libraries(name, monkeypatch):
    """As far as their few columns go; else refused by layer and reason, before anything but g_idx is read."""
    path, (refused, said), read = source(name), REFUSED.get(name, (3, "")), []
    fill = loader.fill
    monkeypatch.setattr(loader, "fill", lambda *args: read.append(name) or fill(*args))
    for world in range(1, min(refused, 3)):
        check = close if world > 1 and name in ROUNDED else same
        check(load_model(path), tensor_parallel(path, world), name)
    if refused < 3:
        read.clear()
        with pytest.raises(CheckpointError, match=f"{name}.*: model.layers.0..*{said}"):
            tensor_parallel(path, refused)
        assert not read or "different numbers" in said  # numbers of the file


def close(model, ranks, name: str):
    """Two roundings of the same step: as far from exact logits as the whole model's, within test_reference_files' 1.5."""
    with np.load(FILES / name / "expected.npz", allow_pickle=False) as z:
        ids, exact = torch.from_numpy(z["ids"])[None], torch.from_numpy(z["logits"])
    one, two = (m(ids)[0][-len(exact) :] - exact for m in (model, ranks))
    assert 0 < two.pow(2).mean().sqrt() <= 1.5 * one.pow(2).mean().sqrt()


def test_gguf(tmp_path):
    """Blocks of 32: rows of q and k in their own order, an embedding that stays in Q8_0."""
    model = small(vocab_size=2048, hidden_size=128, head_dim=32)
    export_gguf(model, SHIPPED, tmp_path / "m.gguf", "Q4_0")
    model = load_model(tmp_path / "m.gguf")
    for world in (2, 4):
        same(model, tensor_parallel(tmp_path / "m.gguf", world), "Q4_0", 2e-4, 4)


def small(**changes) -> LlamaForCausalLM:
    model = LlamaForCausalLM(replace(SMALL, **changes))
    for p in model.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 and not changes else 0.0, 0.2)
    return model.requires_grad_(False).eval()


def test_biases_are_added_once(tmp_path):
    save_model(small(attention_bias=True, output_bias=True, mlp_bias=True, tie_word_embeddings=False), tmp_path)
    for world in (1, 2, 4):
        same(load_model(tmp_path), tensor_parallel(tmp_path, world), "")


def test_scales_of_the_whole(tmp_path):
    """One scale a matrix, or one number above NVFP4's scales, is found before the cut; q, k, v need the same number."""
    save_model(small(), tmp_path)
    config = replace(get_quantization_config("NVFP4A16"), quantizer=shared_peaks(load_model(tmp_path).fused()))
    for scheme in ("W8A16_TENSOR", config):
        same(load_model(tmp_path, scheme), tensor_parallel(tmp_path, 2, scheme), str(scheme))
    with pytest.raises(ValueError, match="_proj: the parts' scales lie under different numbers.*shared_peaks"):
        tensor_parallel(tmp_path, 2, "NVFP4A16")


def test_a_registered_class(tmp_path):
    """INT3, whose parameters say by attributes how they are cut."""
    save_int3(small(), tmp_path, 32)
    model = load_model(tmp_path)
    assert isinstance(next(iter(model.linears().values())).quant_method, Int3LinearMethod)
    same(model, tensor_parallel(tmp_path, 2), "")
    with pytest.raises(CheckpointError, match="o_proj: group_size=32 does not divide K=16"):
        tensor_parallel(tmp_path, 4)


def test_a_source_that_is_quantized():
    with pytest.raises(ValueError, match="the weights are quantized already; run them without `quantization`"):
        tensor_parallel(source("ct_w2a16"), quantization="W8A16")
