"""Files that the reference libraries wrote (tools/reference_files) load with their weights and logits, bit by bit.

files/<name>/provenance.json names the writer; expected.npz and digests.json hold what the writer's own code reads.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

FILES = Path(__file__).parent / "files"
MODELS = sorted(p.parent.name for p in FILES.glob("*/digests.json"))
ids_of = pytest.mark.parametrize("name", MODELS)


def source(name: str) -> Path:
    folder = FILES / name
    gguf = folder / "model.gguf"
    return gguf if gguf.exists() else folder


def load(name: str):
    from qcourse import load_model

    return load_model(source(name), compute_dtype=torch.float32)


@pytest.fixture(scope="module")
def models():
    loaded = {}
    return lambda name: loaded.setdefault(name, None) or loaded.update({name: load(name)}) or loaded[name]


def expected(name: str) -> tuple[dict, dict, dict]:
    """(arrays, layer → sha256 of W fp32, provenance)."""
    with np.load(FILES / name / "expected.npz", allow_pickle=False) as z:
        arrays = {n: z[n] for n in z.files}
    texts = ((FILES / name / f"{n}.json").read_text() for n in ("digests", "provenance"))
    return arrays, *map(json.loads, texts)


def test_enough_files_of_every_dialect():
    count = {k: sum(n.startswith(k) for n in MODELS) for k in ("ct_", "gptq_", "awq_", "gguf_", "ao_")}
    assert count["ct_"] >= 12 and count["gptq_"] >= 10 and count["awq_"] >= 2 and count["gguf_"] >= 3 and count["ao_"] >= 6


@ids_of
def test_dequantized_weights(models, name):
    """Every matrix equals the reference's, all bits; where a provenance states a rounding, within it and to be seen."""
    arrays, digests, made = expected(name)
    layers = models(name).linears()
    assert digests.keys() <= layers.keys() and layers.keys() - digests.keys() <= {"lm_head"}
    for layer, digest in digests.items():
        W = layers[layer].dequantized()
        assert W.dtype == torch.float32
        kept = arrays.get(f"dequantized/{layer}")
        if kept is not None and made["rounding"]:
            torch.testing.assert_close(W, torch.from_numpy(kept), rtol=made["rounding"], atol=0)
        elif kept is not None:
            np.testing.assert_array_equal(W.numpy(), kept, err_msg=layer)
        if not made["rounding"]:
            assert hashlib.sha256(W.contiguous().numpy().astype("<f4").tobytes()).hexdigest() == digest, layer


def rms(x: torch.Tensor) -> float:
    return float(x.double().pow(2).mean().sqrt())


@ids_of
def test_logits(models, name):
    """fp32 weights: 1e-4 of the largest logit (two orders of summation of at most 256 terms through at most 2 layers: each
    about sqrt(256)·2^-24 of its result, a few tens of steps); asked with so many copies of the text that BLAS sums. Rounded
    activations: two roundings of the same step lie as far from the exact logits, so ours may differ from those by 1.5 of
    what the reference's does, and must differ somewhere."""
    arrays, _, made = expected(name)
    many = 32 if made["activations"] == "fp32" else 1
    with torch.no_grad():
        got = models(name)(torch.from_numpy(arrays["ids"])[None].repeat(many, 1))[-1].float()
    exact = torch.from_numpy(arrays["logits"])
    got = got[-len(exact) :]
    if made["activations"] == "fp32":
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-4 * float(exact.abs().max()))
    else:
        theirs = torch.from_numpy(arrays["logits_activations"])
        assert 0 < rms(got - exact) <= 1.5 * rms(theirs - exact)


@ids_of
def test_logits_of_few_tokens(models, name):
    """Kernels for few tokens round x to int16: 3.5e-5 of a product's rms for x whose loudest is 4 rms. 14 products in 2
    layers make 1.3e-4 of the logits' rms, three times that in the worst of 128, whose largest is about 3 rms: 2e-4 of it."""
    arrays, _, made = expected(name)
    if made["activations"] == "fp32":
        with torch.no_grad():
            got = models(name)(torch.from_numpy(arrays["ids"])[None])[0].float()
        exact = torch.from_numpy(arrays["logits"])
        torch.testing.assert_close(got[-len(exact) :], exact, rtol=0, atol=2e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("name", [n for n in MODELS if (FILES / n / "tokens.json").exists()])
def test_tokenizer_of_a_gguf_file(name):
    """Ids of the tokenizer that was written into the file; decoding gives the text back."""
    from qcourse import load_tokenizer

    tokenizer = load_tokenizer(FILES / name / "model.gguf")
    for text, ids in json.loads((FILES / name / "tokens.json").read_text())["ids"].items():
        assert list(tokenizer.encode(text, special=True)) == ids, text
        if not any(i < 3 for i in ids):  # 0, 1, 2: control tokens stand for no text
            assert tokenizer.decode(ids) == text


def test_act_order_is_not_in_order():
    """The premise: the act_order file's g_idx goes up and down, and the lying file holds v2's zeros under v1's name."""
    from safetensors.torch import load_file

    down = "model.layers.0.mlp.down_proj"
    g_idx = load_file(FILES / "gptq_act_order" / "model.safetensors")[f"{down}.g_idx"]
    assert g_idx.max() > 0 and (g_idx.diff() < 0).any() and (g_idx.diff() > 0).any()
    zeros = load_file(FILES / "gptq_lying_v2" / "model.safetensors")[f"{down}.qzeros"]
    config = json.loads((FILES / "gptq_lying_v2" / "config.json").read_text())["quantization_config"]
    assert config["checkpoint_format"] == "gptq" and {z & 0xFFFFFFFF for z in zeros.flatten().tolist()} == {0x88888888}
