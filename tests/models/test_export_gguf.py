"""A model as one GGUF file: the same text again, every type, codes that are copied, and what llama.cpp has no words for.

From its file, one layer at a time, the same bytes; whatever interrupts that leaves nothing that looks complete.
"""

import gc
import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qcourse.checkpoints.gguf import FLOATS, unpermuted
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.models import export_gguf as module
from qcourse.models.checkpoint import build, open_checkpoint
from qcourse.models.export_gguf import FILE_TYPES, export, export_gguf, permuted
from qcourse.models.generate import generate
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer, save_model
from qcourse.models.quantize_job import Method
from qcourse.models.quantize_source import layer_reader
from qcourse.models.stream import quantize_to_folder
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import PRESETS
from tests.writes import Killed, at_write, full

TEXT = "def read_config(path):\n    return 12345"
KINDS = ["F32", "F16", "BF16", *GGUF_ARGS]


@pytest.fixture(scope="module")
def files(tmp_path_factory, shipped):
    """kind → the shipped model's file, made once."""
    folder, made = tmp_path_factory.mktemp("gguf"), {}

    def make(kind: str):
        if kind not in made:
            made[kind] = folder / f"{kind}.gguf"
            export_gguf(shipped, SHIPPED, made[kind], kind)
        return made[kind]

    return make


def test_every_type_has_its_number():
    assert set(FILE_TYPES) == set(GGML_TYPES) == {"F32", "F16", "BF16", *GGUF_ARGS}


def test_rows_of_heads_and_back():
    t = torch.randn(4 * 6, 5)
    assert torch.equal(unpermuted(permuted(t, 4), 4), t) and torch.equal(permuted(t, 0), t)
    assert permuted(torch.arange(8), 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_is_the_model_rounded_in_that_type(files, shipped, kind):
    found = load_model(files(kind))
    file = GGUFFile(files(kind))
    assert file.metadata["general.file_type"] == FILE_TYPES[kind] and file.metadata["tokenizer.ggml.eos_token_id"] == 2047
    for (name, a), b in zip(found.linears().items(), shipped.linears().values(), strict=True):
        W = b.dequantized()
        wanted = W.to(FLOATS[kind]).float() if kind in FLOATS else fake_quantize(W, GGUF_ARGS[kind])
        assert torch.equal(a.dequantized(), wanted), name
    ends = fake_quantize(shipped.model.embed_tokens.dequantized(), GGUF_ARGS["Q8_0"])
    if kind in GGUF_ARGS:
        assert torch.equal(found.model.embed_tokens.dequantized(), ends)


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_the_same_text(files, shipped, tokenizer, kind):
    theirs = load_tokenizer(files(kind))
    ids = tokenizer.encode(TEXT, bos=True)
    assert theirs.encode(TEXT, bos=True) == ids and theirs.decode(ids) == tokenizer.decode(ids)
    assert generate(load_model(files(kind)), ids, 24) == generate(shipped, ids, 24)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K"])
def test_codes_are_copied_and_not_rounded_again(files, kind, tmp_path):
    export_gguf(load_model(files(kind)), files(kind), tmp_path / f"{kind}.gguf", kind)
    again, first = (tmp_path / f"{kind}.gguf").read_bytes(), files(kind).read_bytes()
    a, b = GGUFFile(tmp_path / f"{kind}.gguf"), GGUFFile(files(kind))
    assert all(torch.equal(a.rows(n), b.rows(n)) for n in b.tensors) and len(again) == len(first)


def test_int4_in_groups_of_32_is_q4_0_already(tmp_path):
    """Symmetric codes with bf16 scales that fp16 holds: the blocks get them as they are."""
    quantize_to_folder(SHIPPED, tmp_path / "w4", PRESETS["W4A16_G32"], Method(), progress=False)
    export(tmp_path / "w4", tmp_path / "w4.gguf", "Q4_0", progress=False)
    there, here = (load_model(tmp_path / name).linears() for name in ("w4.gguf", "w4"))
    for name, layer in here.items():
        assert name == "lm_head" or torch.equal(there[name].dequantized(), layer.dequantized()), name


def test_the_folder_of_the_file_is_made(tmp_path):
    """As `quantize` and `convert` make theirs; what is refused leaves none."""
    out = tmp_path / "new" / "there" / "x.gguf"
    with pytest.raises(ValueError, match="Q9_9"):
        export(SHIPPED, out, "Q9_9", progress=False)
    assert not (tmp_path / "new").exists()
    assert export(SHIPPED, out, "Q8_0", progress=False) == out.stat().st_size
    with pytest.raises(ValueError, match="a name that ends in .gguf expected"):
        export(SHIPPED, tmp_path / "x.bin", "Q8_0", progress=False)


def test_what_cannot_be_written_is_said_before(shipped, tmp_path):
    out = tmp_path / "x.gguf"
    scaled = load_model()
    scaled.config = replace(scaled.config, rope_scaling={"rope_type": "linear", "factor": 2.0})
    for model, kind, said in (
        (scaled, "F16", "scaled rotary positions are not written to GGUF"),
        (shipped, "Q4_X", "GGUF type 'Q4_X': one of F32"),
    ):
        with pytest.raises(ValueError, match=said):
            export_gguf(model, SHIPPED, out, kind)
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(ValueError, match="exists: choose another name"):
        export_gguf(shipped, SHIPPED, out, "F16")
    assert out.read_text() == "mine"


FOREIGN = Path(__file__).parents[1] / "checkpoints" / "files"


def biased(folder: Path) -> Path:
    """A Qwen2: biases of q, k, v, and a head of its own."""
    sizes = {"vocab_size": 2050, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 64}
    config = replace(load_model().config, **sizes, attention_bias=True, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    for p in model.parameters():
        p.data.normal_(std=0.2)
    save_model(model, folder)
    shutil.copy(SHIPPED / "tokenizer.json", folder)
    raw = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if not k.endswith("_bias")}))
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [("biased", "Q4_K"), ("biased", "BF16"), ("gguf_gpt2/model.gguf", "Q8_0")]
    + [(name, "Q4_0") for name in ("ct_w4a16_actorder", "awq_gemm", "ao_int8")],
)
def test_from_its_file_the_bytes_are_those_of_the_loaded_model(name, kind, tmp_path, monkeypatch):
    """In pieces of some rows, too."""
    source = biased(tmp_path / name) if name == "biased" else FOREIGN / name
    if source.parent == FOREIGN:  # which have no tokenizer
        theirs = load_tokenizer(FOREIGN / "gguf_gpt2" / "model.gguf")
        monkeypatch.setattr(module, "load_tokenizer", lambda source: theirs)
    export_gguf(load_model(source), source, tmp_path / "whole.gguf", kind)
    (tmp_path / "streamed").mkdir()
    for piece in (module.PIECE, 30_000 if name == "biased" else 1000):
        monkeypatch.setattr(module, "PIECE", piece)
        size = export(source, out := tmp_path / "streamed" / "whole.gguf", kind, progress=False)
        assert out.read_bytes() == (tmp_path / "whole.gguf").read_bytes() and size == out.stat().st_size
        out.unlink()


def test_one_layer_is_in_memory():
    checkpoint = open_checkpoint(SHIPPED)
    names = ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]
    _, read = layer_reader(build(checkpoint.config, None, SHIPPED), checkpoint.weights, SHIPPED, names)
    first = weakref.ref(read(names[0]))
    assert read(names[0]) is first()
    read(names[1])
    gc.collect()
    assert first() is None


def changed(tmp_path, change) -> Path:
    """The biased model with other tensors."""
    folder = biased(tmp_path / "source")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update(surplus=torch.ones(2)), "tensor 'surplus' has no place"),
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "tensor 'model.layers.1.mlp.up_proj.weight' is missing"),
        (lambda t: t["model.layers.1.mlp.up_proj.weight"].fill_(torch.nan), "model.layers.1.mlp.up_proj.weight holds NaN"),
        (lambda t: t.update({"model.norm.weight": torch.ones(3)}), "tensor 'model.norm.weight' is torch.float32 .3,."),
    ],
)
def test_a_source_that_is_refused_leaves_nothing(change, said, tmp_path):
    folder = changed(tmp_path, change)
    with pytest.raises(ValueError, match=said):
        export(folder, tmp_path / "x.gguf", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_leaves_nothing_and_says_how_much_is_needed(tmp_path, monkeypatch):
    with (
        monkeypatch.context() as m,
        pytest.raises(OSError, match="No space left.*; nothing is left of it, .* MB are needed"),
    ):
        at_write(m, 30, full())
        export(SHIPPED, tmp_path / "x.gguf", "Q4_0", progress=False)
    assert not list(tmp_path.iterdir())
    export(SHIPPED, tmp_path / "x.gguf", "Q4_0", progress=False)


@pytest.mark.parametrize("n", [2, 50])
def test_killed_it_begins_again(files, tmp_path, monkeypatch, n):
    with monkeypatch.context() as m, pytest.raises(Killed):
        at_write(m, n, Killed())
        export(SHIPPED, tmp_path / "Q8_0.gguf", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["Q8_0.gguf.part"]
    export(SHIPPED, tmp_path / "Q8_0.gguf", progress=False)
    assert (tmp_path / "Q8_0.gguf").read_bytes() == files("Q8_0").read_bytes() and len(list(tmp_path.iterdir())) == 1
