"""The idea of the whole course in three verbs: quantize, dequantize, and both at once."""

import torch

from qcourse.numerics import ggml, scaling, two_level
from qcourse.numerics.args import QuantizationArgs
from qcourse.numerics.grids import Grid
from qcourse.numerics.qtensor import QTensor
from qcourse.shapes import Float, Tensor

CHUNK = 1 << 20  # elements rounded at a time: the work buffer stays in cache instead of doubling the memory
TWO_LEVEL = ("two_level", "four_over_six")
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def store(values: Float[Tensor, "R C"], how: QuantizationArgs | Grid | torch.dtype):
    """Scales or zero points as a file keeps them, and their values as they come back (R, C), fp32.

    Raises ValueError for scales that the dtype cannot hold to its own precision (0, inf, or a coarse subnormal).
    """
    if isinstance(how, QuantizationArgs):
        q = quantize(values, how, "scale")
        return q, dequantize(q)
    if isinstance(how, Grid):
        codes = how.encode(values)
        return codes, how.decode(codes)
    kept = values.to(how)
    lost = (kept.float() - values).abs() > values.abs() * torch.finfo(how).eps
    if lost.any() or not torch.isfinite(kept).all():
        wider = "a wider scale dtype" + (" (torch.bfloat16 or torch.float32)" if how == torch.float16 else "")
        raise ValueError(f"scales from {values.min():.3g} to {values.max():.3g} do not fit {how}: use {wider}")
    return kept, kept.float()


def values_of(stored, how: QuantizationArgs | Grid | torch.dtype) -> Tensor:
    """The values (R, C) of stored scales or zero points: the other direction of `store`."""
    if isinstance(how, QuantizationArgs):
        return dequantize(stored)
    if isinstance(how, Grid):
        return how.decode(stored)
    return stored if stored.dtype == torch.float64 else stored.float()


def refuse_nonfinite(W: Tensor, scale_source: Tensor, name: str) -> None:
    """Raise ValueError naming the tensor and the first index that is NaN or inf (found through its block's range)."""
    if torch.isfinite(scale_source).all():
        return
    index = tuple(torch.nonzero(~torch.isfinite(W))[0].tolist())
    raise ValueError(f"{name} holds {W[index].item()} at index {index}: only finite values can be quantized")


def quantize(
    W: Float[Tensor, "*lead K"],
    args: QuantizationArgs,
    name: str = "W",
    importance: Float[Tensor, "n"] | None = None,
    peak: float | None = None,
    above: Float[Tensor, "1 1"] | None = None,
) -> QTensor:
    """Round W to the nearest codes of `args.grid`, one scale a block of `args.granularity`.

        q = encode(w / s + z)        s: weight units per code step; encode rounds, then clamps

    >>> quantize(torch.tensor([[-1.0, 0.4]]), PRESETS["W8A16"].weights).codes
    tensor([[-127,   51]], dtype=torch.int8)

    importance: how much each column matters (an imatrix), for GGUF's searched formats · peak: max|w| over matrices that
    share NVFP4's upper scale · above: that upper scale as a file holds it (activations); louder blocks saturate.

    Raises ValueError if K % G != 0 (naming both and the nearest legal G), for NaN/inf (naming `name` and the
    index), and TypeError for a dtype other than fp32, fp16, bf16. Computed in fp32 on W's device, with the scale as it
    is stored. Error: |W - Ŵ| <= s/2 inside the clamp range (integers). Cost: memory of the codes + a few 4 MB buffers.
    Source: Jacob et al. 2018 (arXiv:1712.05877). First met in notebook 01 §1.
    """
    if W.dtype not in FLOATS:
        raise TypeError(f"{name} is {W.dtype}: quantize takes float32, float16 or bfloat16")
    blocks = args.granularity.blocks(W)
    top = scaling.block_absmax(blocks)
    refuse_nonfinite(W, top, name)
    refuse_unused(args, importance, peak if above is None else above)
    if args.scaling == "ggml":
        codes, kept, kept_zero = ggml.quantize_blocks(blocks, args, importance)
    elif args.scaling == "centred":
        codes, kept, kept_zero = centred(W, args)
    elif args.scaling in TWO_LEVEL:
        kept, s = two_level.scales(blocks, top, args, peak, above)
        codes, kept_zero = rounded(blocks, s, None, args, lambda x, s: (x / s).add_(0.0)), None  # -0 → 0, as the others do
    else:
        codes, kept, kept_zero = stepwise(blocks, args)
    return QTensor(args.granularity.unblocks(codes, W.shape), kept, kept_zero, args)


def refuse_unused(args: QuantizationArgs, importance, above) -> None:
    """Raise ValueError for what this recipe would not look at."""
    if importance is not None and args.scaling != "ggml":
        raise ValueError(f"importance is for GGUF's searched formats; scaling={args.scaling!r} would not look at it")
    if above is not None and args.scaling not in TWO_LEVEL:
        raise ValueError(f"peak and above are for scales of two levels (NVFP4); {args.scaling!r} would not look at it")


def stepwise(blocks: Tensor, args: QuantizationArgs) -> tuple[Tensor, Tensor | QTensor, Tensor | QTensor | None]:
    """(codes, scale, zero point): scales first, as they are stored, then codes with them."""
    if args.scaling == "nf4":  # codes first, with scales that are not rounded yet
        scale = scaling.block_absmax(blocks).squeeze(-1)
        return rounded(blocks, 1 / scale.clamp(min=1e-38), None, args, torch.mul), store(scale, args.scale)[0], None
    scale, zero = scaling.choose(blocks, args)
    kept, s = store(scale.squeeze(-1), args.scale)
    kept_zero, z = (None, None) if zero is None else store(zero.squeeze(-1), args.zero)
    if z is not None and args.zero_in == "weights":
        z = z / s  # w = s·q - m is s·(q - m/s): the same line serves both
    return rounded(blocks, s, z, args), kept, kept_zero


def centred(W: Tensor, args: QuantizationArgs) -> tuple[Tensor, Tensor, Tensor]:
    """(codes, scale, minimum): the mean of all is taken off, then absmax. bitsandbytes' scales of scales."""
    m = -W.float().mean().view(1, 1)
    blocks = args.granularity.blocks(W.float() + m)
    scale = scaling.block_absmax(blocks).squeeze(-1)
    codes = rounded(blocks, 1 / scale.clamp(min=1e-38), None, args, torch.mul)
    return codes, store(scale, args.scale)[0], store(m, args.zero)[0]


def rounded(blocks: Tensor, s: Tensor, z: Tensor | None, args: QuantizationArgs, apply=torch.div) -> Tensor:
    """Codes of blocks (R, C, G) under scales (R, C), a piece at a time."""
    codes = torch.empty(blocks.shape, dtype=args.grid.dtype, device=blocks.device)
    if apply is not torch.mul:
        s = s.masked_fill(s == 0, torch.inf)  # a quantized scale may be 0: whatever it stands for is code 0
    for part, out, s_part, z_part in chunks(blocks, codes, s.unsqueeze(-1), None if z is None else z.unsqueeze(-1)):
        x = apply(part, s_part)
        if z_part is not None:
            x = x.add_(z_part) if args.zero_in == "weights" else x.round_().add_(z_part)
        out.copy_(args.grid.encode(x))
    return codes


def chunks(blocks, codes, scale, zero_point):
    """Walk the blocks in pieces of about CHUNK elements, whichever axis is long."""
    rows, groups, G = blocks.shape
    if rows == groups == 1:  # per tensor: one long block
        for part, out in zip(blocks.view(-1).split(CHUNK), codes.view(-1).split(CHUNK), strict=True):
            yield part, out, scale.view(1), None if zero_point is None else zero_point.view(1)
        return
    step = max(1, CHUNK // (groups * G))
    for i in range(0, rows, step):
        j = slice(i, i + step)
        yield blocks[j], codes[j], scale[j], None if zero_point is None else zero_point[j]


def dequantize(q: QTensor, dtype: torch.dtype = torch.float32) -> Float[Tensor, "*lead K"]:
    """Ŵ = s · (q - z): multiply back. `scale` always multiplies here; a reciprocal would be called inv_scale.

    >>> dequantize(quantize(torch.tensor([[-1.0, 0.5]]), PRESETS["W8A16"].weights)).shape
    torch.Size([1, 2])

    Computed in fp32, returned as `dtype`, saturating there (-8 · s can lie beyond fp16's largest number, though every
    weight was below it). First met in notebook 01 §1.
    """
    args = q.args
    values = args.grid.decode(args.granularity.blocks(q.codes))
    zero = None if q.zero_point is None else values_of(q.zero_point, args.zero).unsqueeze(-1)
    if zero is not None and args.zero_in == "steps":
        values = values.sub_(zero)
    scale = values_of(q.scale, args.scale).unsqueeze(-1)
    values = values.mul_(scale) if scale.dtype == values.dtype else (values * scale).float()
    if zero is not None and args.zero_in != "steps":
        values = values - zero
    values = args.granularity.unblocks(values, q.shape)
    if q.order is not None:
        values = torch.empty_like(values).index_copy_(-1, q.order, values)
    if not getattr(args.grid, "ieee", False):  # a grid with a code for inf means it
        values.clamp_(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return values.to(dtype)


def fake_quantize(W: Float[Tensor, "*lead K"], args: QuantizationArgs, name: str = "W") -> Float[Tensor, "*lead K"]:
    """dequantize(quantize(W)) in W's own dtype: the error without the savings, for experiments.

    Raises what `quantize` raises. Idempotent for restricted grids: doing it twice changes nothing more.
    """
    return dequantize(quantize(W, args, name), W.dtype)
