"""What a rounded KV cache costs, by the length of the context: the experiment "kv" (study.experiments).

Every window is read once, chunk by chunk through the cache, and each token's loss is kept. A token's context is its place in
its window, so one pass gives every length; the paired standard error is over pieces of the windows, 16 a window.

    "auto"                     16 bits (fp32 here): the reference
    "int4_kivi"                a row of KV_PRESETS; static ones are calibrated on the calibration text
    "fp8_e4m3, scale 1"        a static one without calibration: what a file without scales amounts to
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.methods.kv_scales import calibrate_kv, set_kv_scales
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.numerics.kv import KV_PRESETS, kv_args
from qcourse.shapes import Float, Integer, Tensor
from qcourse.study.evaluate import CALIBRATION_WINDOWS
from qcourse.study.kv import through_cache, token_bytes
from qcourse.study.perplexity import token_stream, windows

REFERENCE, ONE, PIECES = "auto", ", scale 1", 16
STATIC = [name for name, args in KV_PRESETS.items() if args.static]
FORMATS = [REFERENCE, *KV_PRESETS, *(name + ONE for name in STATIC if not KV_PRESETS[name].per_head)]
LONG = ["auto", "fp8_e4m3", "fp8_e5m2", "int8_per_token_head", "int4_per_token_head", "int4_rotated", "int4_kivi",
        "int2_kivi", "fp8_e4m3" + ONE, "int8_static" + ONE]  # fmt: skip


def token_nats(model: LlamaForCausalLM, ids: Integer[Tensor, "n T"], kv, chunk: int) -> Float[Tensor, "n places"]:
    """Nats of each token of ids but the first, its context read from a cache."""
    through, nats = through_cache(model, kv, chunk), []
    for row in ids.split(1):
        cache = through.cache(1, ids.shape[1] - 1)
        for x, y in zip(row[:, :-1].split(chunk, 1), row[:, 1:].split(chunk, 1), strict=True):
            nats.append(F.cross_entropy(model(x, cache)[0], y[0], reduction="none"))
    return torch.cat(nats).view(len(ids), -1).double()


def edges(length: int) -> list[int]:
    """Where contexts are told apart: an eighth of the window, a quarter, half, all."""
    return [length // 8, length // 4, length // 2, length]


def by_context(nats: Tensor, reference: Tensor, sizes: Tensor) -> list[dict]:
    """Added bits a byte of the tokens whose context ends between one edge and the next, and over all of them."""
    length, found = nats.shape[1], []
    ends = edges(length)
    for begin, end in [*zip([0, *ends], ends, strict=False), (0, length)]:
        d, count = (nats - reference)[:, begin:end], sizes[:, begin:end].sum().item()
        pieces = (
            d.reshape(len(d), -1, length // PIECES).sum(2).flatten() if (end - begin) % (length // PIECES) == 0 else d.sum(1)
        )
        stderr = (pieces.std() * math.sqrt(len(pieces)) / math.log(2) / count).item()
        found.append({
            "from": begin, "to": end, "bits_per_byte": (nats[:, begin:end].sum() / math.log(2) / count).item(),
            "added_bits_per_byte": (d.sum() / math.log(2) / count).item(), "added_stderr": stderr,
        })  # fmt: skip
    return found


def prepared(model: LlamaForCausalLM, name: str, sample: Integer[Tensor, "n T"]):
    """The recipe of a format's name, its static scales on the model: calibrated, or all 1."""
    preset = name.removesuffix(ONE)
    args = None if preset == REFERENCE else kv_args(preset)
    if args is not None and args.static:
        scales = calibrate_kv(model, sample, args)
        if name.endswith(ONE):
            scales = {at: tuple(torch.ones_like(s) for s in pair) for at, pair in scales.items()}
        set_kv_scales(model, args, scales)
    return preset if args is None else args


@torch.inference_mode()
def contexts(
    source: Path | str, done: Mapping, n: int, seq_len: int, formats: list[str], chunk: int
) -> Iterator[tuple[str, dict]]:
    """(format, {"token_bytes", "contexts": what `by_context` finds}), those in `done` left out."""
    left = [name for name in formats if name not in done]
    if not left:
        return
    model, text = load_model(source, dequantize=True).float(), windows(source, n, seq_len)
    length = min(256, seq_len)
    sample = windows(source, CALIBRATION_WINDOWS, length, "calibration").ids[:, :-1]
    sizes = torch.tensor([len(b) for b in token_stream(source, "held_out")[0].token_bytes])[text.ids[:, 1:]]
    reference = token_nats(model, text.ids, REFERENCE, chunk)
    for name in left:
        kv = prepared(model, name, sample)
        nats = reference if name == REFERENCE else token_nats(model, text.ids, kv, chunk)
        size = token_bytes(model.config, None if name == REFERENCE else kv)
        yield name, {"token_bytes": size, "contexts": by_context(nats, reference, sizes)}
