"""Compiles every shipped configuration for GPUs that are not here, and reads from the machine code what it will cost.

    python tests/gemm/triton_compile.py       one JSON line a kernel, regime and architecture
    python tests/gemm/triton_compile.py -t    the same as a Markdown table

registers a thread; spill: bytes of stack a thread; shared: bytes a program; stored: bytes a thread writes to shared memory
in all of the PTX; words: instructions of the tensor core, asynchronous copies, and flushes of subnormals (ftz) found.
"""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION")
import triton  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from qcourse.gemm import triton_launch, triton_w8a8, triton_weight_only  # noqa: E402
from qcourse.numerics.formats import MXFP4_ARGS, NVFP4_ARGS  # noqa: E402
from qcourse.numerics.granularity import per_channel, per_group  # noqa: E402
from qcourse.numerics.schemes import int_weight, is_float  # noqa: E402
from qcourse.packing.packed import PackedWeight, holders, layout_of  # noqa: E402

ARCHITECTURES = (80, 89, 90, 100)  # Ampere, Ada, Hopper, Blackwell
BIN = Path(triton.__file__).parent / "backends/nvidia/bin"
N, K = 8192, 8192  # a 70B layer
TOKENS = {"one token": 1, "decode": 16, "batch": 64, "prefill": 4096}
ONES = {
    "M": 1,
    "s_group": 1,
    "z_group": 1,
    "sx_stride": 1,
    "sw_stride": 1,
    "bias_ptr": None,
}  # Triton compiles 1 and None in
STRIDES = ("s_row", "s_group", "z_row", "z_group", "sx_stride", "sw_stride", "split_steps", "groups", "M")  # any number
POINTER = {torch.bfloat16: "*bf16", torch.float16: "*fp16"}
WEIGHTS = {  # name: (args, activations)
    "w4a16 G=128": (int_weight(4, per_group(128)), torch.bfloat16),
    "w4a16 G=32 zero points": (int_weight(4, per_group(32), symmetric=False), torch.float16),
    "w8a16 per channel": (int_weight(8, per_channel), torch.bfloat16),
    "nvfp4a16": (NVFP4_ARGS, torch.bfloat16),
    "mxfp4a16": (MXFP4_ARGS, torch.float16),
}


def compile_for(kernel, types, constants, options, regime, arch):
    """The compiled kernel. Pointers and other integers are taken as multiples of 16, as the layers' are."""
    if regime == "one token":
        constants = constants | {a: value for a, value in ONES.items() if a in kernel.arg_names}
    arguments = [a for a in kernel.arg_names if a not in constants]
    signature = {a: types.get(a, "i32") for a in arguments} | dict.fromkeys(constants, "constexpr")
    aligned = {(kernel.arg_names.index(a),): [["tt.divisibility", 16]] for a in arguments if a not in STRIDES}
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def weight_only(name, regime, arch):
    args, dtype = WEIGHTS[name]
    layout = holders(args, N, K)[0]
    slots = layout_of(layout).slots(args, N, K)
    p = PackedWeight({t: torch.empty(0) for t, slot in slots.items() if not slot.optional}, (N, K), args, layout)
    plan = triton_weight_only.launch(TOKENS[regime], p, dtype, False, arch, 132)
    x = POINTER[dtype]
    types = {"x_ptr": x, "w_ptr": "*i16", "s_ptr": "*bf16" if is_float(args.scale) else "*u8", "z_ptr": "*u8",
             "above_ptr": "*fp32", "bias_ptr": x, "y_ptr": "*fp32" if plan.grid[1] > 1 else x}  # fmt: skip
    return compile_for(triton_weight_only.weight_only_kernel, types, plan.constants, plan.options, regime, arch), plan


def w8a8(name, regime, arch):
    plan = triton_w8a8.launch(TOKENS[regime], N, K, name == "int8", False, arch)
    code = {"int8": "*i8", "fp8": "*fp8e4nv"}[name]
    types = {"x_ptr": code, "w_ptr": code, "sx_ptr": "*fp32", "sw_ptr": "*fp32", "bias_ptr": "*bf16", "y_ptr": "*bf16"}
    return compile_for(triton_w8a8.w8a8_kernel, types, plan.constants, plan.options, regime, arch), plan


def sum_splits(name, regime, arch):
    plan = triton_launch.Launch((), {"SPLITS": 8, "HAS_BIAS": True, "BLOCK": 1024}, {"num_warps": 4, "num_stages": 3})
    types = {"part_ptr": "*fp32", "bias_ptr": "*bf16", "y_ptr": "*bf16"}
    return compile_for(triton_launch.sum_splits_kernel, types, plan.constants, plan.options, regime, arch), plan


def stored_bytes(ptx):
    """Bytes that a thread writes to shared memory, over all `st.shared` and `stmatrix` of the text."""
    plain = re.findall(r"st\.shared(?:\.v(\d))?\.b(\d+)", ptx)
    matrices = re.findall(r"stmatrix\.\S*\.x(\d)", ptx)
    return sum(int(v or 1) * int(bits) // 8 for v, bits in plain) + sum(4 * int(x) for x in matrices)


def facts(compiled, plan):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        Path(cubin.name).write_bytes(compiled.asm["cubin"])
        listing = subprocess.run([BIN / "cuobjdump", "--dump-resource-usage", cubin.name], capture_output=True, text=True)
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", listing.stdout).groups()
    ptx = compiled.asm["ptx"]
    words = r"wgmma\.mma_async|mma\.sync|tcgen05\.mma|cp\.async|e4m3\.e4m3|s8\.s8|kind::\w+|\bftz\b|fma\.rn\.bf16"
    words = sorted(set(re.findall(words, ptx)))
    return {"registers": int(registers), "spill": int(stack), "shared": compiled.metadata.shared, "words": words,
            "stored": stored_bytes(ptx), **plan.options}  # fmt: skip


def outcome(build, name, regime, arch):
    try:
        return facts(*build(name, regime, arch))
    except triton.compiler.errors.CompilationError as e:
        return {"refused": str(e.__cause__ or e)[-200:]}


def everything():
    for arch in ARCHITECTURES:
        for build, names in ((weight_only, WEIGHTS), (w8a8, ("int8", "fp8"))):
            for name in names:
                for regime in TOKENS:
                    yield {"kernel": name, "regime": regime, "arch": arch, **outcome(build, name, regime, arch)}
        yield {"kernel": "sum_splits", "regime": "decode", "arch": arch, **outcome(sum_splits, "", "decode", arch)}


def table(rows):
    """registers / bytes spilled / KB of shared memory, architectures side by side."""
    cells = {}
    for r in rows:
        text = "refused" if "refused" in r else f"{r['registers']} / {r['spill']} / {r['shared'] / 1024:.0f}"
        cells.setdefault((r["kernel"], r["regime"]), {})[r["arch"]] = text
    print(f"| kernel | regime | {' | '.join(f'sm_{a}' for a in ARCHITECTURES)} |")
    print("|---" * (2 + len(ARCHITECTURES)) + "|")
    for (kernel, regime), c in cells.items():
        print(f"| {kernel} | {regime} | {' | '.join(c[a] for a in ARCHITECTURES)} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["-t"]:
        table(everything())
    else:
        for line in everything():
            print(json.dumps(line), flush=True)
