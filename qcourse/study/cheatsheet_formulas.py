"""Bytes and KV cache: the law, and one worked example each, computed by study.cost from published shapes.

The models are Llama 3 in 8 and 70 billion weights (their config.json: layers, heads, widths, vocabulary), the machine is one
GPU with 80 GB that reads 3.35 TB/s and multiplies 990 TFLOP/s in bf16 (an H100 SXM), of whose memory 90 % are for weights
and cache. Computed, not measured: floors and ceilings.
"""

from dataclasses import dataclass

from qcourse.models.llama import LlamaConfig
from qcourse.numerics.kv import KV_PRESETS
from qcourse.numerics.schemes import PRESETS
from qcourse.study import cost

LLAMA_8B = LlamaConfig(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                       num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=False)  # fmt: skip
LLAMA_70B = LlamaConfig(vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80,
                        num_attention_heads=64, num_key_value_heads=8, head_dim=128, tie_word_embeddings=False)  # fmt: skip
MEMORY, BANDWIDTH, FLOPS = 80e9, 3.35e12, 990e12  # bytes, bytes a second, dense bf16
USABLE = 0.9 * MEMORY  # for weights and cache; the rest is the engine's
TOP, LOW, HIGH = 0.15, -0.05, 0.10  # weights of the first two examples
CONTEXT = 8192  # tokens of one user
SHAPE = (4096, 4096)
SCHEME = "W4A16"


@dataclass(frozen=True)
class Formula:
    """what · law, in letters · example, with its numbers."""

    what: str
    law: str
    example: str


def bits() -> float:
    """True bits a weight of SCHEME."""
    return PRESETS[SCHEME].weights.bits_per_weight(*SHAPE)


def kv_bits(name: str) -> float:
    """Bits a number of a cache takes, of keys and values on average, scales counted."""
    D = LLAMA_8B.head_dim
    return KV_PRESETS[name].token_bits(D) / (2 * D)


def crossing(weight_bits: float) -> float:
    """Tokens at which reading a weight takes as long as multiplying by it: 2·M operations, weight_bits/8 bytes."""
    return FLOPS * cost.decode_seconds(weight_bits / 8, BANDWIDTH) / 2


def formulas() -> list[Formula]:
    """The rows."""
    w, b = PRESETS[SCHEME].weights, bits()
    grid, ranged = w.grid, PRESETS["W4A16_ASYM"].weights.grid
    full, small, large = (cost.projected_bytes(c, x) for c, x in ((LLAMA_8B, 16), (LLAMA_8B, b), (LLAMA_70B, b)))
    embedding = 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size
    step = (HIGH - LOW) / ranged.qmax
    slow, fast = (cost.decode_seconds(x - embedding, BANDWIDTH) for x in (full, small))
    token = cost.kv_block_bytes(LLAMA_8B) / cost.KV_BLOCK
    users = {k: cost.kv_blocks(USABLE, small, LLAMA_8B, k) * cost.KV_BLOCK // CONTEXT for k in (16, kv_bits("fp8_e4m3"))}
    meet = crossing(16)
    over = cost.kv_blocks(USABLE, large, LLAMA_70B) * cost.KV_BLOCK
    return [
        Formula("scale, symmetric", "s = max|w| / L, L = (2ᴮ − 1)/2,  |w − ŵ| ≤ s/2",
                f"{grid}: L = {grid.limit:g}; max|w| = {TOP:g} → s = {TOP / grid.limit:.2g}, ŵ = s·q"),
        Formula("scale, zero point", "s = (max − min) / (2ᴮ − 1),  z = round(−min/s)",
                f"{ranged}, {LOW:g} … {HIGH:g}: s = {step:.2g}, z = {round(-LOW / step)}, ŵ = s·(q − z)".replace("-", "−")),
        Formula("true bits a weight", "b = B + (bits of scale + bits of zero) / G",
                f"{SCHEME}: {w.num_bits} + 16/{w.group_size} = {b:g}; with zeros "
                f"{PRESETS['W4A16_ASYM'].weights.bits_per_weight(*SHAPE):g}"),
        Formula("bytes of a model", "linears·b/8 + 2·V·hidden·(1 if tied, else 2)",
                f"8B: {full / 1e9:.1f} → {small / 1e9:.2f} GB: {full / small:.2f} times fewer, not {16 / b:.2f}"),
        Formula("floor of a decode step", "weights read (all but the embedding) / bandwidth",
                f"8B: {slow * 1e3:.2f} → {fast * 1e3:.2f} ms, at most {1 / slow:.0f} → {1 / fast:.0f} tokens/s"),
        Formula("where bytes stop binding", "tokens M = FLOP/s · b/8 / (2·bandwidth)",
                f"bf16 {meet:.0f}; {SCHEME} gains less from {crossing(b):.0f} on, nothing from {meet:.0f} on"),
        Formula("KV cache of a token", "2·layers·kv_heads·head_dim·bits/8",
                f"8B: {token:,.0f} bytes in bf16; FP8 {token * kv_bits('fp8_e4m3') / 16:,.0f}; int8_per_token_head "
                f"{token * kv_bits('int8_per_token_head') / 16:,.0f}; int4_kivi {token * kv_bits('int4_kivi') / 16:,.0f}"),
        Formula("users that fit", f"({USABLE / MEMORY:.0%} of memory − weights) / (tokens · KV of a token)",
                f"8B {SCHEME}, 80 GB, {CONTEXT:,} tokens each: {users[16]} with bf16 KV, "
                f"{users[kv_bits('fp8_e4m3')]} with FP8"),
        Formula("a large model", "the same",
                f"70B {SCHEME} on one such GPU: {large / 1e9:.1f} GB of weights, and {over:,} tokens of bf16 KV"),
    ]  # fmt: skip
