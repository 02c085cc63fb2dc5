"""The static scales of a KV cache, found a block at a time, while the model is written.

They belong to the model as it will be served: block i is run as its file holds it, codes and all, on what the quantized
blocks before it produce.
"""

from collections.abc import Callable

from qcourse.layers.kv_method import SCALES, as_stored
from qcourse.methods.kv_scales import Loudest
from qcourse.numerics.kv import KVCacheArgs
from qcourse.shapes import Tensor


def cache_tensors(run: Callable, states: list[Tensor], args: KVCacheArgs, layer: int, prefix: str) -> dict[str, Tensor]:
    """prefix.k_scale and prefix.v_scale of block `layer`, as a file holds them (methods.kv_scales). `run(x, cache=…)` is the
    block, `states` stand in front of it."""
    seen = Loudest(args.rotate)
    for x in states:
        run(x, cache=seen)
    pair = zip(SCALES, seen.scales(layer, args, prefix), strict=True)
    return {f"{prefix}.{name}": as_stored(scale, args) for name, scale in pair}
