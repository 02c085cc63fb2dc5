"""A model → a folder in the vendor's INT3 (`layers.int3`), which qcourse reads, and vLLM through `qcourse.vllm_plugin`."""

from pathlib import Path

from qcourse.checkpoints.writer import write_json, write_tensors, write_whole
from qcourse.layers.int3 import Int3Config, Int3LinearMethod
from qcourse.layers.linear import refuse_misfits
from qcourse.models.config import read_json
from qcourse.models.llama import LlamaForCausalLM
from qcourse.models.loader import load_model
from qcourse.models.quantize_source import config_json, files_beside
from qcourse.models.save import config_of, tensors_of
from qcourse.models.subjects import source_of
from qcourse.numerics.quantize import quantize
from qcourse.packing.packed import layout_of


def save_int3(model_or_source: LlamaForCausalLM | Path | str, folder: Path | str, group_size: int = 64) -> None:
    """Round every linear layer but the head to the nearest 3-bit codes, and write config.json and model.safetensors.

        save_int3("shipped", "runs/int3")       # a folder, a .gguf file, a subject: its tokenizer comes along
        save_int3(model, "runs/int3")           # a model that was transformed in memory (SmoothQuant, a rotation)

    The codes are those of `load_model(quantization={"scheme": "W3A16", "group_size": group_size})`.
    Raises ValueError, before anything is written, for a group size that does not divide a layer's K, a model with quantized
    layers, and a folder that holds another model.
    """
    folder, config = Path(folder), Int3Config(group_size)
    if (folder / "config.json").exists():
        there = read_json(folder / "config.json").get("quantization_config")
        if not isinstance(there, dict) or there.get("quant_method") != config.name:
            raise ValueError(f"{folder} holds another model: choose another folder")
    if isinstance(model_or_source, LlamaForCausalLM):
        model, files = model_or_source, {}
        said = config_of(model) | {"quantization_config": config.to_config()}
    else:
        source = source_of(model_or_source)
        model, files = load_model(source, dequantize=True), files_beside(source)
        said = config_json(source, model.config, config.to_config())
    tensors = int3_tensors(model, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", said)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content.read_bytes()
        write_whole(folder / name, lambda file, data=data: file.write(data))


def int3_tensors(model: LlamaForCausalLM, config: Int3Config) -> dict:
    """The tensors of the folder: qweight and scale of every layer that `config` quantizes, the others in bf16."""
    if model.kv_cache is not None:
        raise ValueError("INT3's config has no words for a KV cache: model.kv_cache = None, then name it where it is used")
    tensors, row = tensors_of(model), layout_of("row")
    for name, method in refuse_misfits(model, config).items():
        if isinstance(method, Int3LinearMethod):
            del tensors[f"{name}.weight"]
            q = quantize(model.linears()[name].weight.detach(), method.args(3), f"{name}.weight")
            tensors |= {f"{name}.{leaf}": t for leaf, t in row.pack(q).items()}
    return tensors
