"""The table: every preset finds a kernel, a foreign layout is refused by name, and the cross-over decides."""

import copy
import pickle
import sys
import warnings

import pytest
import torch

from qcourse.gemm import choose as table
from qcourse.gemm import crossover as measured
from qcourse.gemm import jit
from qcourse.gemm.activations import fake_quantize_input
from qcourse.gemm.choose import choose, repack
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.reference import reference
from qcourse.models.loader import load_model
from qcourse.numerics.formats import MXFP4_ARGS, NVFP4_ARGS, NVFP4_MODELOPT
from qcourse.numerics.quantize import dequantize, quantize
from qcourse.numerics.schemes import PRESETS, QuantizationArgs
from qcourse.packing.packed import holders, pack, unpack


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    measured.crossover.cache_clear()
    yield tmp_path
    measured.crossover.cache_clear()


def home_of(preset):
    """A scale a token for int8 or FP8 weights: the codes themselves. Scales that are quantized: the file's own layout."""
    w, a = PRESETS[preset].weights, PRESETS[preset].input_activations
    if isinstance(w.scale, QuantizationArgs):
        return holders(w, 16, 256)[0]
    return "plain" if a is not None and not a.group_size and w.num_bits == 8 else "row"


def packed(preset="W4A16", layout=None):
    return pack(quantize(torch.randn(16, 256), PRESETS[preset].weights), layout)


@pytest.mark.parametrize("preset", [name for name, s in PRESETS.items() if s.input_activations is None])
def test_every_preset_has_a_kernel_on_the_cpu(preset):
    p, x = packed(preset, home_of(preset)), torch.randn(3, 256)
    torch.testing.assert_close(choose(p)(x), reference(x, p), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("preset", [name for name, s in PRESETS.items() if s.input_activations is not None])
def test_quantized_activations_are_rows_of_the_same_table(preset):
    scheme, x = PRESETS[preset], torch.randn(3, 256)
    scale = torch.tensor(0.03) if scheme.input_activations.calibrated else None
    p = packed(preset, home_of(preset))
    product = choose(p, scheme.input_activations, scale)
    x_hat = fake_quantize_input(x, scheme.input_activations, scale if scale is None else scale.view(1, 1))
    torch.testing.assert_close(product(x), reference(x_hat, p), rtol=1e-5, atol=1e-4)
    assert product.rows[-1].name == "reference"
    served = preset.startswith("W") or preset in ("FP8", "FP8_DYNAMIC")  # the others run on the reference, widened
    assert (len(product.rows) > 1) == served


@pytest.mark.parametrize("layout", ["awq", "gptq", "gptq_v2", "pack-quantized"])
def test_a_layout_that_no_kernel_reads_is_refused_and_the_repack_is_legal(layout):
    p = packed(layout=layout)
    with pytest.raises(KernelMismatch, match=f"no kernel on cpu reads layout '{layout}'.*repack\\(p, 'row'\\)"):
        choose(p)
    moved = repack(p, "row")
    assert torch.equal(dequantize(unpack(moved)), dequantize(unpack(p))) and choose(moved).rows[0].name == "int_dot"


def test_home_is_what_the_fastest_kernel_reads_and_else_rows_or_the_files_own():
    for preset, scheme in PRESETS.items():
        home = table.home(scheme.weights, scheme.input_activations, (16, 256), "cpu", home_of(preset))
        assert home == home_of(preset), preset
    assert table.home(NVFP4_ARGS, None, (16, 256), "cpu", "nvfp4-pack-quantized") == "nvfp4-pack-quantized"


@pytest.mark.parametrize("args, own, kernel", [
    (NVFP4_ARGS, "nvfp4-pack-quantized", "nvfp4a16_matmul"),
    (NVFP4_ARGS.with_(scaling="four_over_six"), "nvfp4-pack-quantized", "nvfp4a16_matmul"),
    (NVFP4_MODELOPT, "modelopt-nvfp4", "nvfp4a16_matmul"),
    (MXFP4_ARGS, "mxfp4-pack-quantized", "mxfp4a16_matmul"),
])  # fmt: skip
def test_fp4_lies_on_a_gpu_as_in_its_file(args, own, kernel, monkeypatch):
    monkeypatch.setattr(table.Kernel, "available", lambda self: True)  # triton's wheels are for Linux
    rows = table.here("cuda", args, None)
    assert [k.name for k in rows] == [kernel, "reference"] and own in rows[0].layouts
    assert all(k.name == "reference" for k in table.here("cuda", args, args))  # quantized activations: another kernel
    assert table.home(args, None, (16, 256), "cuda", own) == own
    assert table.home(args, None, (16, 256), "cpu", own) == ("row" if args == MXFP4_ARGS else own)


def test_static_scales_are_checked():
    p, args = packed("W8A8_STATIC", "plain"), PRESETS["W8A8_STATIC"].input_activations
    for bad in (0.0, 1e-45, torch.nan, torch.inf, -1.0):
        with pytest.raises(ValueError, match="positive, finite scale"):
            choose(p, args, torch.tensor(bad))
    with pytest.raises(ValueError, match="need their input_scale"):
        choose(p, args)
    with pytest.raises(ValueError, match="belongs to static"):
        choose(p, PRESETS["W8A8"].input_activations, torch.tensor(1.0))
    for bad in (torch.nan, torch.inf):
        x = torch.ones(2, 256)
        x[1, 3] = bad
        for activations, scale in ((args, torch.tensor(1.0)), (PRESETS["W8A8"].input_activations, None)):
            with pytest.raises(ValueError, match=r"index \(1, 3\)"):
                choose(p, activations, scale)(x)


def test_the_number_of_tokens_decides(own_cache):
    p = packed()
    choice = choose(p)
    names = [choice.rows[choice.kernel(M, torch.float32)].name for M in (1, measured.CROSSOVER["int4 fp32"], 1000)]
    assert names == ["int_dot", "int_dot", "blocked"]
    measured.set_crossover({"int4 fp32": 0})
    assert choice.rows[choice.kernel(1, torch.float32)].name == "blocked"
    assert (
        measured.crossover()["int8 fp32"] == measured.CROSSOVER["int8 fp32"]
        and own_cache.joinpath("crossover.json").is_file()
    )


def test_a_broken_measurement_is_named(own_cache):
    own_cache.joinpath("crossover.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="crossover.json does not hold cross-overs"):
        measured.crossover()
    with pytest.raises(ValueError, match="unknown cross-over 'int5'"):
        own_cache.joinpath("crossover.json").unlink()
        measured.set_crossover({"int5": 3})


def test_the_table_can_be_read(own_cache):
    text = table.describe()
    assert all(k.name in text for k in table.TABLE) and f"M ≤ {measured.CROSSOVER['int4 fp32']} (fp32 x)" in text
    assert "above that" in choose(packed()).describe()


def test_a_dtype_that_no_kernel_takes():
    p = packed()
    with pytest.raises(TypeError, match="float64"):
        choose(p)(torch.zeros(1, 256, dtype=torch.float64))


def test_without_numba_torch_does_it_with_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # `import numba` now raises ImportError
    jit.has_jit.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            p, x = packed(), torch.randn(2, 256)
            assert [k.name for k in choose(p).rows] == ["reference"]
            assert torch.equal(choose(p)(x), reference(x, p))
            words = packed(layout="words")
            assert torch.equal(choose(words)(x), reference(x, words))
        assert len(said) == 1 and "numba is not installed" in str(said[0].message)
    finally:
        jit.has_jit.cache_clear()


def test_a_layer_chooses_once():
    layer = load_model(quantization="W4A16_ASYM").model.layers[0].mlp.up_proj
    assert layer.qweight.dtype == torch.uint8 and layer.qweight.shape == (768, 128)
    assert [k.name for k in layer.product.rows][:2] == ["int_dot", "blocked"]


def test_a_gradient_still_flows_to_x():
    p, x = packed(), torch.randn(2, 256, requires_grad=True)
    choose(p)(x).sum().backward()
    torch.testing.assert_close(x.grad, reference(torch.eye(256), p).sum(-1).expand(2, 256))


def test_a_quantized_model_can_be_copied_and_pickled():
    """Pickled by its owner, that is: nothing here is ever unpickled from a file that somebody else made."""
    model = load_model(quantization="W4A16")
    ids = torch.arange(8)[None]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(ids), model(ids))


def test_no_home_is_no_reason_to_fail(monkeypatch, own_cache):
    monkeypatch.delenv("QCOURSE_CACHE")
    monkeypatch.setattr(measured.Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    assert measured.crossover() == measured.CROSSOVER


def test_measuring_again_mends_a_broken_measurement(own_cache):
    own_cache.joinpath("crossover.json").write_text('{"int4 fp32": Infinity}')
    with pytest.raises(ValueError, match="measure again"):
        measured.crossover()
    measured.set_crossover({"w8a8": 5})
    assert measured.crossover() == measured.CROSSOVER | {"w8a8": 5}


def test_blocks_of_activations_that_do_not_fit_are_refused_for_any_number_of_tokens():
    """W per channel takes any K, blocks of 128 activations do not: as for groups of weights, and as the reference says."""
    p = pack(quantize(torch.randn(8, 576), PRESETS["W8A16"].weights))
    with pytest.raises(ValueError, match="group_size=128 does not divide K=576"):
        choose(p, PRESETS["W8A8_G128"].input_activations)
    assert choose(p, PRESETS["W8A8_G32"].input_activations).rows[0].name == "int_dot"
