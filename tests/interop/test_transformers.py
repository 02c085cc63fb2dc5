"""The shipped folder is a Hugging Face Llama: same logits, same token ids, and their files load here."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from qcourse.models.loader import SHIPPED, load_model, load_tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def theirs():
    return transformers.LlamaForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32).eval()


def test_the_same_logits(theirs):
    ids = torch.randint(0, 2048, (2, 200))
    with torch.no_grad():
        torch.testing.assert_close(load_model()(ids), theirs(ids).logits, atol=1e-4, rtol=0)


def test_their_checkpoint_loads_here(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(0, 2048, (1, 50))
    torch.testing.assert_close(load_model(tmp_path)(ids), load_model()(ids), atol=1e-3, rtol=0)


def test_a_qwen2_with_biases_and_an_untied_head(tmp_path):
    config = transformers.Qwen2Config(vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)  # fmt: skip
    model = transformers.Qwen2ForCausalLM(config).eval().to(torch.bfloat16)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(p)
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 128, (1, 30))
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path)(ids), model.float()(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("text", ["def f(x):\n    return x[1:] + 1000\n", "naïve “quotes”\t\n\n\n  é = 3.14159", "a" * 50])
def test_the_same_tokens(text):
    their_tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(SHIPPED / "tokenizer.json"))
    ours = load_tokenizer()
    assert ours.encode(text) == their_tokenizer.encode(text)
    assert their_tokenizer.decode(ours.encode(text)) == text


def test_the_same_tokens_on_a_whole_file():
    import argparse
    import inspect

    text = inspect.getsource(argparse)
    their_tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(SHIPPED / "tokenizer.json"))
    assert load_tokenizer().encode(text) == their_tokenizer.encode(text)
