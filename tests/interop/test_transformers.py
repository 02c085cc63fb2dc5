"""The shipped folder is a Hugging Face Llama: same logits, same token ids, and their files load here."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from logits import FP32  # noqa: E402
from table import record  # noqa: E402

from qcourse.methods.rotation import rotate  # noqa: E402
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer, save_model  # noqa: E402


@pytest.fixture(scope="module")
def theirs():
    return transformers.LlamaForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32).eval()


def test_the_same_logits(theirs):
    ids = torch.randint(0, 2048, (2, 200))
    with torch.no_grad():
        gap = float((load_model()(ids) - theirs(ids).logits).abs().max())
    assert gap < FP32
    record("safetensors BF16", "transformers", f"logits within {gap:.1e}", package="transformers",
           figures={"largest_difference": gap})  # fmt: skip


def test_their_checkpoint_loads_here(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(0, 2048, (1, 50))
    torch.testing.assert_close(load_model(tmp_path)(ids), load_model()(ids), atol=1e-3, rtol=0)


def test_a_rotated_model_saved_here_loads_there(tmp_path):
    model = load_model()
    rotate(model)
    for p in model.parameters():
        p.data = p.data.bfloat16()  # what a folder holds
    save_model(model, tmp_path)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(0, 2048, (2, 100))
    with torch.no_grad():
        gap = float((model(ids) - theirs(ids).logits).abs().max())
    assert gap < FP32
    record("safetensors BF16, rotated", "transformers", f"logits within {gap:.1e}", package="transformers",
           figures={"largest_difference": gap})  # fmt: skip


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


def test_llama_3_1s_rope(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}  # fmt: skip
    config = transformers.LlamaConfig(vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=1, rope_parameters=rope)  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval().to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 128, (1, 120))
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


def test_a_foreign_folder_is_evaluated_with_the_same_commands(tmp_path):
    """A Qwen2 with a byte-level tokenizer of another make: our meters run, and the bytes of its tokens add up."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from qcourse.study.evaluate import evaluate
    from qcourse.study.perplexity import token_stream

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(["def f(x):\n    return x\n" * 50], trainer)
    inner.save(str(tmp_path / "tokenizer.json"))
    config = transformers.Qwen2Config(vocab_size=600, hidden_size=128, intermediate_size=256, num_hidden_layers=1,
                                      num_attention_heads=2, num_key_value_heads=1, bos_token_id=0)  # fmt: skip
    transformers.Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    report = evaluate(tmp_path, ["W8A8+smoothquant", "W4A16_ASYM+awq"], n=4, seq_len=200, progress=False)
    assert report["results"]["W4A16_ASYM+awq"]["bits_per_weight"] < 4.3
    tokenizer, stream = token_stream(tmp_path, "calibration")
    import bdb
    import inspect

    text = inspect.getsource(bdb)
    assert sum(len(tokenizer.token_bytes[i]) for i in tokenizer.encode(text)) == len(text.encode())
