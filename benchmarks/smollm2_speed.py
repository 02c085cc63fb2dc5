"""SmolLM2 in tokens a second: prefill and decode in bf16, int8, int4, and llama.cpp on the same file, in turns.

llama.cpp comes as `ik-llama-cpp-python` (a fork; PyPI, 25 MB, no compiler); without it its row is missing and the
capture says so. Every contender has the same number of threads. Numbers are this machine's; quote ratios.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from qcourse.models.loader import load_model
from qcourse.models.subjects import source_of
from qcourse.study.evaluate import provenance
from qcourse.study.results import identity, try_output, write
from qcourse.study.roofline import interleaved
from qcourse.study.speed import Speed, decode, prefill

PEER = "ik-llama-cpp-python"
PROMPT, PREFILL, TOKENS = 64, 512, 16
FORMATS = {
    "bf16": "bf16",
    "W8A16": "W8A16",
    "W4A16_G64": "W4A16_G64",
    "W4A8_G32": "W4A8_G32",
    "W8A8": "W8A8",
    "as-is (Q4_1)": None,
}
DTYPES = {"fp32 x": torch.float32, "bf16 x": torch.bfloat16}


def contenders() -> dict[str, torch.nn.Module]:
    """name → model, every format under both dtypes of the activations."""
    return {
        f"{name}, {x}": load_model("smollm2", spec, compute_dtype=dtype)
        for name, spec in FORMATS.items()
        for x, dtype in DTYPES.items()
    }


def llama_cpp(threads: int) -> tuple[str | None, dict[str, Callable]]:
    """(version, calls by name) of llama.cpp on the subject's file; (None, {}) where it is not installed."""
    try:
        from ik_llama_cpp import IkLlama
    except ImportError:
        return None, {}
    engine = IkLlama(str(source_of("smollm2")), n_ctx=1024, n_threads=threads, verbose=False)
    ids = [i % 1000 + 1000 for i in range(PREFILL)]
    if len(engine.generate(ids[:PROMPT], max_tokens=TOKENS)) != TOKENS:
        raise ValueError(f"llama.cpp ended its answer before {TOKENS} tokens: its rate would be too high")
    return importlib.metadata.version(PEER), {
        "prefill": lambda i: engine.generate(ids, max_tokens=0),
        "prompt": lambda i: engine.generate(ids[:PROMPT], max_tokens=0),
        "decode": lambda i: engine.generate(ids[:PROMPT], max_tokens=TOKENS),
    }


@torch.inference_mode()
def measure(models: dict, peer: dict[str, Callable]) -> dict[str, dict]:
    """name → {"decode": …, "prefill": …} tokens/s. llama.cpp's decode is timed with its short prompt, whose own time in the
    same turns is taken off."""
    found: dict[str, dict] = {}
    calls = {name: decode(m, PROMPT, TOKENS) for name, m in models.items()}
    extra = {f"llama.cpp {k}": peer[k] for k in ("prompt", "decode") if peer}
    times = interleaved(calls | extra, repeats=5, warmup=1, limit=120)
    for name in calls:
        found[name] = {"decode": asdict(Speed.of(TOKENS, times[name]))}
    if peer:
        both, prompt = times["llama.cpp decode"], times["llama.cpp prompt"]
        rates = {k: TOKENS / (getattr(both, t) - prompt.median) for k, t in
                 (("median", "median"), ("low", "high"), ("high", "low"), ("best", "best"))}  # fmt: skip
        found["llama.cpp (Q4_1)"] = {"decode": rates}
    calls = {name: prefill(m, PREFILL) for name, m in models.items()}
    calls |= {"llama.cpp (Q4_1)": peer["prefill"]} if peer else {}
    for name, t in interleaved(calls, repeats=3, warmup=1, limit=90).items():
        found[name]["prefill"] = asdict(Speed.of(PREFILL, t))
    return found


def keep(path: Path, command: str, threads: int | None = None) -> None:
    """Measure and write the capture. Raises ValueError for a file that cannot be written."""
    if path.exists():
        return print(f"{path}: there; remove it to measure again")
    try_output(path)
    torch.set_num_threads(threads or torch.get_num_threads())
    version, peer = llama_cpp(torch.get_num_threads())
    capture = provenance("cpu") | {"command": command}
    capture["versions"] |= {PEER: version or "not installed"}
    settings = {"subject": "smollm2", "threads": torch.get_num_threads(), "prompt": PROMPT, "decoded": TOKENS,
                "prefill": PREFILL, **identity(source_of("smollm2"))}  # fmt: skip
    results = measure(contenders(), peer)
    write(path, capture | {"settings": settings, "results": results, "complete": True})
    for name, row in results.items():
        print(f"{name:24s} decode {row['decode']['median']:7.1f}  prefill {row['prefill']['median']:7.1f} tokens/s")
