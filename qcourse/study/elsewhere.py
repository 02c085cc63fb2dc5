"""The same meters through somebody else's engine: the model as it is, served by vLLM or scored by lm-eval."""

import json
from importlib.util import find_spec
from pathlib import Path

from qcourse.study.evaluate import provenance
from qcourse.study.perplexity import windows
from qcourse.study.results import identity, try_output, write


def measure_elsewhere(
    engine: str, model: Path, n: int, seq_len: int, device: str, budget_bytes: float, out: Path | None
) -> str:
    """Bits a byte (and vLLM's speed) as JSON text, kept in `out` with its provenance. `engine`: "vllm" or "harness".

    Raises ValueError for an `out` that cannot be written, before any work, ImportError for an engine that is not installed.
    """
    if out is not None:
        try_output(out)
    if engine == "vllm" and find_spec("vllm") is None:
        raise ImportError("--engine vllm needs vLLM: make interop-vllm, then .venv-vllm/bin/qcourse eval --engine vllm")
    text = windows(model, n, seq_len)
    if engine == "harness":
        from qcourse.models.loader import load_model
        from qcourse.study.harness import run_harness

        result = run_harness(load_model(model), model, text)
    else:
        from qcourse.study.vllm_engine import measure

        result = measure(model, text, budget_bytes)
    if out is not None:
        write(out, provenance(device) | {"settings": identity(model), "results": result})
    return json.dumps({k: v for k, v in result.items() if k not in ("nats", "sample_ids")}, indent=1, allow_nan=False)
