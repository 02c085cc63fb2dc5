"""What a real model looks like inside: loud channels, the first token that everybody looks at, the one weight that counts,
and the layers that cannot bear four bits. Every function takes any of our Llamas.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from qcourse.methods.calibration import calibrate
from qcourse.models.rope import rope_tables, rotate
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Integer, Tensor


def loudness(model, ids: Integer[Tensor, "n T"]) -> dict[str, dict]:
    """Each Linear's input (one of those that share it): absmax, the median channel's absmax, their ratio, the channel."""
    stats, found = calibrate(model, ids), {}
    for name in [*(f.name for f in model.folds()), *(n for n in stats if n.endswith("o_proj"))]:
        top = stats[name].absmax
        absmax, channel = top.max(0)
        median = top.median().item()
        found[name] = {"absmax": absmax.item(), "median": median, "ratio": absmax.item() / median, "channel": channel.item()}
    return found


@contextmanager
def listening(modules, hook):
    """`hook(index, input, output)` at every forward of `modules`, until the block ends."""
    handles = [m.register_forward_hook(lambda m, args, out, i=i: hook(i, args[0], out)) for i, m in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def residual_absmax(model, ids: Integer[Tensor, "n T"]) -> Float[Tensor, "layers T"]:
    """max |residual| after each layer, at each position, over the windows."""
    rows = [None] * len(model.model.layers)

    def look(i, x, out):
        top = out.abs().amax(-1).amax(0).float()
        rows[i] = top if rows[i] is None else torch.maximum(rows[i], top)

    with listening(model.model.layers, look):
        for part in ids.split(2):
            model(part)
    return torch.stack(rows)


@torch.inference_mode()
def attention_to_first(model, ids: Integer[Tensor, "n T"], skip: int = 16) -> Float[Tensor, "layers heads"]:
    """The share of each head's attention that goes to position 0, averaged over the queries from `skip` on."""
    c, layers = model.config, model.model.layers
    q, k = [None] * len(layers), [None] * len(layers)
    rope = rope_tables(c, torch.arange(ids.shape[1]))
    with (
        listening([m.self_attn.q_proj for m in layers], lambda i, x, out: q.__setitem__(i, out)),
        listening([m.self_attn.k_proj for m in layers], lambda i, x, out: k.__setitem__(i, out)),
    ):
        model(ids)
    shares = []
    for a, b in zip(q, k, strict=True):
        a = rotate(a.float().view(*ids.shape, c.num_attention_heads, c.head_dim).transpose(1, 2), *rope)
        b = rotate(b.float().view(*ids.shape, c.num_key_value_heads, c.head_dim).transpose(1, 2), *rope)
        b = b.repeat_interleave(c.num_attention_heads // c.num_key_value_heads, 1)
        scores = a @ b.transpose(2, 3) / c.head_dim**0.5
        ahead = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        p = torch.softmax(scores.masked_fill(ahead, -torch.inf), -1)
        shares.append(p[:, :, skip:, 0].mean((0, 2)))
    return torch.stack(shares)


@torch.inference_mode()
def super_weights(model, ids: Integer[Tensor, "n T"], top: int = 5) -> list[dict]:
    """The weights of down_proj that carry the most by themselves: in each layer the weight between the loudest input channel
    and the loudest output channel; sorted by |input · weight|.

    Source: Yu et al. 2024, "The Super Weight in Large Language Models" (arXiv:2411.07191).
    """
    spikes = [(0.0, 0, 0.0, 0)] * len(model.model.layers)

    def look(i, x, out):
        x, out = x.abs().flatten(0, -2).amax(0), out.abs().flatten(0, -2).amax(0)
        (a, column), (b, row) = x.max(0), out.max(0)
        if b.item() > spikes[i][2]:
            spikes[i] = (a.item(), column.item(), b.item(), row.item())

    with listening([m.mlp.down_proj for m in model.model.layers], look):
        for part in ids.split(2):
            model(part)
    found = []
    for i, (a, column, b, row) in enumerate(spikes):
        layer = model.model.layers[i].mlp.down_proj
        weight = layer.dequantized()[row, column].item()
        found.append({"layer": f"{layer.prefix}", "row": row, "column": column, "weight": weight,
                      "input": a, "output": b, "carries": abs(a * weight)})  # fmt: skip
    return sorted(found, key=lambda f: -f["carries"])[:top]


@contextmanager
def rounded(layers, args: QuantizationArgs) -> Iterator[None]:
    """These 16-bit Linears with their weights fake-quantized, until the block ends."""
    kept = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            layer.weight.data = fake_quantize(layer.weight.data.float(), args)
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight.data = weight


@contextmanager
def without(layer, row: int, column: int) -> Iterator[None]:
    """One weight of a 16-bit Linear set to zero, until the block ends."""
    kept = layer.weight.data
    try:
        layer.weight.data = kept.clone()
        layer.weight.data[row, column] = 0
        yield
    finally:
        layer.weight.data = kept
