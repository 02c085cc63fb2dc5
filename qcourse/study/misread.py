"""Files that are read as what they are not: zero points of the other version, or unseen; rows of Q and K in the other order.

read_as(...)     16-bit layers hold what a wrong reader would take a right file for, until the block ends
files(...)       the experiment: a model's bytes in every layout, the same logits from each, and what misreadings cost
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from qcourse.models.convert_folder import convert
from qcourse.models.export_gguf import export_gguf, permuted
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Tensor
from qcourse.study.families import family
from qcourse.study.file_parts import bits_a_weight, parts
from qcourse.study.insides import rounded
from qcourse.study.perplexity import paired_difference, perplexity, windows

LAYOUTS = ("gptq_v2", "awq", "torchao")  # beside compressed-tensors, of which they are made
BLOCKS = ("Q4_0", "Q4_1", "Q8_0")
OWN = "its own file"
CALLED = {"bf16": "GGUF BF16", "compressed-tensors": "compressed-tensors", "gptq_v2": "GPTQ", "awq": "AWQ",
          "torchao": "TorchAO"} | {kind: f"GGUF {kind}" for kind in BLOCKS}  # fmt: skip


def zeros_read(W: Float[Tensor, "N K"], args: QuantizationArgs, read: Callable[[Tensor], Tensor]) -> Float[Tensor, "N K"]:
    """ŵ = s·(q − read(z)) of W's codes. read: z + 1 for a file of GPTQ's version 2 that is read as version 1, z − 1 for the
    other way, 8 for a reader that does not know of zero points. Raises ValueError for args without zero points."""
    if args.zero is None:
        raise ValueError("symmetric codes have no zero points that could be read wrongly: W4A16_ASYM, say, has")
    q = quantize(W, args)
    z = q.zero_point.float()
    moved = (z - read(z)) * q.scale.float()
    return dequantize(q).float() + moved.repeat_interleave(W.shape[1] // moved.shape[1], 1)


def misreadings(model: LlamaForCausalLM, args: QuantizationArgs) -> dict[str, dict[str, Callable[[Tensor], Tensor]]]:
    """By name: what each layer of a 16-bit model holds when a file of it is read wrongly (for `read_as`)."""
    readings = {
        "version 2 read as 1": lambda z: z + 1,
        "version 1 read as 2": lambda z: z - 1,
        "zero points not seen": lambda z: torch.full_like(z, 1 << args.num_bits - 1),
    }
    found = {}
    for case, read in readings.items():
        found[case] = dict.fromkeys(model.linears(), lambda W, read=read: zeros_read(W, args, read))
    return found | {"Q and K not put back": other_order(model)}


def other_order(model: LlamaForCausalLM) -> dict[str, Callable[[Tensor], Tensor]]:
    """For every Q and K: its rows as llama.cpp's file has them, taken for Hugging Face's."""
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    return {
        name: lambda W, n=heads[site]: permuted(W, n)
        for name in model.linears()
        if (site := name.rpartition(".")[2]) in heads
    }


@contextmanager
def read_as(model: LlamaForCausalLM, change: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """The named 16-bit layers hold `change[name](weight)` until the block ends. Raises KeyError for an unknown layer."""
    layers = model.linears()
    kept = {name: layers[name].weight.data for name in change}
    try:
        for name, make in change.items():
            layers[name].weight.data = make(kept[name].float()).contiguous()
        yield
    finally:
        for name, weight in kept.items():
            layers[name].weight.data = weight


def in_layouts(source: Path | str, scheme: str, done: Mapping) -> Iterator[tuple[str, dict]]:
    """(name, bytes by part, bits a weight, whether the logits of 64 ids are the first file's, bit by bit)."""
    wanted = [OWN, "bf16", "compressed-tensors", *LAYOUTS, *BLOCKS]
    if all(name in done for name in wanted):
        return
    with tempfile.TemporaryDirectory() as folder:
        here, plain = Path(folder), load_model(source, dequantize=True)
        weights = sum(m.input_size * m.output_size for m in plain.linears().values())
        ids = torch.arange(64)[None] * 7 % plain.config.vocab_size
        quantize_to_folder(source, here / "w4", family(scheme).scheme, Method(), dequantize=True, progress=False)
        first = load_model(here / "w4")(ids)
        for name in wanted:
            path = here / "w4"
            if name in LAYOUTS:
                convert(here / "w4", path := here / name, name, progress=False)
            elif name in (*BLOCKS, "bf16"):
                export_gguf(plain, source, path := here / f"{name}.gguf", "BF16" if name == "bf16" else name)
            found = parts(source if name == OWN else path)
            coded = name in ("compressed-tensors", *LAYOUTS)
            same = {"same logits": torch.equal(load_model(path)(ids), first)} if coded else {}
            yield name, {"parts": found, "bits_per_weight": bits_a_weight(found, weights)} | same


def files(source: Path | str, done: Mapping, n: int, seq_len: int, scheme: str) -> Iterator[tuple[str, dict]]:
    """Bytes by layout, then bits a byte: read rightly, and in each of the `misreadings`."""
    yield from in_layouts(source, scheme, done)
    args, model = family(scheme).scheme.weights, load_model(source, dequantize=True).float()
    text, cases = windows(source, n, seq_len), misreadings(model, args)
    left = [name for name in (scheme, *cases) if name not in done]
    reference = perplexity(model, text, batch=4) if left else None
    for name in left:
        with rounded(model.linears().values(), args) if name == scheme else read_as(model, cases[name]):
            d = paired_difference(reference, perplexity(model, text, batch=4))
            yield name, {"added_bits_per_byte": d.mean, "added_stderr": d.stderr}
