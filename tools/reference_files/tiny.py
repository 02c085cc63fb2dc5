"""A Llama of one layer and a few thousand weights, and the files that say what a reference made of it."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

FILES = Path(__file__).parent.parent.parent / "tests" / "checkpoints" / "files"
IDS = torch.tensor([[1, 17, 28, 5, 31, 30, 9, 9, 21, 14, 2, 20]])
KEPT = ("q_proj", "down_proj")  # small ones whole in expected.npz; of every matrix the digest is kept
LAST = 4  # logits are kept for the last four ids
BASE = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}


def llama(dtype=torch.bfloat16, seed=0, **changes) -> LlamaForCausalLM:
    """A random model: matrices of standard deviation 1.5/sqrt(K), gains around 1, so that one wrong row moves the logits."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**(BASE | changes), attn_implementation="eager"))
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.ndim == 1:
                p.uniform_(0.5, 1.5)
            else:
                p.normal_(0, 1.0 if "embed" in name else 1.5 / p.shape[1] ** 0.5)
    model.config.architectures = ["LlamaForCausalLM"]
    return model.to(dtype).eval()


def linears(model) -> dict:
    """Every matrix that may be quantized, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}


def plain_logits(model, weights: dict) -> torch.Tensor:
    """Logits (12, V) of transformers' Llama in fp32, with `weights` (dequantized, fp32) in the named Linears."""
    config = LlamaConfig(**{k: getattr(model.config, k) for k in BASE}, attention_bias=model.config.attention_bias,
                         attn_implementation="eager")  # fmt: skip
    twin = LlamaForCausalLM(config).float().eval()
    own = {n: p.detach().float() for n, p in model.state_dict().items()}
    own |= {f"{n}.weight": w.float() for n, w in weights.items()}
    kept = {n: p for n, p in own.items() if n in twin.state_dict()}
    assert not twin.load_state_dict(kept).missing_keys
    with torch.no_grad():
        return twin(IDS).logits[0]


def write_expected(folder: Path, **arrays) -> None:
    """expected.npz: names → arrays, compressed (a dequantized matrix has few values), the same bytes on every run."""
    with zipfile.ZipFile(folder / "expected.npz", "w") as z:
        for name, value in sorted(arrays.items()):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(value), allow_pickle=False)
            entry = zipfile.ZipInfo(name.replace(".npy", "") + ".npy")
            entry.compress_type = zipfile.ZIP_LZMA
            z.writestr(entry, buffer.getvalue())


def digest(W: torch.Tensor) -> str:
    """sha256 of the fp32 bytes of W, row after row."""
    return hashlib.sha256(W.float().contiguous().numpy().astype("<f4").tobytes()).hexdigest()


def expect(folder: Path, model, dequantized: dict, codes: dict | None = None, **more) -> None:
    """What the reference reads. expected.npz: ids, `logits` of the last ids in fp32, `dequantized/<layer>` fp32 (N, K)
    and `codes/<layer>` for KEPT layers; digests.json: layer → sha256 of every dequantized or unquantized matrix."""
    arrays = {"ids": IDS.numpy()[0], "logits": plain_logits(model, dequantized).numpy()[-LAST:]}
    arrays |= {
        f"dequantized/{n}": w.float().numpy() for n, w in dequantized.items() if n.endswith(KEPT) and w.numel() <= 4096
    }
    arrays |= {f"codes/{n}": c.numpy().astype(np.int16) for n, c in (codes or {}).items() if n.endswith("down_proj")}
    write_expected(folder, **(arrays | {n: v.float().numpy()[-LAST:] for n, v in more.items()}))
    digests = {n: digest(w) for n, w in dequantized.items()}
    (folder / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")


def provenance(folder: Path, written_by: str, versions: dict, what: str, **facts) -> None:
    """provenance.json: who wrote the folder, with which versions, and what may differ (relative) in a dequantized weight."""
    facts = {"rounding": 0.0, "activations": "fp32"} | facts
    made = {"written_by": written_by, "versions": versions | {"torch": torch.__version__}}
    text = json.dumps(made | {"script": "tools/reference_files", "what": what} | facts, indent=2)
    (folder / "provenance.json").write_text(text + "\n")


def fresh(name: str) -> Path:
    """An empty folder tests/checkpoints/files/<name>."""
    folder = FILES / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    return folder


def tidy(folder: Path) -> None:
    """Drop what save_pretrained adds and no reader of weights needs; plain permissions."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)
