import pytest
import torch

from qcourse.models.attention import attend
from qcourse.models.generate import generate
from qcourse.models.kv_cache import KVCache
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM, RMSNorm
from qcourse.models.rope import RopeTables, rope_tables, rotate


def test_the_cache_changes_nothing(shipped):
    ids = torch.randint(0, 2000, (2, 24))
    whole = shipped(ids)
    cache = KVCache(shipped.config, batch=2, max_len=24)
    parts = [shipped(part, cache) for part in (ids[:, :10], ids[:, 10:11], ids[:, 11:])]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-4, rtol=1e-4)


def test_the_future_is_not_seen(shipped):
    ids = torch.randint(0, 2000, (1, 16))
    other = ids.clone()
    other[0, 10:] = 5
    torch.testing.assert_close(shipped(ids)[:, :10], shipped(other)[:, :10])


def test_rope_keeps_lengths_and_depends_on_distance_only():
    config = LlamaConfig()
    cos, sin = rope_tables(config, torch.arange(50))
    q, k = torch.randn(2, 1, 1, 1, 64)
    turned = [rotate(v.expand(1, 1, 50, 64), cos, sin) for v in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm(dim=-1).expand(1, 1, 50))
    scores = turned[0][0, 0] @ turned[1][0, 0].T
    torch.testing.assert_close(scores.diagonal(7), scores[0, 7].expand(43), atol=1e-3, rtol=1e-3)


def test_rope_tables_are_kept_and_are_the_formula():
    config = LlamaConfig()
    tables = RopeTables(config)
    for start, end in ((0, 5), (4, 9), (250, 700), (3, 4)):
        for dtype in (torch.float32, torch.bfloat16):
            cos, sin = tables.at(start, end, torch.device("cpu"), dtype)
            want = rope_tables(config, torch.arange(start, end))
            assert cos.dtype == dtype and torch.equal(cos, want[0].to(dtype)) and torch.equal(sin, want[1].to(dtype))
    assert [len(cos) for cos, _ in tables.kept.values()] == [1024, 1024]


@pytest.mark.parametrize("heads", [3, 6, 12])
def test_one_position_attends_as_the_last_of_many(heads):
    q, k, v = torch.randn(2, heads, 7, 16), torch.randn(2, 3, 7, 16), torch.randn(2, 3, 7, 16)
    torch.testing.assert_close(attend(q[:, :, -1:], k, v), attend(q, k, v)[:, :, -1:], atol=1e-5, rtol=1e-5)
    scores = (q[0, heads - 1, 5] @ k[0, 2, :6].T) / 4  # by hand: position 5 of the last head
    torch.testing.assert_close(attend(q, k, v)[0, heads - 1, 5], scores.softmax(0) @ v[0, 2, :6], atol=1e-5, rtol=1e-5)


def test_rmsnorm_is_the_formula():
    norm = RMSNorm(8, 1e-5, torch.float32)
    norm.weight.data = torch.arange(8.0)
    x = torch.randn(3, 8)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * torch.arange(8.0))


def test_greedy_text_is_the_argmax_of_the_whole_forward(shipped, tokenizer):
    prompt = tokenizer.encode("import os\n", bos=True)
    ids = generate(shipped, prompt, 8)
    assert ids[: len(prompt)] == prompt and len(ids) == len(prompt) + 8
    assert ids[-1] == shipped(torch.tensor([ids[:-1]]))[0, -1].argmax()


def test_sampling_is_repeatable_and_differs_by_seed(shipped, tokenizer):
    prompt = tokenizer.encode("def ", bos=True)
    a, b, c = (generate(shipped, prompt, 12, temperature=1.0, seed=s) for s in (1, 1, 2))
    assert a == b != c


class TestBadInput:
    def test_a_full_cache(self, shipped):
        with pytest.raises(ValueError, match="KV cache is full: 9 positions needed, 8"):
            shipped(torch.zeros(1, 9, dtype=torch.long), KVCache(shipped.config, 1, 8))

    def test_generation_bounds(self, shipped):
        with pytest.raises(ValueError, match="empty prompt"):
            generate(shipped, [])
        with pytest.raises(ValueError, match="the model has 1024"):
            generate(shipped, [1], 2000)


def test_untied_heads_and_biases_exist_for_foreign_models():
    config = LlamaConfig(num_hidden_layers=1, tie_word_embeddings=False, attention_bias=True)
    names = dict(LlamaForCausalLM(config).named_parameters())
    assert "lm_head.weight" in names and "model.layers.0.self_attn.q_proj.bias" in names
