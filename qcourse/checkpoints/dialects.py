"""A folder's own quantization, whoever wrote it → rules, and the recipe of its KV cache. Honoured, or refused saying what it
is; never ignored."""

from collections.abc import Mapping
from pathlib import Path

from qcourse.checkpoints import awq, compressed_tensors, gptq, modelopt, torchao
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.rules import Rule
from qcourse.numerics.kv import KVCacheArgs

DIALECTS = {
    "compressed-tensors": compressed_tensors.rules,
    "gptq": gptq.rules,
    "awq": awq.rules,
    "modelopt": modelopt.rules,
    "torchao": torchao.rules,
}
KV_CACHES = {"compressed-tensors": compressed_tensors.kv_cache, "modelopt": modelopt.kv_cache}  # the others have none
ELSEWHERE = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}  # older files


def find(folder: Path, config: dict, read_json) -> tuple[dict, str] | None:
    """(quantization_config, where it stands) of a folder, or None when the weights are plain. `config`: its config.json."""
    inside = config.get("quantization_config")
    if inside is not None:
        return inside, f"{folder / 'config.json'}, quantization_config"
    for name, method in ELSEWHERE.items():
        if (folder / name).is_file():
            return {"quant_method": method} | read_json(folder / name), str(folder / name)
    return None


def method_of(config: dict):
    """Who wrote it."""
    return config.get("quant_method", config.get("method"))


def rules(found: tuple[dict, str], weights: Mapping) -> list[Rule]:
    """The rules of what `find` found. Raises CheckpointError for a method that is not read here, by its name."""
    config, where = found
    if not isinstance(config, dict):
        raise CheckpointError(f"{where} = {config!r}: an object {{…}} expected")
    method = method_of(config)
    if method not in DIALECTS:
        raise CheckpointError(
            f"{where}: quant_method = {method!r}: these weights are quantized already, and it is not read here "
            f"({', '.join(DIALECTS)} and GGUF files are, and what layers.registry.register_quantization_config names); use "
            "the original in 16 bits, or another file of the model"
        )
    return DIALECTS[method](config, where, weights)


def kv_cache(found: tuple[dict, str]) -> KVCacheArgs | None:
    """The recipe of the KV cache that a file brings scales for, or None. Raises CheckpointError for one that is not read."""
    config, where = found
    reader = KV_CACHES.get(method_of(config))
    return None if reader is None else reader(config, where)


def renamed(found: tuple[dict, str] | None, weights: Mapping) -> Mapping:
    """The tensors, those of a dialect that keeps some elsewhere under everybody's names."""
    return modelopt.renamed(weights) if found is not None and method_of(found[0]) == "modelopt" else weights
