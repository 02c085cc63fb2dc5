"""GPTQ's and AWQ's words, the shipped model's: their layouts' definitions in NumPy, and compressed-tensors' own converter.

transformers reads both only through GPTQModel (7.7 has no wheel; it wants torch 2.14 and a compiled regex module), so what
it says is kept, and the words are judged by who needs no build. The real vLLM is in test_vllm.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from table import record

from qcourse.models.loader import load_model

CASES = [("W4A16", "gptq"), ("W4A16", "gptq_v2"), ("W4A16", "awq"), ("W4A16_ASYM", "gptq_v2"), ("W4A16_ASYM", "awq")]
CASES += [("W8A16", "gptq"), ("W8A16", "gptq_v2")]
NAMES = {"gptq": "GPTQ", "gptq_v2": "GPTQ v2", "awq": "AWQ"}


def tensors_of(path) -> dict[str, torch.Tensor]:
    return {n: t for p in path.glob("*.safetensors") for n, t in load_file(p).items()}


def fields(words: np.ndarray, bits: int) -> np.ndarray:
    """(..., W) int32 → (..., W·32/bits), the lowest field of a word first."""
    shifts = np.arange(32 // bits, dtype=np.uint32) * bits
    return ((words.view(np.uint32)[..., None] >> shifts) & (2**bits - 1)).reshape(*words.shape[:-1], -1).astype(np.int64)


def gptq(t: dict[str, np.ndarray], bits: int, version: int) -> np.ndarray:
    """w[n, k] = s[k // G, n] · (q[k, n] − z[k // G, n]): q along K, z along N and one less in version 1. (N, K) in fp64."""
    q, z = fields(t["qweight"].T, bits).T, fields(t["qzeros"], bits) + (version == 1)
    G = len(q) // len(t["scales"])
    return ((q - z.repeat(G, 0)) * t["scales"].astype(np.float64).repeat(G, 0)).T


def awq(t: dict[str, np.ndarray]) -> np.ndarray:
    """Eight columns a word, 0, 2, 4, 6, 1, 3, 5, 7 from the lowest field up. (N, K) in fp64."""

    def columns(words):
        return fields(words, 4).reshape(len(words), -1, 8)[..., [0, 4, 1, 5, 2, 6, 3, 7]].reshape(len(words), -1)

    q, z = columns(t["qweight"]), columns(t["qzeros"])
    G = len(q) // len(z)
    return ((q - z.repeat(G, 0)) * t["scales"].astype(np.float64).repeat(G, 0)).T


@pytest.mark.parametrize(("scheme", "to"), CASES)
def test_the_definition_gives_our_weights(folder, scheme, to):
    path, bits = folder(scheme, to), int(scheme[1])
    tensors, ours = tensors_of(path), load_model(path).linears()
    layers = [n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")]
    for layer in layers:
        t = {leaf: tensors[f"{layer}.{leaf}"].numpy() for leaf in ("qweight", "qzeros", "scales")}
        W = awq(t) if to == "awq" else gptq(t, bits, 1 + (to == "gptq_v2"))
        np.testing.assert_array_equal(W, ours[layer].dequantized().double().numpy(), err_msg=layer)
        first = load_model(folder(scheme)).linears()[layer] if layer == layers[0] else None
        assert first is None or np.array_equal(W, first.dequantized().double().numpy())
    assert len(layers) == 28
    record(f"{NAMES[to]} {scheme}", "the layout's definition in NumPy", f"weights of {len(layers)} layers bit for bit",
           package="numpy", figures={"layers": len(layers)})  # fmt: skip


@pytest.mark.parametrize("to", ["gptq", "gptq_v2", "awq"])
def test_transformers_says_what_it_lacks(folder, to):
    transformers = pytest.importorskip("transformers")
    if to == "awq" and transformers.utils.is_gptqmodel_available():
        pytest.skip("GPTQModel is here")
    with pytest.raises(ImportError, match="requires") as refusal:
        transformers.AutoModelForCausalLM.from_pretrained(folder("W4A16", to), dtype=torch.float32)
    why = "only through GPTQModel, whose 7.7 is source only and wants torch 2.14: ImportError"
    said = str(refusal.value).splitlines()[0]
    record(f"{NAMES[to]} W4A16", "transformers", f"{why}: {said}", package="transformers", ok=False)


@torch.inference_mode()
@pytest.mark.parametrize("scheme", ["W4A16", "W4A16_ASYM"])
def test_compressed_tensors_converts_awq(folder, scheme):
    """AutoAWQConverter makes its own tensors of ours, its own compressor decompresses them: our weights."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter

    path = folder(scheme, "awq")
    given = json.loads((path / "config.json").read_text())["quantization_config"]
    converter = AutoAWQConverter.from_autoawq_config(given)
    converted, ours = converter.process(tensors_of(path)), load_model(path).linears()
    group = converter._build_quant_config().config_groups["config_group_0"]
    compressor, count = BaseCompressor.get_value_from_registry(group.format), 0
    for layer in [n.removesuffix(".weight_packed") for n in converted if n.endswith(".weight_packed")]:
        parts = {n.removeprefix(f"{layer}."): t for n, t in converted.items() if n.startswith(f"{layer}.")}
        parts["weight_scale"] = parts["weight_scale"].float()
        assert torch.equal(compressor.decompress(parts, group)["weight"], ours[layer].dequantized()), layer
        count += 1
    assert count == 28
    record(f"AWQ {scheme}", "compressed-tensors (AutoAWQConverter)", f"weights of {count} layers bit for bit",
           package="compressed-tensors", figures={"layers": count})  # fmt: skip
