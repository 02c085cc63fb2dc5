"""GGUF files written here in other people's hands: gguf-py (bytes), transformers, llama.cpp (a fork with wheels)."""

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf")

from qcourse.checkpoints.gguf_file import GGUFFile  # noqa: E402
from qcourse.checkpoints.gguf_writer import Written, write_gguf  # noqa: E402
from qcourse.models.export_gguf import export_gguf  # noqa: E402
from qcourse.models.generate import generate  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer  # noqa: E402
from qcourse.study.evaluate import PROMPT  # noqa: E402

NEW = 48
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")


@pytest.fixture(scope="module")
def files(tmp_path_factory, shipped):
    folder = tmp_path_factory.mktemp("gguf")
    for kind in KINDS:
        export_gguf(shipped, SHIPPED, folder / f"{kind}.gguf", kind)
    return folder


@pytest.fixture(scope="module")
def prompt():
    return load_tokenizer().encode(PROMPT, bos=True)


def greedy(files, kind: str, prompt: list[int]) -> list[int]:
    """What our engine says with that file's own weights, in fp32."""
    return generate(load_model(files / f"{kind}.gguf"), prompt, NEW)[len(prompt) :]


def same(a: list[int], b: list[int]) -> int:
    """How many ids agree before the first difference."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def test_the_bytes_are_those_of_gguf_pys_writer(tmp_path):
    W, norm = torch.randint(0, 256, (4, 36), dtype=torch.uint8), torch.randn(6)
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    writer.add_context_length(99)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "Ġb", "é"])
    writer.add_token_types([1, 1, 3])
    writer.add_add_bos_token(True)
    writer.add_tensor("w", W.numpy(), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("norm", norm.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata = {"general.architecture": "llama", "llama.context_length": 99, "llama.attention.layer_norm_rms_epsilon": 1e-5,
                "tokenizer.ggml.tokens": ["a", "Ġb", "é"], "tokenizer.ggml.token_type": np.array([1, 1, 3], np.int32),
                "tokenizer.ggml.add_bos_token": True}  # fmt: skip
    tensors = {"w": Written("Q4_0", (4, 64), lambda: W), "norm": Written("F32", (6,), lambda: norm)}
    write_gguf(tmp_path / "ours.gguf", metadata, tensors)
    assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_py_reads_what_we_read(files, kind):
    theirs, ours = gguf.GGUFReader(files / f"{kind}.gguf"), GGUFFile(files / f"{kind}.gguf")
    assert [t.name for t in theirs.tensors] == list(ours.tensors)
    for t in theirs.tensors:
        assert np.array_equal(np.asarray(t.data).view(np.uint8).reshape(-1), ours.rows(t.name).numpy().reshape(-1)), t.name


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_transformers_says_the_same(files, prompt, kind, record_property):
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(files, gguf_file=f"{kind}.gguf", dtype=torch.float32).eval()
    said = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=-1)[0, len(prompt) :]
    assert same(said.tolist(), greedy(files, kind, prompt)) == NEW


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_says_the_same(files, prompt, kind):
    """Floats exactly. Block types are multiplied by activations in 8-bit blocks there, ours by fp32: the first difference is
    where two tokens are nearly as likely, and what ours says there is among its two likeliest."""
    ik = pytest.importorskip("ik_llama_cpp")
    engine = ik.IkLlama(str(files / f"{kind}.gguf"), n_ctx=1024, n_threads=2, verbose=False)
    said, ours = engine.generate(prompt, max_tokens=NEW, temperature=0), greedy(files, kind, prompt)
    agree = same(said, ours)
    print(f"\n{kind}: {agree} of {NEW}")
    if kind in ("F32", "F16"):
        assert agree == NEW
    elif agree < NEW:
        with torch.inference_mode():
            logits = load_model(files / f"{kind}.gguf")(torch.tensor([[*prompt, *ours[:agree]]]))[0, -1]
        first, second = logits.topk(2).values
        assert said[agree] == logits.topk(2).indices[1], "another token than the runner-up"
        assert first - second < 0.5


def test_llama_cpp_cuts_text_as_we_do(files):
    ik = pytest.importorskip("ik_llama_cpp")
    engine = ik.IkLlama(str(files / "F16.gguf"), n_ctx=1024, n_threads=2, verbose=False)
    tokenizer = load_tokenizer()
    for text in (PROMPT, "x = 12345 + naïve(é)\n\n\tif a's:  # ünï\n", "  \t\n\n x"):
        assert engine.tokenize(text, add_bos=False, special=False) == tokenizer.encode(text)
