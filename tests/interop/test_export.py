"""TorchAO's folders, written by `convert` and by `quantize --layout torchao`, in the hands of transformers with TorchAO.

Its weights are ours rounded to bf16, the dtype that its tensors name, bit for bit. It computes in bf16, so its logits differ
from ours in fp32 as ours in bf16 do; two engines that round at other places may lie twice as far apart, and of two maxima
another factor of two is allowed: four times. int8 weights also run in fp32, and then nothing is rounded: FP32.
"""

import pytest
import torch

transformers = pytest.importorskip("transformers")
pytest.importorskip("torchao")

from logits import FP32, same_weights, top1  # noqa: E402
from table import record  # noqa: E402

from qcourse.models.convert_folder import convert  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer  # noqa: E402
from qcourse.models.stream import Method, quantize_to_folder  # noqa: E402
from qcourse.numerics.granularity import per_channel  # noqa: E402
from qcourse.numerics.grids import E4M3  # noqa: E402
from qcourse.numerics.schemes import QuantizationScheme, fp8_weight  # noqa: E402
from qcourse.study.evaluate import PROMPT  # noqa: E402

READER, PACKAGES = "transformers + TorchAO", "transformers, torchao"
CLASSES = {"W8A16": "Int8Tensor", "W8A8": "Int8Tensor", "W4A16_G32": "IntxUnpackedToInt8Tensor",
           "W3A16": "IntxUnpackedToInt8Tensor", "W4A16_ASYM": "IntxUnpackedToInt8Tensor"}  # fmt: skip


def proof(path, kind: str, ids) -> tuple[int, float, float, float]:
    """Weights bit for bit, logits within four times our own bf16's distance: layers, gap, bound, top-1."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    held = {n: m.weight for n, m in theirs.named_modules() if n.endswith("_proj")}
    assert {type(W).__name__ for W in held.values()} == {kind}
    ours, rounded = (load_model(path, compute_dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    weights = {n: m.dequantized() for n, m in ours.linears().items() if n in held}
    count = same_weights({n: W.dequantize() for n, W in held.items()}, weights, torch.bfloat16)
    got, want = theirs(ids).logits.float(), ours(ids)
    gap, bound = float((got - want).abs().max()), 4 * float((rounded(ids).float() - want).abs().max())
    assert gap <= bound < 0.25 * float(want.abs().max())
    return count, gap, bound, top1(got, want)


@torch.inference_mode()
@pytest.mark.parametrize("scheme", CLASSES)
def test_torchao_through_transformers(folder, scheme, ids):
    path = folder(scheme, "torchao")
    count, gap, bound, same = proof(path, CLASSES[scheme], ids)
    said = f"weights of {count} layers bit for bit, logits in bf16 within {gap:.2f} (ours in bf16: {bound / 4:.2f})"
    figures = {"layers": count, "largest_difference": gap, "ours_in_bf16": bound / 4, "top1": same}
    if scheme == "W8A16":
        theirs = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        exact = float((theirs(ids).logits - load_model(path)(ids)).abs().max())
        assert exact < FP32
        said, figures = f"{said}, in fp32 within {exact:.1e}", figures | {"largest_difference_fp32": exact}
    record(f"TorchAO {scheme}", READER, f"{said}, top-1 equal at {same:.1%}", package=PACKAGES, figures=figures)


@torch.inference_mode()
def test_float8_weights(tmp_path, ids):
    scheme = QuantizationScheme(fp8_weight(E4M3, per_channel))
    quantize_to_folder(SHIPPED, tmp_path / "out", scheme, Method(), layout="torchao", progress=False)
    count, gap, bound, same = proof(tmp_path / "out", "Float8Tensor", ids)
    said = f"weights of {count} layers bit for bit, logits in bf16 within {gap:.2f} (ours in bf16: {bound / 4:.2f})"
    record("TorchAO float8 weights", READER, f"{said}, top-1 equal at {same:.1%}", package=PACKAGES,
           figures={"layers": count, "largest_difference": gap, "ours_in_bf16": bound / 4, "top1": same})  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("to", ["gptq_v2", "awq", "torchao"])
def test_there_and_back_in_compressed_tensors_hands(folder, to, tmp_path):
    """The file that comes back from another layout gives transformers the logits of the first."""
    pytest.importorskip("compressed_tensors")
    first = folder("W4A16")
    convert(folder("W4A16", to), tmp_path / "b", "compressed-tensors", progress=False)
    ids = torch.tensor([load_tokenizer().encode(PROMPT, bos=True)])
    if to != "torchao":  # whatever has zero points now is refused by the library's own loader (tests/interop/test_quantize)
        assert load_model(tmp_path / "b")(ids).equal(load_model(first)(ids))
    if to == "awq":
        return
    logits = []
    for source in (first, tmp_path / "b"):
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        logits.append(model(ids).logits)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=0)
    gap = float((logits[0] - logits[1]).abs().max())
    record(f"compressed-tensors W4A16, back from {to}", "transformers + compressed-tensors",
           f"logits of the first folder within {gap:.1e}", package="transformers, compressed-tensors",
           figures={"largest_difference": gap})  # fmt: skip
