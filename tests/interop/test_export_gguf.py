"""GGUF files written here in other people's hands: gguf-py and libgguf (bytes), transformers, llama.cpp (a fork).

bytes   gguf-py's reader hands out ours; gguf-py and libgguf make the same blocks of the same weights
ids     48 greedy ones of transformers, which dequantizes to fp32, are those of our engine on the file's own weights
ids     llama.cpp multiplies block types by activations in blocks of 8 bits, floats of 16 bits by fp32 or their own dtype:
        its first other id has to be our runner-up, at a place where our two likeliest logits lie closer than 8-bit
        activations move a logit (`moved`: measured in our own engine on the same text, inputs in blocks of 32)
"""

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf")

from table import record  # noqa: E402
from ties import first_difference, same  # noqa: E402

from qcourse.checkpoints.gguf_file import GGUFFile  # noqa: E402
from qcourse.checkpoints.gguf_writer import Written, write_gguf  # noqa: E402
from qcourse.models.export_gguf import export_gguf  # noqa: E402
from qcourse.models.generate import generate  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer  # noqa: E402
from qcourse.numerics.formats import GGUF_ARGS  # noqa: E402
from qcourse.numerics.quantize import quantize  # noqa: E402
from qcourse.packing.packed import pack  # noqa: E402
from qcourse.study.evaluate import PROMPT  # noqa: E402

NEW = 48
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K", "MXFP4")
BLOCKS_OF = {
    "gguf": ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ2_0", "MXFP4"),
    "libgguf": ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "MXFP4"),
}
MAKERS = [(library, kind) for library, kinds in BLOCKS_OF.items() for kind in kinds]


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
    record(f"GGUF {kind}", "gguf-py (GGUFReader)", f"bytes of {len(theirs.tensors)} tensors equal", package="gguf",
           figures={"tensors": len(theirs.tensors)})  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "kind"), MAKERS)
def test_the_same_weights_give_the_same_blocks(library, kind, shipped):
    """Every matrix of the shipped model; blocks of hostile numbers are in test_authorities."""
    make = gguf.quantize if library == "gguf" else pytest.importorskip("libgguf").quantize_rows
    matrices = {n: m.dequantized() for n, m in shipped.linears().items() if n.endswith("_proj")}
    count = 0
    for name, W in matrices.items():
        ours = pack(quantize(W, GGUF_ARGS[kind]), "gguf").tensors["blocks"].numpy()
        theirs = np.asarray(make(W.numpy(), gguf.GGMLQuantizationType[kind])).view(np.uint8)
        assert np.array_equal(ours.reshape(-1), theirs.reshape(-1)), name
        count += ours.size
    said = f"{count:,} bytes of blocks of the same {len(matrices)} matrices equal"
    reader = {"gguf": "gguf-py (quantize)", "libgguf": "libgguf (ggml's C)"}[library]
    record(f"GGUF {kind}", reader, said, package=library, figures={"bytes": count, "matrices": len(matrices)})


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_says_the_same(files, prompt, kind):
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(files, gguf_file=f"{kind}.gguf", dtype=torch.float32).eval()
    said = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=-1)[0, len(prompt) :]
    assert same(said.tolist(), greedy(files, kind, prompt)) == NEW
    record(f"GGUF {kind}", "transformers (gguf_file=)", f"{NEW} of {NEW} greedy ids", package="transformers, gguf",
           figures={"equal": NEW, "of": NEW})  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_says_the_same(files, prompt, kind):
    ik = pytest.importorskip("ik_llama_cpp")
    engine = ik.IkLlama(str(files / f"{kind}.gguf"), n_ctx=1024, n_threads=2, verbose=False)
    said = engine.generate(prompt, max_tokens=NEW, temperature=0)
    verdict, figures = first_difference(files / f"{kind}.gguf", prompt, said, greedy(files, kind, prompt))
    assert kind not in ("F32", "F16") or figures["equal"] == NEW
    record(f"GGUF {kind}", "llama.cpp (ik-llama-cpp-python)", verdict, package="ik-llama-cpp-python", figures=figures)


def test_llama_cpp_cuts_text_as_we_do(files):
    ik = pytest.importorskip("ik_llama_cpp")
    engine = ik.IkLlama(str(files / "F16.gguf"), n_ctx=1024, n_threads=2, verbose=False)
    tokenizer = load_tokenizer()
    for text in (PROMPT, "x = 12345 + naïve(é)\n\n\tif a's:  # ünï\n", "  \t\n\n x"):
        assert engine.tokenize(text, add_bos=False, special=False) == tokenizer.encode(text)
