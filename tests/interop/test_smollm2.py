"""SmolLM2 beside other software on the same file: `qcourse fetch smollm2`, then `make interop`.

transformers dequantizes the GGUF and must compute the same logits; llama.cpp (ik-llama-cpp-python) must give the same ids
for a page of text, and, up to its 8-bit activations, write the same text.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qcourse.models import corpus
from qcourse.models.generate import generate
from qcourse.models.loader import load_model, load_tokenizer
from qcourse.models.subjects import fetched, source_of

pytestmark = pytest.mark.skipif(not fetched("smollm2"), reason="not here: qcourse fetch smollm2")
ODD = "Ünïcödé — 中文 123456 1.5e-3\n\n\t  if x's <|im_start|> 'll 🙂🙂\r\n    return  \n"


@pytest.fixture(scope="module")
def pages():
    text = corpus.read("held_out")
    return [t[:4000] for t in text[:8]] + [ODD]


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    path = source_of("smollm2")
    return transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def llama_cpp():
    ik = pytest.importorskip("ik_llama_cpp", reason="pip install ik-llama-cpp-python")
    return ik.IkLlama(str(source_of("smollm2")), n_ctx=2048, n_threads=2, verbose=False)


@torch.inference_mode()
def test_logits_are_those_of_transformers(theirs, pages):
    ours, tokenizer = load_model("smollm2", dequantize=True), load_tokenizer("smollm2")
    exact = load_model("smollm2")  # the file's codes; transformers keeps what they stand for in fp32
    ids = torch.tensor([tokenizer.encode(pages[0])[:256]])
    want = theirs(ids).logits
    got = exact(ids)
    print(f"\nlargest difference {(got - want).abs().max():.2g} of {want.abs().max():.3g}")
    assert (got - want).abs().max() < 1e-3
    rounded = ours(ids)
    print(f"and with the dequantized weights rounded to bf16 {(rounded - want).abs().max():.2g}")


def test_ids_are_those_of_llama_cpp(llama_cpp, pages):
    tokenizer = load_tokenizer("smollm2")
    for page in pages:
        assert tokenizer.encode(page) == llama_cpp.tokenize(page, add_bos=False, special=False), page[:60]


def test_ids_are_those_of_the_tokenizers_library(pages):
    """transformers reads vocabulary and merges from the file but not the name of the rule ("smollm": digits one by one, then
    GPT-2's), so the rule is put in by hand, of the library's own parts."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import pre_tokenizers

    path, tokenizer = source_of("smollm2"), load_tokenizer("smollm2")
    library = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    one_by_one = pre_tokenizers.Digits(individual_digits=True)
    library.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([one_by_one, pre_tokenizers.ByteLevel(False)])
    for page in pages[:-1]:  # the last one holds a control token, which the library would read as one
        assert tokenizer.encode(page) == library.encode(page, add_special_tokens=False), page[:60]


def test_greedy_text_is_that_of_llama_cpp(llama_cpp):
    """llama.cpp multiplies 8-bit activations; the first difference is stated, and must not come early."""
    tokenizer, model = load_tokenizer("smollm2"), load_model("smollm2")
    text = "<|im_start|>user\nWhat is the capital of France, and what is it known for?<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer.encode(text, special=True)
    theirs = llama_cpp.generate(prompt, max_tokens=48)
    ours = generate(model, prompt, 48, stop={tokenizer.eos_id})[len(prompt) :]
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    print(f"\nthe first {same} of {len(theirs)} ids are the same")
    assert same >= 8


LOADING = """
import torch
from qcourse.models.loader import load_model
from qcourse.study.cost import storage_bytes

def resident(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

load_model(quantization="W4A16")(torch.zeros(1, 4, dtype=torch.long))  # everything is imported, the kernels are loaded
before = resident("VmRSS")
model = load_model("smollm2")
print((resident("VmHWM") - before) / storage_bytes(model))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is resident")
def test_loading_needs_little_more_than_what_is_kept():
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=True)
    ratio = float(done.stdout.splitlines()[-1])
    print(f"\nat most {ratio:.2f} times the bytes that are kept")
    assert 1 <= ratio < 1.5
