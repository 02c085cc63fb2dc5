"""How a KV cache is rounded: the recipe of its keys, that of its values, and what stays in 16 bits; the registry KV_PRESETS.

A weight is rounded once, by whoever has time; a key or value is rounded by the model itself, a token at a time, while it
speaks. So a recipe here also says *when*: at once, or when a token (or a group of tokens) has left the window.

    token    one scale a token and head (or a group of its channels): known as soon as the token is
    channel  one scale a channel and G tokens: where a few channels are loud in every token, as keys have them
    static   one scale a layer or a head, fixed beforehand (methods.kv_scales): nothing to store, and what lies beyond clamps

Names are vLLM's (`kv_cache_dtype`) where it has them; the others say what they are. Sources: KIVI, Liu et al. 2024
(arXiv:2402.02750): keys per channel, values per token, a 16-bit residual; QuaRot, Ashkboos et al. 2024 (arXiv:2404.00456):
rotated heads; sinks: Xiao et al. 2023 (arXiv:2309.17453).
"""

import difflib
from dataclasses import dataclass, replace

import torch

from qcourse.numerics.args import QuantizationArgs, is_float
from qcourse.numerics.granularity import Granularity, per_group, per_tensor, per_token
from qcourse.numerics.grids import E4M3, E5M2, Grid, IntGrid

AXES = ("token", "channel")


@dataclass(frozen=True)
class KVCacheArgs:
    """How one head's keys K (T, D) and values V (T, D) are stored.

    keys      of K (T, D) where key_axis is "token"; of its transpose (D, T), in groups of G tokens, where it is "channel"
    values    of V (T, D): always by token, one scale a token or a group of its channels
    window    the newest tokens stay in 16 bits: at least so many (KIVI's residual; a group leaves it as a whole)
    sink      so do the first tokens: attention leans on them
    rotate    a Hadamard matrix over each head's channels, on q, k and v; taken back from what attention gathers
    per_head  of static scales: one a key-value head (compressed-tensors' attn_head) instead of one a layer (tensor)

    Raises ValueError when these contradict each other.
    """

    keys: QuantizationArgs
    values: QuantizationArgs
    key_axis: str = "token"
    window: int = 0
    sink: int = 0
    rotate: bool = False
    per_head: bool = False

    def __post_init__(self):
        if self.key_axis not in AXES:
            raise ValueError(f"key_axis={self.key_axis!r}: 'token' or 'channel'")
        for name, count in (("window", self.window), ("sink", self.sink)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"{name}={count!r}: a number of tokens, 0 or more")
        if self.keys.dynamic != self.values.dynamic:
            raise ValueError("static keys with dynamic values, or the other way round: both scales are fixed, or neither")
        if self.per_head and not self.static:
            raise ValueError("per_head=True is about static scales (dynamic=False); dynamic ones are each head's own anyway")
        self.check_side("keys", self.keys, self.key_axis)
        self.check_side("values", self.values, "token")

    def check_side(self, name: str, args: QuantizationArgs, axis: str) -> None:
        """Raise ValueError for a recipe that cannot be followed a token at a time, or whose codes do not fill bytes."""
        if args.num_bits not in (2, 4, 8):
            raise ValueError(f"{name}: codes of {args.num_bits} bits; a byte of the cache holds whole codes: 2, 4 or 8 bits")
        if not is_float(args.scale) or not (args.zero is None or is_float(args.zero) and args.zero_in == "weights"):
            raise ValueError(f"{name}: scales are plain floats here, and so are zero points (in weight units: s·q - m)")
        if args.scaling not in ("absmax", "minmax"):
            raise ValueError(f"{name}: scaling={args.scaling!r}; a token's scale comes from its own range: absmax or minmax")
        if self.static and (args.granularity != per_tensor or args.zero is not None or axis == "channel"):
            raise ValueError(f"{name}: a static scale is one number for a layer or head (per_tensor, symmetric, by token)")
        if not self.static and args.granularity.rows != 1:
            raise ValueError(f"{name}: {args.granularity} would be one scale for all tokens, known only when all are there")
        if axis == "channel" and args.group_size is None:
            raise ValueError(f"{name}: one scale a channel for all tokens is known only at the end: per_group(G) tokens")

    @property
    def static(self) -> bool:
        """Scales are fixed beforehand: tensors of the file."""
        return not self.keys.dynamic

    @property
    def group(self) -> int:
        """Tokens whose keys are rounded together: G by channel, else 1."""
        return self.keys.group_size if self.key_axis == "channel" else 1

    @property
    def residual(self) -> bool:
        """Whether tokens wait in 16 bits before they are rounded."""
        return self.window > 0 or self.key_axis == "channel"

    def check(self, head_dim: int) -> None:
        """Raise ValueError for a head that these recipes do not cut into whole groups and bytes."""
        for name, args, axis in (("keys", self.keys, self.key_axis), ("values", self.values, "token")):
            if axis == "token":
                try:
                    args.check(head_dim)
                except ValueError as e:
                    raise ValueError(f"{name} of head_dim={head_dim}: {e}") from None
            if head_dim % (8 // args.num_bits):
                raise ValueError(f"{name} of head_dim={head_dim}: {8 // args.num_bits} codes a byte do not divide it")

    def token_bits(self, head_dim: int) -> float:
        """Bits that one token of one head takes once it is rounded: K and V, scales and zero points counted.

        >>> KV_PRESETS["int8_per_token_head"].token_bits(64) / 64
        16.5

        Static scales are one number for all tokens and count as nothing; window and sink take 16 bits a number instead.
        Raises what `check` raises.
        """
        self.check(head_dim)
        if self.static:
            return float(head_dim * (self.keys.num_bits + self.values.num_bits))
        shape = (head_dim, self.group) if self.key_axis == "channel" else (1, head_dim)
        return head_dim * (self.keys.bits_per_weight(*shape) + self.values.bits_per_weight(1, head_dim))

    def with_(self, **changes) -> "KVCacheArgs":
        """A copy with some fields changed: `KV_PRESETS["int4_kivi"].with_(window=128)`."""
        return replace(self, **changes)


def by_token(grid: Grid) -> QuantizationArgs:
    """One bf16 scale a token and head, symmetric, from its own absmax. (vLLM keeps these scales in fp32.)"""
    return QuantizationArgs(grid, per_token)


def fixed(grid: Grid) -> QuantizationArgs:
    """One fp32 scale, found beforehand."""
    return QuantizationArgs(grid, per_tensor, scale=torch.float32, dynamic=False)


def ranged(num_bits: int, granularity: Granularity) -> QuantizationArgs:
    """Codes from 0 and a minimum in bf16, w = s·q - m: a range that need not contain 0, as channels of keys have it."""
    grid = IntGrid(num_bits, signed=False)
    return QuantizationArgs(grid, granularity, "minmax", zero=torch.bfloat16, zero_in="weights")


def both(args: QuantizationArgs, **more) -> KVCacheArgs:
    """Keys and values alike."""
    return KVCacheArgs(args, args, **more)


def kivi(num_bits: int) -> KVCacheArgs:
    """Keys by channel in groups of 32 tokens, values by token in groups of 32 channels, the newest 32 tokens in 16 bits."""
    return both(ranged(num_bits, per_group(32)), key_axis="channel", window=32)


KV_PRESETS: dict[str, KVCacheArgs] = {
    "fp8_e4m3": both(fixed(E4M3)),
    "fp8_e5m2": both(fixed(E5M2)),
    "fp8_e4m3_per_head": both(fixed(E4M3), per_head=True),
    "int8_static": both(fixed(IntGrid(8, restricted=True))),
    "fp8_per_token_head": both(by_token(E4M3)),
    "int8_per_token_head": both(by_token(IntGrid(8, restricted=True))),
    "int4_per_token_head": both(by_token(IntGrid(4))),  # vLLM's of this name also rotates, and has zero points
    "int4_rotated": both(by_token(IntGrid(4)), rotate=True),
    "int4_kivi": kivi(4),
    "int2_kivi": kivi(2),
}
ALIASES = {"fp8": "fp8_e4m3"}  # vLLM's
AUTO = "auto"  # vLLM's word for a cache that is not quantized


def kv_args(kv: str | KVCacheArgs | None) -> KVCacheArgs | None:
    """A preset's name, or a recipe, → the recipe; None for None and "auto": the cache is not quantized.

    >>> kv_args("int4_kivi").key_axis, kv_args("auto")
    ('channel', None)

    Raises ValueError for an unknown name, saying the nearest; TypeError for anything else.
    """
    if kv is None or isinstance(kv, KVCacheArgs):
        return kv
    if not isinstance(kv, str):
        raise TypeError(f"kv is a {type(kv).__name__}: a name of KV_PRESETS, KVCacheArgs or None expected")
    if kv == AUTO:
        return None
    name = ALIASES.get(kv, kv)
    if name not in KV_PRESETS:
        near = difflib.get_close_matches(kv.lower(), KV_PRESETS, 2, 0.4)
        raise ValueError(
            f"unknown KV cache format {kv!r}{': did you mean ' + ' or '.join(near) + '?' if near else ''} "
            f"(known: {AUTO}, {', '.join(KV_PRESETS)})"
        )
    return KV_PRESETS[name]


def name_of(kv: KVCacheArgs | None) -> str:
    """The preset's name of a recipe; "auto" for None; its grids where it has no name."""
    if kv is None:
        return AUTO
    named = next((name for name, args in KV_PRESETS.items() if args == kv), None)
    return named or f"{kv.keys.grid} keys by {kv.key_axis}, {kv.values.grid} values"
