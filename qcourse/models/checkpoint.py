"""What a source holds, before a byte of its weights is read: sizes, names, quantization; and the model that it asks for, of
shapes alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qcourse.checkpoints import dialects, gguf
from qcourse.checkpoints.errors import CheckpointError
from qcourse.checkpoints.folder import weight_files
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.renamed import Renamed
from qcourse.layers.config import RulesConfig
from qcourse.layers.method import QuantizationConfig
from qcourse.layers.registry import quantization_of
from qcourse.models.config import llama_config, read_json
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.subjects import source_of

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class Checkpoint:
    """What a source holds: the model's sizes, its tensors by Hugging Face's names (`read(name)`), and its quantization."""

    config: LlamaConfig
    weights: Mapping
    quantization: QuantizationConfig | None


def open_checkpoint(source: Path | str) -> Checkpoint:
    """Headers and configs only, of a folder or a .gguf file. Raises CheckpointError for anything that is not read here, by
    name."""
    source = source_of(source)
    if source.suffix == ".gguf":
        file = GGUFFile(source)
        config = llama_config(gguf.config(file), source)
        weights = gguf.GGUFWeights(file, config.num_attention_heads, config.num_key_value_heads)
        rules = gguf.rules(weights)
        return Checkpoint(config, weights, RulesConfig(rules, quantizer=None) if rules else None)
    raw = read_json(source / "config.json")
    found = dialects.find(source, raw, read_json)
    if found is not None:
        quantization_of(found, {})  # what the weights are is said before they are looked for
    config = llama_config(raw, source / "config.json")
    if found is not None:
        build(config, quantization_of(found, {}), source)
    weights = dialects.renamed(found, weight_files(source))
    return Checkpoint(config, weights, found and quantization_of(found, weights))


def build(config: LlamaConfig, quantization, source: Path, from_file: bool = True, **options) -> LlamaForCausalLM:
    """The model without memory: shapes only, so that whatever does not fit, and a rule that matches no layer, is said before
    anything is read. Raises ValueError; of a file's own quantization, a CheckpointError."""
    try:
        with torch.device("meta"):
            model = LlamaForCausalLM(config, quantization, **options)
        if quantization is not None:
            quantization.refuse_unmatched(list(model.linears()))
    except ValueError as e:
        raise CheckpointError(f"{source}: {e}") if from_file else e from None
    return model


def untied(checkpoint: Checkpoint, source: Path) -> Checkpoint:
    """A source whose head is its embedding, with a head of its own: the same matrix under a second name.

    Raises CheckpointError where the file has a head, too, and it is another.
    """
    weights, sizes = checkpoint.weights, replace(checkpoint.config, tie_word_embeddings=False)
    if HEAD in weights and not torch.equal(weights.read(HEAD), weights.read(EMBEDDING)):
        raise CheckpointError(f"{source}: tensor {HEAD!r} has no place: the config says that the head is the embedding")
    return replace(checkpoint, config=sizes, weights=Renamed(weights, {n: n for n in weights} | {HEAD: EMBEDDING}))
