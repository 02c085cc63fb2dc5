"""Foreign checkpoints against their definitions: plain loops in fp64, gguf-py, transformers' reading of the same files."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
FILES = Path(__file__).parent.parent / "checkpoints" / "files"
PREFIX = "model.layers.0."
WORD = 0xFFFFFFFF


def linears_of(path):
    from qcourse import load_model

    return load_model(path, compute_dtype=torch.float32).linears()


def field(words: list[int], i: int, bits: int) -> int:
    """The i-th code of `bits` bits in a stream of 32-bit words, lowest bit first: a code may straddle two words."""
    stream = sum((w & WORD) << (32 * j) for j, w in enumerate(words))
    return (stream >> (bits * i)) & (2**bits - 1)


def rule(config: dict, layer: str) -> dict | None:
    """bits, group_size, sym of a layer by the first matching rule of `dynamic`; None where it is left alone."""
    for pattern, overrides in (config.get("dynamic") or {}).items():
        if re.match(pattern.removeprefix("-:").removeprefix("+:"), layer):
            return None if pattern.startswith("-:") else config | overrides
    return config


def gptq_by_definition(folder: Path) -> dict[str, np.ndarray]:
    """w[n, k] = s[g_idx[k], n] · (q − z), z = stored (v2) or stored + 1 (v1), in integers and fp64; layer → (N, K)."""
    texts = [folder / "quantize_config.json", folder / "config.json"]
    raw = json.loads(next(t for t in texts if t.exists()).read_text())
    config = raw.get("quantization_config", raw)
    v2 = config["checkpoint_format"] == "gptq_v2" or folder.name == "gptq_lying_v2"
    tensors, weights = load_file(folder / "model.safetensors"), {}
    for layer in [n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")]:
        bits = rule(config, layer)["bits"]
        q, z, s, g = (tensors[f"{layer}.{n}"] for n in ("qweight", "qzeros", "scales", "g_idx"))
        zeros = [[field(row, n, bits) + (0 if v2 else 1) for n in range(s.shape[1])] for row in z.tolist()]
        weights[layer] = np.empty((s.shape[1], len(g)))
        for n, column in enumerate(q.T.tolist()):
            for k, group in enumerate(g.tolist()):
                weights[layer][n, k] = float(s[group, n]) * (field(column, k, bits) - zeros[group][n])
    return weights


def awq_by_definition(folder: Path) -> dict[str, np.ndarray]:
    """Word c of a row holds columns 8c + (0, 2, 4, 6, 1, 3, 5, 7) from the lowest four bits up; w = (q − z)·s, fp64."""
    place = {column: i for i, column in enumerate((0, 2, 4, 6, 1, 3, 5, 7))}

    def code(words, k, n):
        return (words[k][n // 8] & WORD) >> (4 * place[n % 8]) & 15

    tensors, weights = load_file(folder / "model.safetensors"), {}
    for layer in [n.removesuffix(".qweight") for n in tensors if n.endswith(".qweight")]:
        q, z, s = (tensors[f"{layer}.{n}"].tolist() for n in ("qweight", "qzeros", "scales"))
        K, N, G = len(q), len(s[0]), len(q) // len(s)
        weights[layer] = np.array(
            [[(code(q, k, n) - code(z, k // G, n)) * s[k // G][n] for k in range(K)] for n in range(N)]
        )
    return weights


WORDS = sorted(p.name for p in FILES.iterdir() if p.name.startswith(("gptq_", "awq_")))


def by_definition(name: str) -> dict[str, np.ndarray]:
    return (gptq_by_definition if name.startswith("gptq") else awq_by_definition)(FILES / name)


@pytest.mark.parametrize("name", WORDS)
def test_the_definition_gives_what_the_library_reads(name):
    """Loops and library agree in every bit, so the kept files can be trusted (no line of ours in between)."""
    digests, weights = json.loads((FILES / name / "digests.json").read_text()), by_definition(name)
    assert len(weights) == (6 if name in ("gptq_dynamic", "awq_native") else 7)
    for layer, W in weights.items():
        assert hashlib.sha256(W.astype("<f4").tobytes()).hexdigest() == digests[layer], layer


@pytest.mark.parametrize("name", WORDS)
def test_we_read_what_the_definition_says(name):
    layers = linears_of(FILES / name)
    for layer, W in by_definition(name).items():
        np.testing.assert_array_equal(layers[layer].dequantized().double().numpy(), W, err_msg=layer)


HALVES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "Q2_K": (80, 82),
          "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "F32": (), "F16": (), "BF16": ()}  # fmt: skip


@pytest.mark.parametrize("kind", HALVES)
def test_gguf_random_blocks_of_every_type(kind, tmp_path):
    """Blocks of random bytes (their fp16 scales normal numbers): every bit of a block is read where gguf-py reads it."""
    gguf = pytest.importorskip("gguf")
    from tools.reference_files import gguf_files, tiny

    sizes = {
        "hidden_size": 256,
        "intermediate_size": 256,
        "head_dim": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    model, rng, want = tiny.llama(torch.float32, **sizes), np.random.default_rng(0), {}
    c, q = model.config, gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    gguf_files.add_config(writer, c)
    gguf_files.add_tokenizer(writer, None, c.vocab_size, tmp_path)
    gguf_files.add(writer, "token_embd.weight", model.model.embed_tokens.weight.detach(), gguf.GGMLQuantizationType.F16)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        gguf_files.add(writer, f"{name}.weight", torch.ones(c.hidden_size), gguf.GGMLQuantizationType.F32)
    for layer, theirs in gguf_files.NAMES.items():
        N, K = tiny.linears(model)[f"{PREFIX}{layer}"].weight.shape
        block, size = gguf.GGML_QUANT_SIZES[q]
        data = rng.integers(0, 256, (N, K // block, size), dtype=np.uint8)
        for at in HALVES[kind]:
            data[..., at : at + 2] = (
                rng.normal(0, 1e-2, data.shape[:2]).astype("<f2").view(np.uint8).reshape(*data.shape[:2], 2)
            )
        if not HALVES[kind]:
            values = torch.from_numpy(rng.normal(0, 1, (N, K)).astype(np.float32))
            data = (
                values.to({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind])
                .view(torch.uint8)
                .numpy()
            )
        data = data.reshape(N, -1)
        writer.add_tensor(f"blk.0.{theirs}.weight", data, raw_dtype=q)
        W = torch.from_numpy(np.array(gguf.quants.dequantize(data, q), np.float32)).view(N, K)
        heads = {"self_attn.q_proj": 2, "self_attn.k_proj": 1}.get(layer)
        want[f"{PREFIX}{layer}"] = gguf_files.unpermute(W, heads) if heads else W
    gguf_files.close(writer)
    layers = linears_of(tmp_path / "model.gguf")
    for layer, W in want.items():
        torch.testing.assert_close(layers[layer].dequantized(), W, rtol=0, atol=0, msg=f"{kind} {layer}")


READ_BY_TRANSFORMERS = sorted(p.name for p in FILES.iterdir() if p.name.startswith("ct_") or (p / "model.gguf").exists())


ASYMMETRIC = pytest.mark.xfail(raises=RuntimeError, strict=True, reason="transformers 5.23 expects zero points unpacked")


WIDE = pytest.mark.xfail(
    raises=RuntimeError, strict=True, reason="transformers 5.23 multiplies fp32 x by weights left in bf16"
)


def mark(name: str):
    """What transformers itself cannot load."""
    return ASYMMETRIC if name.endswith("_asym") else WIDE if name in ("ct_mxfp8", "ct_mxfp6a16") else ()


@pytest.mark.parametrize("name", [pytest.param(n, marks=mark(n)) for n in READ_BY_TRANSFORMERS])
def test_transformers_reads_the_same_file(name):
    """The kept logits are those of transformers' own loading of the folder or GGUF file, in fp32.

    Weights are multiplied out in the scales' dtype there (bf16: 2^-9 relative), so logits agree to a few per cent of the
    largest (FP4 formats decompress to bf16 only, so the model runs in it); a wrong permutation, sign or scale moves them by
    their own size. Activations: as in test_reference_files.
    """
    transformers = pytest.importorskip("transformers")
    with np.load(FILES / name / "expected.npz", allow_pickle=False) as z:
        ids, exact = torch.from_numpy(z["ids"])[None], torch.from_numpy(z["logits"])
        acts = torch.from_numpy(z["logits_activations"]) if "logits_activations" in z.files else exact
    more = {"gguf_file": "model.gguf"} if name.startswith("gguf_") else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        FILES / name, dtype=torch.bfloat16 if "fp4" in name else torch.float32, **more
    )
    with torch.no_grad():
        got = model(ids).logits[0][-len(exact) :].float()
    limit = 0.05 * float(exact.abs().max()) + float((acts - exact).abs().max())
    assert float((got - exact).abs().max()) < (limit if not more else 1e-4 * float(exact.abs().max()))
