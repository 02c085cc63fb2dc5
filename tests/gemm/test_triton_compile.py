"""The Triton kernels compiled for sm_80 to sm_100 where no GPU is: registers, spills, shared memory, instructions.

One subprocess (conftest) compiles everything into a cache of its own; the interpreter must be off in it.
"""

import importlib.util
import json

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton has wheels for Linux only")


@pytest.fixture(scope="module")
def compiled(compiling):
    """{(kernel, regime, arch): facts} of all shipped configurations."""
    run, folder = compiling
    assert run.wait() == 0, (folder / "err").read_text()
    rows = map(json.loads, (folder / "out").read_text().splitlines())
    return {(r["kernel"], r["regime"], r["arch"]): r for r in rows}


def accepted(compiled):
    return {key: facts for key, facts in compiled.items() if "refused" not in facts}


def test_everything_compiles_but_fp8_on_ampere(compiled):
    assert len(compiled) == 4 * (7 * 4 + 1)
    refused = {key for key, facts in compiled.items() if "refused" in facts}
    assert refused == {("fp8", regime, 80) for regime in ("one token", "decode", "batch", "prefill")}
    assert all("fp8e4nv" in compiled[key]["refused"] for key in refused)


def test_nothing_spills_and_every_program_fits_its_device(compiled):
    assert {key: f["spill"] for key, f in accepted(compiled).items() if f["spill"]} == {}
    limit = {80: 163, 89: 99, 90: 227, 100: 227}  # KB of shared memory a program, CUDA programming guide
    assert [key for key, f in accepted(compiled).items() if f["shared"] > limit[key[2]] * 1024] == []
    assert all(f["registers"] <= 255 for f in accepted(compiled).values())


def test_decode_leaves_room_for_three_programs_a_processor(compiled):
    """64 K registers, 128 threads: up to 168 registers a thread, and a third of the shared memory."""
    w4 = {key[2]: f for key, f in compiled.items() if key[0] == "w4a16 G=128" and key[1] == "decode"}
    assert all(f["registers"] <= 168 for f in w4.values())
    assert 3 * w4[80]["shared"] <= 164 * 1024 and 3 * w4[90]["shared"] <= 228 * 1024


def test_the_tensor_cores_are_used_and_loads_are_asynchronous(compiled):
    for (kernel, regime, arch), facts in accepted(compiled).items():
        if kernel == "sum_splits":
            continue
        assert "cp.async" in facts["words"], (kernel, regime, arch)
        multiply = {90: "wgmma.mma_async", 100: "tcgen05.mma"}.get(arch, "mma.sync")
        assert multiply in facts["words"], (kernel, regime, arch)
        words = ("kind::i8", "kind::f8f6f4") if arch == 100 else ("s8.s8", "e4m3.e4m3")
        eight_bits = dict(zip(("int8", "fp8"), words, strict=True)).get(kernel)
        assert eight_bits is None or eight_bits in facts["words"], (kernel, regime, arch)


def test_unpacked_weights_never_pass_through_shared_memory(compiled):
    """A step's 128 × 128 weights are 256 bytes a thread (128 threads) in bf16; what is stored is x's tile and the scales.

    x: 16 × 128 bf16 = 32 bytes a thread, scales 4, and in the epilogue the sums of a tile once: 16 × 128 fp32 = 64.
    """
    for arch in (80, 89, 90):
        assert compiled["w4a16 G=128", "decode", arch]["stored"] <= 32 + 4 + 64
        for name, scales in (("nvfp4a16", 8 * 2), ("mxfp4a16", 4 * 4)):  # bytes a row: 8 in bf16, 4 in fp32
            assert compiled[name, "decode", arch]["stored"] <= 32 + scales + 64


def test_nothing_is_flushed_to_zero(compiled):
    """E2M1's 0.5 and E4M3's smallest scales are subnormals until their exponent is corrected."""
    assert [key for key, f in accepted(compiled).items() if "ftz" in f["words"]] == []
    assert "fma.rn.bf16" in compiled["nvfp4a16", "decode", 80]["words"]  # Ampere's bf16 multiplication
