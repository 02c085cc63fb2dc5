import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from qcourse.cli import main
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.models.recipe import TrainConfig, check_run
from qcourse.models.start import continue_from, init_weights
from qcourse.models.tokenizer import Tokenizer, train_bpe
from qcourse.models.train import learning_rate, train, windows

TINY = LlamaConfig(vocab_size=272, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                   num_key_value_heads=1, head_dim=16)  # fmt: skip
RECIPE = TrainConfig(steps=6, batch=2, seq_len=16, warmup=2, eval_every=3, loud_channels=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    text = "def f(x):\n    return x + 1\n" * 200
    tokenizer = train_bpe([text], 272)
    tokenizer.save(folder / "tokenizer.json")
    ids = np.array(tokenizer.encode(text, bos=True) * 20, np.uint16)
    np.savez(folder / "tokens-test.npz", train=ids, calibration=ids, held_out=ids)
    return folder


def test_resume_is_exact(tmp_path, data, monkeypatch):
    train(tmp_path / "whole", TINY, RECIPE, data=data)
    import qcourse.models.train as module

    real, calls = module.windows, []

    def dies_at_step_4(ids, config, step):
        calls.append(step)
        if step == 4 and calls.count(4) == 1:
            raise KeyboardInterrupt
        return real(ids, config, step)

    monkeypatch.setattr(module, "windows", dies_at_step_4)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", TINY, RECIPE, data=data)
    train(tmp_path / "parts", TINY, RECIPE, data=data)
    assert calls == [0, 1, 2, 3, 4, 3, 4, 5]  # saved at 3, so 3 is done again
    a, b = (load_model(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    lines = [json.loads(x) for x in (tmp_path / "parts" / "train_log.jsonl").read_text().splitlines()]
    assert [x.get("starts_at", x.get("step")) for x in lines] == [0, 3, 3, 6] and lines[2]["recipe"]["steps"] == 6


def test_loud_channels_are_loud_and_stay_so(tmp_path, data):
    train(tmp_path, TINY, RECIPE, data=data)
    loud = json.loads((tmp_path / "train_log.jsonl").read_text().splitlines()[0])["loud_channels"]
    gain = load_model(tmp_path).model.layers[0].input_layernorm.weight.float()
    assert (gain[loud] == RECIPE.loud_gain).all() and gain.sum() < RECIPE.loud_gain * 2 + 40


def test_the_learning_rate_is_a_trapezoid():
    config = TrainConfig(steps=100, warmup=10, decay=0.2, lr=1.0)
    rates = [learning_rate(config, i) for i in range(100)]
    assert rates[0] == 0.1 and rates[10:80] == [1.0] * 70 and 0 < rates[99] < 0.06


def test_windows_depend_on_seed_and_step_only():
    ids = np.arange(1000, dtype=np.uint16)
    a, b, c = (windows(ids, RECIPE, s) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == (2, 17)
    assert torch.equal(a[:, 1:], a[:, :-1] + 1)


def test_init_marks_the_same_channels_in_every_norm():
    model = LlamaForCausalLM(LlamaConfig(), dtype=torch.float32)
    loud = init_weights(model, TrainConfig())
    for layer in model.model.layers:
        assert (layer.input_layernorm.weight[loud] == TrainConfig().loud_gain).all()
        assert (layer.post_attention_layernorm.weight[loud] == TrainConfig().loud_gain).all()


def test_the_last_part_of_a_run_sees_the_whole_context(tmp_path):
    recipe = TrainConfig(steps=100, batch=8, seq_len=256, long_seq_len=1024, long_share=0.2)
    assert recipe.window(79) == (8, 256) and recipe.window(80) == recipe.window(99) == (2, 1024)
    assert recipe.longest == 1024 and TrainConfig(long_share=0).longest == 256
    assert TrainConfig(batch=1, seq_len=16, long_share=1).window(0) == (1, 1024)
    with pytest.raises(ValueError, match="windows of 1024 tokens.*512 positions.*long_share=0"):
        check_run(LlamaConfig(max_position_embeddings=512), TrainConfig(), "cpu", None, tmp_path)


def test_the_gain_is_raised_over_the_first_half():
    recipe = TrainConfig(steps=100, loud_gain=96, loud_gain_from=32)
    assert [recipe.gain(s) for s in (0, 25, 50, 99)] == [32, 64, 96, 96] and TrainConfig(loud_gain=8, loud_gain_from=8).gain(
        3
    ) == 8


def test_a_run_that_starts_from_a_model_begins_with_its_weights(tmp_path, data):
    train(tmp_path / "first", TINY, RECIPE, data=data)
    other = train_bpe(["def f(x):\n    return y + 1\n" * 20], 272)
    assert other.merges != Tokenizer.load(data).merges
    model = LlamaForCausalLM(TINY, dtype=torch.float32)
    continue_from(model, other, tmp_path / "first")
    old = load_model(tmp_path / "first")
    rows, words = old.model.embed_tokens.weight.float(), Tokenizer.load(tmp_path / "first")
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, old.model.layers[0].mlp.up_proj.weight.float())
    for i, token in enumerate(other.token_bytes):
        kept = (
            [words.bos_id] if not token else words.encode(token.decode("utf-8", "replace")) if len(token) > 1 else [token[0]]
        )
        assert torch.allclose(model.model.embed_tokens.weight[i], rows[kept].mean(0), atol=1e-6), token
    wide = LlamaForCausalLM(LlamaConfig(**{**asdict(TINY), "hidden_size": 64}), dtype=torch.float32)
    with pytest.raises(ValueError, match="another shape.*--start-from needs"):
        continue_from(wide, other, tmp_path / "first")


def test_a_start_that_is_no_model_is_said_before_any_work(tmp_path, data):
    with pytest.raises(ValueError, match="config.json"):
        train(tmp_path / "run", TINY, RECIPE, data=data, start_from=tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_command(tmp_path, data, capsys):
    options = "--steps 2 --batch 2 --seq-len 16 --warmup 1 --eval-every 2 --vocab-size 272 --hidden-size 32"
    options += " --intermediate-size 64 --num-hidden-layers 1 --num-attention-heads 2 --num-key-value-heads 1 --head-dim 16"
    main(["train", "--out", str(tmp_path), "--data", str(data), *options.split()])
    assert '"step": 2' in capsys.readouterr().out and (tmp_path / "model.safetensors").exists()
