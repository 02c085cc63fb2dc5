"""Linears that read the same x, multiplied as one in a decode step: one call instead of three, the same numbers.

The rows of their weights are laid behind each other once, in one storage, and each layer holds a view of its own rows from
then on: nothing is kept twice. Engines merge q, k, v and gate, up when they load; here it happens at the first decode step.
"""

import torch

from qcourse.gemm.choose import Product, choose
from qcourse.gemm.half import half_matmul
from qcourse.gemm.operand import FEW
from qcourse.layers.linear import Linear
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.packing.packed import PackedWeight

LAYOUTS = ("row", "words", "plain")


class Together:
    """`Together(q, k, v)(x)` → their outputs, in order. Whatever cannot be merged is called one by one."""

    def __init__(self, *linears: Linear):
        self.linears, self.sizes = linears, [m.output_size for m in linears]
        self.known, self.multiply = [], None  # what was merged, and the product of it

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x (..., K) → one (..., N_i) for each."""
        worth = x.numel() <= FEW * x.shape[-1] or rounds(self.linears[0])  # many tokens: only to round x once
        if not worth or x.device.type != "cpu" or torch.is_grad_enabled() or any(map(watched, self.linears)):
            return tuple(m(x) for m in self.linears)
        if self.known != [weight_of(m) for m in self.linears]:  # the first time, and after any layer got another weight
            with torch.inference_mode(False):
                self.multiply = self.merge()
            self.known = [weight_of(m) for m in self.linears]
        if self.multiply is None:
            return tuple(m(x) for m in self.linears)
        return self.multiply(x).split(self.sizes, -1)

    def merge(self):
        """x → all outputs behind each other, or None where the weights do not allow it."""
        if any(m.bias is not None for m in self.linears):
            return None
        if all(isinstance(m.quant_method, UnquantizedLinearMethod) for m in self.linears):
            return merge_weights(self.linears)
        products = [getattr(m, "product", None) for m in self.linears]
        return merge_products(self.linears) if mergeable(products, self.sizes) else None


def weight_of(m: Linear):
    """What tells a layer's weight from any other that it may get: its product, or where its numbers lie."""
    product = m.__dict__.get("product")
    weight = getattr(m, "weight", None)  # (a registered class may have neither)
    return product if product is not None or weight is None else weight.data_ptr()


def rounds(m: Linear) -> bool:
    """Whether this layer quantizes its input."""
    product = m.__dict__.get("product")
    return product is not None and product.activations is not None


def watched(m: Linear) -> bool:
    """Whether somebody listens to this layer's own inputs or outputs."""
    return bool(m._forward_hooks or m._forward_pre_hooks)


def mergeable(products: list[Product | None], sizes: list[int]) -> bool:
    """Whether products have the same format, and every tensor a row for each output."""
    if any(p is None or p.input_scale is not None or p.order is not None for p in products):
        return False
    if any(p.activations != products[0].activations for p in products):
        return False
    first, same = products[0].p, [p.p for p in products]
    rows = all(t.shape[0] == N for p, N in zip(same, sizes, strict=True) for t in p.tensors.values())
    return rows and all(p.layout in LAYOUTS and p.args == first.args and p.shape[1] == first.shape[1] for p in same)


def merge_products(linears: tuple[Linear, ...]) -> Product:
    """One product of all rows; each layer's own becomes a view of its rows."""
    parts, begin = [m.product.p for m in linears], 0
    whole = {name: torch.cat([p.tensors[name] for p in parts]) for name in parts[0].tensors}
    for m, p in zip(linears, parts, strict=True):
        views = {name: t[begin : begin + p.shape[0]] for name, t in whole.items()}
        m.product = choose(PackedWeight(views, p.shape, p.args, p.layout), m.product.activations)
        for name, t in views.items():
            m.register_buffer(name, t)
        begin += p.shape[0]
    whole = PackedWeight(whole, (begin, parts[0].shape[1]), parts[0].args, parts[0].layout)
    return choose(whole, linears[0].product.activations)


def merge_weights(linears: tuple[Linear, ...]):
    """The same for 16-bit weights of one dtype."""
    if len({m.weight.dtype for m in linears}) > 1 or any(m.weight.requires_grad for m in linears):
        return None
    whole, begin = torch.cat([m.weight.data for m in linears]), 0
    for m in linears:
        m.weight.data = whole[begin : begin + m.output_size]
        begin += m.output_size
    return lambda x: half_matmul(x, whole)
