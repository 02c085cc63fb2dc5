"""Numbers belong to the model they were measured on; what cannot be measured honestly is refused, and says why."""

import json
import shutil

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from qcourse.methods.calibration import calibrate
from qcourse.models.foreign import ForeignTokenizer
from qcourse.models.generate import generate
from qcourse.models.loader import SHIPPED, load_model
from qcourse.models.tokenizer import byte_alphabet
from qcourse.study.perplexity import perplexity, windows
from qcourse.study.results import identity, read_previous, try_output, write


def test_results_of_replaced_weights_are_not_reused(tmp_path):
    folder, out = shutil.copytree(SHIPPED, tmp_path / "model"), tmp_path / "run.json"
    before = identity(folder)
    write(out, {"settings": before, "results": {"bf16": {"nats": 1}}})
    assert read_previous(out, before, {"nats"}) == {"bf16": {"nats": 1}}
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    after = identity(folder)
    assert after["model_sha256"] != before["model_sha256"] and after["text"] == before["text"]
    with pytest.raises(ValueError, match="model_sha256"):
        read_previous(out, after, {"nats"})


def test_a_gguf_file_is_its_own_identity(tmp_path):
    for value in (b"a", b"b"):
        (tmp_path / "x.gguf").write_bytes(value)
        seen = identity(tmp_path / "x.gguf")["model_sha256"]
        (tmp_path / value.decode()).write_text(seen)
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_nan_is_no_json_and_a_folder_no_file(tmp_path):
    with pytest.raises(ValueError):
        write(tmp_path / "x.json", {"nats": float("nan")})
    assert not (tmp_path / "x.json").exists()
    with pytest.raises(ValueError, match="a folder"):
        try_output(tmp_path)


@pytest.mark.parametrize("n", [2, 16, 64])
def test_a_window_has_one_marker_in_front_and_does_not_score_another(n):
    w = windows(SHIPPED, n=n, seq_len=16)
    marker = json.loads((SHIPPED / "config.json").read_text())["vocab_size"] - 1
    assert (w.ids[:, 0] == marker).all() and (w.ids[:, 1] != marker).all()


@pytest.fixture
def broken():
    model = load_model()
    model.model.norm.weight.data[0] = torch.nan
    return model


def test_a_model_that_computes_nan_neither_generates_nor_scores(broken):
    with pytest.raises(ValueError, match="(?i)nan|finite"):
        generate(broken, [2047, 5, 6], 4)
    with pytest.raises(ValueError, match="(?i)nan|finite"):
        perplexity(broken, windows(SHIPPED, n=2, seq_len=16))


def test_the_context_that_the_config_claims_is_a_limit():
    model = load_model()
    assert model.config.max_position_embeddings == 1024
    with pytest.raises(ValueError, match="the model has 1024"):
        generate(model, [1] * 1020, 10)
    with pytest.raises(ValueError, match="1024 positions"):
        calibrate(model, torch.zeros(2, 1026, dtype=torch.long))
    with pytest.raises(ValueError, match="the model has 1024 positions"):
        windows(SHIPPED, n=2, seq_len=4096)


def test_added_tokens_that_are_not_special_keep_their_bytes(tmp_path):
    alphabet = byte_alphabet()
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens([AddedToken("    ", normalized=False), AddedToken("def", normalized=False)])
    inner.add_special_tokens(["<s>"])
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = ForeignTokenizer(tmp_path / "tokenizer.json", inner.token_to_id("<s>"))
    text = "def f(x):\n    return 'naïve <s>'\n"
    ids = tokenizer.encode(text)
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode() and inner.token_to_id("def") in ids
