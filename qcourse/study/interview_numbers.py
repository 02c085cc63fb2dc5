"""Every number of the interview's answers, by name: computed by the package, or read from a capture. None is typed.

COMPUTED    name → (which function of the package, how it is called); shapes and GPU are those of the cheatsheet
numbers(folder) makes these, and those of interview_measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from qcourse.gemm.table import TABLE
from qcourse.methods.awq import GRID
from qcourse.numerics.grids import E2M1, E4M3, E5M2, IntGrid
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import LAYOUTS
from qcourse.study import cheatsheet_formulas as sheet
from qcourse.study import cost
from qcourse.study.cheatsheet_formulas import BANDWIDTH, CONTEXT, FLOPS, LLAMA_8B, LLAMA_70B, SHAPE, USABLE, bits, crossing
from qcourse.study.cheatsheet_formulas import kv_bits as each_bits
from qcourse.study.interview_measured import ADDED, MEASURED, newest
from qcourse.study.kv import token_bytes

INT4, INT8 = IntGrid(4), IntGrid(8)
BITS, BYTES, FLOOR = "args.bits_per_weight", "cost.projected_bytes", "cost.decode_seconds"
KV, USERS, CROSS = "kv.token_bytes", "cost.kv_blocks", "cheatsheet_formulas.crossing"


@dataclass(frozen=True)
class Number:
    """As it is printed, and where it comes from: a function of the package, or a file under captures/."""

    text: str
    source: str


def of_scheme(name: str) -> str:
    """True bits a weight of a preset, scales and zero points counted, on a matrix of 4096 × 4096."""
    return f"{PRESETS[name].weights.bits_per_weight(*SHAPE):.4g}"


def size(config, each: float) -> float:
    """Bytes of a model's weights, linear layers at so many bits."""
    return cost.projected_bytes(config, each)


def step(each: float) -> float:
    """Seconds that one decode step of the 8B model takes at least: every weight but the embedding is read once."""
    embedding = 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size
    return cost.decode_seconds(size(LLAMA_8B, each) - embedding, BANDWIDTH)


def users(config, weights: float, kv: float) -> int:
    """Users of 8,192 tokens that fit the usable part of one GPU beside the weights."""
    return cost.kv_blocks(USABLE, size(config, weights), config, kv) * cost.KV_BLOCK // CONTEXT


COMPUTED: dict[str, tuple[str, Callable[[], str]]] = {
    "bits_w4": (BITS, lambda: of_scheme("W4A16")),
    "bits_w4_g32": (BITS, lambda: of_scheme("W4A16_G32")),
    "bits_w4_asym": (BITS, lambda: of_scheme("W4A16_ASYM")),
    "bits_w4_channel": (BITS, lambda: of_scheme("W4A16_CHANNEL")),
    "bits_mxfp4": (BITS, lambda: of_scheme("MXFP4A16")),
    "bits_nvfp4": (BITS, lambda: of_scheme("NVFP4A16")),
    "bits_ternary": (BITS, lambda: of_scheme("TERNARY")),
    "group": ("PRESETS", lambda: f"{PRESETS['W4A16'].weights.group_size}"),
    "g64": ("PRESETS", lambda: f"{PRESETS['W4A16_G64'].weights.group_size}"),
    "g32": ("PRESETS", lambda: f"{PRESETS['W4A16_G32'].weights.group_size}"),
    "mx_group": ("PRESETS", lambda: f"{PRESETS['MXFP4A16'].weights.group_size}"),
    "nv_group": ("PRESETS", lambda: f"{PRESETS['NVFP4A16'].weights.group_size}"),
    "levels_int4": ("IntGrid", lambda: f"{INT4.qmax - INT4.qmin + 1}"),
    "limit_e4m3": ("FloatGrid.max", lambda: f"{E4M3.max:g}"),
    "limit_e5m2": ("FloatGrid.max", lambda: f"{E5M2.max:,.0f}"),
    "limit_e2m1": ("FloatGrid.max", lambda: f"{E2M1.max:g}"),
    "values_e2m1": ("FloatGrid.table", lambda: f"{len(set(E2M1.table().tolist()))}"),
    "coarse_e4m3": ("FloatGrid.mantissa_bits", lambda: f"{100 * 2.0 ** -(E4M3.mantissa_bits + 1):g}"),
    "coarse_e5m2": ("FloatGrid.mantissa_bits", lambda: f"{100 * 2.0 ** -(E5M2.mantissa_bits + 1):g}"),
    "gb_8b": (BYTES, lambda: f"{size(LLAMA_8B, 16) / 1e9:.1f}"),
    "gb_8b_w4": (BYTES, lambda: f"{size(LLAMA_8B, bits()) / 1e9:.2f}"),
    "fewer_8b": (BYTES, lambda: f"{size(LLAMA_8B, 16) / size(LLAMA_8B, bits()):.2f}"),
    "fewer_linear": (BITS, lambda: f"{16 / bits():.2f}"),
    "gb_70b": (BYTES, lambda: f"{size(LLAMA_70B, 16) / 1e9:.0f}"),
    "gb_70b_w8": (BYTES, lambda: f"{size(LLAMA_70B, 8) / 1e9:.1f}"),
    "gb_70b_w4": (BYTES, lambda: f"{size(LLAMA_70B, bits()) / 1e9:.1f}"),
    "room_70b": (USERS, lambda: f"{cost.kv_blocks(USABLE, size(LLAMA_70B, bits()), LLAMA_70B) * cost.KV_BLOCK:,}"),
    "users_70b": (USERS, lambda: f"{users(LLAMA_70B, bits(), 16)}"),
    "users_70b_fp8": (USERS, lambda: f"{users(LLAMA_70B, bits(), each_bits('fp8_e4m3'))}"),
    "users_8b": (USERS, lambda: f"{users(LLAMA_8B, bits(), 16)}"),
    "users_8b_fp8": (USERS, lambda: f"{users(LLAMA_8B, bits(), each_bits('fp8_e4m3'))}"),
    "ms_8b": (FLOOR, lambda: f"{step(16) * 1e3:.2f}"),
    "ms_8b_w4": (FLOOR, lambda: f"{step(bits()) * 1e3:.2f}"),
    "tps_8b": (FLOOR, lambda: f"{1 / step(16):.0f}"),
    "tps_8b_w4": (FLOOR, lambda: f"{1 / step(bits()):.0f}"),
    "idle": (CROSS, lambda: f"{crossing(16):.0f}"),
    "cross_bf16": (CROSS, lambda: f"{crossing(16):.0f}"),
    "cross_w4": (CROSS, lambda: f"{crossing(bits()):.0f}"),
    "bandwidth": ("cheatsheet_formulas", lambda: f"{BANDWIDTH / 1e12:g}"),
    "tflops": ("cheatsheet_formulas", lambda: f"{FLOPS / 1e12:g}"),
    "usable": ("cheatsheet_formulas", lambda: f"{100 * USABLE / sheet.MEMORY:.0f}"),
    "context": ("cheatsheet_formulas", lambda: f"{CONTEXT:,}"),
    "kv_8b": (KV, lambda: f"{token_bytes(LLAMA_8B) / 1e3:.0f}"),
    "kv_8b_fp8": (KV, lambda: f"{token_bytes(LLAMA_8B, 'fp8_e4m3') / 1e3:.1f}"),
    "kv_70b": (KV, lambda: f"{token_bytes(LLAMA_70B) / 1e3:.0f}"),
    "kv_70b_user": (KV, lambda: f"{token_bytes(LLAMA_70B) * CONTEXT / 1e9:.1f}"),
    "kv_kivi_bits": ("KVCacheArgs.token_bits", lambda: f"{each_bits('int4_kivi'):g}"),
    "schemes": ("PRESETS", lambda: f"{len(PRESETS)}"),
    "layouts": ("LAYOUTS", lambda: f"{len(LAYOUTS)}"),
    "kernels": ("gemm.table", lambda: f"{len({k.name for k in TABLE})}"),
    "awq_trials": ("methods.awq", lambda: f"{GRID}"),
}  # fmt: skip


def numbers(folder: Path | str) -> dict[str, Number]:
    """Every number of the answers. folder: captures/. Raises ValueError for a capture that is missing or is none, KeyError
    for a format that was not measured there."""
    needed = dict.fromkeys(name for name, _ in (*ADDED.values(), *MEASURED.values()))
    kept: Mapping[str, tuple[str, object]] = {name: newest(Path(folder), name) for name in needed}
    found = {name: Number(make(), source) for name, (source, make) in COMPUTED.items()}
    for name, (capture, key) in ADDED.items():
        file, results = kept[capture]
        lost = results[key]["added_bits_per_byte"]
        found[name] = Number(f"{lost:+.4f}" if abs(lost) < 0.01 else f"{lost:+.3f}", f"captures/{file}")
    for name, (capture, read) in MEASURED.items():
        file, results = kept[capture]
        found[name] = Number(read(results), f"captures/{file}")
    return {name: Number(n.text.replace("-", "−"), n.source) for name, n in found.items()}
