"""What `qcourse quantize` writes is read by transformers with compressed-tensors, and gives our logits.

Their decompressed weights are code · scale in the scales' dtype (bf16: 2^-9 relative, and once more for the product), ours
stay in fp32, so logits agree to a few per cent of the largest; a wrong order, sign, scale or zero point moves them by
their own size. Formats with quantized activations round x too, at points of their own: their bound is that rounding's size.
"""

import json
import os

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

from compressed_tensors.quantization import QuantizationConfig  # noqa: E402

from qcourse.checkpoints.compressed_tensors_config import config_of, writable  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model  # noqa: E402
from qcourse.models.stream import Method, quantize_to_folder  # noqa: E402
from qcourse.numerics.schemes import PRESETS  # noqa: E402

ASYMMETRIC = pytest.mark.xfail(raises=RuntimeError, strict=True, reason="transformers 5.23 expects zero points unpacked")
CASES = [
    ("W4A16", "gptq"),
    ("W8A16", "rtn"),
    ("W3A16", "rtn"),
    pytest.param("W4A16_ASYM", "gptq", marks=ASYMMETRIC),
    ("W8A8", "rtn"),
    ("FP8", "rtn"),
    ("FP8_DYNAMIC", "rtn"),
    ("FP8_BLOCK", "rtn"),
    ("NVFP4A16", "rtn"),
    ("MXFP4A16", "rtn"),
]


@pytest.mark.parametrize("name", writable())
def test_the_library_accepts_every_config(name):
    """Unknown keys in a group or in args are errors there; what it makes of the rest is what was meant."""
    ours = config_of(PRESETS[name])
    group = QuantizationConfig.model_validate(ours).config_groups["group_0"]
    weights, wanted = group.weights, PRESETS[name].weights
    assert group.format == ours["format"] and weights.num_bits == wanted.num_bits
    assert weights.symmetric == wanted.symmetric and (weights.group_size or None) in (wanted.group_size, None)
    assert (group.input_activations is None) == (PRESETS[name].input_activations is None)


@pytest.mark.parametrize(("name", "quantizer"), CASES)
def test_their_logits_are_ours(name, quantizer, tmp_path):
    """Ours: the folder as `load_model` reads it. The bound: 5 % of the largest logit, and where activations are quantized
    also what their quantization changes (measured: the same weights without it)."""
    scheme = PRESETS[name]
    ids = torch.randint(0, 2048, (4, 160), generator=torch.Generator().manual_seed(0))
    quantize_to_folder(SHIPPED, tmp_path / "out", scheme, Method((), quantizer), ids, progress=False)
    ours = load_model(tmp_path / "out")(ids)
    changed = 0.0
    if scheme.input_activations is not None:
        plain = load_model(tmp_path / "out", "bf16", dequantize=True)
        changed = float((plain(ids) - ours).abs().max())
    dtype = torch.bfloat16 if "FP4" in name else torch.float32  # those decompress to bf16 only
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=dtype).eval()
    with torch.no_grad():
        got = theirs(ids).logits.float()
    assert float((got - ours).abs().max()) < 0.05 * float(ours.abs().max()) + changed


def test_their_loading_reads_every_shard_and_nothing_is_left_over(tmp_path):
    ids = torch.randint(0, 2048, (4, 160))
    quantize_to_folder(SHIPPED, tmp_path / "out", PRESETS["W4A16"], Method(), ids, progress=False)
    _, said = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"], json.dumps({k: list(v) for k, v in said.items()})
