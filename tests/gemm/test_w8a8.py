import ml_dtypes
import pytest
import torch

from qcourse.gemm.activations import fake_quantize_input
from qcourse.gemm.cpu import int8_dots
from qcourse.gemm.w8a8 import Int8Dots, fp8_matmul, torch_int8_matmul
from qcourse.layers.config import get_quantization_config
from qcourse.layers.linear import Linear, quantize_layers
from qcourse.models.loader import load_model
from qcourse.numerics.formats import NVFP4_LOCAL, NVFP4_MODELOPT_LOCAL
from qcourse.numerics.grids import E4M3
from qcourse.numerics.quantize import dequantize, fake_quantize, quantize
from qcourse.numerics.schemes import FP8_TOKEN, INT8_TOKEN, PRESETS
from qcourse.packing.packed import pack


@pytest.mark.parametrize(("M", "K", "N"), [(1, 64, 8), (3, 100, 7), (33, 256, 48), (128, 1024, 16)])
@pytest.mark.parametrize("matmul", [torch_int8_matmul, int8_dots])
def test_int8_products_are_exact(M, K, N, matmul):
    x, w = (torch.randint(-128, 128, (r, K), dtype=torch.int8) for r in (M, N))
    assert torch.equal(matmul(x, w).long(), x.long() @ w.long().T)


def test_the_largest_sums_do_not_overflow():
    x = torch.full((1, 8192), -128, dtype=torch.int8)
    assert torch_int8_matmul(x, x).item() == int8_dots(x, x).item() == 8192 * 128 * 128


def test_fp8_reference_is_the_decoded_product():
    x, w = quantize(torch.randn(5, 64), FP8_TOKEN), quantize(torch.randn(7, 64), PRESETS["FP8_DYNAMIC"].weights)
    y = fp8_matmul(x.codes, w.codes, x.scale, w.scale)
    torch.testing.assert_close(y, dequantize(x) @ dequantize(w).T)
    assert torch.equal(E4M3.decode(x.codes) * x.scale, dequantize(x))


def layer(spec, W):
    config = get_quantization_config(spec)
    made = Linear(W.shape[1], W.shape[0], quant_config=config, prefix="up_proj", dtype=torch.float32)
    made.weight.data.copy_(W)
    made.quant_method.process_weights_after_loading(made)
    return made


@pytest.mark.parametrize(
    ("spec", "args"),
    [("W8A8", INT8_TOKEN), ("FP8_DYNAMIC", FP8_TOKEN)],
)
@pytest.mark.parametrize("M", [1, 17, 300])
def test_the_real_path_equals_the_fake_one(spec, args, M):
    """Same codes, so only the order of summation differs: K roundings of fp32, relative to Σ|x||w|."""
    W, x = torch.randn(40, 256), torch.randn(M, 256)
    real = layer(spec, W)
    fake_x, fake_w = fake_quantize(x, args), fake_quantize(W, real.quant_method.scheme.weights)
    bound = 256 * 2**-24 * (fake_x.abs() @ fake_w.abs().T)
    assert ((real(x) - fake_x @ fake_w.T).abs() <= bound).all()


@pytest.mark.parametrize(("name", "limit"), [("W8A8_STATIC", 127.5), ("FP8", 448.0)])
def test_static_scales_saturate_instead_of_wrapping(name, limit):
    spec = {"scheme": name, "input_scales": {"up_proj": 1.0 / limit}}
    W = torch.eye(16)
    y = layer(spec, W)(torch.tensor([[0.5] * 15 + [50.0]]))
    torch.testing.assert_close(y[0, :15], torch.full((15,), 0.5), rtol=0.07, atol=0.005)
    assert 0.9 < y[0, 15] < 1.1


@pytest.mark.parametrize("args", [NVFP4_LOCAL, NVFP4_MODELOPT_LOCAL], ids=["divides", "multiplies"])
def test_local_scales_stand_under_the_number_of_the_file(args):
    """NVFP4's inputs: each 16 values have an E4M3 scale of their own under one number; louder blocks saturate. Second
    implementation, in ml_dtypes' E4M3 and by search for the nearest of E2M1's values (codes that tie are left out)."""
    torch.manual_seed(0)
    x = torch.randn(7, 64) * torch.tensor([1.0, 0.01, 30.0, 1.0]).repeat_interleave(16)
    t = torch.tensor(0.002) if args is NVFP4_MODELOPT_LOCAL else 1 / torch.tensor(0.002)
    multiplies = (t if args is NVFP4_MODELOPT_LOCAL else 1 / t).item()
    blocks = x.view(7, 4, 16)
    wanted = (blocks.abs().amax(-1) / 6 / multiplies).clamp(max=448)
    s = torch.from_numpy(wanted.numpy().astype(ml_dtypes.float8_e4m3fn).astype("float32")) * multiplies
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    y = (blocks / s.unsqueeze(-1)).abs().clamp(max=6)
    away = (y.unsqueeze(-1) - values).abs().sort(-1)
    clear = away.values[..., 1] - away.values[..., 0] > 1e-4
    x_hat = values[away.indices[..., 0]] * blocks.sign() * s.unsqueeze(-1)
    found = fake_quantize_input(x, args, t.view(1, 1)).view(7, 4, 16)
    torch.testing.assert_close(found[clear], x_hat[clear], rtol=1e-5, atol=1e-7)
    assert (
        clear.float().mean() > 0.99
        and (wanted == 448).any()
        and (found[wanted == 448].abs().amax(-1) < 6 * 449 * 0.002).all()
    )


def test_a_transformed_model_can_be_quantized_in_memory():
    ids = torch.randint(0, 2000, (1, 12))
    spec = "W8A8"
    a, b = load_model(quantization=spec), quantize_layers(load_model(), get_quantization_config(spec))
    torch.testing.assert_close(a(ids), b(ids))
    with pytest.raises(ValueError, match="already quantized"):
        quantize_layers(b, get_quantization_config("W4A16"))


@pytest.mark.parametrize("spec", ["W8A8", "FP8_DYNAMIC", "W4A16", "W4A16_ASYM"])
def test_no_tokens_give_no_rows(spec):
    assert layer(spec, torch.randn(16, 128))(torch.zeros(0, 128)).shape == (0, 16)


def test_a_layer_that_does_not_fit_leaves_the_model_whole():
    model = load_model()
    with pytest.raises(ValueError, match="group_size=384"):
        quantize_layers(model, get_quantization_config({"scheme": "W4A16", "group_size": 384}))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and torch.isfinite(
        model(torch.zeros(1, 2).long())
    ).all()


class TestBadInput:
    def test_dtypes_and_shapes(self):
        codes = torch.zeros(2, 8, dtype=torch.int8)
        with pytest.raises((ValueError, TypeError)):  # the tests' shape checker gets there first
            torch_int8_matmul(codes, codes[:, :4])
        with pytest.raises(ValueError, match="overflow int32"):
            torch_int8_matmul(*[torch.zeros(1, 131072, dtype=torch.int8)] * 2)

    def test_schemes(self):
        for spec, words in (
            ({"scheme": "W8A8", "input_scales": {}}, "input_scales .* belong to"),
            ({"scheme": "FP8"}, "input_scales .* belong to"),
            ({"scheme": "W4A16", "bits": 8}, "unknown key 'bits'"),
            ({"rules": [["Linear"]]}, "a list of \\[pattern, scheme\\]"),
            ({"scheme": "W4A16", "rules": []}, "either 'scheme'"),
            ({}, "either 'scheme'"),
        ):
            with pytest.raises(ValueError, match=words):
                get_quantization_config(spec)
        with pytest.raises(ValueError, match="down_proj.*needs? its input scale|down_proj.*need its input scale"):
            scales = {name: 1.0 for name in load_model().linears() if "down" not in name}
            load_model(quantization={"scheme": "W8A8_STATIC", "input_scales": scales})

    @pytest.mark.parametrize("scale", [0.0, 1e-45, float("nan"), float("inf"), None, "1", True])
    def test_an_impossible_static_scale_names_the_layer(self, scale):
        scales = dict.fromkeys(load_model().linears(), 1.0) | {"model.layers.1.mlp.up_proj": scale}
        with pytest.raises(ValueError, match="model.layers.1.mlp.up_proj: .*scale"):
            load_model(quantization={"scheme": "W8A8_STATIC", "input_scales": scales})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_and_scales_of_tokens_are_those_of_quantize(dtype):
    """Loud, quiet, silent and underflowing tokens alike: the compiled pass is `quantize`, bit for bit."""
    pytest.importorskip("numba")
    x = (torch.randn(9, 100) * torch.tensor([1, 1e30, 1e-30, 1e-38, 1e-42, 0, 1e5, 3e-5, 127.5]).unsqueeze(1)).to(dtype)
    q = quantize(x, INT8_TOKEN)
    p = pack(quantize(torch.randn(4, 100), PRESETS["W8A8"].weights), "plain")
    codes, scale = Int8Dots(p, INT8_TOKEN).quantize(x)
    assert torch.equal(codes, q.codes) and torch.equal(scale, q.scale)
    x[3, 7] = torch.inf
    with pytest.raises(ValueError, match="inf"):
        Int8Dots(p, INT8_TOKEN).quantize(x)
