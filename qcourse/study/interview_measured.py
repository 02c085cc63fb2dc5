"""Numbers of the interview's answers that were measured: which capture, and what is read from its results.

ADDED       name → (capture, format): bits/byte that a format adds
MEASURED    name → (capture, what is read from its results)
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median

from qcourse.study import captures

ADDED: dict[str, tuple[str, str]] = {
    "lost_w8": ("smollm2-weights", "W8A16"), "lost_channel": ("smollm2-weights", "W4A16_CHANNEL"),
    "lost_g64": ("smollm2-weights", "W4A16_G64"), "lost_g32": ("smollm2-weights", "W4A16_G32"),
    "lost_asym": ("smollm2-weights", "W4A16_ASYM_G64"),
    "rtn3": ("smollm2-methods", "W3A16_ASYM_G64"), "learned2": ("smollm2-methods", "W2A16_ASYM_G64+autoround"),
    "lost_w8a8": ("smollm2-both", "W8A8"), "lost_static": ("smollm2-both", "W8A8_STATIC"),
    "lost_smooth": ("smollm2-both", "W8A8_STATIC+smoothquant@0.8"), "lost_fp8": ("smollm2-both", "FP8_DYNAMIC"),
    "lost_smooth_all": ("smollm2-both", "W8A8_STATIC+smoothquant@1"),
    "rtn4": ("smollm2-methods", "W4A16_ASYM_G64"), "gptq4": ("smollm2-methods", "W4A16_ASYM_G64+gptq"),
    "awq4": ("smollm2-methods", "W4A16_ASYM_G64+awq"), "both4": ("smollm2-methods", "W4A16_ASYM_G64+awq+gptq"),
    "rtn2": ("smollm2-methods", "W2A16_ASYM_G64"), "gptq2": ("smollm2-methods", "W2A16_ASYM_G64+gptq"),
    "fzero4": ("smollm2-methods", "W4A16_FZERO_G64"), "hqq4": ("smollm2-methods", "W4A16_FZERO_G64+hqq"),
    "e5m2": ("smollm2-zoo", "FP8A16_E5M2"), "int8_zoo": ("smollm2-zoo", "W8A16"),
    "nvfp4": ("smollm2-zoo", "NVFP4A16"), "mxfp4": ("smollm2-zoo", "MXFP4A16"), "g32_zoo": ("smollm2-zoo", "W4A16_G32"),
    "w4a4": ("smollm2-rotated", "W4A4"), "w4a4_turned": ("smollm2-rotated", "W4A4+rotation+online"),
    "w4a4_gptq": ("smollm2-rotated", "W4A4+rotation+online+gptq"),
    "ternary": ("shipped-qat", "TERNARY"), "ternary_gptq": ("shipped-qat", "TERNARY+gptq"),
    "ternary_qat": ("shipped-qat", "TERNARY+qat@150"), "two_bits": ("shipped-qat", "W2A16_G64"),
    "two_bits_qat": ("shipped-qat", "W2A16_G64+qat@150"),
    "rules_all4": ("smollm2-rules", "every layer in 4 bits"), "rules_vk8": ("smollm2-rules", "v and k in 8"),
    "rules_emb4": ("smollm2-rules", "embedding in 4"), "rules_emb8": ("smollm2-rules", "embedding in 8"),
    "super": ("smollm2-super-weight", "the super weight"),
    "v2_as_v1": ("smollm2-files", "version 2 read as 1"), "qk_rows": ("smollm2-files", "Q and K not put back"),
    "int8_protocol": ("smollm2-protocol", "W8A16"), "half_window": ("smollm2-protocol", "window: a half"),
    "two_bos": ("smollm2-protocol", "BOS: two"),
}  # fmt: skip


def clocked(results: dict, kernel: str, tokens: int, what: str = "seconds") -> float:
    """Best milliseconds of a kernel of benchmarks.gemm_cpu with 16-bit activations."""
    return 1e3 * min(results[what]["bfloat16"][str(tokens)][kernel])


def last_won(results: dict) -> tuple[int, int]:
    """The most tokens, of those measured, at which int4 is faster than 16 bits, and the next number measured."""
    tokens = sorted(int(m) for m in results["seconds"]["bfloat16"])
    won = [m for m in tokens if clocked(results, "int4 chosen", m) < clocked(results, "torch 16/32-bit", m)]
    return max(won), min(m for m in tokens if m > max(won))


def loudest(results: dict, what: str, layer: str = "") -> float:
    """The largest of one number over all layers whose names end so."""
    return max(r[what] for name, r in results.items() if what in r and name.endswith(layer))


def typical(results: dict, what: str) -> float:
    """The median of one number over all layers."""
    return median(r[what] for r in results.values() if what in r)


def over_all(results: dict, name: str) -> str:
    """What a cache format adds over the whole context: the last row of a capture of "kv-long"."""
    return f"{results[name]['contexts'][-1]['added_bits_per_byte']:+.4f}"


def naive(results: list) -> str:
    """How many times faster than dequantize-then-attend, at least, over all shapes and contexts: FP8."""
    return f"{int(min(r['over_dequantize'] for r in results if r['format'] == 'fp8_e4m3'))}"


MEASURED: dict[str, tuple[str, Callable[[dict], str]]] = {
    "loud_x": ("smollm2-outliers", lambda r: f"{loudest(r, 'ratio', 'q_proj'):.0f}"),
    "loud_down": ("smollm2-outliers", lambda r: f"{loudest(r, 'ratio', 'down_proj'):,.0f}"),
    "loud_k": ("smollm2-kv-inside", lambda r: f"{typical(r, 'keys: loudest channel'):.1f}"),
    "loud_v": ("smollm2-kv-inside", lambda r: f"{typical(r, 'values: loudest channel'):.1f}"),
    "kv_fp8": ("smollm2-kv-long", lambda r: over_all(r, "fp8_e4m3")),
    "kv_int8": ("smollm2-kv-long", lambda r: over_all(r, "int8_per_token_head")),
    "kv_int4": ("smollm2-kv-long", lambda r: over_all(r, "int4_per_token_head")),
    "kv_kivi": ("smollm2-kv-long", lambda r: over_all(r, "int4_kivi")),
    "kv_scale_one": ("smollm2-kv-long", lambda r: over_all(r, "int8_static, scale 1")),
    "kv_naive": ("kv-attention", naive),
    "ms_bf16": ("gemm-cpu", lambda r: f"{clocked(r, 'torch 16/32-bit', 1):.1f}"),
    "ms_int4": ("gemm-cpu", lambda r: f"{clocked(r, 'int4 chosen', 1):.1f}"),
    "ms_dequantize": ("gemm-cpu", lambda r: f"{clocked(r, 'int4 dequantize, matmul', 1):.0f}"),
    "ms_bf16_64": ("gemm-cpu", lambda r: f"{clocked(r, 'torch 16/32-bit', 64):.0f}"),
    "ms_int4_64": ("gemm-cpu", lambda r: f"{clocked(r, 'int4 chosen', 64):.0f}"),
    "many": ("gemm-cpu", lambda r: f"{max(int(m) for m in r['seconds']['bfloat16'] if int(m) <= 64)}"),
    "wins": ("gemm-cpu", lambda r: f"{last_won(r)[0]}"),
    "loses": ("gemm-cpu", lambda r: f"{last_won(r)[1]}"),
    "decode_bf16": ("smollm2-speed", lambda r: f"{r['bf16, bf16 x']['decode']['median']:.0f}"),
    "decode_w4": ("smollm2-speed", lambda r: f"{r['W4A16_G64, bf16 x']['decode']['median']:.0f}"),
    "prefill_bf16": ("smollm2-speed", lambda r: f"{r['bf16, bf16 x']['prefill']['median']:,.0f}"),
    "prefill_w4": ("smollm2-speed", lambda r: f"{r['W4A16_G64, bf16 x']['prefill']['median']:,.0f}"),
    "noise_w4": ("smollm2-weights", lambda r: f"{r['W4A16_G64']['added_stderr']:.3f}"),
    "noise_plain": ("smollm2-weights", lambda r: f"{r['W4A16_G64']['stderr']:.3f}"),
    "flips_w4": ("smollm2-weights", lambda r: f"{100 * r['W4A16_G64']['top1_flips']:.0f}"),
    "rules_bits": ("smollm2-rules", lambda r: f"{r['v and k in 8']['bits_per_weight']:.2f}"),
}


def newest(folder: Path, name: str) -> tuple[str, object]:
    """(file, results) of a capture: name.json, or the newest name-DATE.json. Raises ValueError where there is none."""
    if (folder / f"{name}.json").exists():
        return f"{name}.json", captures.read(folder / f"{name}.json")["results"]
    found = captures.load(folder, f"{name}-*.json", ())
    if not found:
        raise ValueError(f"{folder}: no capture {name}.json or {name}-DATE.json; captures/ of the course has them")
    return found[-1]["path"], found[-1].get("results", found[-1])
