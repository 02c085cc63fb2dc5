"""What engines trip over in files that load: said with the tensor, the number, and what follows from it."""

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.gguf_values import Strings
from qcourse.models.checkpoint import EMBEDDING, build
from qcourse.packing.gptq import stored_version
from qcourse.study.inspection import Inspection

BIG = 0.25  # of the bytes
KEY = "tokenizer.ggml."


def warnings(found: Inspection, deep: bool = True) -> list[str]:
    """Every trap that the file sets. deep: small tensors (scales, zero points) are read, too."""
    said = (
        [f"{found.pickles[0]} is a pickle: opening it runs what its author wrote; nothing here does"]
        if found.pickles
        else []
    )
    said += embedding(found) + gguf(found) + shapes(found)
    if deep and found.checkpoint is not None and found.kind != "gguf":
        said += kv_scales(found) + global_scales(found) + zero_points(found)
    return said


def embedding(found: Inspection) -> list[str]:
    """An embedding that is most of a quantized file."""
    name = "token_embd.weight" if found.kind == "gguf" else EMBEDDING
    size = next((t.nbytes for t in found.tensors if t.name == name and t.nbytes), 0)
    if not found.layers or size <= BIG * found.nbytes:
        return []
    tied = found.checkpoint is not None and found.checkpoint.config.tie_word_embeddings
    return [
        f"{name} takes {size / found.nbytes:.0%} of the bytes{' (the head is the same matrix)' if tied else ''}: "
        "fewer bits in the layers do not make it smaller"
    ]


def gguf(found: Inspection) -> list[str]:
    """Traps of a GGUF file's tokenizer."""
    if found.kind != "gguf":
        return []
    said, tokens = [], found.metadata.get(KEY + "tokens")
    if isinstance(tokens, Strings | list):
        known = list(tokens)
        if len(set(known)) < len(known):
            twice = next(t for i, t in enumerate(known) if t in known[:i])
            said.append(f"token {twice!r} is there twice: llama.cpp aborts")
        if KEY + "eos_token_id" not in found.metadata:
            said.append("eos_token_id is missing: llama.cpp takes id 11 for the end of a text")
        if KEY + "pre" not in found.metadata:
            said.append("tokenizer.ggml.pre is missing: llama.cpp cuts text by a default rule, perhaps not the model's")
    return said


def shapes(found: Inspection) -> list[str]:
    """Sizes that known kernels do not take."""
    said = []
    for layer in found.layers:
        N, K = layer.shape
        if layer.layout in ("gptq", "gptq_v2", "awq", "pack-quantized") and (K % 32 or N % 32):
            said.append(f"{layer.name} is {N}×{K}: vLLM's 4-bit kernels want multiples of 32 (Marlin: K of 128, N of 64)")
            break
        if layer.layout in ("gptq", "gptq_v2", "awq", "pack-quantized") and (K % 128 or N % 64):
            said.append(f"{layer.name} is {N}×{K}: Marlin wants K a multiple of 128 and N one of 64")
            break
    return said


def kv_scales(found: Inspection) -> list[str]:
    """Scales of the KV cache that are 1.0."""
    names = [n for n in found.checkpoint.weights if n.endswith((".k_scale", ".v_scale"))]
    ones = [n for n in names if (found.checkpoint.weights.read(n).float() == 1).all()]
    if not ones:
        return []
    return [
        f"{ones[0]} is 1.0 (and {len(ones) - 1} more): as good as no calibration; keys and values beyond 448 are clamped"
    ]


def global_scales(found: Inspection) -> list[str]:
    """NVFP4's upper scales the wrong way round: for usual weights the dividing one is large, the multiplying one small."""
    for name in found.checkpoint.weights:
        for end, wrong in ((".weight_global_scale", lambda g: g < 1), (".weight_scale_2", lambda g: g > 1)):
            if name.endswith(end):
                g = found.checkpoint.weights.read(name).float().flatten()[0].item()
                if wrong(g):
                    return [
                        f"{name} is {g:.3g}: max|w| would be {2688 / g if g < 1 else 2688 * g:.3g}; probably its reciprocal"
                    ]
    return []


def zero_points(found: Inspection) -> list[str]:
    """Zeros of version 2 in a file that says 1."""
    config = found.config[0] if found.config else {}
    if not isinstance(config, dict) or config.get("quant_method") != "gptq":
        return []
    said = 2 if config.get("checkpoint_format", config.get("format")) == "gptq_v2" else 1
    layers = build(found.checkpoint.config, found.checkpoint.quantization, found.source).linears()
    for name, layer in layers.items():
        zeros = f"{name}.qzeros"
        if zeros in found.checkpoint.weights:
            try:
                held = stored_version(found.checkpoint.weights.read(zeros), layer.quant_method.scheme.weights, said)
            except (ValueError, CheckpointError) as e:
                return [f"{zeros}: {e}"]
            if held != said:
                return [
                    f"{zeros} holds zero points of version {held}, the config says {said}: who believes it is off by one"
                ]
    return []
