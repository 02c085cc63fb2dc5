"""ModelOpt's folders, written here: its own tensor classes make the same codes and scales of the same weights.

compressed-tensors' converter turns the NVFP4 ones into its own; transformers has no reader for `quant_method: modelopt`.
"""

import warnings

import pytest
import torch
from safetensors.torch import load_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("modelopt")
    from modelopt.torch.quantization.qtensor.fp8_tensor import FP8QTensor
    from modelopt.torch.quantization.qtensor.mxfp8_tensor import MXFP8QTensor
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

from logits import FP32
from table import record

from qcourse.checkpoints.modelopt import ALGORITHMS
from qcourse.models.loader import SHIPPED, load_model
from qcourse.models.stream import Method, quantize_to_folder

READER, NAMED = "ModelOpt's own tensors", "transformers"
BYTES = torch.uint8


def fp8(W, t):
    """One scale for the matrix, amax / 448."""
    theirs, scale = FP8QTensor.quantize(W)
    return {"weight": theirs._quantized_data, "weight_scale": scale}


def fp8_rows(W, t):
    theirs, scale = FP8QTensor.quantize(W, axis=0)
    return {"weight": theirs._quantized_data, "weight_scale": scale}


def nvfp4(W, t):
    """Under the number of the file: q, k, v and gate, up share one, which is the largest of theirs."""
    own = NVFP4QTensor.get_weights_scaling_factor_2(W)
    assert own <= t["weight_scale_2"]
    theirs, scale, _ = NVFP4QTensor.quantize(W, 16, weights_scaling_factor_2=t["weight_scale_2"])
    return {"weight": theirs._quantized_data, "weight_scale": scale}


def mxfp8(W, t):
    theirs, scale = MXFP8QTensor.quantize(W)
    return {"weight": theirs._quantized_data, "weight_scale": scale}


MAKERS = {"FP8": fp8, "FP8_PER_CHANNEL_PER_TOKEN": fp8_rows, "W4A16_NVFP4": nvfp4, "NVFP4": nvfp4, "MXFP8": mxfp8}
WRITTEN = [name for name in MAKERS if name in ALGORITHMS]


@pytest.fixture(scope="module")
def made(tmp_path_factory, ids):
    """quant_algo → the shipped model's folder in it."""
    root, done = tmp_path_factory.mktemp("modelopt"), set()

    def make(name: str):
        if name not in done:
            scheme = ALGORITHMS[name][0]
            quantize_to_folder(SHIPPED, root / name, scheme, Method(), ids, layout="modelopt", progress=False)
            done.add(name)
        return root / name

    return make


def tensors_of(path) -> dict[str, torch.Tensor]:
    return {n: t for p in path.glob("*.safetensors") for n, t in load_file(p).items()}


def bits(t: torch.Tensor) -> torch.Tensor:
    return t.view(BYTES) if t.dtype == torch.float8_e4m3fn else t


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITTEN)
def test_codes_and_scales_are_theirs(made, shipped, name):
    """In fp32, as ModelOpt's export computes them from a weight that is widened first."""
    tensors, layers = tensors_of(made(name)), 0
    for layer, module in shipped.linears().items():
        if not layer.endswith("_proj"):
            continue
        ours = {n.removeprefix(f"{layer}."): t for n, t in tensors.items() if n.startswith(f"{layer}.")}
        theirs = MAKERS[name](module.dequantized().float(), ours)
        for leaf, t in theirs.items():
            assert ours[leaf].numel() == t.numel() and ours[leaf].dtype == t.dtype, leaf
            assert torch.equal(bits(ours[leaf]).reshape(-1), bits(t).reshape(-1)), (layer, leaf)
        layers += 1
    assert layers == 28
    record(f"ModelOpt {name}", READER, f"codes and scales of {layers} layers equal", package="nvidia-modelopt",
           figures={"layers": layers})  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("name", [n for n in WRITTEN if "NVFP4" in n])
def test_compressed_tensors_converts_nvfp4(made, name, ids):
    """ModelOptNvfp4Converter makes its tensors of ours, its compressor decompresses them to bf16: our weights, rounded so.
    It divides by 1 / weight_scale_2 in fp32 (2^-23 each), then rounds once to bf16 (2^-8). The number above is a scalar
    there and [1] in a file of compressed-tensors; as a scalar torch would keep the scales in bf16, and round twice."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.entrypoints.convert.converters.modelopt_nvfp4 import ModelOptNvfp4Converter
    from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme

    tensors, ours = tensors_of(made(name)), load_model(made(name)).linears()
    converter = ModelOptNvfp4Converter(ignore=["lm_head", "re:.*embed.*", "re:.*norm.*"], targets=["re:.*_proj$"])
    converted = converter.process(dict(tensors))
    scheme: QuantizationScheme = preset_name_to_scheme("NVFP4A16", ["Linear"])
    compressor, count = BaseCompressor.get_value_from_registry("nvfp4-pack-quantized"), 0
    for layer in [n.removesuffix(".weight_packed") for n in converted if n.endswith(".weight_packed")]:
        parts = {n.removeprefix(f"{layer}."): t for n, t in converted.items() if n.startswith(f"{layer}.")}
        parts["weight_global_scale"] = parts["weight_global_scale"].reshape(1)
        theirs = compressor.decompress({k: parts[k] for k in parts if not k.startswith("input")}, scheme)["weight"].float()
        want = ours[layer].dequantized()
        assert ((theirs - want).abs() <= (2.0**-8 + 2.0**-20) * want.abs()).all(), layer
        count += 1
    assert count == 28
    record(f"ModelOpt {name}", "compressed-tensors (ModelOptNvfp4Converter)",
           f"weights of {count} layers equal, rounded to bf16", package="compressed-tensors",
           figures={"layers": count})  # fmt: skip


@torch.inference_mode()
def test_transformers_drops_the_scales_of_fp8(made, ids):
    """It knows no `quant_method: modelopt`, warns, and loads the codes as if they were weights."""
    transformers = pytest.importorskip("transformers")
    path = made("FP8")
    model, said = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    dropped = sorted(n for n in said["unexpected_keys"] if n.endswith("weight_scale"))
    want = load_model(path)(ids)
    gap = float((model.eval()(ids).logits - want).abs().max())
    assert len(dropped) == 28 and gap > 100 * FP32
    why = f"no reader for quant_method modelopt: {len(dropped)} weight_scale are reported as UNEXPECTED and dropped"
    record("ModelOpt FP8", NAMED, f"{why}, logits off by {gap:.1f} of {float(want.abs().max()):.1f}", ok=False,
           package=NAMED, figures={"dropped": len(dropped), "largest_difference": gap})  # fmt: skip


def test_transformers_refuses_nvfp4(made):
    transformers = pytest.importorskip("transformers")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes") as refusal:
        transformers.AutoModelForCausalLM.from_pretrained(made("W4A16_NVFP4"), dtype=torch.float32)
    said = str(refusal.value).splitlines()[0]
    record(
        "ModelOpt W4A16_NVFP4", NAMED, f"no reader for quant_method modelopt: RuntimeError: {said}", package=NAMED, ok=False
    )
