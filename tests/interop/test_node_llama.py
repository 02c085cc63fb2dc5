"""GGUF files written here in the hands of llama.cpp itself, through node-llama-cpp: `make interop-node`.

llama.cpp multiplies blocks by activations in 8 bits, where our engine multiplies by fp32, so its greedy text may part from
ours at a near tie. How far that rounding moves log-probabilities is measured: `like_ggml` is our model with its activations
rounded as ggml rounds them. llama.cpp has to be about as far from ours as that one is, and nearer to that one than to ours.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from greedy import allowed, parted, rms, words
from table import record

from qcourse.models.export_gguf import FILE_TYPES, export_gguf
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer
from qcourse.models.subjects import fetched, source_of
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.granularity import per_group
from qcourse.numerics.quantize import fake_quantize
from qcourse.study.evaluate import PROMPT
from qcourse.study.perplexity import Score, paired_difference, perplexity, windows

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".venv-node" / "node_modules"
PACKAGE = MODULES / "node-llama-cpp" / "package.json"
pytestmark = pytest.mark.skipif(not PACKAGE.exists() or not shutil.which("node"), reason="make interop-node installs it")

NEW = 48
BY = "llama.cpp through node-llama-cpp"
WHY = "it rounds activations to 8 bits"
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
KINDS = (*FLOATS, "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4")
TEXTS = (PROMPT, "x = 12345 + naïve(é)\n\n\tif a's:  # ünï\n", "  \t\n\n x", "中文 🙂🙂\r\n 1.5e-3")


def ask(file: Path, prompt: list[int], fresh: int = NEW, rows=(), texts=()) -> dict:
    """The answer of greedy.mjs."""
    asked = {"file": str(file), "prompt": prompt, "fresh": fresh, "windows": list(rows), "texts": list(texts)}
    command = ["node", str(HERE / "greedy.mjs"), str(MODULES)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def version(answer: dict) -> str:
    """Of the package, and of the llama.cpp inside."""
    release = answer["release"]
    return f"node-llama-cpp {json.loads(PACKAGE.read_text())['version']} ({release['repo']} {release['release']})"


def rounding(kind: str):
    """What ggml does to the activations in front of a matrix of that type: its dtype; blocks of 32 in int8 under an fp16
    scale (Q8_0); for K-quants blocks of 256 under an fp32 scale (Q8_K)."""
    if kind in FLOATS:
        return lambda x: x.to(FLOATS[kind]).float()
    args = GGUF_ARGS["Q8_0"]
    if kind.endswith("_K"):
        args = args.with_(granularity=per_group(256), scale=torch.float32)
    return lambda x: fake_quantize(x, args)


def like_ggml(file: Path, kind: str):
    """Our model of the file with activations rounded as ggml rounds them, keys and values in fp16 as its cache has them."""
    model = load_model(file)
    before, before_head = rounding(kind), rounding(kind if kind in FLOATS else "Q8_0")
    for name, layer in model.linears().items():
        layer.register_forward_pre_hook(lambda m, given: (before(given[0]),))
        if name.endswith(("k_proj", "v_proj")):
            layer.register_forward_hook(lambda m, given, y: y.half().float())
    model.model.norm.register_forward_hook(lambda m, given, y: before_head(y))
    return model


def compared(file: Path, kind: str, prompt: list[int], theirs: dict) -> dict:
    """`greedy.parted`, and the rms of log-probabilities: apart, theirs from ours; left, theirs from those of `like_ggml`."""
    said = torch.tensor(theirs["logprobs"])
    assert said.isfinite().all() and said.argmax(-1).tolist() == theirs["ids"]
    found, ours, rounded = parted(load_model(file), like_ggml(file, kind), prompt, theirs["ids"])
    return found | {"apart": rms(said - ours), "left": rms(said - rounded)}


def check(kind: str, found: dict, fresh: int) -> None:
    """Floats: our text. Blocks: a near tie where it parts from ours, and a distance that rounded activations explain."""
    if kind in ("F32", "F16"):
        assert found["equal"] == fresh
    if kind not in FLOATS:
        assert found["apart"] < 2 * found["moved"] and found["left"] < found["apart"]
    assert allowed(found)


@pytest.fixture(scope="module")
def prompt():
    return load_tokenizer().encode(PROMPT, bos=True)


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_reads_what_was_written(kind, prompt, shipped, tmp_path):
    if kind not in FILE_TYPES:
        pytest.skip(f"{kind} is not written yet")
    file, text = tmp_path / f"{kind}.gguf", windows(SHIPPED, 16, 128)
    export_gguf(shipped, SHIPPED, file, kind)
    theirs = ask(file, prompt, NEW, text.ids.tolist(), TEXTS)
    assert theirs["tokens"] == [load_tokenizer().encode(t) for t in TEXTS]
    found = compared(file, kind, prompt, theirs)
    d = paired_difference(perplexity(load_model(file), text), Score(torch.tensor(theirs["nats"], dtype=torch.float64), text))
    print(f"\n{kind}: {found}, {d}")
    check(kind, found, NEW)
    assert abs(d.mean) < max(0.003, 3 * d.stderr)
    said = f"{words(found, NEW, WHY)}; bits/byte {d.mean:+.4f} from ours"
    record(f"GGUF {kind}", BY, said, version=version(theirs), figures=found | {"bits_per_byte_from_ours": d.mean})


@pytest.mark.skipif(not fetched("smollm2"), reason="not here: qcourse fetch smollm2")
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_smollm2(kind, tmp_path):
    """Its Q4_1 codes, dequantized and rounded again."""
    file, fresh = tmp_path / f"{kind}.gguf", 24
    export_gguf(load_model("smollm2", dequantize=True), source_of("smollm2"), file, kind)
    tokenizer = load_tokenizer("smollm2")
    prompt = tokenizer.encode("def fibonacci(n):\n    ", bos=True)
    theirs = ask(file, prompt, fresh, (), TEXTS)
    assert theirs["tokens"] == [tokenizer.encode(t) for t in TEXTS]
    found = compared(file, kind, prompt, theirs)
    print(f"\n{kind}: {found}, {tokenizer.decode(theirs['ids'])!r}")
    check(kind, found, fresh)
    record(f"GGUF {kind}", BY, words(found, fresh, WHY), version=version(theirs), subject="smollm2", figures=found)
