"""The idea of the whole course in three verbs: quantize, dequantize, and both at once."""

import torch

from qcourse.numerics import scaling
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.shapes import Float, Tensor

CHUNK = 1 << 20  # elements rounded at a time: the work buffer stays in cache instead of doubling the memory


def choose_scale(blocks: Float[Tensor, "r g G"], args: QuantizationArgs):
    """(scale, zero_point or None), (rows, groups, 1) each, the scale already rounded to `args.scale_dtype`."""
    if args.scaling == "minmax":
        scale, zero_point = scaling.minmax(blocks, args.grid)
    else:
        scale, zero_point = getattr(scaling, args.scaling)(blocks, args.grid), None
    stored = scale.to(args.scale_dtype).float()
    if not torch.isfinite(stored).all() or (stored == 0).any():
        raise ValueError(
            f"scales from {scale.min():.3g} to {scale.max():.3g} do not fit {args.scale_dtype}: use a wider scale_dtype"
        )
    return stored, zero_point


def refuse_nonfinite(W: Tensor, scale_source: Tensor, name: str) -> None:
    """Raise ValueError naming the tensor and the first index that is NaN or inf (found through its block's range)."""
    if torch.isfinite(scale_source).all():
        return
    index = tuple(torch.nonzero(~torch.isfinite(W))[0].tolist())
    raise ValueError(f"{name} holds {W[index].item()} at index {index}: only finite values can be quantized")


def quantize(W: Float[Tensor, "*lead K"], args: QuantizationArgs, name: str = "W") -> QTensor:
    """Round W to the nearest codes of `args.grid`, one scale a block of `args.granularity`.

        q = clamp(round(W / s) + z)        s: weight units per code step

    >>> quantize(torch.tensor([[-1.0, 0.4]]), PRESETS["W8A16"].weights).codes
    tensor([[-127,   51]], dtype=torch.int8)

    Raises ValueError if K % G != 0 (naming both and the nearest legal G), for NaN/inf (naming `name` and the
    index), and TypeError for a dtype other than fp32, fp16, bf16. Computed in fp32 on W's device.
    Error: |W - Ŵ| <= s/2 inside the clamp range (integers). Cost: memory of the codes + a 4 MB buffer.
    Source: Jacob et al. 2018 (arXiv:1712.05877). First met in notebook 01 §1.
    """
    if W.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"{name} is {W.dtype}: quantize takes float32, float16 or bfloat16")
    blocks = args.granularity.blocks(W)
    refuse_nonfinite(W, scaling.block_absmax(blocks), name)
    scale, zero_point = choose_scale(blocks, args)
    codes = torch.empty(blocks.shape, dtype=args.grid.dtype, device=W.device)
    for part, out, s, z in chunks(blocks, codes, scale, zero_point):
        x = torch.div(part, s) if z is None else torch.div(part, s).round_().add_(z)
        out.copy_(args.grid.encode_(x))
    zero = None if zero_point is None else zero_point.squeeze(-1).to(args.grid.dtype)
    return QTensor(codes.view(W.shape), scale.squeeze(-1).to(args.scale_dtype), zero, args)


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

    Computed in fp32, returned as `dtype`. First met in notebook 01 §1.
    """
    blocks = q.args.granularity.blocks(q.codes)
    values = q.args.grid.decode(blocks)
    if q.zero_point is not None:
        values -= q.zero_point.float().unsqueeze(-1)
    return values.mul_(q.scale.float().unsqueeze(-1)).view(q.shape).to(dtype)


def fake_quantize(W: Float[Tensor, "*lead K"], args: QuantizationArgs, name: str = "W") -> Float[Tensor, "*lead K"]:
    """dequantize(quantize(W)) in W's own dtype: the error without the savings, for experiments.

    Raises what `quantize` raises. Idempotent for restricted grids: doing it twice changes nothing more.
    """
    return dequantize(quantize(W, args, name), W.dtype)
