"""One weight in seven files: which bytes of which file hold its code, its scale, its zero point, and what they say.

write_seven(folder)          the shipped model in seven files: name → path
Whereabouts(files, layer)    their headers, read once
.place(name, n, k)           the parts of weight (n, k) in that file, read from the file's own bytes, and their value

Only headers, offsets, shifts and masks are used, no layout of `packing`. (row, column) of the tensor in the file, for a
weight (n, k) with a scale for G = 128 columns:

    file                  code                                    scale         zero point
    bf16                  weight (n, k)
    compressed-tensors    weight_packed (n, k/8), bit 4·(k % 8)   (n, k/G)      (n/8, k/G), bit 4·(n % 8)
    GPTQ, version 1       qweight (k/8, n), bit 4·(k % 8)         (k/G, n)      (k/G, n/8), bit 4·(n % 8), z − 1
    AWQ                   qweight (k, n/8), bit 4·place[n % 8]    (k/G, n)      (k/G, n/8), bit 4·place[n % 8]
    TorchAO               _weight_qdata (n, k), a byte            (n, k/G)      (n, k/G), a byte
    GGUF Q4_0             block k/32 of row n: an fp16 scale, then 16 bytes: byte k % 16, high nibble where k % 32 ≥ 16
    ModelOpt NVFP4        weight (n, k/2), bit 4·(k % 2)          (n, k/16)     a number for the whole tensor, weight_scale_2

Every value equals what the loader makes of the same file (tests/study/test_places.py). First met in notebook 11 §2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qcourse.checkpoints.folder import weight_files
from qcourse.models.convert_folder import convert
from qcourse.models.export_gguf import export_gguf
from qcourse.models.loader import SHIPPED, load_model, read_config
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.grids import E2M1
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.layouts import AWQ_INVERSE
from qcourse.study.raw_elements import BLOCK, BLOCK_BYTES, Part, Raw, blocks, leaves

SAME = ("compressed-tensors", "GPTQ", "AWQ", "TorchAO")  # the same codes: W4A16_ASYM
NAMES = ("bf16", *SAME, "GGUF Q4_0", "ModelOpt NVFP4")
FOLDERS = ("compressed-tensors", "gptq", "awq", "torchao", "q4_0.gguf", "modelopt")
G = 128


@dataclass(frozen=True)
class Place:
    """The parts of one weight in one file, its code first; `value`: ŵ, as they give it; `law`: how, in numbers."""

    parts: tuple[Part, ...]
    value: float
    law: str

    @property
    def code(self) -> Part:
        """The code, or the whole number in bf16."""
        return self.parts[0]


def write_seven(folder: Path) -> dict[str, Path]:
    """The shipped model in seven files under `folder`, a second or two; bf16 is the one that ships."""
    found = dict(zip(NAMES, (SHIPPED, *(Path(folder) / name for name in FOLDERS)), strict=True))
    first = found["compressed-tensors"]
    quantize_to_folder(SHIPPED, first, PRESETS["W4A16_ASYM"], Method(), progress=False)
    for name in SAME[1:]:
        convert(first, found[name], name.lower(), progress=False)
    export_gguf(load_model(), SHIPPED, found["GGUF Q4_0"], "Q4_0")
    quantize_to_folder(SHIPPED, found["ModelOpt NVFP4"], PRESETS["NVFP4A16"], Method(), layout="modelopt", progress=False)
    return found


class Whereabouts:
    """The headers of the seven files, as far as they concern one layer. Raises KeyError for a layer that is not there."""

    def __init__(self, files: Mapping[str, Path], layer: str):
        self.layer = layer
        self.tensors = {n: blocks(p, layer) if p.suffix == ".gguf" else leaves(p, layer) for n, p in files.items()}
        self.shape = weight_files(files["bf16"])[f"{layer}.weight"][1].shape
        sizes, site = read_config(files["bf16"]), layer.rpartition(".")[2]
        self.heads = {"q_proj": sizes.num_attention_heads, "k_proj": sizes.num_key_value_heads}.get(site, 0)

    def place(self, name: str, n: int, k: int) -> Place:
        """Raises KeyError for a file that is not among them, IndexError for a weight that there is not."""
        if not (0 <= n < self.shape[0] and 0 <= k < self.shape[1]):
            raise IndexError(f"weight ({n}, {k}) of a matrix {tuple(self.shape)}")
        row = self.row_in_gguf(n) if name.startswith("GGUF") else n
        return READERS[name](self.tensors[name], row, k)

    def row_in_gguf(self, n: int) -> int:
        """Where llama.cpp has row n: in Q and K, row j of a head's first half comes to 2j, of its second half to 2j + 1."""
        if not self.heads:
            return n
        size = self.shape[0] // self.heads
        head, inside = divmod(n, size)
        half, j = divmod(inside, size // 2)
        return head * size + 2 * j + half


def affine(code: Part, scale: Part, zero: Part) -> Place:
    """ŵ = s·(q − z)."""
    law = f"({code.number:.0f} − {zero.number:.0f}) · {scale.number:.4g}".replace("-", "−")
    return Place((code, scale, zero), (code.number - zero.number) * scale.number, law)


def bf16(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """The number itself."""
    code = t["weight"].number("number", n, k)
    return Place((code,), code.number, "the number itself")


def compressed_tensors(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """Words along K; zero points along N."""
    code = t["weight_packed"].field("code", n, k // 8, 4 * (k % 8))
    zero = t["weight_zero_point"].field("zero point", n // 8, k // G, 4 * (n % 8))
    return affine(code, t["weight_scale"].number("scale", n, k // G), zero)


def gptq(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """The transposed: words along K, zero points along N, less one."""
    code = t["qweight"].field("code", k // 8, n, 4 * (k % 8))
    zero = t["qzeros"].field("zero point", k // G, n // 8, 4 * (n % 8), offset=1)
    return affine(code, t["scales"].number("scale", k // G, n), zero)


def awq(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """Words along N, interleaved; zero points alike."""
    shift = 4 * AWQ_INVERSE[n % 8]
    zero = t["qzeros"].field("zero point", k // G, n // 8, shift)
    return affine(t["qweight"].field("code", k, n // 8, shift), t["scales"].number("scale", k // G, n), zero)


def torchao(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """A byte a code; codes and zero points both less 8."""
    zero = t["_weight_zero_point"].number("zero point", n, k // G)
    return affine(t["_weight_qdata"].number("code", n, k), t["_weight_scale"].number("scale", n, k // G), zero)


def q4_0(t: Mapping[str, Raw], row: int, k: int) -> Place:
    """A block of 18 bytes; codes less 8."""
    raw, at = t["blocks"], k // BLOCK * BLOCK_BYTES
    code = raw.field("code", row, at + 2 + k % 16, 4 * (k % BLOCK // 16))
    half = replace(raw, dtype=torch.float16, columns=raw.columns // 2)
    scale = half.number("scale", row, at // 2)
    law = f"({code.number:.0f} − 8) · {scale.number:.4g}".replace("-", "−")
    return Place((code, scale), (code.number - 8) * scale.number, law)


def nvfp4(t: Mapping[str, Raw], n: int, k: int) -> Place:
    """E2M1 codes, two a byte; a scale in E4M3 for 16, under one fp32 number."""
    code = t["weight"].field("code", n, k // 2, 4 * (k % 2))
    value = E2M1.decode(torch.tensor([code.stored], dtype=E2M1.dtype)).item()
    scale, above = t["weight_scale"].number("scale", n, k // 16), t["weight_scale_2"].number("scale above", 0, 0)
    law = f"{value:g} · {scale.number:g} · {above.number:.3g}"
    return Place((replace(code, number=value), scale, above), value * scale.number * above.number, law)


READERS: dict[str, Callable[[Mapping[str, Raw], int, int], Place]] = dict(
    zip(NAMES, (bf16, compressed_tensors, gptq, awq, torchao, q4_0, nvfp4), strict=True)
)
