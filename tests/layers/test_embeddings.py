"""Embedding and head as a choice: their own schemes, tied or not; the numbers are those of fake-quantized matrices, the
bytes those of the schemes."""

from pathlib import Path

import pytest
import torch
from bounds import near
from safetensors.torch import load_file, save_file

from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.embedding import Embedding
from qcourse.layers.linear import quantize_layers
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import CheckpointError, load_model, save_model
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.study.cost import ends_bytes, model_bytes

V, H = 128, 256
SIZES = {"vocab_size": V, "hidden_size": H, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 64}  # fmt: skip
IDS = torch.randint(0, V, (2, 9), generator=torch.Generator().manual_seed(4))
DYNAMIC = [name for name, s in PRESETS.items() if s.input_activations is None or not s.input_activations.calibrated]
PLAIN = [name for name in DYNAMIC if PRESETS[name].input_activations is None]


def random_model(tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(6)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)).requires_grad_(False).eval()
    for p in model.parameters():
        p.data.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied")
    save_model(random_model(), folder)
    return folder


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untied")
    save_model(random_model(tied=False), folder)
    return folder


def faked(folder, embedding: str | None, head: str | None) -> LlamaForCausalLM:
    """The model with a head of its own and both matrices fake-quantized, by hand, in fp32."""
    model = load_model(folder)
    model.untie()
    for layer, name in ((model.model.embed_tokens, embedding), (model.lm_head, head)):
        W = layer.weight.data.float()
        layer.weight.data = W if name is None else dequantize(quantize(W.bfloat16(), PRESETS[name].weights))
    return model


def bits(name: str | None) -> float:
    return 16 if name is None else PRESETS[name].weights.bits_per_weight(V, H)


@pytest.mark.parametrize("name", PLAIN)
def test_a_quantized_embedding_and_its_tied_head(tied, name):
    """The rows bit by bit; the logits within the law of the kernels; and bytes as the scheme says."""
    model, wanted = load_model(tied, {"embedding": name}), faked(tied, name, name)
    assert model.lm_head is None and model.config.tie_word_embeddings
    assert torch.equal(model.model.embed_tokens(IDS), wanted.model.embed_tokens(IDS))
    h = wanted.model(IDS, None, torch.float32).flatten(0, 1)
    q = quantize(load_model(tied).model.embed_tokens.weight, PRESETS[name].weights)
    assert near(model(IDS).flatten(0, 1), h, q, slack=1.01)  # h itself is the other model's, from equal rows
    packed = model.model.embed_tokens.product.p.nbytes
    assert ends_bytes(model) == (packed, 0)
    if PRESETS[name].weights.zero is None or "FZERO" in name:
        assert packed == pytest.approx(V * H * bits(name) / 8, abs=4)  # zero points in codes lie a byte each in memory
    assert model_bytes(model).other == packed + 2 * 3 * H


@pytest.mark.parametrize(
    ("embedding", "head"), [("W8A16", "W4A16_G32"), (None, "W8A16"), ("W4A16_G64", None), ("Q4_0", "Q6_K")]
)
def test_a_tied_head_becomes_a_matrix_of_its_own(tied, embedding, head):
    """... as the other keeps its own format; both start from the same 16-bit matrix."""
    model, wanted = load_model(tied, {"embedding": embedding, "lm_head": head}), faked(tied, embedding, head)
    assert model.lm_head is not None and not model.config.tie_word_embeddings and "lm_head" in model.linears()
    assert torch.equal(model.model.embed_tokens(IDS).float(), wanted.model.embed_tokens(IDS))
    assert torch.equal(model.lm_head.dequantized(), wanted.lm_head.weight)
    torch.testing.assert_close(model(IDS), wanted(IDS), rtol=0, atol=2e-4 * float(wanted(IDS).abs().max()))
    counted = ends_bytes(model)
    assert counted == tuple(V * H * bits(name) / 8 for name in (embedding, head))
    assert model_bytes(model).other == sum(counted) + 2 * 3 * H


def test_without_a_choice_both_are_one_and_counted_once(tied, untied):
    assert ends_bytes(load_model(tied)) == (2 * V * H, 0) and ends_bytes(load_model(untied)) == (2 * V * H, 2 * V * H)
    for spec in ({"lm_head": None, "embedding": None}, {"lm_head": "W8A16", "embedding": "W8A16"}, {"embedding": None}):
        model = load_model(tied, spec)  # the same matrix in the same format: it stays one
        assert model.lm_head is None and ends_bytes(model) == (V * H * bits(spec["embedding"]) / 8 + 0, 0)


@pytest.mark.parametrize("spec", [{"embedding": "W8A16"}, {"lm_head": "W8A16"}, {"embedding": "Q8_0", "lm_head": "W4A16"}])
def test_of_a_model_with_two_matrices(untied, spec):
    model, plain = load_model(untied, spec), load_model(untied)
    for key, mine, was in (("embedding", model.model.embed_tokens, plain.model.embed_tokens),
                           ("lm_head", model.lm_head, plain.lm_head)):  # fmt: skip
        want = dequantize(quantize(was.weight, PRESETS[spec[key]].weights)) if key in spec else was.weight.float()
        assert torch.equal(mine.dequantized(), want), key


def test_beside_a_scheme_for_the_layers(tied):
    """group_size and layout are about the layers; what ignore says of the head is nothing to a scheme that names it."""
    model = load_model(tied, {"scheme": "W4A16", "group_size": 32, "embedding": "W8A16", "lm_head": "W3A16"})
    up, E = model.linears()["model.layers.0.mlp.up_proj"], model.model.embed_tokens
    assert up.quant_method.scheme.weights.group_size == 32
    assert E.quant_method.scheme == PRESETS["W8A16"] and model.lm_head.quant_method.scheme == PRESETS["W3A16"]
    plain = load_model(tied, {"scheme": "W4A16"})
    assert isinstance(plain.model.embed_tokens.quant_method, UnquantizedLinearMethod)
    by_rules = load_model(tied, {"rules": [["model.embed_tokens", "W8A16"]]})
    assert torch.equal(by_rules.model.embed_tokens.dequantized(), E.dequantized())


@pytest.mark.parametrize("name", sorted(set(DYNAMIC) - set(PLAIN)))
def test_schemes_with_activations_round_what_the_head_is_given(tied, name):
    model = load_model(tied, {"embedding": name})
    assert torch.equal(model.model.embed_tokens(IDS), faked(tied, name, None).model.embed_tokens(IDS))
    assert torch.isfinite(model(IDS)).all()


def test_a_quantized_source():
    """Its embedding is left as it was read, unless it is named; head and embedding start from what the codes stand for."""
    source = Path(__file__).parents[1] / "checkpoints" / "files" / "gguf_mixed" / "model.gguf"
    held = load_model(source)
    E = held.model.embed_tokens
    rows = E.dequantized()
    assert not isinstance(E.quant_method, UnquantizedLinearMethod)
    head = load_model(source, {"lm_head": "W8A16"}, dequantize=True)
    if held.lm_head is None:
        assert torch.equal(head.lm_head.dequantized(), dequantize(quantize(rows.bfloat16(), PRESETS["W8A16"].weights)))
    assert torch.equal(head.model.embed_tokens.dequantized(), rows)
    both = load_model(source, {"scheme": "W8A16", "embedding": "W8A16"}, dequantize=True)
    assert torch.equal(
        both.model.embed_tokens.dequantized(), dequantize(quantize(rows.bfloat16(), PRESETS["W8A16"].weights))
    )
    assert both.model.embed_tokens.quant_method.scheme == PRESETS["W8A16"]
    wide = load_model(source, {"embedding": None}, dequantize=True)
    assert torch.equal(wide.model.embed_tokens.weight, rows.bfloat16())


def test_a_tied_head_in_the_file_has_to_be_the_embedding(tmp_path):
    save_model(random_model(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    E = tensors["model.embed_tokens.weight"]
    save_file(tensors | {"lm_head.weight": E.clone()}, tmp_path / "model.safetensors")
    assert torch.equal(load_model(tmp_path, {"lm_head": None, "embedding": "W8A16"}).lm_head.weight, E)
    save_file(tensors | {"lm_head.weight": E + 1}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="'lm_head.weight' has no place: .* the head is the embedding"):
        load_model(tmp_path, {"lm_head": "W8A16"})


def test_a_pattern_of_layers_does_not_mean_the_embedding():
    for pattern in ("Linear", "model", "re:.*", "embed_tokens"):
        config = RulesConfig.from_config({"rules": [[pattern, "W8A16"]]})
        assert isinstance(
            Embedding(V, H, config, "model.embed_tokens", torch.bfloat16).quant_method, UnquantizedLinearMethod
        )


@pytest.mark.parametrize(("spec", "said"), [
    ({"embedding": "W8A17"}, "unknown quantization scheme 'W8A17': did you mean W8A16"),
    ({"lm_head": "int2_kivi"}, "unknown quantization scheme"),
    ({"embedding": ["W8A16"]}, "embedding is .'W8A16'.: a scheme's name"),
    ({"embedding": "W4A16_G96"}, "model.embed_tokens: group_size=96 does not divide K=256"),
    ({"scheme": "W4A16", "ignore": ["lm_head"], "lm_head": "W8A16"}, "one of them"),
    ({"embedding": "W8A8_STATIC"}, "input_scales"), ({"embeddings": "W8A16"}, "unknown key 'embeddings'"),
])  # fmt: skip
def test_refused(tied, spec, said):
    with pytest.raises(ValueError, match=said):
        load_model(tied, spec)


def test_nobody_drops_the_choice_in_silence(tied, tmp_path):
    with pytest.raises(ValueError, match="the embedding was quantized here, and this writes bf16"):
        save_model(load_model(tied, {"embedding": "W8A16"}), tmp_path)
    with pytest.raises(ValueError, match="lm_head is quantized, and this writes bf16"):
        save_model(load_model(tied, {"lm_head": "W8A16"}), tmp_path)
    with pytest.raises(ValueError, match="'model.embed_tokens' matches no layer"):  # of layers alone
        quantize_layers(load_model(tied), get_quantization_config({"embedding": "W8A16"}))
