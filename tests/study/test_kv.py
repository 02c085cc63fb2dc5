"""The KV cache's meters: bytes as they are allocated, losses through the cache, the experiment by context."""

import pytest
import torch

from qcourse.models.loader import SHIPPED
from qcourse.models.quantized_kv import QuantizedKVCache
from qcourse.numerics.kv import KV_PRESETS
from qcourse.study import kv_contexts
from qcourse.study.kv import concurrency, sequence_bytes, through_cache, token_bytes
from qcourse.study.perplexity import perplexity, windows


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, 2, 96)


@pytest.mark.parametrize("name", KV_PRESETS)
@pytest.mark.parametrize("context", [16, 33, 96, 512])
def test_bytes_are_those_of_a_real_cache(shipped, name, context):
    c, ones = shipped.config, torch.ones(shipped.config.num_key_value_heads if KV_PRESETS[name].per_head else 1)
    for args in (KV_PRESETS[name], KV_PRESETS[name].with_(sink=4)):
        cache = QuantizedKVCache(c, 1, context, args, scales=[(ones, ones)] * c.num_hidden_layers if args.static else None)
        static = sum(side.static.nbytes for side in (cache.k, cache.v) if args.static)
        assert cache.nbytes - static == sequence_bytes(c, context, args)


def test_bytes_of_a_token_and_of_users(shipped):
    c = shipped.config
    plain = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * 2
    assert token_bytes(c) == token_bytes(c, "auto") == plain and token_bytes(c, "fp8_e4m3") == plain / 2
    assert token_bytes(c, "int4_per_token_head") == plain / 4 + 2 * c.num_hidden_layers * c.num_key_value_heads * 2
    budget = 10 * sequence_bytes(c, 100)
    assert sequence_bytes(c, 100) == 112 * plain and concurrency(c, budget, 100) == 10
    assert concurrency(c, budget, 100, "fp8_e4m3") == 20
    assert concurrency(c, budget, 100, "int4_kivi") < 40  # its window stays in 16 bits
    with pytest.raises(ValueError, match="a context of 2000 tokens: the model has 1024 positions"):
        concurrency(c, budget, 2000)


def test_a_plain_cache_changes_nothing_and_a_chunk_is_no_other(shipped, text):
    exact = perplexity(shipped, text)
    for chunk in (7, 32, 96):
        assert torch.allclose(perplexity(through_cache(shipped, "auto", chunk), text).nats, exact.nats, rtol=1e-5)
    one, many = (perplexity(through_cache(shipped, "int8_per_token_head", n), text).nats for n in (1, 48))
    assert torch.allclose(one, many, rtol=1e-4) and not torch.equal(many, exact.nats)
    with pytest.raises(ValueError, match="chunk=0"):
        through_cache(shipped, "auto", 0)


def test_a_model_that_says_its_cache_is_scored_through_it(shipped, text):
    exact = perplexity(shipped, text).nats
    try:
        shipped.kv_cache = KV_PRESETS["int4_per_token_head"]
        scored = perplexity(shipped, text).nats
    finally:
        shipped.kv_cache = None
    assert torch.equal(scored, perplexity(through_cache(shipped, "int4_per_token_head"), text).nats)
    assert (scored > exact).any() and torch.equal(perplexity(shipped, text).nats, exact)


def test_the_experiment_by_context():
    formats = ["auto", "int8_per_token_head", "int8_static", "int8_static, scale 1", "int2_kivi"]
    found = dict(kv_contexts.contexts(SHIPPED, {}, n=2, seq_len=128, formats=formats, chunk=32))
    assert list(found) == formats
    for name, r in found.items():
        assert [(c["from"], c["to"]) for c in r["contexts"]] == [(0, 16), (16, 32), (32, 64), (64, 128), (0, 128)]
        whole = r["contexts"][-1]
        assert whole["added_stderr"] > 0 or name == "auto" and whole["added_bits_per_byte"] == 0
    added = {name: r["contexts"][-1]["added_bits_per_byte"] for name, r in found.items()}
    assert abs(added["int8_static"]) < 0.01 < added["int8_static, scale 1"]
    assert found["int2_kivi"]["token_bytes"] < found["int8_static"]["token_bytes"] < found["auto"]["token_bytes"]
    assert list(kv_contexts.contexts(SHIPPED, found, n=2, seq_len=128, formats=formats, chunk=32)) == []
