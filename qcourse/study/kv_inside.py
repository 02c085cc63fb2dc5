"""What a model's keys and values look like, and which tokens must not be spoilt: the experiment "kv-inside".

layer i                 loudest channel over the median one (rms, mean of its heads) of keys before and after RoPE and of
                        values; the size of the first token's key and value beside the median token's
keys of token p         the keys of one position alone rounded to 2 bits, in every layer, and what the tokens behind it lose
values of token p       the same with its values
int2_kivi, sink 4       a recipe of KV_PRESETS whose first tokens stay in 16 bits

Paired with the 16-bit cache on the same windows (study.experiments). Notebook 10.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.models.kv_cache import new_cache
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.quantize import fake_quantize
from qcourse.shapes import Float, Integer, Tensor
from qcourse.study.kv import through_cache
from qcourse.study.kv_profile import Heads, kept, loudness, rms
from qcourse.study.perplexity import Windows, paired_difference, perplexity, windows

TWO_BITS = KV_PRESETS["int2_kivi"].values  # in groups of 32 channels, with minima
PLACES, SINKS = (0, 1, 100), ("int2_kivi", "int4_kivi", "int4_per_token_head")
SUFFIXES = ((0, ""), (4, ", sink 4"))  # (sinks, how a recipe with so many is called)
ALONE = {f"{side} of token {p}": (side[0], p) for side in ("keys", "values") for p in PLACES}  # → ("k" or "v", p)


def shape(heads: Heads) -> dict[str, float]:
    """One layer's numbers: means over its heads."""
    sides = {"keys before RoPE": heads.before(), "keys": heads.k, "values": heads.v}
    found = {f"{name}: loudest channel": loudness(x).mean().item() for name, x in sides.items()}
    for name in ("keys", "values"):
        sizes = rms(sides[name], 2)
        found[f"{name}: first token"] = (sizes[:, 0] / sizes.median(1).values).mean().item()
    return found


@torch.inference_mode()
def spoilt(model: LlamaForCausalLM, ids: Integer[Tensor, "1 T"], side: str, p: int) -> Float[Tensor, "T-1"]:
    """Nats of each token of a window but the first when position p's keys ("k") or values ("v") are rounded to 2 bits as
    soon as they are there; "": nothing is."""
    cache = new_cache(model, 1, ids.shape[1] - 1, "auto", torch.float32)
    logits = [model(ids[:, : p + 1], cache)]
    if side:
        x = getattr(cache, side)[..., p, :]
        x.copy_(fake_quantize(x.flatten(0, -2), TWO_BITS).view_as(x))
    logits.append(model(ids[:, p + 1 : -1], cache))
    return F.cross_entropy(torch.cat(logits, 1)[0], ids[0, 1:], reduction="none").double()


def nats(model: LlamaForCausalLM, text: Windows, side: str = "", p: int = 0) -> Float[Tensor, "n"]:
    """`spoilt` of each window, summed."""
    return torch.stack([spoilt(model, ids, side, p).sum() for ids in text.ids.split(1)])


def added(lost: Float[Tensor, "n"], text: Windows) -> dict[str, float]:
    """Nats that each window lost, in bits a byte, with the standard error over windows."""
    lost, size = lost / math.log(2), text.num_bytes.sum()
    stderr = lost.std() * math.sqrt(len(lost)) / size
    return {"added_bits_per_byte": (lost.sum() / size).item(), "added_stderr": stderr.item()}


def inside(source: Path | str, done: Mapping, n: int, seq_len: int) -> Iterator[tuple[str, dict]]:
    """(key, numbers), those in `done` left out."""
    model, text = load_model(source, dequantize=True).float(), windows(source, n, seq_len)
    for i, heads in enumerate(kept(model, text.ids[:1, :-1])):
        if (key := f"layer {i}") not in done:
            yield key, shape(heads)
    exact = nats(model, text)
    for key, (side, p) in ALONE.items():
        if key not in done:
            yield key, added(nats(model, text, side, p) - exact, text)
    cases = {name + more: KV_PRESETS[name].with_(sink=s) for name in SINKS for s, more in SUFFIXES}
    left = {key: kv for key, kv in cases.items() if key not in done}
    reference = perplexity(model, text, batch=4) if left else None
    for key, kv in left.items():
        d = paired_difference(reference, perplexity(through_cache(model, kv), text, batch=4))
        yield key, {"added_bits_per_byte": d.mean, "added_stderr": d.stderr}
