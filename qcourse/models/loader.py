"""A folder → a model: config.json, model.safetensors, tokenizer.json. Nothing is ever unpickled.

Order of events, as in vLLM: build the model (each method creates its tensors), copy the checkpoint in by name,
then `process_weights_after_loading` on every Linear, which is where bf16 becomes codes.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qcourse.layers.linear import Linear
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.registry import get_quantization_config
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.tokenizer import Tokenizer

HF_DEFAULTS = {"tie_word_embeddings": False, "rms_norm_eps": 1e-6}  # what an absent key means in config.json
SHIPPED = Path(__file__).parent / "shipped"


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded; the message names the file, the tensor, and what was expected."""


def read_config(folder: Path) -> LlamaConfig:
    """Parse `config.json` of a Hugging Face Llama (or Qwen2) folder. Raises CheckpointError."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a model folder holds config.json, model.safetensors, tokenizer.json")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as e:
        raise CheckpointError(f"{path}: not valid JSON ({e})") from e
    raw.setdefault("head_dim", raw.get("hidden_size", 0) // max(raw.get("num_attention_heads", 1), 1))
    if raw.get("model_type") == "qwen2":
        raw["attention_bias"] = True
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "llama3") or raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(
            f"{path}: rope_type {kind!r}, hidden_act {raw.get('hidden_act')!r}: only 'default' or 'llama3', and 'silu'"
        )
    raw.setdefault("rope_theta", rope.get("rope_theta"))
    raw["rope_scaling"] = rope if kind == "llama3" else None
    raw = HF_DEFAULTS | {"num_key_value_heads": raw.get("num_attention_heads")} | raw
    known = {f.name for f in fields(LlamaConfig)}
    return LlamaConfig(**{k: v for k, v in raw.items() if k in known and v is not None})


def read_tensors(folder: Path):
    """Yield (name, tensor) from every model*.safetensors of the folder. Raises CheckpointError for a truncated file."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: no model*.safetensors file (pickled .bin or .pt weights are never loaded)")
    for path in files:
        try:
            with safe_open(path, framework="pt") as f:
                for name in f.keys():  # noqa: SIM118 (safe_open is not a dict)
                    yield name, f.get_tensor(name)
        except SafetensorError as e:
            raise CheckpointError(f"{path}: truncated or not a safetensors file ({e})") from e


def copy_weights(model: LlamaForCausalLM, tensors, source: Path) -> None:
    """Fill the model's parameters by name. Raises CheckpointError for a missing, unknown or misshapen tensor."""
    params, seen = dict(model.named_parameters()), set()
    for name, tensor in tensors:
        if name == "lm_head.weight" and model.lm_head is None:
            continue  # tied: the embedding is the head
        if name.endswith("rotary_emb.inv_freq"):
            continue  # old files store what is computed here
        if name not in params:
            raise CheckpointError(f"{source}: tensor {name!r} has no place in this model")
        if params[name].shape != tensor.shape:
            want, got = tuple(params[name].shape), tuple(tensor.shape)
            raise CheckpointError(f"{source}: tensor {name!r} has shape {got}, the config asks for {want}")
        params[name].data.copy_(tensor)
        seen.add(name)
    missing = sorted(params.keys() - seen)
    if missing:
        raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing (and {len(missing) - 1} more)")


def load_model(
    folder: Path | str = SHIPPED,
    quantization: str | dict | QuantizationConfig | None = None,
    *,
    device: str = "cpu",
    compute_dtype: torch.dtype = torch.float32,
) -> LlamaForCausalLM:
    """Load a model in eval mode; `quantization` is a registry name, a config dict, or a QuantizationConfig.

    >>> model = load_model(quantization="int8")

    Raises CheckpointError for the folder, ValueError for an unknown or ill-fitting format.
    Cost: one pass over the file; the shipped model loads in well under a second.
    """
    folder = Path(folder)
    if quantization is not None and not isinstance(quantization, QuantizationConfig):
        quantization = get_quantization_config(quantization)
    model = LlamaForCausalLM(read_config(folder), quantization, compute_dtype=compute_dtype)
    copy_weights(model, read_tensors(folder), folder)
    model = model.to(device)  # first: each layer chooses its kernel for the device that it is on
    for module in model.modules():
        if isinstance(module, Linear):
            module.quant_method.process_weights_after_loading(module)
    return model.requires_grad_(False).eval()


def load_tokenizer(folder: Path | str = SHIPPED):
    """The tokenizer of a model folder: ours, or a foreign one through the `tokenizers` library.

    Raises CheckpointError when there is none, ImportError when the library is needed and missing.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: no tokenizer.json")
    if Tokenizer.is_ours(path):
        return Tokenizer.load(path)
    from qcourse.models.foreign import ForeignTokenizer

    config = json.loads((Path(folder) / "config.json").read_text())
    bos = [i for i in (config.get("bos_token_id"), config.get("eos_token_id")) if isinstance(i, int)]
    if not bos:
        raise CheckpointError(f"{folder}/config.json: neither bos_token_id nor eos_token_id says how a text begins")
    return ForeignTokenizer(path, bos[0])


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config.json and model.safetensors (bf16), readable by `LlamaForCausalLM` of transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    config |= {"hidden_act": "silu", "bos_token_id": model.config.vocab_size - 1, "eos_token_id": None}
    config |= asdict(model.config)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {n: p.detach().to("cpu", torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors.part", metadata={"format": "pt"})
    (folder / "model.safetensors.part").replace(folder / "model.safetensors")
