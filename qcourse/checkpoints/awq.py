"""`quant_method: awq` (AutoAWQ, gemm): one setting for every layer, exceptions by a part of the name.

Transformers writes bits and group_size, AutoAWQ's own quant_config.json w_bit and q_group_size.
Source: AutoAWQ `models/_config.py`; vLLM 0.32 `awq.py`.
"""

import re

from qcourse.checkpoints.keys import Keys
from qcourse.checkpoints.rules import EVERY, Rule
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.schemes import QuantizationScheme, int_weight

HARMLESS = (
    "quant_method", "backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config", "max_input_length",
    "duo_scaling", "desc_act", "meta",
)  # fmt: skip


def rules(config: dict, where: str, weights=None) -> list[Rule]:
    """The rules of an AWQ config. Raises CheckpointError naming the key that is not read."""
    top = Keys(config, where)
    bits, G = top.take("bits", "w_bit", kind=int), top.take("group_size", "q_group_size", kind=int)
    zeros, sym = top.take("zero_point", kind=bool, default=True), top.take("sym", kind=bool, default=None)
    version = top.take("version", "format", kind=str, default="gemm")
    left = top.take("modules_to_not_convert", kind=list, default=[])
    head = top.take("lm_head", kind=bool, default=False)
    top.harmless(*HARMLESS)
    top.done()
    if bits != 4:
        top.refuse("bits", "AWQ's gemm layout holds 4-bit codes")
    if version.lower() != "gemm":
        top.refuse("version", "only gemm is read here")
    if G == 0 or G < -1:
        top.refuse("group_size", "a positive integer, or -1 for one scale a channel")
    if sym is not None and sym == zeros:
        top.refuse("sym", f"contradicts zero_point = {zeros}")
    if not all(isinstance(n, str) for n in left):
        top.refuse("modules_to_not_convert", "a list of names expected")
    found = [] if head else [Rule("lm_head", None, required=False)]
    found += [Rule(f"re:.*{re.escape(n)}", None, required=False) for n in left]
    scheme = QuantizationScheme(int_weight(4, per_channel if G == -1 else per_group(G), symmetric=not zeros))
    return [*found, Rule(EVERY, scheme, "awq")]
