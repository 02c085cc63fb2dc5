"""A model as one GGUF file: the same text again, every type, codes that are copied, and what llama.cpp has no words for."""

from dataclasses import replace

import pytest
import torch

from qcourse.checkpoints.gguf import FLOATS, unpermuted
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.gguf_types import GGML_TYPES
from qcourse.models.export_gguf import FILE_TYPES, export_gguf, permuted
from qcourse.models.generate import generate
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer
from qcourse.numerics.formats import GGUF_ARGS
from qcourse.numerics.quantize import fake_quantize

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
