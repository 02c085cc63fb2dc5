import copy
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from qcourse.layers.config import get_quantization_config
from qcourse.layers.linear import Linear, quantize_layers
from qcourse.methods.calibration import calibrate
from qcourse.methods.hadamard import hadamard, hadamard_transform
from qcourse.methods.rotation import Stream, fold_gains, peak_to_rms, rotate, rotate_online, turn
from qcourse.models.generate import generate
from qcourse.models.kv_cache import KVCache
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model, read_config, save_model
from qcourse.numerics.granularity import per_channel, per_group, per_token
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationArgs, int_weight
from qcourse.study.perplexity import paired_difference, perplexity, windows

FILES = Path(__file__).parents[1] / "checkpoints" / "files"
CLOSE = {"atol": 2e-4, "rtol": 1e-4}  # logits of size ~10 in fp32, a few hundred operations deep
INT4_TOKEN = QuantizationArgs(IntGrid(4), per_token, scale=torch.float32)


def random_model(tied=False, **sizes) -> LlamaForCausalLM:
    """Grouped queries, biases everywhere, heads that are not hidden / heads wide, gains of both signs, one of them 0."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, attention_bias=True, output_bias=True, mlp_bias=True, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**asdict(config) | sizes), dtype=torch.float32).requires_grad_(False).eval()
    for name, p in model.named_parameters():
        p.data.normal_(std=1.0 if "norm" in name or "embed" in name else 0.2)
        if "norm" in name:
            p.data[3] = 0
    return model


IDS = torch.randint(0, 96, (2, 20), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, 8, 128, "calibration").ids


@pytest.fixture(scope="module")
def turned():
    """The shipped model under R1 and R2: read only."""
    model = load_model()
    rotate(model)
    return model


@pytest.fixture(scope="module")
def online():
    """The shipped model under R1 … R4: read only."""
    model = load_model()
    rotate(model)
    rotate_online(model)
    return model


class TestTheSameFunction:
    @pytest.mark.parametrize("change", [fold_gains, rotate, rotate_online])
    @pytest.mark.parametrize("tied", [False, True])
    def test_biases_grouped_queries_and_odd_heads(self, tied, change):
        model = random_model(tied)
        before, old = model(IDS), copy.deepcopy(model.state_dict())
        change(model)
        torch.testing.assert_close(model(IDS), before, **CLOSE)
        assert any(not torch.equal(p, old[name]) for name, p in model.state_dict().items() if name in old)

    def test_a_second_rotation_composes(self):
        model = random_model()
        before = model(IDS)
        first = rotate(model, seed=3)
        residual = model.model.embed_tokens(IDS)
        second = rotate(model, seed=4)
        assert not torch.equal(first[0], second[0])
        torch.testing.assert_close(model.model.embed_tokens(IDS), residual @ second[0], atol=1e-5, rtol=1e-5)
        rotate_online(model)
        rotate(model, seed=5)
        torch.testing.assert_close(model(IDS), before, **CLOSE)

    def test_the_shipped_model(self, shipped, turned, online, text):
        for model in (turned, online):
            torch.testing.assert_close(model(text[:2]), shipped(text[:2]), **CLOSE)

    def test_bits_a_byte(self, shipped, online):
        w = windows(SHIPPED, 4, 256)
        assert abs(paired_difference(perplexity(shipped, w), perplexity(online, w)).mean) < 1e-5

    def test_the_same_text(self, shipped, turned, online, tokenizer):
        prompt = tokenizer.encode("import os\n", bos=True)
        ids = generate(shipped, prompt, 24)
        assert generate(turned, prompt, 24) == ids and generate(online, prompt, 24) == ids

    @pytest.mark.parametrize("batch", [1, 2])
    def test_a_cache_sees_what_the_whole_forward_sees(self, online, batch):
        ids = torch.randint(0, 2000, (batch, 12))
        with torch.inference_mode():
            cache = KVCache(online.config, batch, 12)
            parts = [online(part, cache) for part in (ids[:, :9], ids[:, 9:10], ids[:, 10:])]
            torch.testing.assert_close(torch.cat(parts, 1), online(ids), **CLOSE)

    def test_after_a_decode_step_has_merged_layers(self):
        """Merged weights are views of one storage: a rotation replaces them, and the next step has to see that."""
        model = random_model(attention_bias=False, mlp_bias=False, output_bias=False)
        step = lambda: model(IDS[:1, -1:], KVCache(model.config, 1, 4))  # noqa: E731
        with torch.inference_mode():
            before = step()
            assert model.model.layers[0].self_attn.qkv.multiply is not None
            rotate(model)
            rotate_online(model)
            torch.testing.assert_close(step(), before, **CLOSE)


class TestWhereItIsFolded:
    def test_gains_are_one(self, turned):
        gains = [p for name, p in turned.named_parameters() if "norm" in name]
        assert len(gains) == 9 and all(torch.equal(g, torch.ones(256)) for g in gains)

    def test_the_residual_stream_is_turned_by_the_first(self, shipped, text):
        model = load_model()
        Q = rotate(model, seed=7)[0]
        inputs = []
        for m in (shipped, model):
            layer = m.model.layers[2]
            handle = layer.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
            m(text[:1])
            handle.remove()
        torch.testing.assert_close(inputs[1], inputs[0] @ Q, **CLOSE)

    def test_keys_in_the_cache_are_turned_and_values_too(self, shipped, text):
        model = load_model()
        rotations = rotate(model)
        rotate_online(model)
        caches = [KVCache(m.config, 1, 32) for m in (shipped, model)]
        for m, cache in zip((shipped, model), caches, strict=True):
            m(text[:1, :32], cache)
        torch.testing.assert_close(caches[1].k, hadamard_transform(caches[0].k), **CLOSE)
        for layer, Q in enumerate(rotations[1:]):  # after the residual stream: one a layer, for its values
            torch.testing.assert_close(caches[1].v[layer], caches[0].v[layer] @ Q, **CLOSE)

    def test_a_forgotten_reader_is_not_a_no_op(self, shipped, text):
        model = load_model()
        rotate(model)
        layer = model.model.layers[1].mlp
        layer.gate_proj.weight.data = shipped.model.layers[1].mlp.gate_proj.weight.float()
        assert (model(text[:1]) - shipped(text[:1])).abs().max() > 0.1

    def test_a_bias_is_turned_with_its_rows(self):
        layer, x, Q = Linear(8, 24, bias=True, dtype=torch.float32).requires_grad_(False), torch.randn(5, 8), hadamard(12)
        layer.weight.data.normal_(), layer.bias.data.normal_()
        y = layer(x)
        turn(Stream(12, (layer,), ()), Q)
        torch.testing.assert_close(layer(x), torch.cat((y[:, :12] @ Q, y[:, 12:] @ Q), 1), atol=1e-5, rtol=1e-5)

    def test_deterministic(self, turned):
        again, other = load_model(), load_model()
        rotate(again), rotate(other, seed=1)
        assert all(torch.equal(a, b) for a, b in zip(turned.parameters(), again.parameters(), strict=True))
        assert not torch.equal(turned.lm_head.weight, other.lm_head.weight)


class TestUntying:
    def test_what_it_costs(self):
        model = load_model()
        size = lambda: sum(p.nbytes for p in model.parameters())  # noqa: E731
        before = size()
        model.untie()
        c = model.config
        assert size() - before == c.vocab_size * c.hidden_size * 4 == 2_097_152 and not c.tie_word_embeddings
        model.untie()
        assert size() - before == 2_097_152 and model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
        assert list(model.linears())[-1] == "lm_head" and model.model.config is c

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
    def test_head_and_embedding_share_nothing(self, dtype):
        model = random_model(tied=True).to(dtype)
        before = model(IDS)
        model.untie()
        torch.testing.assert_close(model(IDS), before, **CLOSE)
        model.model.embed_tokens.weight.data.zero_()
        assert model.lm_head.weight.abs().sum() > 0

    @pytest.mark.parametrize("then", [[], [rotate_online]])
    def test_an_embedding_that_is_held_as_codes(self, then):
        """A GGUF file's tied embedding stays codes when its layers are dequantized; turned, it has to be numbers."""
        model = load_model(FILES / "gguf_mixed" / "model.gguf", dequantize=True)
        assert "weight" not in dict(model.model.embed_tokens.named_parameters())
        ids = torch.arange(20)[None] % model.config.vocab_size
        rows = model.model.embed_tokens(ids)
        model.untie()
        assert torch.equal(model.model.embed_tokens(ids), rows)
        before = model(ids)
        for change in (rotate, *then):
            change(model)
        torch.testing.assert_close(model(ids), before, **CLOSE)

    def test_a_folder_holds_a_rotated_model(self, tmp_path, text):
        """A folder holds bf16: a model that was rounded to it comes back bit by bit."""
        model = load_model()
        rotate(model)
        for p in model.parameters():
            p.data = p.data.bfloat16()
        before = model(text[:2])
        save_model(model, tmp_path)
        assert not read_config(tmp_path).tie_word_embeddings
        assert torch.equal(load_model(tmp_path)(text[:2]), before)


class TestNoLoudChannel:
    def test_the_range(self):
        x = torch.zeros(2, 64)
        x[0, 5], x[1] = -3.0, 2.0
        assert peak_to_rms(x).tolist() == [8.0, 1.0]

    def test_every_turned_input_is_quieter(self, shipped, online, text):
        """256 independent normal numbers have a peak of about 3 rms: what is left when a token's channels are mixed."""
        before, after = calibrate(shipped, text), calibrate(online, text)
        for name in (n for n in before if not n.endswith("o_proj")):
            a, b = (peak_to_rms(stats[name].sample).mean() for stats in (before, after))
            assert b < 3.5 and b < 0.55 * a, name
            ratios = [stats[name].absmax.max() / stats[name].absmax.median() for stats in (before, after)]
            assert ratios[1] < 0.5 * ratios[0], name

    def test_four_bits_a_token_lose_less(self):
        x, W = torch.randn(64, 768), torch.randn(48, 768)
        x[:, 100] *= 80

        def error(x, W):
            y = fake_quantize(x, INT4_TOKEN) @ fake_quantize(W, int_weight(4, per_channel)).T
            return (y - x @ W.T).norm() / (x @ W.T).norm()

        assert error(hadamard_transform(x), hadamard_transform(W)) < 0.5 * error(x, W)

    def test_static_int8_activations_lose_less(self, shipped, online, text):
        """One scale for all tokens and channels: over 24 windows +0.015 ± 0.002 bits a byte become +0.001 ± 0.0004."""
        w, lost = windows(SHIPPED, 4, 256), []
        for model in (load_model(), copy.deepcopy(online)):
            scales = {name: s.absmax.max().item() / 127 for name, s in calibrate(model, text).items()}
            quantize_layers(model, get_quantization_config({"scheme": "W8A8_STATIC", "input_scales": scales}))
            lost.append(paired_difference(perplexity(shipped, w), perplexity(model, w)))
        assert lost[0].mean > 0.005 and lost[1].mean < 0.4 * lost[0].mean

    def test_weights_alone_can_lose_more(self):
        """A loud gain on a quiet channel costs nothing in the norm. Folded, it is a loud column; turned, it is part of every
        weight, and all steps get coarser."""
        h, W, gain = torch.randn(64, 768), torch.randn(48, 768), torch.ones(768)
        gain[100], h[:, 100] = 80, h[:, 100] / 80

        def error(x, W):
            return (x @ (fake_quantize(W, int_weight(4, per_group(64))) - W).T).norm() / (x @ W.T).norm()

        assert error(hadamard_transform(h), hadamard_transform(W * gain)) > 1.5 * error(h * gain, W)


class TestBadInput:
    @pytest.mark.parametrize("change", [fold_gains, rotate, rotate_online])
    def test_quantized_layers(self, change):
        model = load_model(quantization="W4A16")
        with pytest.raises(ValueError, match=r"model\.layers\.0\.self_attn\.q_proj is quantized, and a rotation mixes"):
            change(model)

    @pytest.mark.parametrize(
        ("change", "size"),
        [
            (rotate, "hidden_size"),
            (rotate, "head_dim"),
            (rotate_online, "intermediate_size"),
            (rotate_online, "head_dim"),
        ],
    )
    def test_a_size_without_a_matrix_changes_nothing(self, change, size):
        model = random_model(tied=True, **{size: 18})
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match="n=18: no Hadamard matrix .* 16 and 20"):
            change(model)
        assert model.lm_head is None and all(m.online is None for m in model.modules() if hasattr(m, "online"))
        assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())

    def test_online_twice(self):
        model = random_model()
        rotate_online(model)
        with pytest.raises(ValueError, match="rotated online already"):
            rotate_online(model)
