"""`kv_cache_scheme` of a quantization_config ⇄ how the cache is stored (numerics.kv.KVCacheArgs).

The scheme is one object, in the words in which weights are described, and it is for keys and values alike:

    num_bits, type     8, "float" (E4M3), which is all that vLLM reads; here also "int" of 8, 4 or 2 bits
    strategy           "tensor": one scale a layer · "attn_head": one a key-value head
    dynamic            false: the scales are tensors of the file, ….self_attn.k_scale and v_scale

Scales that are found a token at a time have no words here: the library's "token" of (batch, heads, tokens, channels) is one
scale for all tokens of a head. Whoever serves chooses those (vLLM: --kv-cache-dtype).
Source: compressed-tensors 0.20, `quantization/quant_args.py`; vLLM 0.32, `CompressedTensorsKVCacheMethod`.
"""

from qcourse.checkpoints.keys import Keys
from qcourse.numerics.grids import E4M3, IntGrid
from qcourse.numerics.kv import KVCacheArgs, both, fixed, name_of

STRATEGIES = {"tensor": False, "attn_head": True}  # → per_head


def read(scheme: dict | None, where: str) -> KVCacheArgs | None:
    """A kv_cache_scheme as a recipe; None for null or {}. Raises CheckpointError naming the key that is not read."""
    if scheme in (None, {}):
        return None
    a = Keys(scheme, f"{where}, kv_cache_scheme")
    a.harmless("observer", "observer_kwargs", "scale_dtype", "zp_dtype")
    bits, kind = a.take("num_bits", kind=int, default=8), a.take("type", kind=str, default="int")
    strategy = a.take("strategy", kind=str, default="tensor")
    a.only("symmetric", True, None)
    a.only("dynamic", False, None)
    for key in ("group_size", "block_structure", "actorder"):
        a.only(key, None)
    a.done()
    if strategy not in STRATEGIES:
        a.refuse("strategy", f"{' or '.join(map(repr, STRATEGIES))} is read here: a fixed scale a layer or key-value head")
    if (kind, bits) != ("float", 8) and (kind != "int" or bits not in (2, 4, 8)):
        a.refuse("num_bits", f"{bits}-bit {kind} is not read here: 8-bit floats, or integers of 8, 4 or 2 bits")
    return both(fixed(E4M3 if kind == "float" else IntGrid(bits)), per_head=STRATEGIES[strategy])


def write(args: KVCacheArgs) -> dict:
    """A recipe as a kv_cache_scheme. Raises ValueError for one that vLLM does not read from a file, saying what it does."""
    plain = both(fixed(E4M3), per_head=args.per_head)
    if args != plain:
        raise ValueError(
            f"a KV cache in {name_of(args)} has no words in a file: what vLLM reads from one is 8-bit floats under fixed "
            "scales, one a layer (fp8_e4m3) or one a key-value head (fp8_e4m3_per_head); others are chosen when serving"
        )
    strategy = next(word for word, per_head in STRATEGIES.items() if per_head == args.per_head)
    found = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None}
    return found | {"strategy": strategy, "dynamic": False}
