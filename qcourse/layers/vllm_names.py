"""Where each name of the contract stands in vLLM 0.32: ours → theirs, and what it is. Text only: vLLM need not be here.

    for name in NAMES: print(name.ours, name.theirs, name.what)
    found("vllm", NAMES[0].theirs)      # the object itself, where vLLM is installed

tests/interop/test_vllm_names.py looks every one up in an installed vLLM, and compares parameters where `same` says so.
"""

from importlib import import_module
from typing import NamedTuple


class Name(NamedTuple):
    """ours, theirs: "module:name", beneath the package · what: one sentence · same: parameters are called alike."""

    ours: str
    theirs: str
    what: str
    same: bool = False


def found(package: str, name: str):
    """What "module:name" means in "qcourse" or "vllm". Raises ImportError or AttributeError for a name that is not there."""
    module, path = name.split(":")
    thing = import_module(f"{package}.{module}")
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing


METHOD, LAYER, LOADING, CACHE = "layers.method:", "layers.parallel:", "models.loader:", "models.kv_cache:"
QUANT, LINEAR = "model_executor.layers.quantization", "model_executor.layers.linear:"
BASE, SCHEMES = f"{QUANT}.base_config:", f"{QUANT}.compressed_tensors.schemes:"
KERNELS, VOCAB = "model_executor.kernels.linear", "model_executor.layers.vocab_parallel_embedding:"
C, M = "QuantizationConfig", "LinearMethodBase"

NAMES = (
    # the settings: one object a model
    Name(METHOD + C, BASE + C, "A format's settings, parsed once from the checkpoint."),
    Name(f"{METHOD}{C}.get_name", f"{BASE}{C}.get_name", "The quant_method of its files.", True),
    Name(f"{METHOD}{C}.get_supported_act_dtypes", f"{BASE}{C}.get_supported_act_dtypes", "The dtypes of x it takes.", True),
    Name(f"{METHOD}{C}.get_min_capability", f"{BASE}{C}.get_min_capability", "The least CUDA device it runs on.", True),
    Name(f"{METHOD}{C}.get_config_filenames", f"{BASE}{C}.get_config_filenames", "Other files with settings.", True),
    Name(f"{METHOD}{C}.from_config", f"{BASE}{C}.from_config", "The JSON dict becomes settings.", True),
    Name(f"{METHOD}{C}.get_quant_method", f"{BASE}{C}.get_quant_method", "Who looks after this layer?", True),
    Name(f"{METHOD}{C}.packed_modules_mapping", "model_executor.models.llama:LlamaForCausalLM.packed_modules_mapping",
         "Which layers of a file one layer is made of; in vLLM every model says it."),
    Name(f"{METHOD}{C}.get_kv_cache_method", f"{BASE}{C}.get_quant_method", "Who looks after a KV cache's scales."),
    # the method: one object a layer
    Name(METHOD + M, LINEAR + M, "How a format stores a weight and multiplies by it."),
    Name(f"{METHOD}{M}.create_weights", f"{LINEAR}{M}.create_weights", "Declare the tensors that the loader fills.", True),
    Name(f"{METHOD}{M}.process_weights_after_loading", f"{LINEAR}{M}.process_weights_after_loading",
         "Repack once, choose the kernel once.", True),
    Name(f"{METHOD}{M}.apply", f"{LINEAR}{M}.apply", "y = x Wᵀ + bias.", True),
    Name(f"{METHOD}{M}.embedding", f"{VOCAB}UnquantizedEmbeddingMethod.embedding", "The rows that ids stand for."),
    Name(f"{METHOD}{M}.dequantized", f"{BASE}QuantizeMethodBase.dequantize_weight", "Ŵ, for whoever rounds it anew."),
    Name("layers.unquantized:UnquantizedLinearMethod", f"{LINEAR}UnquantizedLinearMethod", "16 bits, and ignored layers."),
    Name("layers.quantized:QuantizedLinearMethod", f"{QUANT}.compressed_tensors.compressed_tensors:"
         "CompressedTensorsLinearMethod", "One method for many schemes: it asks its scheme."),
    Name("layers.kv_method:KVCacheMethod", f"{QUANT}.kv_cache:BaseKVCacheMethod", "Fills k_scale and v_scale."),
    # layers, and what a rank holds of them
    Name("layers.partition:ParallelLinear", f"{LINEAR}LinearBase", "A layer that asks its method for everything."),
    Name("layers.linear:Linear", f"{LINEAR}ReplicatedLinear", "The whole matrix on every rank."),
    Name(f"{LAYER}ColumnParallelLinear", f"{LINEAR}ColumnParallelLinear", "Rows of W: a rank makes its own outputs."),
    Name(f"{LAYER}MergedColumnParallelLinear", f"{LINEAR}MergedColumnParallelLinear", "gate and up behind each other."),
    Name(f"{LAYER}QKVParallelLinear", f"{LINEAR}QKVParallelLinear", "q, k, v behind each other, cut between heads."),
    Name(f"{LAYER}RowParallelLinear", f"{LINEAR}RowParallelLinear", "Columns of W: the ranks' outputs are added."),
    Name("layers.partition:ParallelLinear.weight_loader", f"{LINEAR}QKVParallelLinear.weight_loader",
         "A rank's share of one tensor, by the parameter's output_dim and input_dim.", True),
    Name("packing.layout:Slot", "model_executor.parameter:BasevLLMParameter", "One named tensor of a format."),
    Name("packing.layout:Cut", "model_executor.parameter:PackedvLLMParameter", "How many rows or columns an entry holds."),
    Name("layers.embedding:Embedding", f"{VOCAB}VocabParallelEmbedding", "The embedding, asked like a linear layer."),
    Name("layers.embedding:Embedding.logits", f"{VOCAB}ParallelLMHead", "The head; tied, it is the embedding."),
    # who reads which file
    Name("layers.registry:register_quantization_config", f"{QUANT}:register_quantization_config",
         "A class of one's own for a quant_method.", True),
    Name("layers.registry:QUANTIZATION_CONFIGS", f"{QUANT}:_CUSTOMIZED_METHOD_TO_QUANT_CONFIG", "The classes that came so."),
    Name("layers.registry:quantization_of", "model_executor.model_loader.weight_utils:get_quant_config",
         "quantization_config becomes settings, by its quant_method."),
    Name("vllm_plugin:register", "plugins:load_general_plugins", "Called in every process, before anything is loaded."),
    Name("checkpoints.compressed_tensors:rules", f"{QUANT}.compressed_tensors.compressed_tensors:CompressedTensorsConfig",
         "llm-compressor's files: groups of layers, each with a scheme."),
    Name("checkpoints.gptq:rules", f"{QUANT}.auto_gptq:AutoGPTQConfig", "GPTQ's files."),
    Name("checkpoints.awq:rules", f"{QUANT}.auto_awq:AutoAWQConfig", "AWQ's files."),
    Name("checkpoints.modelopt:rules", f"{QUANT}.modelopt:ModelOptQuantConfigBase", "ModelOpt's files."),
    Name("checkpoints.torchao:rules", f"{QUANT}.torchao:TorchAOConfig", "torchao's files."),
    Name("packing.compressed_tensors:Quantized", f"{QUANT}.fp8:Fp8Config", "FP8: a weight in E4M3, its scale beside it."),
    # schemes and kernels
    Name("numerics.schemes:QuantizationScheme", f"{SCHEMES}CompressedTensorsScheme", "Which weights, which activations."),
    Name("packing.compressed_tensors:PackQuantized", f"{SCHEMES}CompressedTensorsWNA16", "W4A16 and W8A16, packed words."),
    Name("gemm.w8a8:IntMM", f"{SCHEMES}CompressedTensorsW8A8Int8", "W8A8: int8 × int8."),
    Name("gemm.w8a8:ScaledMM", f"{SCHEMES}CompressedTensorsW8A8Fp8", "FP8: E4M3 × E4M3."),
    Name("gemm.choose:choose", f"{KERNELS}:choose_mp_linear_kernel", "The first kernel that reads this weight."),
    Name("gemm.table:Kernel", f"{KERNELS}.mixed_precision.MPLinearKernel:MPLinearKernel", "What a kernel says it takes."),
    Name("gemm.cpu:int_dot", f"{KERNELS}.mixed_precision.cpu:CPUWNA16LinearKernel", "4-bit weights on the CPU."),
    # loading, and the cache
    Name(f"{LOADING}fill", "model_executor.models.llama:LlamaModel.load_weights", "A file's tensors find their places."),
    Name(f"{LOADING}finishing", "model_executor.model_loader.utils:process_weights_after_loading",
         "The walk over all layers; here each as soon as it is full, in vLLM when all are."),
    Name(f"{CACHE}KVCache", "v1.kv_cache_interface:FullAttentionSpec", "What a token takes in the cache."),
    Name("numerics.kv:KV_PRESETS", "config.cache:CacheDType", "The formats of a KV cache, by vLLM's names."),
    Name(f"{CACHE}new_cache", "v1.core.kv_cache_manager:KVCacheManager", "Who gets room; in vLLM by blocks, for many."),
    Name("models.attention:Attention", "model_executor.layers.attention:Attention", "Asks the cache, whatever its format."),
)  # fmt: skip
