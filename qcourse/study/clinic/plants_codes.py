"""Bugs of whoever packs: right numbers in wrong places. Each plant fills two folders, the healthy one and the ill one."""

from collections.abc import Callable
from pathlib import Path

import torch

from qcourse.layers.config import scheme_of
from qcourse.methods.calibration import calibrate
from qcourse.models.export_gguf import permuted
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.packing import bits
from qcourse.shapes import Float, Tensor
from qcourse.study.clinic.case import Draw, Planted
from qcourse.study.clinic.folder import held, keep, spoil, wide, write
from qcourse.study.clinic.meter import calibration

SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYERS = 4
COMPRESSED = "compressed-tensors"
ELSEWHERE = (("W4A16", COMPRESSED), ("W4A16_ASYM", "gptq"), ("W8A16", COMPRESSED), ("NVFP4A16", COMPRESSED))


def somewhere(draw: Draw, names: list[str], what: str = "where") -> list[str]:
    """Layers that are struck: all of them, or those of one block."""
    block = draw.of(what, (None, *range(LAYERS)))
    return [n for n in names if block is None or n.startswith(f"model.layers.{block}.")]


def prefixes(tensors: dict[str, Tensor], leaf: str) -> list[str]:
    """The layers that have a tensor of this name, sorted."""
    return sorted(n.removesuffix(f".{leaf}") for n in tensors if n.endswith(f".{leaf}"))


def off_by_one(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Zero points one too high, or one too low."""
    name, by = draw.of("scheme", ("W4A16_ASYM", "W4A16_ASYM_G64")), draw.of("by", (1, -1))
    write(wide(), healthy, scheme_of(name))

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for layer in somewhere(draw, prefixes(tensors, "weight_zero_point")):
            words = tensors[f"{layer}.weight_zero_point"].T.contiguous()
            zero = bits.unpack_words(words, 4, words.shape[1] * 8)
            moved = (zero.int() + by).clamp(0, 15).to(torch.uint8)
            tensors[f"{layer}.weight_zero_point"] = bits.pack_words(moved, 4).T.contiguous()

    spoil(healthy, ill, change)
    return Planted(f"{name}, compressed-tensors")


def other_version(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """A GPTQ file of version 2 whose config says version 1."""
    name = draw.of("scheme", ("W4A16_ASYM", "W4A16_ASYM_G64"))
    write(wide(), healthy, scheme_of(name), "gptq_v2")

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        config["quantization_config"] |= {"checkpoint_format": "gptq", "format": "gptq"}

    spoil(healthy, ill, change)
    return Planted(f"{name}, gptq")


def nibbles(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """The two codes of each byte in each other's place."""
    name = draw.of("scheme", ("W4A16", "W4A16_ASYM", "W4A16_G64"))
    write(wide(), healthy, scheme_of(name))

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for layer in somewhere(draw, prefixes(tensors, "weight_packed")):
            data = tensors[f"{layer}.weight_packed"].view(torch.uint8)
            tensors[f"{layer}.weight_packed"] = (data << 4 | data >> 4).view(torch.int32)

    spoil(healthy, ill, change)
    return Planted(f"{name}, compressed-tensors")


def across(W: Float[Tensor, "N K"], args: QuantizationArgs, name: str = "W") -> QTensor:
    """Groups of G rows instead of G columns, their scales laid down in the shape that the file asks for."""
    q = quantize(W.T.contiguous(), args, name)
    scale = q.scale.T.reshape(W.shape[0], -1).contiguous()
    return QTensor(q.codes.T.contiguous(), scale, None, args)


def wrong_axis(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Scales of groups along N where the format has groups along K."""
    name = draw.of("scheme", ("W4A16", "W4A16_G64"))
    model, scheme = wide(), scheme_of(name)
    struck = somewhere(draw, sorted(model.linears()))
    write(model, healthy, scheme)
    write(model, ill, scheme, codes=lambda W, args, name: (across if name in struck else quantize)(W, args, name))
    return Planted(f"{name}, compressed-tensors")


def by_rows(tensors: dict[str, Tensor], layer: str, turn: Callable[[Tensor], Tensor]) -> None:
    """Every row of a layer's weight to another place, with its scales and zero points."""
    for leaf in ("weight", "weight_packed", "weight_scale"):
        if f"{layer}.{leaf}" in tensors:
            tensors[f"{layer}.{leaf}"] = turn(tensors[f"{layer}.{leaf}"])


def other_rows(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """Q and K as llama.cpp orders their rows, in a folder of Hugging Face's names."""
    name = draw.of("scheme", ("W4A16", "W8A16", "W4A16_G64"))
    model = wide()
    write(model, healthy, scheme_of(name))
    heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
    heads = {site: heads[site] for site in draw.of("which", (("q_proj", "k_proj"), ("k_proj",), ("q_proj",)))}

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        for layer in sorted(model.linears()):
            if (site := layer.rpartition(".")[2]) in heads:
                by_rows(tensors, layer, lambda t, n=heads[site]: permuted(t, n).contiguous())

    spoil(healthy, ill, change)
    return Planted(f"{name}, compressed-tensors")


def another(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """One matrix of the checkpoint is that of another layer."""
    (name, layout), site = draw.of("scheme", ELSEWHERE), draw.of("site", SITES)
    here = draw.of("here", range(LAYERS))
    there = (here + draw.of("there", range(1, LAYERS))) % LAYERS
    write(wide(), healthy, scheme_of(name), layout)

    def change(config: dict, tensors: dict[str, Tensor]) -> None:
        group = "self_attn" if site in SITES[:4] else "mlp"
        mine, other = (f"model.layers.{i}.{group}.{site}." for i in (here, there))
        tensors.update({n: tensors[other + n.removeprefix(mine)].clone() for n in list(tensors) if n.startswith(mine)})

    spoil(healthy, ill, change)
    return Planted(f"{name}, {layout}")


@torch.inference_mode()
def order_lost(draw: Draw, healthy: Path, ill: Path) -> Planted:
    """A GPTQ file with act_order whose g_idx was dropped."""
    name = draw.of("scheme", ("W4A16", "W4A16_G64", "W4A16_ASYM"))
    model, scheme = wide(), scheme_of(name)
    ids = calibration()
    stats = calibrate(model, ids)

    def by_loudness(W: Tensor, args: QuantizationArgs, name: str) -> QTensor:
        order = stats[name].mean_square.argsort(descending=True, stable=True)
        q = quantize(W[:, order].contiguous(), args, name)
        return QTensor(q.codes, q.scale, q.zero_point, q.args, order)

    write(model, healthy, scheme, "gptq", codes=by_loudness)
    config, tensors = held(healthy)
    config["quantization_config"]["desc_act"] = True
    keep(healthy, config, tensors)
    spoil(healthy, ill, lambda config, tensors: [tensors.pop(f"{n}.g_idx") for n in prefixes(tensors, "g_idx")])
    return Planted(f"{name}, gptq", ids)
