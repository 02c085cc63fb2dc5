"""The numbers of exercises A1.24 to A1.30: what fits, how fast, and what captures say it costs."""

from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.numerics.schemes import PRESETS
from qcourse.study import captures as files
from qcourse.study import cost
from qcourse.study.cheatsheet_formulas import CONTEXT, LLAMA_8B, LLAMA_70B, USABLE, crossing
from qcourse.study.exercise import results
from qcourse.study.exercises_warm_up import bits
from qcourse.study.kv import sequence_bytes

GPU, SPEED, CLASS, LONG, ALPHA = USABLE, 60e9, 300, 32768, 0.8


def room(memory: float = GPU, weights: float | None = None, kv: float = 8) -> float:
    """Tokens of context beside Llama 3 70B's weights, in whole blocks."""
    taken = cost.projected_bytes(LLAMA_70B, bits("W4A16")) if weights is None else weights
    return cost.kv_blocks(memory, taken, LLAMA_70B, kv) * cost.KV_BLOCK


def one_gpu(captures) -> dict:
    """Weights of 70B in three formats, and what they leave."""
    full, eight, four = (cost.projected_bytes(LLAMA_70B, b) / 1e9 for b in (16, bits("FP8_DYNAMIC"), bits("W4A16")))
    r = results(captures, "smollm2-weights")
    return {
        "full": full,
        "eight": eight,
        "four": four,
        "gpu": GPU / 1e9,
        "tokens": room(),
        "half": room(kv=16),
        "users": room() // CONTEXT,
        "context": CONTEXT,
        "rtn": r["W4A16_ASYM_G64"]["added_bits_per_byte"],
        "awq": r["W4A16_ASYM_G64+awq"]["added_bits_per_byte"],
    }


def sensitive(captures) -> dict:
    """Which matrices cost most in 4 bits, what putting them back buys, and what static scales cost."""
    kinds = {k: v["added_bits_per_byte"] for k, v in results(captures, "smollm2-sensitivity").items() if k.endswith("_proj")}
    first, second, *_, last = sorted(kinds, key=kinds.get, reverse=True)
    rules, two = results(captures, "smollm2-rules"), results(captures, "smollm2-both")
    kv = results(captures, "smollm2-kv-long")["fp8_e4m3"]["contexts"][-1]
    return {"first": first, "second": second, "last": last, "worst": kinds[first], "least": kinds[last],
            "all": rules["every layer in 4 bits"]["added_bits_per_byte"],
            "down": rules["down in 8"]["added_bits_per_byte"], "downbits": rules["down in 8"]["bits_per_weight"],
            "v": rules["v in 8"]["added_bits_per_byte"], "vbits": rules["v in 8"]["bits_per_weight"],
            "static": two["FP8"]["added_bits_per_byte"], "dynamic": two["FP8_DYNAMIC"]["added_bits_per_byte"],
            "kv": kv["added_bits_per_byte"]}  # fmt: skip


def vendor(captures) -> dict:
    """What an INT3 takes, as the course served one in vLLM."""
    r = files.read(captures / "vllm-int3-2026-11-30.json")["results"]
    return {"config": QuantizationConfig.__name__, "get": QuantizationConfig.get_quant_method.__name__,
            "base": LinearMethodBase.__name__, "after": LinearMethodBase.process_weights_after_loading.__name__,
            "bits": bits("W3A16"), "apart": r["difference"]["mean"],
            "stderr": r["difference"]["stderr"],
            "equal": r["greedy"]["equal"], "of": r["greedy"]["of"]}  # fmt: skip


def pace(b: float | None = None, embedding: bool = False) -> float:
    """Tokens a second at best, from all bytes of a step: every weight but the embedding's table."""
    ends = 0 if embedding else 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size
    return 1 / cost.decode_seconds(cost.projected_bytes(LLAMA_8B, bits("W4A16") if b is None else b) - ends, SPEED)


def phone(captures) -> dict:
    """What fits a phone, and how fast."""
    four = cost.projected_bytes(LLAMA_8B, bits("W4A16"))
    r = {n: x["added_bits_per_byte"] for n, x in results(captures, "smollm2-rules").items()}
    return {"full": cost.projected_bytes(LLAMA_8B, 16) / 1e9, "four": four / 1e9, "pace": pace(), "context": 4096,
            "kv": sequence_bytes(LLAMA_8B, 4096, "fp8_e4m3") / 1e9,
            "ends": 4 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size / four,
            "eight": r["embedding in 8"] - r["every layer in 4 bits"]}  # fmt: skip


def gpus(b: float | None = None, kv: str | None = "fp8_e4m3", memory: float = GPU) -> int:
    """GPUs for the class: whole users on each."""
    free = memory - cost.projected_bytes(LLAMA_8B, bits("W4A16") if b is None else b)
    return -(-CLASS // int(free // sequence_bytes(LLAMA_8B, LONG, kv)))


def lesson(captures) -> dict:
    """A user's bytes, and GPUs by what is rounded."""
    one, free = sequence_bytes(LLAMA_8B, LONG, "fp8_e4m3"), GPU - cost.projected_bytes(LLAMA_8B, bits("W4A16"))
    whole = results(captures, "smollm2-kv-long")["int4_kivi"]["contexts"][-1]
    return {
        "one": one / 1e9,
        "all": CLASS * one / 1e9,
        "each": int(free // one),
        "gpus": gpus(),
        "weights": gpus(kv=None),
        "cache": gpus(16),
        "none": gpus(16, None),
        "int4": gpus(kv="int4_kivi"),
        "kivi": whole["added_bits_per_byte"],
        "upto": whole["to"],
    }


def slower(captures) -> dict:
    """Speed in decode and prefill, as measured."""
    r = results(captures, "smollm2-speed")
    four, full = (r[n] for n in ("W4A16_G64, bf16 x", "bf16, bf16 x"))
    return {
        "decode": four["decode"]["median"] / full["decode"]["median"],
        "prefill": four["prefill"]["median"] / full["prefill"]["median"],
        "M": crossing(bits("W4A16")),
    }


def ruined(captures) -> dict:
    """What saves W8A8."""
    r = results(captures, "smollm2-both")
    names = {
        "static": "W8A8_STATIC",
        "smooth": f"W8A8_STATIC+smoothquant@{ALPHA}",
        "token": "W8A8",
        "both": "W8A8+smoothquant",
    }
    return {n: r[k]["added_bits_per_byte"] for n, k in names.items()} | {
        "grid": PRESETS["W8A8_STATIC"].weights.num_bits,
        "alpha": ALPHA,
    }
