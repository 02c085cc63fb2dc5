"""Bytes of a model file by part: codes, scales, zero points, what is said twice, the ends, norms, headers.

parts(source)           measured from the headers of a folder's safetensors files, or of a .gguf file
stacked_parts(rows)     a bar a file, its parts behind each other

The parts add up to the files' lengths. A block of GGUF holds scales beside its codes: it is cut by the fields of its type.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path

from qcourse.models.subjects import source_of
from qcourse.packing.gguf import BLOCKS
from qcourse.study.cost import file_bytes
from qcourse.study.inspection import inspect
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREEN, GREY, ORANGE, RED, described, figure

CODES, SCALES, ZEROS, TWICE, EMBEDDING, HEAD, NORMS, HEADERS = (
    "codes, or 16 bits", "scales", "zero points", "said again", "embedding", "head", "norms", "headers",
)  # fmt: skip
LOOKS = {  # colour and hatch
    CODES: (BLUE, ""), SCALES: (ORANGE, "//"), ZEROS: (GREEN, ".."), TWICE: (RED, "xx"), EMBEDDING: ("#c3c9d2", ""),
    HEAD: ("#8f97a3", "\\\\"), NORMS: (GREY, ""), HEADERS: ("black", ""),
}  # fmt: skip
LEAVES = {  # the last part of a name → its part; every other tensor of a layer is CODES
    SCALES: ("scales", "weight_scale", "weight_scale_2", "weight_global_scale", "weight_scale_inv", "_weight_scale",
             "input_scale", "input_global_scale"),
    ZEROS: ("qzeros", "weight_zero_point", "_weight_zero_point"),
    TWICE: ("g_idx", "weight_g_idx", "weight_shape"),
}  # fmt: skip
ENDS = {"token_embd": EMBEDDING, "embed_tokens": EMBEDDING, "output": HEAD, "lm_head": HEAD}
MINIMA = ("m", "dmin")


def part_of(name: str) -> str:
    """The part that a tensor belongs to, by its name.

    >>> part_of("model.layers.0.mlp.up_proj.qzeros"), part_of("blk.0.attn_norm.weight")
    ('zero points', 'norms')
    """
    path, _, leaf = name.rpartition(".")
    last = path.rpartition(".")[2]
    if "norm" in last:
        return NORMS
    return ENDS.get(last) or next((part for part, leaves in LEAVES.items() if leaf in leaves), CODES)


def parts(source: Path | str) -> dict[str, int]:
    """Bytes by part, in the order of LOOKS. Headers are all that is no tensor: names, shapes, offsets, padding, in a GGUF
    file the tokenizer, too. Raises CheckpointError for what is no model file."""
    path, found = source_of(source), dict.fromkeys(LOOKS, 0)
    for t in inspect(path).tensors:
        pieces = block_parts(t.dtype, prod(t.shape)) if part_of(t.name) == CODES and t.dtype in BLOCKS else {}
        for part, size in (pieces or {part_of(t.name): t.nbytes}).items():
            found[part] += size
    found[HEADERS] = file_bytes(path) - sum(found.values())
    return found


def block_parts(kind: str, weights: int) -> dict[str, int]:
    """Bytes of the codes, scales and minima of that many weights in a GGUF type.

    >>> block_parts("Q4_1", 32)
    {'codes, or 16 bits': 16, 'scales': 2, 'zero points': 2}
    """
    block = BLOCKS[kind]
    codes = sum(block.fields[name] for name in {field for field, _, _ in block.planes})
    minima = sum(size for name, size in block.fields.items() if name in MINIMA)
    count = weights // block.weights
    return {CODES: count * codes, SCALES: count * (block.bytes - codes - minima), ZEROS: count * minima}


def bits_a_weight(found: Mapping[str, int], weights: int) -> float:
    """What each weight of a linear layer takes: codes, scales, zero points and what is said again."""
    return 8 * sum(found[part] for part in (CODES, SCALES, ZEROS, TWICE)) / weights


def stacked_parts(rows: Mapping[str, Mapping[str, float]], title: str, xlabel: str, said: Mapping[str, str]) -> Picture:
    """A bar a file, its parts behind each other; `said` is written at its end. Parts that no file has are left out."""
    fig, ax = figure(1, title, width=9, height=1.4 + 0.36 * len(rows))
    there = [part for part in LOOKS if any(row.get(part) for row in rows.values())]
    for y, (name, row) in enumerate(rows.items()):
        left = 0.0
        for part in there:
            color, hatch = LOOKS[part]
            ax.barh(y, row[part], left=left, color=color, hatch=hatch, height=0.64, edgecolor="white", lw=0.4)
            left += row[part]
        ax.annotate(f" {said[name]}", (left, y), va="center", size=9)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlim(0, 1.3 * max(sum(row.values()) for row in rows.values()))  # room for what is said
    ax.grid(axis="y", visible=False)
    handles = [ax.barh([0], [0], color=LOOKS[p][0], hatch=LOOKS[p][1], edgecolor="white", label=p) for p in there]
    fig.legend(handles=handles, loc="outside lower center", ncols=len(there), frameon=False, fontsize=8)
    words = "; ".join(f"{name}: {', '.join(f'{p} {row[p]:.3g}' for p in there)}" for name, row in rows.items())
    return described(fig, f"Bars in parts, {xlabel}: {words}.")
