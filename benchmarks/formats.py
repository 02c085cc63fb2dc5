"""How fast are quantize and dequantize, from fp32 to a file's bytes and back? Beside the reference libraries, in one run.

    python -m benchmarks.formats [FORMAT …] [--json FILE]    prints a Markdown table (`make interop` installs the peers)

Matrix: 2048 × 4096 fp32. Every row: our median, each peer's time over ours (above 1: we are faster), and the share of this
machine's read bandwidth that our bytes in and out reach. All take turns, so that a busy machine is busy for everybody.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

import torch

from qcourse.gemm.convert import dequantize_packed
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.numerics.formats import GGUF_ARGS, NVFP4_ARGS, block_float
from qcourse.numerics.grids import E2M1, E2M3, E4M3
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import PackedWeight, pack
from qcourse.study.evaluate import provenance
from qcourse.study.roofline import read_bandwidth

N, K, ROUNDS = 2048, 4096, 5
GGUF_PY = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ2_0")  # what gguf-py quantizes
CT = {"MXFP4": (4, 32, "mxfp4-pack-quantized", block_float(E2M1)),
      "MXFP6": (6, 32, "mxfp6-pack-quantized", block_float(E2M3)),
      "MXFP8": (8, 32, "mxfp8-quantized", block_float(E4M3)), "NVFP4": (4, 16, "nvfp4-pack-quantized", NVFP4_ARGS),
      "FP8 channel": (8, None, "float-quantized", PRESETS["FP8_DYNAMIC"].weights),
      "int4 G=128": (4, 128, "pack-quantized", PRESETS["W4A16"].weights)}  # fmt: skip
Calls = dict[str, tuple[Callable, Callable | None]]  # who → (quantize, dequantize)


def gguf_calls(kind: str, W: torch.Tensor) -> tuple[Calls, PackedWeight]:
    """Ours, gguf-py and libgguf, all to blocks and from blocks."""
    import gguf
    import libgguf

    qtype, args, x = gguf.GGMLQuantizationType[kind], GGUF_ARGS[kind], W.numpy()
    p = pack(quantize(W, args), "gguf")
    raw = p.tensors["blocks"].numpy()
    calls = {"ours": (lambda: quantize_packed(W, args, "gguf"), lambda: dequantize_packed(p))}
    by_hand = (lambda: gguf.quantize(x, qtype)) if kind in GGUF_PY else None
    calls["gguf-py"] = (by_hand, lambda: gguf.dequantize(raw, qtype))
    calls["libgguf"] = (lambda: libgguf.quantize_rows(x, qtype), lambda: libgguf.dequantize_rows(raw, qtype))
    return calls, p


def ct_calls(name: str, W: torch.Tensor) -> tuple[Calls, PackedWeight]:
    """Ours and compressed-tensors, to the tensors of a file and back."""
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    bits, G, form, args = CT[name]
    nv, kind = name == "NVFP4", "int" if name.startswith("int") else "float"
    more = {"scale_dtype": torch.float8_e4m3fn if nv else torch.uint8} if G in (16, 32) else {}
    strategy = "tensor_group" if nv else "group" if G else "channel"
    theirs = QuantizationArgs(num_bits=bits, type=kind, symmetric=True, strategy=strategy, group_size=G, **more)
    scheme, compressor = QuantizationScheme(targets=["Linear"], weights=theirs), BaseCompressor.get_value_from_registry(form)

    def compress():
        blocks, given = W.view(N, -1, G or K), {"weight": W}
        above = {"global_scale": generate_gparam(W.amin(), W.amax())} if nv else {}
        given["weight_scale"], _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), theirs, **above)
        given |= {"weight_global_scale": above["global_scale"]} if nv else {}
        return compressor.compress(given, scheme)

    p, file = pack(quantize(W, args), form), compress()
    ours = (lambda: quantize_packed(W, args, form), lambda: dequantize_packed(p))
    return {"ours": ours, "compressed-tensors": (compress, lambda: compressor.decompress(dict(file), scheme))}, p


def medians(calls: dict[str, Callable]) -> dict[str, float]:
    """Seconds, all in turns; the first round is not counted."""
    seconds = {name: [] for name in calls}
    for i in range(ROUNDS + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if i:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(s) for name, s in seconds.items()}


def rows(name: str, W: torch.Tensor, bandwidth: float) -> list[dict]:
    """Two rows: quantize and dequantize."""
    calls, p = (gguf_calls if name in GGUF_ARGS else ct_calls)(name, W)
    found = []
    for i, verb in enumerate(("quantize", "dequantize")):
        s = medians({who: pair[i] for who, pair in calls.items() if pair[i] is not None})
        moved = (4 * N * K + p.nbytes) / s["ours"]
        ratios = {who: t / s["ours"] for who, t in s.items() if who != "ours"}
        found.append(
            {"format": name, "verb": verb, "ms": 1e3 * s["ours"], "ratios": ratios, "bandwidth_share": moved / bandwidth}
        )
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*GGUF_ARGS, *CT]
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(names))
    parser.add_argument("--json", type=Path, help="keep the numbers here")
    args = parser.parse_args()
    if unknown := [f for f in args.formats if f not in names]:
        parser.error(f"no format {unknown[0]!r}: one of {', '.join(names)}")
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    W, bandwidth, found = 0.02 * torch.randn(N, K), read_bandwidth(), []
    print(f"{N}×{K} fp32, {torch.get_num_threads()} threads, read bandwidth {bandwidth / 1e9:.1f} GB/s\n")
    print(
        "| format | | ours, ms | gguf-py / ours | libgguf / ours | compressed-tensors / ours | of bandwidth |\n"
        + "|---" * 7
        + "|"
    )
    for name in args.formats or names:
        for r in rows(name, W, bandwidth):
            cells = (
                f"{r['ratios'][w]:.2f}" if w in r["ratios"] else "" for w in ("gguf-py", "libgguf", "compressed-tensors")
            )
            print(f"| {name} | {r['verb']} | {r['ms']:.1f} | {' | '.join(cells)} | {r['bandwidth_share']:.0%} |", flush=True)
            found.append(r)
    if args.json:
        kept = provenance("cpu") | {
            "command": "python -m benchmarks.formats",
            "settings": {"N": N, "K": K},
            "results": found,
        }
        args.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
