"""Three cells of the table on SmolLM2, a model that people use: `qcourse fetch smollm2`, then `make interop`."""

import pytest
import torch
from logits import same_weights, top1
from table import record
from ties import first_difference

from qcourse.models.corpus import read
from qcourse.models.export_gguf import export_gguf
from qcourse.models.generate import generate
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.models.subjects import fetched
from qcourse.numerics.schemes import PRESETS

pytestmark = pytest.mark.skipif(not fetched("smollm2"), reason="not here: qcourse fetch smollm2")
SUBJECT, NEW = "smollm2", 48
# Its residual reaches 24,000 in one channel from layer 11 on, which fp32 keeps to 24,000 · 2^-24 = 1.4e-3: ten times the
# bound of a model whose residual stays small (logits.FP32).
FP32 = 1e-3


@pytest.fixture(scope="module")
def page():
    return torch.tensor([load_tokenizer("smollm2").encode(read("held_out")[0][:2000])[:192]])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "layout", "reader", "packages"),
    [("W4A16_G64", "compressed-tensors", "transformers + compressed-tensors", "transformers, compressed-tensors"),
     ("W8A16", "torchao", "transformers + TorchAO", "transformers, torchao")],
)  # fmt: skip
def test_logits(name, layout, reader, packages, tmp_path, page):
    transformers = pytest.importorskip("transformers")
    for package in packages.split(", "):
        pytest.importorskip(package.replace("-", "_"))
    quantize_to_folder("smollm2", tmp_path / "out", PRESETS[name], Method(), layout=layout, progress=False)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    got, ours = theirs(page).logits, load_model(tmp_path / "out")
    held = {n: m.weight for n, m in theirs.named_modules() if n.endswith("_proj")}
    dtype = torch.bfloat16 if layout == "torchao" else torch.float32
    held = {n: W.dequantize() if layout == "torchao" else W.data for n, W in held.items()}
    count = same_weights(held, {n: m.dequantized() for n, m in ours.linears().items() if n in held}, dtype)
    want = ours(page)
    gap = float((got - want).abs().max())
    assert gap < FP32 and top1(got, want) == 1
    record(f"{'TorchAO' if layout == 'torchao' else layout} {name}", reader, subject=SUBJECT, package=packages,
           verdict=f"weights of {count} layers bit for bit, logits within {gap:.1e} of {float(want.abs().max()):.0f}",
           figures={"layers": count, "largest_difference": gap})  # fmt: skip


def test_llama_cpp_says_the_same(tmp_path):
    ik = pytest.importorskip("ik_llama_cpp")
    path, tokenizer = tmp_path / "Q8_0.gguf", load_tokenizer("smollm2")
    export_gguf(load_model("smollm2"), "smollm2", path, "Q8_0")
    text = "<|im_start|>user\nWhat is the capital of France, and what is it known for?<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer.encode(text, special=True)
    engine = ik.IkLlama(str(path), n_ctx=1024, n_threads=2, verbose=False)
    assert engine.tokenize(text, add_bos=False, special=True) == prompt
    said = engine.generate(prompt, max_tokens=NEW, temperature=0)
    ours = generate(load_model(path), prompt, NEW, stop={tokenizer.eos_id})[len(prompt) :]
    verdict, figures = first_difference(path, prompt, said, ours)
    record("GGUF Q8_0", "llama.cpp (ik-llama-cpp-python)", verdict, package="ik-llama-cpp-python", subject=SUBJECT,
           figures=figures)  # fmt: skip
