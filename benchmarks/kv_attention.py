"""The attention of a decode step over a KV cache in every format, beside what it has to beat, in one run.

    python -m benchmarks.kv_attention [--contexts 256,1024,8192] [--formats a,b] [--threads N] [--out FILE]

For each head shape, one new token after `context` others: RoPE, its key and value written, all of the context gathered.

    ours          the compiled loop over the packed codes (gemm.kv_loops), fp32 activations
    dequantize    the same cache: all of it dequantized, then torch's attention
    16 bits       a bf16 cache and bf16 activations, our compiled loop for it (gemm.step_loops)
    32 bits       the same in fp32

The contenders take turns within every round, so that a busy machine is busy for all of them, and each call walks over some
of many layers, so that a cache that is larger than the processor's stays outside of it. Ratios are of the best rounds (what
others take of a shared machine only adds); medians are kept beside them. Quote ratios, not milliseconds.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from qcourse.models.attention import through
from qcourse.models.kv_cache import KVCache
from qcourse.models.llama import LlamaConfig
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.models.rope import rotate
from qcourse.numerics.kv import KV_PRESETS
from qcourse.study import roofline
from qcourse.study.evaluate import provenance

SHAPES = {"shipped, 2 × 64": (4, 2, 64), "SmolLM2, 3 × 64": (9, 3, 64), "8 × 128": (32, 8, 128)}  # heads, kv heads, D
CONTEXTS = (256, 512, 1024, 2048, 4096, 8192)
BYTES = 64 << 20  # a bf16 cache should have so many, in 30 layers at most
EACH = 4  # layers a call
PEERS = ("16 bits", "32 bits")


class Case:
    """Caches of one head shape and context, and the calls that are timed."""

    def __init__(self, shape: tuple[int, int, int], context: int):
        self.shape, self.context = shape, context
        heads, kv, D = shape
        self.layers = min(30, max(EACH, BYTES // (4 * kv * D * context)))
        self.config = LlamaConfig(
            num_hidden_layers=self.layers, num_attention_heads=heads, num_key_value_heads=kv, head_dim=D
        )
        angle = torch.randn(1, D // 2).repeat(1, 2)
        self.new = torch.randn(1, heads, 1, D), *torch.randn(2, 1, kv, 1, D)
        self.rope = angle.cos(), angle.sin()
        self.past = torch.randn(2, 1, kv, context, D)

    def walk(self, cache, step: Callable) -> Callable[[int], None]:
        """A call that steps through EACH layers, always at the same position."""

        def call(i: int) -> None:
            for n in range(EACH):
                step((i * EACH + n) % self.layers)

        cache.length = self.context
        return call

    def plain(self, dtype: torch.dtype) -> Callable[[int], None]:
        """The step over a cache that is not quantized."""
        cache = KVCache(self.config, 1, self.context + 1, dtype)
        for kept, x in zip((cache.k, cache.v), self.past, strict=True):
            kept[:, :, :, : self.context] = x
        new, rope = [t.to(dtype) for t in self.new], [t.to(dtype) for t in self.rope]
        return self.walk(cache, lambda layer: cache.step(layer, *new, rope))

    def quantized(self, name: str) -> tuple[Callable[[int], None], Callable[[int], None], int]:
        """(ours, everything dequantized, bytes of the cache)."""
        args, (_, kv, _) = KV_PRESETS[name], self.shape
        ones = torch.full((kv if args.per_head else 1,), 0.05)
        scales = [(ones, ones)] * self.layers if args.static else None
        cache = QuantizedKVCache(self.config, 1, self.context + 1, args, scales=scales)
        for layer in range(self.layers):
            cache.update(layer, *self.past)
        q, k = (rotate(t, *self.rope) for t in self.new[:2])

        def ours(layer: int) -> None:
            cache.reached[layer] = self.context  # as if the last step had not been
            if cache.step(layer, *self.new, self.rope) is None:
                raise SystemExit(f"{name}: the compiled loop does not serve here (numba missing?)")

        def dequantized(layer: int) -> None:
            cache.reached[layer] = self.context
            through(cache, layer, q, k, self.new[2])

        return self.walk(cache, ours), self.walk(cache, dequantized), cache.nbytes

    def times(self, formats: list[str], seconds: float) -> list[dict]:
        """A row a format: milliseconds a layer, and how often faster than its peers."""
        fast, slow, size = {"16 bits": self.plain(torch.bfloat16), "32 bits": self.plain(torch.float32)}, {}, {}
        for name in formats:
            fast[name], slow[name], size[name] = self.quantized(name)
        quick = roofline.interleaved(fast, 200, 2, seconds)
        both = {("ours", n): fast[n] for n in formats} | {("dequantize", n): slow[n] for n in formats}
        found = roofline.interleaved(both, 9, 1, seconds)
        whole = self.past.nbytes // 2 * self.layers  # in bf16
        return [
            {"format": n, "ms_best": quick[n].best / EACH * 1e3, "ms_median": quick[n].median / EACH * 1e3,
             "over_16_bits": quick["16 bits"].best / quick[n].best, "over_32_bits": quick["32 bits"].best / quick[n].best,
             "over_dequantize": found["dequantize", n].best / found["ours", n].best, "bytes_over_16_bits": size[n] / whole}
            for n in formats
        ]  # fmt: skip


def table(rows: list[dict], shape: str) -> str:
    """Markdown: a line a format, a column a context."""
    mine = [r for r in rows if r["shape"] == shape]
    contexts = list(dict.fromkeys(r["context"] for r in mine))
    lines = [f"| {shape} | {' | '.join(map(str, contexts))} |", "|---" * (len(contexts) + 1) + "|"]
    for name in dict.fromkeys(r["format"] for r in mine):
        ratios = [(r["over_16_bits"], r["over_32_bits"], r["over_dequantize"]) for r in mine if r["format"] == name]
        cells = [f"{a:.2f} · {b:.2f} · {c:.0f}" for a, b, c in ratios]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables; keep all of it with --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", default=",".join(map(str, CONTEXTS)))
    parser.add_argument("--formats", default=",".join(KV_PRESETS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=8.0, help="of measuring, a shape and context")
    parser.add_argument("--out", type=Path, help="a JSON file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    contexts, formats, rows = [int(n) for n in given.contexts.split(",")], given.formats.split(","), []
    before = str(roofline.load())
    print("times faster than: 16 bits · 32 bits · everything dequantized, then torch\n")
    with torch.inference_mode():
        Case((4, 2, 64), 16).times(formats[:1], 0.1)  # compiles
        for shape, sizes in SHAPES.items():
            for context in contexts:
                rows += [
                    {"shape": shape, "context": context} | r for r in Case(sizes, context).times(formats, given.seconds)
                ]
            print(table(rows, shape) + "\n", flush=True)
    print(f"{given.threads} threads; before: {before}; now: {roofline.load()}")
    if given.out:
        settings = {
            "threads": given.threads,
            "contexts": contexts,
            "load_before": before,
            "load_after": str(roofline.load()),
        }
        command = " ".join(
            ["python -m benchmarks.kv_attention", *(a for a in sys.argv[1:] if a not in ("--out", str(given.out)))]
        )
        rows = [{k: float(f"{x:.4g}") if isinstance(x, float) else x for k, x in r.items()} for r in rows]
        record = provenance("cpu") | {"command": command, "settings": settings, "results": rows}
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
