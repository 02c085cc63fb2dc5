"""Folders in vLLM's hands: a process that imports it once and forks for each, so that a crash of one is one answer.

stdin    a line a folder or file: {"folder", "out", "prompt": ids, "fresh": how many new ids, "windows": rows of ids}
OUT      {"ids", "nats", "layers": {what multiplies: how many}, "caches": [[dtype, scales] a layer]},
         or {"error": [the exception, its causes …]}
stdout   a line for each, when it is done: the exit status; everything that vLLM says goes to stderr
"""

import json
import os
import sys
from pathlib import Path

# Its environment: the engine in the same process, whose errors are then seen as they are raised; 4-bit weights by 16-bit
# activations, on processors with AMX, too; and one thread that need not wait for a core of its own.
SETTINGS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_INT4_W4A8": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # fmt: skip


def methods(model) -> dict[str, int]:
    """Which class multiplies, and by which kernel, as vLLM chose them for the linear layers: name → how many layers."""
    from vllm.model_executor.layers.linear import LinearBase

    found = {}
    for _, m in model.named_modules():
        if isinstance(m, LinearBase):
            holders = [h for h in (m.quant_method, getattr(m, "scheme", None)) if h is not None]
            parts = [type(v).__name__ for h in holders for v in vars(h).values() if "Kernel" in type(v).__name__]
            name = (parts or [type(h).__name__ for h in holders[-1:]])[0]
            found[name] = found.get(name, 0) + 1
    return found


def caches(model) -> list[str]:
    """How keys and values are kept: dtype and scales, layer by layer."""
    from vllm.model_executor.layers.attention import Attention

    layers = [m for m in model.modules() if isinstance(m, Attention)]
    return [[m.kv_cache_dtype, float(m._k_scale.max()), float(m._v_scale.max())] for m in layers]


def serve(asked: dict) -> dict:
    """The answer for one folder."""
    import torch
    from vllm import LLM, SamplingParams

    from qcourse.study.perplexity import Windows
    from qcourse.study.vllm_engine import score, start

    rows, path = torch.tensor(asked["windows"]), Path(asked["folder"])
    llm = start(path, rows.shape[1], 1e9) if path.is_dir() else LLM(str(path), dtype="bfloat16", enforce_eager=True)
    greedy = SamplingParams(max_tokens=asked["fresh"], temperature=0, ignore_eos=True)
    output = llm.generate([{"prompt_token_ids": asked["prompt"]}], greedy, use_tqdm=False)[0].outputs[0]
    return {
        "ids": list(output.token_ids),
        "nats": score(llm, Windows(rows, torch.ones(len(rows), dtype=torch.long))).nats.tolist(),
        "layers": llm.apply_model(methods)[0],
        "caches": llm.apply_model(caches)[0],
    }


def answer(asked: dict) -> None:
    """In the forked process: serve, write down what came out, and end without cleaning up."""
    try:
        said = serve(asked)
    except Exception as e:
        chain = []
        while e is not None:
            chain.append(f"{type(e).__name__}: {e}")
            e = e.__cause__ or e.__context__
        said = {"error": chain}
    Path(asked["out"]).write_text(json.dumps(said))


def main() -> None:
    """Answer until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import vllm  # noqa: F401 (every child has it)

    for line in sys.stdin:
        child = os.fork()
        if not child:
            answer(json.loads(line))
            sys.stderr.flush()
            os._exit(0)
        replies.write(f"{os.waitpid(child, 0)[1]}\n")
        replies.flush()


if __name__ == "__main__":
    main()
