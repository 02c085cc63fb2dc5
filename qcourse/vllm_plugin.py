"""The vendor's INT3 (`layers.int3`) inside vLLM: the same two classes under vLLM's base classes, found by entry point.

    pip install qcourse, beside vLLM       pyproject.toml: entry point group "vllm.general_plugins", name "qcourse-int3"
    vllm serve FOLDER                      whose config.json says {"quant_method": "qcourse-int3"}: nothing else to say

vLLM calls `register` in every process that it starts, sometimes more than once. VLLM_PLUGINS, a list of names, leaves out
whoever is not in it: without "qcourse-int3" there, vLLM knows no such method. Neither vllm nor torch is imported before the
call. What vLLM adds to the contract is here: torch.compile cannot look into a kernel of ours, so it is shown an operator.
Seen with vLLM 0.32 (CPU), eager and compiled.
"""

from functools import cache
from weakref import WeakValueDictionary

LAYERS = WeakValueDictionary()  # by the name that a compiled graph calls them: a graph holds text, not modules


def register() -> None:
    """Tell vLLM who reads folders of this `quant_method`. Called again, it says the same."""
    from vllm.model_executor.layers.quantization import register_quantization_config

    from qcourse.layers.int3 import Int3Config

    register_quantization_config(Int3Config.name)(config_class())


@cache
def config_class() -> type:
    """`Int3Config` as vLLM's kind of config; its layers get `method_class()`, ignored ones vLLM's own 16-bit method."""
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

    from qcourse.layers.int3 import Int3Config

    class VllmInt3Config(Int3Config, QuantizationConfig):
        """The settings, as vLLM asks for them."""

        linear_method, unquantized_method = method_class(), UnquantizedLinearMethod

        def get_quant_method(self, layer, prefix):
            """Linear layers only: embeddings, the head and attention stay vLLM's own."""
            return super().get_quant_method(layer, prefix) if isinstance(layer, LinearBase) else None

    VllmInt3Config.__qualname__ = VllmInt3Config.__name__  # a name of this module, see below
    return VllmInt3Config


@cache
def method_class() -> type:
    """`Int3LinearMethod` as vLLM's kind of method."""
    import torch
    from vllm.model_executor.layers.linear import LinearMethodBase

    from qcourse.layers.int3 import Int3LinearMethod

    class VllmInt3LinearMethod(Int3LinearMethod, LinearMethodBase):
        """The method, and what torch.compile needs of it."""

        def process_weights_after_loading(self, layer):
            """Ours; then the layer gets its name."""
            super().process_weights_after_loading(layer)
            layer.name_in_graph = layer.prefix
            while layer.name_in_graph in LAYERS:  # another model of this process
                layer.name_in_graph += "'"
            LAYERS[layer.name_in_graph] = layer

        def apply(self, layer, x, bias=None):
            """Ours; in a graph, as one operator that finds the layer again."""
            if torch.compiler.is_compiling():
                return operator(x, bias, layer.name_in_graph, len(layer.scale))
            return super().apply(layer, x, bias)

        def dequantize_weight(self, layer):
            """vLLM's word for `dequantized`."""
            return self.dequantized(layer)

    @torch.library.custom_op("qcourse::int3_linear", mutates_args=())
    def operator(x: torch.Tensor, bias: torch.Tensor | None, name: str, rows: int) -> torch.Tensor:
        layer = LAYERS[name]
        return Int3LinearMethod.apply(layer.quant_method, layer, x, bias)

    @operator.register_fake
    def shape(x, bias, name, rows):
        return x.new_empty(*x.shape[:-1], rows)

    return VllmInt3LinearMethod


def __getattr__(name: str):
    """vLLM's processes receive the config pickled, before any plugin is loaded there: pickle looks for its class here."""
    if name == "VllmInt3Config":
        return config_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
