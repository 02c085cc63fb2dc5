"""The formats of the cheatsheet: which rows of PRESETS it shows, and what each is, read from the registries.

grid, scale, bits a weight: the recipe · kernels: study.dispatch, which asks gemm.table · files: who has words and a place
for it (checkpoints.dialect_writers, GGUF's and bitsandbytes' layouts) · what is lost: the captures of the experiment "zoo".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from qcourse.checkpoints.dialect_writers import WRITERS
from qcourse.numerics.args import QuantizationArgs, is_float
from qcourse.numerics.codebooks import Codebook
from qcourse.numerics.grids import Grid, IntGrid
from qcourse.numerics.schemes import PRESETS, QuantizationScheme
from qcourse.packing.packed import layout_of
from qcourse.study.dispatch import LAST, route

SHAPE = (4096, 4096)  # (N, K) of the matrix whose bits are counted: q_proj of a model with 8 billion weights
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {  # title → (kind, names of PRESETS)
    "Integers, weights only": ("int", ("W8A16", "W4A16", "W4A16_G64", "W4A16_ASYM", "W3A16", "W2A16_ASYM")),
    "Integers, activations too": ("int", ("W8A8", "W8A8_STATIC", "W4A8_G128", "W4A4")),
    "FP8": ("float", ("FP8", "FP8_DYNAMIC", "FP8_BLOCK", "W4AFP8")),
    "Block floats": ("float", ("MXFP8", "MXFP4A16", "NVFP4A16", "NVFP4")),
    "Codebooks": ("codebook", ("NF4", "TERNARY")),
    "GGUF's blocks": ("gguf", ("Q8_0", "Q6_K", "Q4_K", "Q4_0", "IQ4_NL", "Q2_K")),
}
ECOSYSTEMS = {"CT": "compressed-tensors", "GPTQ": "gptq", "AWQ": "awq", "MO": "modelopt", "AO": "torchao", "GGUF": "gguf",
              "bnb": "bitsandbytes"}  # fmt: skip
SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Lost:
    """What was measured: the scheme's name on that model, bits/byte added, their standard error."""

    name: str
    added: float
    stderr: float


@dataclass(frozen=True)
class Format:
    """A row. shared: who shares a scale · bits: true bits a weight of SHAPE, `codes` of them codes · cpu, gpu: the kernel
    that is preferred, "" where the reference decodes everything · files: short names of ECOSYSTEMS · lost: subject → what
    was measured there, None where it does not fit."""

    name: str
    kind: str
    grid: str
    shared: str
    scale: str
    activations: str
    codes: int
    bits: float
    cpu: str
    gpu: str
    files: tuple[str, ...]
    lost: dict[str, Lost | None]


def formats(zoos: Mapping[str, dict]) -> dict[str, list[Format]]:
    """Title of a group → its rows. zoos: subject → the results of its capture "zoo"."""
    return {title: [row_of(name, kind, zoos) for name in names] for title, (kind, names) in GROUPS.items()}


def row_of(name: str, kind: str, zoos: Mapping[str, dict]) -> Format:
    """One scheme's row. Raises KeyError for a name that PRESETS lacks."""
    scheme, w = PRESETS[name], PRESETS[name].weights
    cpu, gpu = (route(scheme, device).kernels[0] for device in ("cpu", "cuda"))
    lost = {subject: found(name, results) for subject, results in zoos.items()}
    return Format(
        name, kind, grid_of(w.grid), shared_of(w, "row"), stored(w), activations_of(scheme), w.num_bits,
        w.bits_per_weight(*SHAPE), "" if cpu == LAST else cpu, "" if gpu == LAST else gpu,
        tuple(short for short, ecosystem in ECOSYSTEMS.items() if holds(ecosystem, scheme)), lost,
    )  # fmt: skip


def found(name: str, results: Mapping[str, dict]) -> Lost | None:
    """A scheme as it was measured on a model: itself, else in groups of 64, where 128 do not divide its rows."""
    here = next((n for n in (name, f"{name}_G64") if n in results), None)
    return None if here is None else Lost(here, results[here]["added_bits_per_byte"], results[here]["added_stderr"])


def number(value: float) -> str:
    """A value of a grid, with a real minus."""
    return f"{value:,.4g}".replace("-", "−")


def grid_of(grid: Grid) -> str:
    """Its name and its reach: "int4 −8…7", "E4M3 ±448"."""
    if isinstance(grid, IntGrid):
        return f"{grid} {number(grid.qmin)}…{number(grid.qmax)}"
    if isinstance(grid, Codebook):
        low, high, name = min(grid.values), max(grid.values), str(grid) if str(grid).isalpha() else str(grid).upper()
        return f"{name} ±{number(high)}" if low == -high else f"{name} {number(low)}…{number(high)}"
    return f"{grid} ±{number(grid.limit)}"


def shared_of(args: QuantizationArgs, row: str) -> str:
    """Who shares a scale, in few words. row: what a row is called here."""
    rows, columns = args.granularity.rows, args.granularity.cols
    if rows is None:
        return "tensor"
    return (row if columns is None else f"{columns}") if rows == 1 else f"{rows}×{columns}"


def how(stored_as) -> str:
    """How scales or zero points are stored: "bf16", "E8M0", "uint6 under fp16"."""
    if isinstance(stored_as, QuantizationArgs):
        return f"{stored_as.grid} under {how(stored_as.scale)}"
    if is_float(stored_as):
        return SHORT[str(stored_as).removeprefix("torch.")]
    return str(stored_as).upper() if str(stored_as) == "e8m0" else str(stored_as)


def stored(args: QuantizationArgs) -> str:
    """Scales, and zero points where there are any."""
    zero = "" if args.zero is None else ", min" if args.zero_in == "weights" else f" + {how(args.zero)} zero"
    return how(args.scale) + zero


def activations_of(scheme: QuantizationScheme) -> str:
    """How the input is rounded: "int8 a token", "E4M3 tensor, static"; nothing where it stays in 16 bits."""
    a = scheme.input_activations
    if a is None:
        return ""
    return f"{a.grid} / {shared_of(a, 'token')}{', static' if a.dynamic is False else ''}"


def holds(ecosystem: str, scheme: QuantizationScheme) -> bool:
    """Whether this ecosystem has words for the scheme and a place for its codes."""
    try:
        if ecosystem in WRITERS:
            WRITERS[ecosystem].written(scheme)
            WRITERS[ecosystem].layout(scheme)
        elif scheme.input_activations is not None:
            return False
        else:
            layout_of(ecosystem).slots(scheme.weights, *SHAPE)
    except ValueError:
        return False
    return True
