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
from qcourse.gemm.choose import choose, repack
from qcourse.gemm.mismatch import KernelMismatch
from qcourse.gemm.reference import reference
from qcourse.models.loader import load_model
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import LAYOUTS, pack


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path))
    measured.crossover.cache_clear()
    yield tmp_path
    measured.crossover.cache_clear()


def packed(preset="W4A16", layout="row"):
    return pack(quantize(torch.randn(16, 256), PRESETS[preset].weights), layout)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_kernel_on_the_cpu(preset):
    p, x = packed(preset), torch.randn(3, 256)
    torch.testing.assert_close(choose(p)(x, p), reference(x, p), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_layout_that_no_kernel_reads_is_refused_and_the_repack_is_legal(layout, device):
    p = packed(layout=layout)
    if layout in ("row", "compressed-tensors"):
        assert table.TABLE[-1].name == "reference" and p.layout in table.TABLE[-1].layouts
        assert device == "cuda" or choose(p, device).rows
        return
    with pytest.raises(
        KernelMismatch, match=f"no kernel on {device} reads layout '{layout}'.*reference.*repack\\(p, 'row'\\)"
    ):
        choose(p, device)
    moved = repack(p, "row")
    assert torch.equal(moved.data, packed_like(p).data) and choose(moved, "cpu").rows


def packed_like(p):
    from qcourse.packing.packed import unpack

    return pack(unpack(p), "row")


def test_the_number_of_tokens_decides(own_cache):
    p = packed()
    choice = choose(p)
    names = [choice.rows[choice.kernel(M, p, torch.float32)].name for M in (1, measured.CROSSOVER["int4 fp32"], 1000)]
    assert names == ["int_dot", "int_dot", "blocked"]
    measured.set_crossover({"int4 fp32": 0})
    assert choice.rows[choice.kernel(1, p, torch.float32)].name == "blocked"
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
        choose(p)(torch.zeros(1, 256, dtype=torch.float64), p)


def test_without_numba_torch_does_it_with_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # `import numba` now raises ImportError
    jit.has_jit.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            p, x = packed(), torch.randn(2, 256)
            assert [k.name for k in choose(p).rows] == ["reference"]
            assert torch.equal(choose(p)(x, p), reference(x, p))
            words = packed(layout="compressed-tensors")
            assert torch.equal(choose(words)(x, words), reference(x, words))
        assert len(said) == 1 and "numba is not installed" in str(said[0].message)
    finally:
        jit.has_jit.cache_clear()


def test_a_layer_chooses_once_and_awq_is_repacked():
    layer = load_model(quantization="awq").model.layers[0].mlp.up_proj
    assert layer.qweight.dtype == torch.uint8 and layer.qweight.shape == (768, 128)
    assert [k.name for k in layer.kernel.rows][:2] == ["int_dot", "blocked"]


def test_a_gradient_still_flows_to_x():
    p, x = packed(), torch.randn(2, 256, requires_grad=True)
    choose(p)(x, p).sum().backward()
    torch.testing.assert_close(x.grad, reference(torch.eye(256), p).sum(-1).expand(2, 256))


def test_a_quantized_model_can_be_copied_and_pickled():
    """Pickled by its owner, that is: nothing here is ever unpickled from a file that somebody else made."""
    model = load_model(quantization="w4a16")
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
