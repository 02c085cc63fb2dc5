"""A vendor's INT3, whole: what a new format adds to an engine is this file and one line in `layers.registry`.

    config.json   "quantization_config": {"quant_method": "qcourse-int3", "group_size": 64, "ignore": ["lm_head"]}
    qweight       uint8 (N, 3K/8)   codes -4 … 3 stored + 4, densely along K, the first in the lowest bits: 8 codes, 3 bytes
    scale         bf16 (N, K/G)     Ŵ = scale · (code - 4)

Every row is whole, in both tensors. So what lies behind each other along N (q, k, v as one layer) needs no arithmetic, and a
part of K can be cut wherever a group ends: `output_dim` and `input_dim` say it all to vLLM's loaders, and `packed_dim` is
None because no axis of outputs is packed.

No kernel here multiplies 3-bit codes, and they need not: -4 … 3 are int4 codes, too. Once, after loading, they are repacked
(exactly: one more bit a code, and that is always known) for the int4 kernel. The file keeps 3 + 16/G bits a weight, memory
holds 4 + 16/G: at G=64 3.25 and 4.25, so 4/3 of the bytes of codes for a product that never unpacks Ŵ. `kernel_bits=3` keeps
the file's bytes, and the reference writes all of Ŵ for every call: the smaller memory, many times the traffic.

The signatures are vLLM's, so that `qcourse.vllm_plugin` serves these very classes in vLLM.
"""

import torch
from torch import nn

from qcourse.checkpoints import rules
from qcourse.checkpoints.keys import Keys
from qcourse.gemm.choose import choose
from qcourse.gemm.convert import dequantize_packed
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.layers.unquantized import UnquantizedLinearMethod
from qcourse.numerics.granularity import per_group
from qcourse.numerics.schemes import QuantizationArgs, int_weight
from qcourse.packing.bits import check_count, pack_nibbles, unpack_bytes
from qcourse.packing.packed import PackedWeight

PIECE = 1 << 20  # weights that are unpacked at once


class Int3LinearMethod(LinearMethodBase):
    """Groups of `group_size` weights share a scale; `kernel_bits`: 4, or 3 to keep the file's bytes (see above)."""

    def __init__(self, group_size: int, kernel_bits: int = 4):
        self.group_size, self.kernel_bits = group_size, kernel_bits

    def create_weights(
        self,
        layer: nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs,
    ) -> None:
        """Register qweight and scale, for the loader to fill. Raises ValueError, naming the layer, for a K that is not whole
        groups and whole bytes."""
        N, K = sum(output_partition_sizes), input_size_per_partition
        try:
            self.args(3).check(K)
            if K % 8:
                raise ValueError(f"K={K}: 8 codes of 3 bits are 3 whole bytes, so K has to be a multiple of 8")
        except ValueError as e:
            raise ValueError(f"{getattr(layer, 'prefix', 'layer')}: {e}") from None
        tensors = {
            "qweight": torch.empty(N, 3 * K // 8, dtype=torch.uint8),
            "scale": torch.empty(N, K // self.group_size, dtype=torch.bfloat16),
        }
        for name, tensor in tensors.items():
            parameter = nn.Parameter(tensor, requires_grad=False)
            for key, value in {"output_dim": 0, "input_dim": 1, "packed_dim": None, **extra_weight_attrs}.items():
                setattr(parameter, key, value)
            layer.register_parameter(name, parameter)

    def args(self, num_bits: int) -> QuantizationArgs:
        """Integers of so many bits, a bf16 scale a group."""
        return int_weight(num_bits, per_group(self.group_size))

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """→ buffers as the kernel reads them, and `layer.product`. Raises ValueError, naming the layer, for a scale that is
        NaN or inf."""
        qweight, scale = layer.qweight.data, layer.scale.data
        if not torch.isfinite(scale).all():
            raise ValueError(f"{getattr(layer, 'prefix', 'layer')}: a scale is NaN or inf: finite numbers expected")
        N, K = len(qweight), qweight.shape[1] // 3 * 8
        if self.kernel_bits == 4:  # an int4 code q is stored as q + 8: four more than here
            pieces = qweight.split(max(1, PIECE // K))
            qweight = torch.cat([pack_nibbles(unpack_bytes(rows, 3, K) + 4) for rows in pieces])
        del layer.qweight, layer.scale
        layer.register_buffer("qweight", qweight)
        layer.register_buffer("scale", scale)
        tensors = {"qweight": qweight, "scale": scale}
        layer.product = choose(PackedWeight(tensors, (N, K), self.args(self.kernel_bits), "row"))

    def apply(self, layer: nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """y = x @ Ŵ.T + bias, for x (..., K) in fp32, bf16 or fp16."""
        return layer.product(x, bias)

    def dequantized(self, layer: nn.Module) -> torch.Tensor:
        """Ŵ (N, K) in fp32."""
        return dequantize_packed(layer.product.p)


class Int3Config(QuantizationConfig):
    """What a folder's `quantization_config` says: G, and the layers that stay in 16 bits.

    linear_method, unquantized_method: the classes that layers get; an engine that has its own base classes sets its own.
    Raises ValueError for a group size that is no positive integer, kernel_bits that are neither 3 nor 4.
    """

    name = "qcourse-int3"
    linear_method, unquantized_method = Int3LinearMethod, UnquantizedLinearMethod

    def __init__(self, group_size: int = 64, ignore: list[str] | tuple[str, ...] = ("lm_head",), kernel_bits: int = 4):
        super().__init__()  # vLLM's base class has attributes of its own
        check_count("group_size", group_size, 1)
        check_count("kernel_bits", kernel_bits, 3, 4)
        self.group_size, self.kernel_bits, self.rules = group_size, kernel_bits, rules.ignore(ignore)

    @classmethod
    def from_config(cls, config: dict) -> "Int3Config":
        """Raises CheckpointError for a key that is missing, unknown, or of another type."""
        keys = Keys(config, "quantization_config")
        keys.only("quant_method", cls.name)
        found = cls(keys.take("group_size", kind=int), keys.take("ignore", kind=list, default=[]))
        keys.done()
        return found

    def to_config(self) -> dict:
        """The other direction: what a folder's config.json says."""
        names = [rule.pattern for rule in self.rules]
        return {"quant_method": self.name, "group_size": self.group_size, "ignore": names}

    def get_name(self) -> str:
        """Its `quant_method`."""
        return self.name

    def get_quant_method(self, layer: nn.Module, prefix: str) -> LinearMethodBase:
        """Raises ValueError for a layer made of several (qkv_proj) of which only some are ignored."""
        parts = self.parts(prefix)
        plain = [part for part in parts if any(rule.matches(part) for rule in self.rules)]
        if plain and plain != parts:
            raise ValueError(f"{prefix} is one layer here, and ignore names only some of it: {', '.join(plain)}")
        return self.unquantized_method() if plain else self.linear_method(self.group_size, self.kernel_bits)

    def refuse_unmatched(self, names: list[str]) -> None:
        """Raise ValueError for an ignored name that no layer of the model has."""
        for rule in self.rules:
            if rule.required and not any(rule.matches(part) for name in names for part in self.parts(name)):
                raise ValueError(f"ignore names {rule.pattern!r}, and this model has no such layer")
