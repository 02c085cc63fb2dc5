"""What `qcourse quantize` writes is read by transformers with compressed-tensors.

weights       theirs, once decompressed, are ours bit for bit (formats of 4 and 8 bit blocks: ours rounded to bf16,
              the only dtype that they are decompressed to there)
activations   what each layer there makes of its input is what ours makes of it, bit for bit
logits        without quantized activations within FP32 of ours; with them a sum in another order tips inputs that lie
              between two codes, and the next layers see a code's step, not fp32 noise: how far that goes is measured
              between runs of ours whose weights are moved by 2^-20, and three times the largest of three is allowed
"""

import json

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")

from compressed_tensors.quantization import QuantizationConfig  # noqa: E402
from logits import FP32, rms, same_weights, top1, watched  # noqa: E402
from table import record  # noqa: E402

from qcourse.checkpoints.compressed_tensors_config import config_of, writable  # noqa: E402
from qcourse.gemm.activations import fake_quantize_input  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model  # noqa: E402
from qcourse.models.stream import Method, quantize_to_folder  # noqa: E402
from qcourse.numerics.schemes import PRESETS  # noqa: E402

READER, PACKAGES = "transformers + compressed-tensors", "transformers, compressed-tensors"
WEIGHTS = ["W8A16", "W4A16", "W4A16_G32", "W4A16_CHANNEL", "W3A16", "W2A16", "MXFP4A16", "MXFP6A16", "MXFP8A16", "NVFP4A16"]
BOTH = ["W8A8", "W8A8_STATIC", "W4A8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "W4AFP8", "MXFP8", "MXFP4", "NVFP4"]


def loaded(path, bf16: bool):
    """transformers' model, its weights decompressed, computing in fp32; and what it said while loading."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    model, said = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True)
    model(torch.zeros(1, 1, dtype=torch.long))  # decompressed at the first call
    if bf16:  # to fp32 by hand: transformers' own `float` refuses
        torch.nn.Module.float(model)
    return model.eval(), said


def layers_of(model) -> dict:
    return {n: m for n, m in model.named_modules() if n.endswith("_proj")}


@pytest.mark.parametrize("name", writable())
def test_the_library_accepts_every_config(name):
    """Unknown keys in a group or in args are errors there; what it makes of the rest is what was meant."""
    ours = config_of(PRESETS[name])
    group = QuantizationConfig.model_validate(ours).config_groups["group_0"]
    weights, wanted = group.weights, PRESETS[name].weights
    assert group.format == ours["format"] and weights.num_bits == wanted.num_bits
    assert weights.symmetric == wanted.symmetric and (weights.group_size or None) in (wanted.group_size, None)
    assert (group.input_activations is None) == (PRESETS[name].input_activations is None)


@torch.inference_mode()
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_theirs_and_logits_follow(name, folder, ids):
    path, bf16 = folder(name), "FP" in name
    theirs, said = loaded(path, bf16)
    assert not said["missing_keys"] and not said["unexpected_keys"], json.dumps({k: list(v) for k, v in said.items()})
    model = load_model(path, "bf16", dequantize=True) if bf16 else load_model(path)
    weights = {n: m.dequantized() for n, m in load_model(path).linears().items() if n.endswith("_proj")}
    if bf16:
        weights = {n: W.bfloat16().float() for n, W in weights.items()}
    count = same_weights({n: m.weight.data for n, m in layers_of(theirs).items()}, weights, torch.float32)
    gap = float((theirs(ids).logits - model(ids)).abs().max())
    assert gap < FP32
    more = "; decompresses to bf16 only, widened by hand" if bf16 else ""
    record(f"compressed-tensors {name}", READER, f"weights of {count} layers bit for bit, logits within {gap:.1e}{more}",
           package=PACKAGES, figures={"layers": count, "largest_difference": gap})  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("name", BOTH)
def test_activations_are_rounded_as_ours(name, folder, ids):
    path, args, bf16 = folder(name), PRESETS[name].input_activations, name in ("MXFP8", "MXFP4", "NVFP4")
    theirs, said = loaded(path, bf16)
    assert not said["missing_keys"] and not said["unexpected_keys"]
    ours, layers = load_model(path), layers_of(theirs)
    weights = {n: m.dequantized() for n, m in ours.linears().items() if n in layers}
    if bf16:
        weights = {n: W.bfloat16().float() for n, W in weights.items()}
    same_weights({n: m.weight.data for n, m in layers.items()}, weights, torch.float32)
    scales = {n: ours.linears()[n].product.input_scale for n in layers}
    with watched(layers) as seen:
        got = theirs(ids).logits
    assert seen.keys() == layers.keys()
    for n, (given, multiplied) in seen.items():
        assert torch.equal(fake_quantize_input(given, args, scales[n]), multiplied), n
    inputs = sum(given.numel() for given, _ in seen.values())
    want, *again = (simulated(path, weights, args, scales, moved)(ids) for moved in (0.0, 2.0**-20, 2.0**-20, 2.0**-20))
    gap, noise = rms(got - want), max(rms(y - want) for y in again)  # how many codes flip is chance
    assert gap <= 3 * noise, (gap, noise)
    said = f"{inputs:,} inputs of layers rounded bit for bit; rms of the logits' difference {gap:.1g} of {rms(want):.1f}"
    record(f"compressed-tensors {name}", READER, f"{said}, top-1 equal at {top1(got, want):.1%}", package=PACKAGES,
           figures={"inputs": inputs, "rms": gap, "rms_of_ours": noise, "top1": top1(got, want)})  # fmt: skip


def simulated(path, weights, args, scales, moved: float):
    """Ours in 16 bits with these weights (± `moved`), its layers' inputs rounded and multiplied in fp32."""
    model = load_model(path, "bf16", dequantize=True)
    for name, layer in model.linears().items():
        if name in weights:
            W = weights[name]
            layer.weight.data = W * (1 + moved * (2 * torch.randint(0, 2, W.shape) - 1))
            layer.register_forward_pre_hook(
                lambda module, x, name=name: (fake_quantize_input(x[0].float(), args, scales[name]),)
            )
    return model


@pytest.mark.parametrize("name", ["W4A16_ASYM", "W3A16_ASYM", "W2A16_ASYM"])
def test_zero_points_are_refused_there(name, folder):
    """The library packs them along N and says so in its own writer; transformers prepares a place for unpacked ones."""
    with pytest.raises(RuntimeError, match="You set `ignore_mismatched_sizes` to `False`") as refusal:
        transformers.AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32)
    why = "it makes room for unpacked zero points, the library's writer packs them: weight_zero_point MISMATCH; RuntimeError"
    said = str(refusal.value).splitlines()[0]
    record(f"compressed-tensors {name}", READER, f"{why}: {said}", package=PACKAGES, ok=False)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["W4A16_ASYM", "W3A16_ASYM", "W2A16_ASYM"])
def test_the_library_itself_reads_zero_points(name, folder):
    from compressed_tensors.compressors import BaseCompressor
    from safetensors.torch import load_file

    path = folder(name)
    config = QuantizationConfig.model_validate(config_of(PRESETS[name]))
    scheme, ours = config.config_groups["group_0"], load_model(path).linears()
    tensors = {n: t for p in path.glob("*.safetensors") for n, t in load_file(p).items()}
    compressor, theirs = BaseCompressor.get_value_from_registry(scheme.format), {}
    for layer in [n.removesuffix(".weight_packed") for n in tensors if n.endswith(".weight_packed")]:
        parts = {n.removeprefix(f"{layer}."): t for n, t in tensors.items() if n.startswith(f"{layer}.")}
        parts["weight_scale"] = parts["weight_scale"].float()
        theirs[layer] = compressor.decompress(parts, scheme)["weight"]
    count = same_weights(theirs, {n: m.dequantized() for n, m in ours.items() if n in theirs}, torch.float32)
    record(f"compressed-tensors {name}", "compressed-tensors (decompress)", f"weights of {count} layers bit for bit",
           package="compressed-tensors", figures={"layers": count})  # fmt: skip


@torch.inference_mode()
def test_calibrated_codes_travel_as_well(tmp_path, ids):
    """GPTQ's codes instead of rounded ones: other codes, the same file."""
    quantize_to_folder(SHIPPED, tmp_path / "out", PRESETS["W4A16"], Method((), "gptq"), ids, progress=False)
    theirs, said = loaded(tmp_path / "out", False)
    assert not said["missing_keys"] and not said["unexpected_keys"]
    gap = float((theirs(ids).logits - load_model(tmp_path / "out")(ids)).abs().max())
    assert gap < FP32
    record("compressed-tensors W4A16, codes by GPTQ", READER, f"logits within {gap:.1e}", package=PACKAGES,
           figures={"largest_difference": gap})  # fmt: skip
