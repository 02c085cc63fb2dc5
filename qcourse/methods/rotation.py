"""QuaRot: turn activations before they are rounded, so that no channel is loud, and turn them back inside the next weight.

    x @ W.T = (x Q) @ (W Q).T        Q (n, n), orthonormal: Q @ Q.T = 1

    R1  the residual stream       folded: embedding, o, down write x Q; q k v, gate up and the head read it
    R2  the values of a head      folded: v writes v Q, o reads it; attention only adds values up, so Q passes through
    R3  queries and keys          online, after RoPE: (q H) · (k H) = q · k, and the cache keeps the even k H
    R4  down_proj's input         online: silu(gate) · up is no linear map of anything, so no weight before it can write x H

A norm commutes with Q, |x Q| = |x|, as long as it has no gain: gains go into their readers first. That separates a tied head
from the embedding (the last gain belongs to the head alone; Q would have served both).
Does not handle: rotations that are learned (SpinQuant), QuaRot's online product across the heads before o, and files: a
model that is rotated online (R3, R4) must not be saved, since whoever reads it would not know.
Source: Ashkboos et al. 2024 (arXiv:2404.00456); R1 … R4 are the names in SpinQuant, Liu et al. 2024 (arXiv:2405.16406).
"""

from dataclasses import dataclass

import torch
from torch import nn

from qcourse.methods.folding import Fold
from qcourse.methods.hadamard import hadamard, hadamard_transform, random_hadamard
from qcourse.shapes import Float, Tensor


@dataclass(frozen=True)
class Stream:
    """Activations that a rotation can turn, `size` channels at a time, and every weight that has to know.

    rows     who writes them: the channels are the rows of W. Empty: no weight does, the running model has to turn them
    columns  who reads them: the channels are the columns of W; so they are in the embedding, whose rows are such vectors
    """

    size: int
    rows: tuple[nn.Module, ...]
    columns: tuple[nn.Module, ...]


def norms(model) -> list[Fold]:
    """The folds whose writer is a norm: what they read is the residual stream."""
    return [f for f in model.folds() if f.writer.weight.dim() == 1]


def streams(model) -> list[Stream]:
    """The residual stream, then each layer's values, then each down_proj's input: where a factor can move, and at both ends.

    Only a factor passes the product silu(gate) · up, channel by channel; a sum of channels does not: `up` writes no stream.
    """
    (embedding, _, head), values = model.ends(), model.value_folds()
    hidden = [f for f in model.folds() if f.writer.weight.dim() == 2]
    rows = [m for f in (*values, *hidden) for m in f.readers]  # o and down
    columns = [embedding, *(m for f in norms(model) for m in f.readers), *([] if head is None else [head])]
    residual = Stream(embedding.input_size, tuple(rows), tuple(columns))
    heads = [Stream(f.head, (f.writer,), f.readers) for f in values]
    return [residual, *heads, *(Stream(f.readers[0].input_size, (), f.readers) for f in hidden)]


def peak_to_rms(x: Float[Tensor, "*lead K"]) -> Float[Tensor, "*lead"]:
    """max|x| / rms(x) of each token: between 1 (all channels equally loud) and sqrt(K) (only one is not silent).

    A scale from absmax spends it: with b bits a step is peak / (2^(b-1) - 1), and what it rounds has the size of the rms.
    """
    return x.abs().amax(-1) / x.square().mean(-1).sqrt()


def turned(x: Float[Tensor, "*lead K"], Q: Float[Tensor, "n n"]) -> Float[Tensor, "*lead K"]:
    """x @ Q in fp32, for every n of x's K channels: all of them, or those of each head."""
    return (x.float().unflatten(-1, (-1, len(Q))) @ Q.to(x.device)).flatten(-2)


def turn(stream: Stream, Q: Float[Tensor, "n n"]) -> None:
    """Fold Q into every weight of the stream, in place (fp32): W' = Qᵀ W and b' = b Q where it is written, W Q where it is
    read. Heads that share keys and values share Q, so grouped queries change nothing."""
    for module in stream.rows:
        module.weight.data = turned(module.weight.data.T, Q).T.contiguous()
        if module.bias is not None:
            module.bias.data = turned(module.bias.data, Q)
    for module in stream.columns:
        module.weight.data = turned(module.weight.data, Q)


def refuse_quantized(model) -> None:
    """Raise ValueError for a layer whose weight is codes: turned numbers do not lie on their grid."""
    for name, layer in model.linears().items():
        if "weight" not in dict(layer.named_parameters()):
            raise ValueError(
                f"{name} is quantized, and a rotation mixes weights before they are rounded: load the model in 16 bits "
                "(dequantize=True), rotate it, then quantize_layers"
            )


def fold_gains(model) -> None:
    """Every norm's gain g into the columns of its readers (fp32): (h · g) @ W.T = h @ (W · g).T. Gains are 1 afterwards.

    A tied head is untied: vocabulary · hidden more numbers to keep (the shipped model 2.1 MB in fp32 and half of it saved in
    bf16; SmolLM2 113 MB and 57 MB). Raises ValueError for quantized layers, naming the first.
    """
    refuse_quantized(model)
    model.untie()
    _, last, head = model.ends()
    for fold in (*norms(model), Fold(last, (head,))):
        gain = fold.writer.weight.data.float()
        for reader in fold.readers:
            reader.weight.data = reader.weight.data.float() * gain
        fold.writer.weight.data = torch.ones_like(gain)


def rotate(model, seed: int = 0) -> list[Tensor]:
    """R1 and R2 with random Hadamard matrices, in place (fp32), after `fold_gains`. The function stays the same, and running
    it costs nothing but the untied head. A second call turns what the first has turned.

    Returns each stream's Q, that of the residual stream first. Raises ValueError, before anything is changed, for quantized
    layers and for sizes that have no Hadamard matrix here.
    """
    refuse_quantized(model)
    rotations = [random_hadamard(s.size, seed + i) for i, s in enumerate(streams(model)) if s.rows]
    fold_gains(model)
    written = [s for s in streams(model) if s.rows]  # asked again: the head may be new
    for stream, Q in zip(written, rotations, strict=True):
        turn(stream, Q)
    return rotations


def rotate_online(model) -> None:
    """R3 and R4: H is folded into the columns of down_proj (fp32), and the running model does the other half. Every module
    with an attribute `online` calls it on what no weight can turn: down_proj's input, queries and keys. The same function.

    Cost: `hadamard_transform`, K · log2(K) additions a token for K = 2^k, in each layer once for K = intermediate_size and
    once a head for K = head_dim; attention of one position goes without its own loop.
    Raises ValueError, before anything is changed, as `rotate` does, and for a model that is rotated online already.
    """
    refuse_quantized(model)
    places = [m for m in model.modules() if hasattr(m, "online")]
    if any(m.online is not None for m in places):
        raise ValueError("this model is rotated online already: a second H would be folded in, and only one called")
    matrices = {s.size: hadamard(s.size) for s in streams(model)[1:]}  # of the heads too: queries and keys are as wide
    for stream in streams(model):
        if not stream.rows:
            turn(stream, matrices[stream.size])
    for module in places:
        module.online = hadamard_transform
