"""A model → one GGUF file that llama.cpp runs: names, metadata, tokenizer, and every matrix in a block type.

    linear layers      in `kind` (Q8_0, Q4_0, Q4_K, F16 …); codes that have that type already are copied, bit by bit
    embedding, head    in `ends`: Q8_0 where `kind` is a block type, else `kind`; a tied head is not written twice
    norms, biases      F32, which llama.cpp asks for

Rows of Q and K are put into llama.cpp's order (pairs side by side), whatever the type: blocks lie along K and travel with
their rows. The end-of-text id is always written, because llama.cpp assumes 11 where it is missing.
Memory: one matrix as its file holds it, and PIECE weights of it while they are rounded, some rows after the others; so a
source of any size (`export`) takes one layer, or its embedding. Killed, it leaves OUT.part, which the next run replaces.
Source: llama.cpp's `convert_hf_to_gguf.py` and `llama-model.cpp`; facts tried with its forks (tests/interop).
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.gguf import FLOATS, IN_BLOCK, KEYS, TOP
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.checkpoints.gguf_writer import Written, write_gguf
from qcourse.gemm.convert import dequantize_packed
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.models.checkpoint import build, open_checkpoint
from qcourse.models.gguf_vocabulary import vocabulary
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.progress import progress_of
from qcourse.models.quantize_source import layer_reader
from qcourse.models.subjects import source_of
from qcourse.models.tokenizer_files import load_tokenizer
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import is_float
from qcourse.packing.lossless import half_scales
from qcourse.packing.packed import PackedWeight, pack, unpack
from qcourse.shapes import Tensor

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15,
              "Q5_K": 17, "Q6_K": 18, "IQ4_NL": 25, "BF16": 32, "TQ2_0": 37,
              "MXFP4": 38}  # fmt: skip
NAMES = {theirs: ours for ours, theirs in (*TOP.items(), *IN_BLOCK.items())}
PIECE = 1 << 20  # weights that are rounded at once: 4 MB in fp32, and some times that while their blocks are searched


@torch.inference_mode()
def export(source: Path | str, out: Path, kind: str = "Q8_0", ends: str | None = None, *, progress: bool = True) -> int:
    """Write a folder, a .gguf file or a subject as OUT.gguf, one layer in memory at a time; the number of its bytes, which
    are those that `export_gguf` writes of the loaded model.

    Raises ValueError as `export_gguf`, CheckpointError for the source (a tensor that is missing or has no place: before
    anything is written; what a tensor holds: when it is read) and OSError, as for a full disk. Then nothing is left behind.
    """
    source = source_of(source)
    checkpoint = open_checkpoint(source)
    model = build(checkpoint.config, checkpoint.quantization, source)
    names = [name for name, _ in parts(model)]
    nbytes, read = layer_reader(model, checkpoint.weights, source, names)
    with progress_of(nbytes, progress) as bar:
        return write(model, source, out, kind, ends, read, bar.done)


@torch.inference_mode()
def export_gguf(model: LlamaForCausalLM, source: Path | str, out: Path, kind: str = "Q8_0", ends: str | None = None) -> int:
    """Write a model in memory, with the tokenizer of `source`, as OUT.gguf; the number of its bytes.

    Raises ValueError for an unknown type, one whose blocks do not divide a layer's K, a model that llama.cpp has no words
    for, and an OUT that exists; whatever is refused is refused before a byte is written.
    """
    return write(model, source, out, kind, ends, model.get_submodule, lambda name: None)


def write(model, source: Path | str, out: Path, kind: str, ends: str | None, read: Callable, done: Callable) -> int:
    """Both of them. model: its shapes; read(name): the layer of that name; done(name): is told when it is written."""
    ends = ends or ("Q8_0" if kind in GGUF_ARGS else kind)
    for name in (kind, ends):
        if name not in GGML_TYPES:
            raise ValueError(f"GGUF type {name!r}: one of {', '.join(GGML_TYPES)} expected")
    if os.path.lexists(out) or out.suffix != ".gguf":
        what = "exists: choose another name, or remove it" if os.path.lexists(out) else "a name that ends in .gguf expected"
        raise ValueError(f"{out}{' ' if what.startswith('exists') else ': '}{what}")
    metadata = general(model.config, out.stem, kind) | vocabulary(load_tokenizer(source), model.config.vocab_size)
    found = tensors(model, kind, ends, read, done)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        return write_gguf(out, metadata, found)
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        size = sum(t.nbytes for t in found.values())
        said = f"{e.strerror or e}; nothing is left of it, {size / 1e6:.1f} MB are needed: the same command begins again"
        raise OSError(e.errno, said, e.filename or str(out)) from e


def general(config: LlamaConfig, name: str, kind: str) -> dict[str, object]:
    """The metadata of the model itself. Raises ValueError for scaled rotary positions, which are not written here."""
    if config.rope_scaling is not None:
        raise ValueError(f"rope_scaling {config.rope_scaling}: scaled rotary positions are not written to GGUF")
    if config.output_bias or config.mlp_bias:
        raise ValueError("biases of o, gate, up, down: llama.cpp's 'llama' has no place for them")
    found = {"general.architecture": "llama", "general.name": name, "general.file_type": FILE_TYPES[kind],
             "general.quantization_version": 2, "general.alignment": 32}  # fmt: skip
    found |= {f"llama.{theirs}": getattr(config, ours) for theirs, ours in KEYS.items()}
    sizes = ("rope.dimension_count", "attention.key_length", "attention.value_length")
    return found | {f"llama.{key}": config.head_dim for key in sizes}


def parts(model: LlamaForCausalLM) -> Iterator[tuple[str, str]]:
    """(name here, name in the file) of every layer that is written, in that order."""
    yield "model.embed_tokens", "token_embd"
    for i, block in enumerate(model.model.layers):
        for path, _ in block.named_modules():
            if path in NAMES:
                yield f"model.layers.{i}.{path}", f"blk.{i}.{NAMES[path]}"
    yield "model.norm", "output_norm"
    if model.lm_head is not None:
        yield "lm_head", "output"


def tensors(model: LlamaForCausalLM, kind: str, ends: str, read: Callable, done: Callable) -> dict[str, Written]:
    """Every tensor under llama.cpp's name, made when it is written."""
    found, turned = {}, ("attn_q", "attn_k")
    for name, theirs in parts(model):
        layer, head = model.get_submodule(name), model.config.head_dim if theirs.endswith(turned) else 0
        if theirs.endswith("norm"):
            make = partial(plain, name, "weight", 0, read, done)
            found[f"{theirs}.weight"] = Written("F32", tuple(layer.weight.shape), make)
            continue
        block, biased = kind if "." in theirs else ends, layer.bias is not None
        make = partial(matrix, name, block, head, read, (lambda name: None) if biased else done)
        found[f"{theirs}.weight"] = Written(block, (layer.output_size, layer.input_size), make)
        if biased:
            found[f"{theirs}.bias"] = Written("F32", tuple(layer.bias.shape), partial(plain, name, "bias", head, read, done))
    return found


def plain(name: str, leaf: str, head: int, read: Callable, done: Callable) -> Iterator[Tensor]:
    """A norm or a bias in F32."""
    t = getattr(read(name), leaf).detach().float()
    yield permuted(t, head and len(t) // head)
    done(name)


def matrix(name: str, kind: str, head: int, read: Callable, done: Callable) -> Iterator[Tensor]:
    """A Linear or an Embedding in `kind`, some rows after the others, in llama.cpp's order."""
    for rows in pieces(read(name), head):
        t = encoded(rows, kind)
        yield permuted(t, head and len(t) // head)
    done(name)


def pieces(layer: nn.Module, head: int) -> Iterator[PackedWeight | Tensor]:
    """A layer's rows, PIECE weights at a time and whole heads; all at once where a layout does not let rows be cut."""
    N, K = layer.output_size, layer.input_size
    rows = max(1, PIECE // K) if not head else max(1, PIECE // K // head) * head
    if isinstance(layer.quant_method, UnquantizedLinearMethod):
        yield from layer.weight.detach().split(rows)
        return
    p = layer.product.p if isinstance(layer.quant_method, QuantizedLinearMethod) else None
    if p is None or p.layout not in ("row", "gguf") or "order" in p.tensors or any(len(t) != N for t in p.tensors.values()):
        yield layer.dequantized() if p is None else p
        return
    for a in range(0, N, rows):
        b = min(a + rows, N)
        yield PackedWeight({n: t[a:b] for n, t in p.tensors.items()}, (b - a, K), p.args, p.layout)


def encoded(rows: PackedWeight | Tensor, kind: str) -> Tensor:
    """Rows in a float type, or as a row of blocks for each: of the codes that are there where they have that type, and
    scales that fp16 holds exactly."""
    if kind in GGUF_ARGS and isinstance(rows, PackedWeight):
        q = unpack(rows)
        with suppress(ValueError):
            q = half_scales(q) if is_float(q.args.scale) else q
        if q.order is None and q.args.same_storage(GGUF_ARGS[kind]):
            return pack(q, "gguf").tensors["blocks"]
    W = dequantize_packed(rows) if isinstance(rows, PackedWeight) else rows.float()
    return W.to(FLOATS[kind]) if kind in FLOATS else pack(quantize(W, GGUF_ARGS[kind]), "gguf").tensors["blocks"]


def permuted(t: Tensor, heads: int) -> Tensor:
    """Rows of Q or K (N, …) from Hugging Face's order (halves of a head) to llama.cpp's (pairs side by side); heads 0: as
    they are. The inverse of `checkpoints.gguf.unpermuted`."""
    return t if not heads else t.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
