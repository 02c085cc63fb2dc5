"""A model on several ranks, which here run one after the other: what each would hold, and the two sums a block.

    on each rank          its part of every block (models.ranks): whole heads, whole channels of the MLP
    all-reduce            the outputs of o_proj, and of down_proj, added over the ranks
    on every rank         embedding, norms, head, and x between the blocks

A layer of the source is read once, whole, with all of `load_model`'s checks; every rank takes its share, and the rest is
dropped before the next layer is read. (An engine's rank is a process, which reads the file for itself.)
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from qcourse.checkpoints.errors import CheckpointError
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.layers.config import RulesConfig, get_quantization_config
from qcourse.layers.linear import Linear
from qcourse.layers.merged import orders
from qcourse.layers.partition import ParallelLinear
from qcourse.layers.quantized import QuantizedLinearMethod
from qcourse.models.checkpoint import Checkpoint, open_checkpoint
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import SHIPPED, filled, finishing, in_file
from qcourse.models.ranks import RankAttention, RankMLP, Ranks
from qcourse.models.subjects import source_of
from qcourse.numerics.quantize import quantize

NAMES = {"qkv_proj": {"q": "q_proj", "k": "k_proj", "v": "v_proj"}, "gate_up_proj": {0: "gate_proj", 1: "up_proj"}}
Homes = dict[str, tuple[list[ParallelLinear], object]]  # a layer of the file → the ranks' layers that take it, as which part


class TensorParallel(nn.Module):
    """ids (B, T) → logits (B, T, V), as the model that it was cut from. There is no KV cache here: whole texts only."""

    def __init__(self, model: LlamaForCausalLM, world: int):
        super().__init__()
        self.model, self.world, self.config, self.compute_dtype = model, world, model.config, model.compute_dtype

    def forward(self, ids: torch.Tensor, cache=None) -> torch.Tensor:
        """Next-token logits at every position. Raises ValueError for a cache."""
        if cache is not None:
            raise ValueError("ranks keep no KV cache here: pass whole texts, or generate with load_model(source)")
        return self.model(ids)

    @property
    def nbytes(self) -> list[int]:
        """Bytes that each rank holds: its shares, and what every rank has (embedding, norms, head)."""
        inner = [m for m in self.model.modules() if isinstance(m, Ranks)]
        shares = [bytes_of(*(ranks.ranks[r] for ranks in inner)) for r in range(self.world)]
        everywhere = bytes_of(self.model) - bytes_of(*inner)
        return [n + everywhere for n in shares]


def bytes_of(*modules: nn.Module) -> int:
    """Of the distinct storages behind parameters and buffers."""
    tensors = [t.untyped_storage() for m in modules for t in (*m.parameters(), *m.buffers())]
    return sum({s.data_ptr(): s.nbytes() for s in tensors}.values())


def tensor_parallel(
    source: Path | str = SHIPPED, world: int = 2, quantization=None, *, compute_dtype: torch.dtype = torch.float32
) -> TensorParallel:
    """A folder, a .gguf file or a subject, over `world` ranks: the logits of `load_model(source, quantization)`, up to the
    order of sums in floats. (Activations that get one scale a token are another matter: see layers.parallel.)

    quantization rounds 16-bit weights, as a whole and before they are cut, so that every rank has the codes of load_model.

    >>> tensor_parallel(world=2).nbytes  # the shipped model whole: 7344640
    [4198912, 4198912]

    Raises ValueError for ranks that the heads or sizes do not divide over and for a format that cannot be cut or merged
    there, with layer, tensor and numbers, before any weight is read; CheckpointError where that is the file's own format.
    """
    if type(world) is not int or world < 1:
        raise ValueError(f"world={world!r}: a number of ranks, at least 1")
    source, asked = source_of(source), get_quantization_config(quantization)
    checkpoint = open_checkpoint(source)
    try:
        config = in_file(asked, checkpoint.quantization, source)
    except ValueError:
        raise ValueError(f"{source}: the weights are quantized already; run them without `quantization`") from None
    online = isinstance(config, RulesConfig) and config.quantizer is not None
    own = checkpoint.quantization is not None
    try:
        with torch.device("meta"):
            cut = replace(config, quantizer=None) if online else config
            blocks = [split(checkpoint.config, i, world, cut) for i in range(checkpoint.config.num_hidden_layers)]
        homes = homes_of(blocks, checkpoint.weights)
    except ValueError as e:
        raise CheckpointError(f"{source}: {e}") if own else e from None
    model = filled(source, checkpoint, config, "cpu", compute_dtype, partial(handing_out, homes))
    for layer, ranks in zip(model.model.layers, blocks, strict=True):
        layer.self_attn, layer.mlp = ranks
    return TensorParallel(model, world).requires_grad_(False).eval()


def split(config: LlamaConfig, index: int, world: int, quantization) -> tuple[Ranks, Ranks]:
    """A block's attention and MLP, on all ranks, without memory. Raises ValueError for what cannot be cut or merged."""
    prefix = f"model.layers.{index}"
    kinds = ((RankAttention, f"{prefix}.self_attn"), (RankMLP, f"{prefix}.mlp"))
    return tuple(Ranks(kind, config, where, world, quantization) for kind, where in kinds)


def homes_of(blocks: list[tuple[Ranks, Ranks]], weights: Mapping) -> Homes:
    """Where each layer of the file goes. Raises ValueError for an act_order that cannot be cut or merged: no header says
    it, so those tensors (g_idx) are read before all others."""
    homes = {}
    for ranks in (ranks for block in blocks for ranks in block):
        for layers in zip(*(rank.children() for rank in ranks.ranks), strict=True):
            above, _, leaf = layers[0].prefix.rpartition(".")
            names = {part: f"{above}.{name}" for part, name in NAMES.get(leaf, {None: leaf}).items()}
            refuse_orders(layers[0], names, weights)
            homes |= {name: (layers, part) for part, name in names.items()}
    return homes


def refuse_orders(layer: ParallelLinear, names: dict, weights: Mapping) -> None:
    """Raise ValueError for an act_order of a layer whose columns are cut, and for parts that are ordered differently."""
    for tensor in orders(getattr(layer, "slots", {})):
        found = {part: weights.read(f"{name}.{tensor}") for part, name in names.items() if f"{name}.{tensor}" in weights}
        for part, g_idx in found.items():
            try:
                layer.cut({tensor: g_idx}, layer.parts[part])
            except ValueError as e:
                raise ValueError(f"{names[part]}: {e}") from None
            if not torch.equal(g_idx, next(iter(found.values()))):
                raise ValueError(
                    f"{layer.prefix}: {names[part]}.{tensor} is not that of {names[next(iter(found))]} (act_order), and one "
                    "matrix reads x in one order"
                )


def handing_out(homes: Homes, model: LlamaForCausalLM, checkpoint: Checkpoint, source) -> tuple[dict, Callable]:
    """As `finishing`, whose work it does for embedding and head; a block's layer goes to the ranks, share by share, and is
    dropped. A rank's layer that has all its parts is processed."""
    left, complete = finishing(model, checkpoint, source)

    def hand_out(layer: nn.Module) -> None:
        if getattr(layer, "prefix", None) not in homes:
            return complete(layer)
        if left.pop(id(layer), None) is None:
            return None
        (ranks, part), tensors = homes[layer.prefix], whole(layer)
        layer._parameters.clear()
        try:
            for rank in ranks:
                rank.load(tensors, part)
                if not rank.waiting:
                    rank.quant_method.process_weights_after_loading(rank)
        except ValueError as e:
            raise e if checkpoint.quantization is None else CheckpointError(f"{source}: {e}") from e

    return left, hand_out


def whole(layer: Linear) -> dict[str, torch.Tensor]:
    """A layer's tensors as a file would hold them: a 16-bit weight that is to be quantized becomes codes now, as a whole."""
    tensors, method = {name: p.data for name, p in layer._parameters.items() if p is not None}, layer.quant_method
    if isinstance(method, QuantizedLinearMethod) and method.quantizer is not None:
        W, args, name = tensors.pop("weight"), method.scheme.weights, f"{layer.prefix}.weight"
        if method.quantizer is quantize:
            tensors |= quantize_packed(W, args, method.layout.name, name).tensors
        else:
            tensors |= method.layout.pack(method.quantizer(W, args, name))
        if method.input_scale is not None:
            tensors[method.layout.input_scale] = torch.tensor([method.input_scale])
    return tensors
