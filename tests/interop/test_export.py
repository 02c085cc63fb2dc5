"""Folders written by `quantize` and `convert` in other people's hands: transformers with TorchAO and compressed-tensors."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from qcourse.models.convert_folder import convert  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer  # noqa: E402
from qcourse.models.stream import Method, quantize_to_folder  # noqa: E402
from qcourse.numerics.schemes import PRESETS  # noqa: E402
from qcourse.study.evaluate import PROMPT  # noqa: E402

ROUND = Method()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """scheme → the shipped model in compressed-tensors, rounded to nearest, made once."""
    root, made = tmp_path_factory.mktemp("export"), {}

    def make(scheme: str):
        if scheme not in made:
            made[scheme] = root / scheme
            quantize_to_folder(SHIPPED, made[scheme], PRESETS[scheme], ROUND, progress=False)
        return made[scheme]

    return make


@torch.inference_mode()
@pytest.mark.parametrize("scheme", ["W8A16", "W8A8", "W4A16_G32", "W3A16", "W4A16_ASYM"])
def test_torchao_through_transformers(folder, scheme, tmp_path):
    """Its weights are ours; it computes in bf16, so logits agree to that dtype's rounding through four layers."""
    torchao = pytest.importorskip("torchao")
    convert(folder(scheme), tmp_path / "out", "torchao", progress=False)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16).eval()
    ours = load_model(tmp_path / "out", compute_dtype=torch.bfloat16)
    kinds = {type(m.weight).__name__ for n, m in theirs.named_modules() if n.endswith("_proj")}
    assert kinds == {"Int8Tensor"} if scheme in ("W8A8",) else kinds & {"Int8Tensor", "IntxUnpackedToInt8Tensor"}
    for name, m in theirs.named_modules():
        if name.endswith("_proj"):
            gap = (m.weight.dequantize().float() - ours.linears()[name].dequantized()).abs().max()
            assert gap <= 2**-8 * m.weight.dequantize().abs().max(), name
    ids = torch.tensor([load_tokenizer().encode(PROMPT, bos=True)])
    a, b = theirs(ids).logits.float(), ours(ids)
    print(f"\n{scheme}, torchao {torchao.__version__}: largest difference {(a - b).abs().max():.3g} of {b.abs().max():.3g}")
    assert (a - b).abs().max() < 0.06 * b.abs().max() and (a.argmax(-1) == b.argmax(-1)).float().mean() > 0.9


@torch.inference_mode()
@pytest.mark.parametrize("to", ["gptq_v2", "awq", "torchao"])
def test_there_and_back_in_compressed_tensors_hands(folder, to, tmp_path):
    """The file that comes back from another layout gives transformers the logits of the first."""
    pytest.importorskip("compressed_tensors")
    first = folder("W4A16")
    convert(first, tmp_path / "a", to, progress=False)
    convert(tmp_path / "a", tmp_path / "b", "compressed-tensors", progress=False)
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
