"""The life of one layer through vLLM 0.32, W4A16 on a CPU, by class and function names; each step beside ours. Text only.

    for step in STEPS: print(step.name, step.ours, step.theirs, step.what)
    print(drawn(STEPS[4]))              # who calls whom

The layer is layer 0's qkv_proj, the file is compressed-tensors' (pack-quantized, groups), the model runner is the first of
two (the second wants Triton). Another format has classes of its own for settings, method and scheme, another device a worker
and a kernel of its own.
tests/interop/test_vllm_steps.py looks every name up, reads in each caller's source that it calls the next, and follows one
token through an installed vLLM: the steps are entered in this order, each from the one that is said to call it.
"""

from typing import NamedTuple

from qcourse.layers.vllm_names import BASE, KERNELS, LINEAR, QUANT, SCHEMES


class Step(NamedTuple):
    """name: what happens, in a few words · ours: "module:name" beneath qcourse; None: `why` says why there is none.

    calls: vLLM's names, each of which calls the next, beneath vllm · what: one sentence.
    """

    name: str
    ours: str | None
    calls: tuple[str, ...]
    what: str
    why: str = ""

    @property
    def theirs(self) -> str:
        """What the step is about in vLLM: the last that is called."""
        return self.calls[-1]


LLAMA, LOADERS, UTILS = (f"model_executor.{m}:" for m in ("models.llama", "model_loader.base_loader", "models.utils"))
DEFAULT, WEIGHTS = (f"model_executor.model_loader.{m}:" for m in ("default_loader", "weight_utils"))
CT, WNA16 = f"{QUANT}.compressed_tensors.compressed_tensors:", f"{SCHEMES}CompressedTensorsWNA16"
CONFIG, METHOD = f"{CT}CompressedTensorsConfig", f"{CT}CompressedTensorsLinearMethod"
KERNEL, PARAMETERS = f"{KERNELS}.mixed_precision.cpu:CPUWNA16LinearKernel", "model_executor.parameter:"
RUNNER, SAMPLER = "v1.worker.cpu_model_runner:CPUModelRunner", "v1.sample.sampler:Sampler"
QKV, LOAD, PROCESS = f"{LINEAR}QKVParallelLinear", f"{LOADERS}BaseModelLoader", "process_weights_after_loading"

STEPS = (
    # the settings
    Step("a class for the file", "checkpoints.dialects:find",
         ("config.model:ModelConfig._verify_quantization", f"{QUANT}:get_quantization_config"),
         "The quant_method of quantization_config picks a class from a table; a plugin's entry wins."),
    Step("its settings", "layers.registry:quantization_of",
         ("config.vllm:VllmConfig._get_quantization_config", f"{WEIGHTS}get_quant_config", f"{CONFIG}.from_config"),
         "The JSON dict becomes one object for the whole model."),
    # the layer
    Step("the model, still empty", "models.checkpoint:build",
         (f"{RUNNER}.load_model", "model_executor.model_loader:get_model", f"{LOAD}.load_model", f"{LOAD}.create_model",
          "model_executor.model_loader.utils:initialize_model"),
         "A worker asks a loader; the class is built where it will run, memory and all (here: shapes alone)."),
    Step("a layer is wanted", "models.attention:Attention",
         (f"{LLAMA}LlamaDecoderLayer", f"{LLAMA}LlamaAttention", QKV),
         "One layer for q, k and v; all it is told of formats is quant_config and its own name, the prefix."),
    Step("who looks after it?", "layers.config:RulesConfig.get_quant_method",
         (QKV, f"{LINEAR}ColumnParallelLinear", f"{LINEAR}LinearBase", f"{BASE}resolve_quant_method",
          f"{CONFIG}.get_quant_method"),
         "The base class asks the settings, whatever they are; what comes back is its quant_method."),
    Step("which scheme?", "checkpoints.rules:Rule.matches",
         (f"{CONFIG}.get_quant_method", f"{CONFIG}.get_scheme", f"{CONFIG}._get_scheme_from_parts", WNA16),
         "The name is matched with the file's targets, and a chain of ifs finds the scheme's class."),
    Step("tensors are declared", "layers.quantized:QuantizedLinearMethod.create_weights",
         (f"{LINEAR}ColumnParallelLinear", f"{METHOD}.create_weights", f"{WNA16}.create_weights"),
         "The method hands it on to its scheme, which knows the format's shapes and dtypes."),
    Step("a kernel is chosen", "gemm.choose:choose",
         (f"{WNA16}.create_weights", f"{KERNELS}:choose_mp_linear_kernel", f"{KERNEL}.can_implement"),
         "From sizes and types alone, before a byte is read (here: when the layer is full)."),
    Step("places for codes and scales", "packing.layout:Slot",
         (f"{WNA16}.create_weights", f"{PARAMETERS}PackedvLLMParameter"),
         "A parameter knows its axes and packed_factor, the codes in a word; the scales' is a GroupQuantScaleParameter."),
    # the file
    Step("names find places", "models.loader:fill",
         (f"{LOAD}.load_model", f"{DEFAULT}DefaultModelLoader.load_weights", f"{LLAMA}LlamaForCausalLM.load_weights",
          f"{UTILS}AutoWeightsLoader.load_weights"),
         "The tensors go down the tree of modules by their names; one with its own load_weights is handed its part."),
    Step("the file is read", "checkpoints.folder:Weights.read",
         (f"{DEFAULT}DefaultModelLoader.load_weights", f"{DEFAULT}DefaultModelLoader.get_all_weights",
          f"{DEFAULT}DefaultModelLoader._get_weights_iterator", f"{WEIGHTS}safetensors_weights_iterator"),
         "A generator over all shards: a tensor is read when the next one is asked for."),
    Step("q_proj becomes a part of qkv_proj", None,
         (f"{LLAMA}LlamaModel.load_weights", f"{UTILS}AutoWeightsLoader.load_weights", f"{UTILS}WeightsMapper.apply",
          f"{UTILS}WeightsMapper._map_name_with_shard"),
         "The model's hf_to_vllm_mapper renames the tensor, and hangs a shard_id (q, k or v) on it.",
         "q, k and v stay three layers with the file's names here; layers.together joins them in the first decode step."),
    Step("a parameter takes its share", "layers.partition:ParallelLinear.load",
         (f"{UTILS}AutoWeightsLoader._load_module", f"{QKV}.load_weights", f"{QKV}.weight_loader_v2",
          f"{PARAMETERS}PackedvLLMParameter.load_qkv_weight"),
         "The layer knows where k begins, the parameter cuts this rank's rows out and copies them (here: for ranks only)."),
    Step("made ready for the kernel", f"layers.quantized:QuantizedLinearMethod.{PROCESS}",
         (f"{LOAD}.load_model", f"model_executor.model_loader.utils:{PROCESS}", f"{METHOD}.{PROCESS}", f"{WNA16}.{PROCESS}",
          f"{KERNEL}.{PROCESS}", f"{KERNEL}._process_gptq_weights_w4a16"),
         "One walk, when all layers are full: words along K become words along N (here: each layer once it is full)."),
    # every token
    Step("a step of the engine", "models.generate:stream",
         (f"{RUNNER}.execute_model", f"{RUNNER}._model_forward", f"{LLAMA}LlamaForCausalLM.forward"),
         "The tokens of all requests go through the model together; CPUModelRunner inherits that from GPUModelRunner."),
    Step("the layer multiplies", "layers.linear:Linear.forward",
         (f"{LLAMA}LlamaAttention.forward", f"{QKV}.forward", f"{METHOD}.apply", f"{WNA16}.apply_weights",
          f"{KERNEL}.apply_weights", "_custom_ops:cpu_gemm_wna16"),
         "Layer, method, scheme, kernel: each asks the next, and the last calls a compiled operator of torch.ops."),
    Step("logits", "layers.embedding:Embedding.logits",
         (f"{RUNNER}.execute_model", f"{LLAMA}LlamaForCausalLM.compute_logits",
          "model_executor.layers.logits_processor:LogitsProcessor.forward"),
         "Only of positions from which an id is sampled (here: of all)."),
    Step("the next id", "models.generate:choose_token",
         (f"{RUNNER}.sample_tokens", f"{RUNNER}._sample", f"{SAMPLER}.forward", f"{SAMPLER}.sample",
          f"{SAMPLER}.greedy_sample"),
         "For all requests at once; at temperature 0 the likeliest."),
)  # fmt: skip

# how a call is written where it is not by the name of what is called
SPELLED = {
    "ColumnParallelLinear": "super().__init__(",
    "LinearBase": "super().__init__(",
    "QKVParallelLinear.forward": "self.qkv_proj(",
    "QKVParallelLinear.weight_loader_v2": "param.weight_loader(",
    "LlamaForCausalLM.forward": "self.model(",
    "LogitsProcessor.forward": "self.logits_processor(",
    "Sampler.forward": "self.sampler(",
}


def short(name: str) -> str:
    """Without its module.

    >>> short("model_executor.layers.linear:LinearBase")
    'LinearBase'
    """
    return name.partition(":")[2]


def spelled(name: str) -> str:
    """What stands in the source of whoever calls it.

    >>> spelled("v1.sample.sampler:Sampler.greedy_sample")
    'greedy_sample'
    """
    return SPELLED.get(short(name), short(name).rpartition(".")[2])


def drawn(step: Step) -> str:
    """Who calls whom: a line each, indented beneath its caller, with its module.

    >>> print(drawn(STEPS[0]))
    ModelConfig._verify_quantization    config.model
      get_quantization_config           model_executor.layers.quantization
    """
    names = [f"{'  ' * i}{short(name)}" for i, name in enumerate(step.calls)]
    wide = max(map(len, names)) + 4
    return "\n".join(f"{name:{wide}s}{call.partition(':')[0]}" for name, call in zip(names, step.calls, strict=True))
