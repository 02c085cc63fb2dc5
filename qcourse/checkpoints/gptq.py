"""`quant_method: gptq` (AutoGPTQ, GPTQModel): one setting for every layer, exceptions under `dynamic`.

Which version the zero points have is read from them where it can be: files say "gptq" and hold version 2 (vLLM #38966).
Source: GPTQModel 7, `quantization/config.py`; vLLM 0.32 `auto_gptq.py`.
"""

import re
from collections.abc import Mapping

from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.rules import EVERY, Rule
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme, int_weight
from qcourse.packing.gptq import stored_version

BITS = (2, 3, 4, 8)
HARMLESS = (
    "quant_method", "method", "meta", "damp_percent", "damp_auto_increment", "static_groups",
    "true_sequential", "mse", "model_name_or_path", "model_file_base_name", "act_group_aware", "tokenizer",
    "dataset", "backend", "use_exllama", "exllama_config", "max_input_length", "block_name_to_quantize",
    "module_name_preceding_first_block", "batch_size", "pad_token_id", "cache_block_outputs",
    "model_seqlen", "use_cuda_fp16", "disable_exllama", "hessian", "quantizer", "is_marlin_format",
    "version", "uri", "gptaq", "foem", "fallback", "failsafe", "offload_to_disk", "device", "adapter",
    "parallel_packing", "desc_act", "pack_impl",
)  # fmt: skip


def rules(config: dict, where: str, weights: Mapping) -> list[Rule]:
    """The rules of a GPTQ config; `weights` (name → tensor, by `read`) tells the version of the zero points.

    Raises CheckpointError naming the key that is not read, and for zero points that fit no version.
    """
    top = Keys(config, where)
    top.take("desc_act", kind=bool, default=False)  # what it means is in the file: g_idx
    top.only("pack_dtype", "int32", None)
    top.only("rotation", None, "", False)
    form = top.take("checkpoint_format", "format", kind=str, default="gptq")
    if form not in ("gptq", "gptq_v2"):
        top.refuse("checkpoint_format", "only gptq and gptq_v2 are read here")
    settings = {
        "bits": top.take("bits", "w_bit", "wbits", kind=int), "sym": top.take("sym", kind=bool, default=True),
        "group_size": top.take("group_size", "q_group_size", kind=int, default=-1),
    }  # fmt: skip
    default = scheme_of(settings, where)
    dynamic = top.take("dynamic", kind=dict, default={})
    named = top.take("modules_in_block_to_quantize", kind=list, default=None)
    head = top.take("lm_head", kind=bool, default=False)
    top.harmless(*HARMLESS)
    top.done()
    pairs = [] if head else [("lm_head", None)]
    for pattern, changes in dynamic.items():
        left_out = pattern.startswith("-:")
        pairs.append(
            (f"re:{pattern.removeprefix('-:').removeprefix('+:')}", None if left_out else override(settings, changes, where))
        )
    if named is None:
        pairs.append((EVERY, default))
    else:
        flat = [n for block in named for n in (block if isinstance(block, list) else [block])]
        pairs += [(f"re:.*\\.{re.escape(n)}$", default) for n in flat]
    layout = "gptq" if version_of(pairs, weights, 2 if form == "gptq_v2" else 1, where) == 1 else "gptq_v2"
    return [Rule(pattern, scheme, layout, required=pattern != "lm_head") for pattern, scheme in pairs]


def scheme_of(settings: dict, where: str) -> QuantizationScheme:
    """bits, group_size, sym → a scheme."""
    bits, G, sym = settings["bits"], settings["group_size"], settings["sym"]
    if type(bits) is not int or bits not in BITS:
        raise CheckpointError(f"{where}: bits = {bits!r}: one of {', '.join(map(str, BITS))} expected")
    if type(G) is not int or G == 0 or G < -1:
        raise CheckpointError(f"{where}: group_size = {G!r}: a positive integer, or -1 for one scale a channel")
    if type(sym) is not bool:
        raise CheckpointError(f"{where}: sym = {sym!r}: true or false expected")
    return QuantizationScheme(int_weight(bits, per_channel if G == -1 else per_group(G), sym))


def override(settings: dict, changes: dict, where: str) -> QuantizationScheme:
    """The settings with the changes of a `dynamic` rule."""
    keys = Keys(changes, f"{where}, dynamic")
    keys.harmless(*settings, *HARMLESS)
    keys.done()
    return scheme_of(settings | {k: v for k, v in changes.items() if k in settings}, where)


def version_of(pairs: list, weights: Mapping, said: int, where: str) -> int:
    """Version 1 or 2, from every layer's qzeros. Raises CheckpointError when layers contradict each other."""
    versions: dict[int, str] = {}
    for name in weights:
        if name.endswith(".qzeros"):
            prefix = name.removesuffix(".qzeros")
            scheme = next((s for p, s in pairs if Rule(p, s).matches(prefix)), None)
            if scheme is not None:
                try:
                    versions.setdefault(certain(weights.read(name), scheme.weights, said), name)
                except ValueError as e:
                    raise CheckpointError(f"{where}: {name}: {e}") from e
    sure = sorted(v for v in versions if v)
    if len(sure) > 1:
        raise CheckpointError(f"{where}: {versions[1]} holds zero points of version 1, {versions[2]} of version 2")
    return sure[0] if sure else said


def certain(qzeros, args: QuantizationArgs, said: int) -> int:
    """The version, or 0 where the data do not decide."""
    found = stored_version(qzeros, args, said)
    return found if args.zero is None or found != said else 0
