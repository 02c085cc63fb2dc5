"""The one method behind every quantized layer: it holds what the file holds, or what a quantizer made of a 16-bit weight.

    file        create_weights registers the layout's slots; the loader fills them; unpack gives codes and scales
    online      create_weights registers a 16-bit `weight`; a quantizer (round to nearest, or another) gives codes and scales
    both        the codes are repacked, exactly, into the layout that the fastest kernel reads, and that kernel is chosen

Which kernel multiplies is decided once, here; `apply` asks nothing. Weight-only schemes help memory and decode bandwidth,
schemes with 8-bit activations also the arithmetic (invariant 3).
"""

from collections.abc import Callable

import torch
from torch import nn

from qcourse.gemm.choose import choose, home
from qcourse.gemm.convert import dequantize_packed
from qcourse.gemm.convert_quantize import quantize_packed
from qcourse.layers.merged import held, parts_of, refuse_cuts, widest
from qcourse.layers.method import LinearMethodBase
from qcourse.numerics.joined import joined
from qcourse.numerics.qtensor import QTensor
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import QuantizationArgs, QuantizationScheme
from qcourse.packing.layout import HALF_OR_FULL, Slot
from qcourse.packing.packed import PackedWeight, holders, layout_of, pack

Quantizer = Callable[..., QTensor]  # (W, args, name) → QTensor
PIECE = 1 << 20  # weights that are unpacked at once
SINGLE = Slot((1,), (torch.float32, *HALF_OR_FULL), also=((),))  # a static scale of the activations


class QuantizedLinearMethod(LinearMethodBase):
    """`scheme` of the weight and the activations · `layout` of the tensors, None for the first that can hold them ·
    `quantizer`: None when they come from a file.

    input_scale: the static scale of the activations, when it comes with the config instead of the file.
    """

    def __init__(
        self,
        scheme: QuantizationScheme,
        layout: str | None = None,
        quantizer: Quantizer | None = quantize,
        input_scale: float | None = None,
    ):
        self.scheme, self.quantizer = scheme, quantizer
        self.layout = None if layout is None else layout_of(layout)
        self.input_scale = input_scale

    @property
    def static(self) -> bool:
        """Whether the activations' scale is fixed beforehand."""
        a = self.scheme.input_activations
        return a is not None and a.calibrated

    def create_weights(
        self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype, **extra
    ) -> None:
        """Register `weight` in 16 bits, or the slots of the file's layout (several parts: `layers.merged`).

        Raises ValueError, naming the layer, for a format that does not fit (G does not divide K, N does not fill whole
        words), and for a partition that would tear a word, a group or a block.
        """
        sizes, K = output_partition_sizes, input_size_per_partition
        N, layer.logical_widths, layer.input_size_per_partition = sum(sizes), sizes, K
        try:
            if self.quantizer is None:
                refuse_cuts(self.slots(output_size, input_size), output_size, input_size, sizes, K)
            slots = self.slots(N, K)
        except ValueError as e:
            raise ValueError(f"{layer.prefix}: {e}") from e
        if self.quantizer is not None:
            layer.weight = nn.Parameter(torch.empty(N, K, dtype=params_dtype))
            layer.weight.output_dim, layer.weight.input_dim = 0, 1
            return
        if self.static and self.layout.input_scale:
            slots = slots | {self.layout.input_scale: SINGLE}
        layer.slots = held(slots, len(sizes))  # what the loader checks a file's tensors by
        for name, slot in layer.slots.items():
            layer.register_parameter(name, nn.Parameter(torch.empty(slot.shape, dtype=slot.dtypes[0]), requires_grad=False))

    def slots(self, N: int, K: int) -> dict[str, Slot]:
        """The tensors of the layout. Raises ValueError for one that cannot hold the scheme, naming those that can."""
        args = self.scheme.weights
        args.check(K)
        if self.scheme.input_activations is not None:
            self.scheme.input_activations.check(K)
        if self.layout is None:
            self.layout = layout_of(holders(args, N, K)[0])
        try:
            return self.layout.slots(args, N, K)
        except ValueError as e:
            raise ValueError(f"{e}; layouts that hold it: {', '.join(holders(args, N, K))}") from None

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """→ buffers in the layout that the fastest kernel reads, and `layer.product`; what was loaded is gone afterwards.

        Raises ValueError, naming the layer, for tensors that contradict their slots, NaN or inf, or an impossible scale.
        """
        try:
            packed, input_scale = self.take(layer)
            layer.product = choose(packed, self.scheme.input_activations, input_scale)
        except ValueError as e:
            raise ValueError(str(e) if str(e).startswith(layer.prefix) else f"{layer.prefix}: {e}") from e
        for name, t in packed.tensors.items():
            layer.register_buffer(name, t)
        if input_scale is not None:
            layer.register_buffer("input_scale", layer.product.input_scale)

    def take(self, layer: nn.Module) -> tuple[PackedWeight, torch.Tensor | None]:
        """The weight in its home layout, and the activations' static scale, out of the layer's parameters, which go."""
        tensors = {name: p.data for name, p in layer.named_parameters() if name != "bias"}
        if getattr(layer, "waiting", None):
            raise ValueError(f"nothing was loaded for {', '.join(map(repr, layer.waiting))}")
        input_scale = self.input_scale
        if self.quantizer is not None:
            packed = self.quantized(tensors["weight"], f"{layer.prefix}.weight", layer.logical_widths)
            if input_scale is not None:
                input_scale = torch.tensor(input_scale, dtype=torch.float32, device=packed.data.device)
        else:
            if self.static and self.layout.input_scale:
                input_scale = widest(tensors.pop(self.layout.input_scale), layer.prefix, self.scheme)
            packed = self.repacked(tensors, layer)
        for name in [n for n, _ in layer.named_parameters() if n != "bias"]:
            delattr(layer, name)
        return packed, input_scale

    def quantized(self, W: torch.Tensor, name: str, sizes: list[int]) -> PackedWeight:
        """A 16-bit weight in its home layout: in one pass where the quantizer is the plain one. Parts are rounded one by
        one, unless rows or groups have their own scales anyway (NVFP4's upper scale is then that of all parts)."""
        if self.quantizer is not quantize or len(sizes) > 1 and self.scheme.weights.granularity.rows != 1:
            return self.at_home(joined([self.quantizer(w, self.scheme.weights, name) for w in W.split(sizes)]))
        return quantize_packed(W, self.scheme.weights, self.home(self.scheme.weights, W), name)

    def at_home(self, q: QTensor) -> PackedWeight:
        """Codes and scales in the layout that the fastest kernel reads."""
        return pack(q, self.home(q.args, q.codes))

    def home(self, args: QuantizationArgs, t: torch.Tensor) -> str:
        """That layout, for a weight of t's shape and device."""
        return home(args, self.scheme.input_activations, tuple(t.shape), t.device, self.layout.name)

    def unpacked(self, tensors: dict[str, torch.Tensor], N: int, K: int) -> QTensor:
        """A file's tensors as codes and scales. Raises ValueError for scales that are NaN or inf."""
        q = self.layout.unpack(tensors, self.scheme.weights, N, K)
        self.refuse_bad_scales(q)
        return q

    def repacked(self, tensors: dict[str, torch.Tensor], layer: nn.Module) -> PackedWeight:
        """A file's tensors, in the home layout: some rows at a time where all have a row for each output, because codes take
        several times their bytes while they are unpacked. Several parts are joined, exactly."""
        sizes, K = layer.logical_widths, layer.input_size_per_partition
        if len(sizes) > 1:
            parts = zip(parts_of(tensors, layer.slots, sizes), sizes, strict=True)
            return self.at_home(joined([self.unpacked(part, n, K) for part, n in parts]))
        N, rows = sum(sizes), max(1, PIECE // K)

        def piece(a: int, b: int, some: dict[str, torch.Tensor]) -> PackedWeight:
            return self.at_home(self.unpacked(some, b - a, K))

        if rows >= N or any(t.dim() == 0 or t.shape[0] != N for t in tensors.values()):
            return piece(0, N, tensors)
        ends = [(a, min(a + rows, N)) for a in range(0, N, rows)]
        parts = [piece(a, b, {name: t[a:b] for name, t in tensors.items()}) for a, b in ends]
        if parts[0].layout != "row":  # whose tensors cannot be laid behind each other
            return piece(0, N, tensors)
        whole = {name: torch.cat([p.tensors[name] for p in parts]) for name in parts[0].tensors}
        return PackedWeight(whole, (N, K), parts[0].args, "row")

    @staticmethod
    def refuse_bad_scales(q: QTensor) -> None:
        """Raise ValueError for scales or zero points of a file that are NaN or inf."""
        for name, t in (("scale", q.scale), ("zero_point", q.zero_point)):
            while isinstance(t, QTensor):
                t = t.scale
            if t is not None and t.dtype.is_floating_point and not torch.isfinite(t).all():
                raise ValueError(f"a {name} is {t[~torch.isfinite(t)][0].item()}: finite numbers expected")

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ Ŵ.T + bias, by the kernel that was chosen at loading."""
        return layer.product(x, bias)

    def embedding(self, layer: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """The rows in fp32, decoded one by one where every tensor has a row for each, or one number for all."""
        p, rows = layer.product.p, ids.flatten()
        if any(t.numel() > 1 and t.shape[0] != p.shape[0] for t in p.tensors.values()):
            return super().embedding(layer, ids)
        tensors = {name: t.index_select(0, rows) if t.numel() > 1 else t for name, t in p.tensors.items()}
        found = dequantize_packed(PackedWeight(tensors, (len(rows), p.shape[1]), p.args, p.layout))
        return found.view(*ids.shape, -1)

    def dequantized(self, layer: nn.Module) -> torch.Tensor:
        """Ŵ (N, K) in fp32, decoded from the layer's own codes."""
        return dequantize_packed(layer.product.p)
