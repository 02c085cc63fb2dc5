"""The recipe of a training run, and what must hold before it starts."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

LEAST = {"steps": 1, "batch": 1, "seq_len": 1, "warmup": 0, "loud_channels": 0, "seed": 0, "eval_every": 1}


@dataclass(frozen=True)
class TrainConfig:
    """The whole recipe. Defaults are the shipped model's. Raises ValueError for a value that no run can have."""

    steps: int = 5000
    batch: int = 16
    seq_len: int = 256
    lr: float = 2e-3
    warmup: int = 200
    decay: float = 0.3
    weight_decay: float = 0.1
    loud_channels: int = 4
    loud_gain: float = 32.0
    seed: int = 0
    eval_every: int = 250

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not math.isfinite(value) or value < LEAST.get(name, 0):
                raise ValueError(f"{name}={value}: a number of at least {LEAST.get(name, 0)} expected")
        if self.lr == 0 or self.loud_gain == 0 or self.decay > 1:
            raise ValueError(f"lr={self.lr}, loud_gain={self.loud_gain}, decay={self.decay}: lr > 0, gain > 0, decay ≤ 1")


def check_run(model, recipe: TrainConfig, device: str, data: Path | None) -> None:
    """Raise ValueError, before any work, for a shape that is no model, a missing device, or a folder without tokens."""
    for name, value in asdict(model).items():
        if type(value) in (int, float) and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value}: a number above 0 expected")
    if model.num_attention_heads % model.num_key_value_heads or model.head_dim % 2:
        raise ValueError(
            f"{model.num_attention_heads} query heads, {model.num_key_value_heads} key/value heads of {model.head_dim}: the "
            "first must be a multiple of the second, and the size even"
        )
    if recipe.seq_len > model.max_position_embeddings:
        raise ValueError(f"seq_len={recipe.seq_len}: the model has {model.max_position_embeddings} positions")
    if recipe.loud_channels > model.hidden_size:
        raise ValueError(f"loud_channels={recipe.loud_channels}: the model has {model.hidden_size} channels")
    if not 257 <= model.vocab_size <= 65536:
        raise ValueError(f"vocab_size={model.vocab_size}: 257 (bytes and <|file|>) to 65536 (16 bits an id)")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    if data is not None and not ((data / "tokenizer.json").is_file() and list(data.glob("tokens-*.npz"))):
        raise ValueError(f"{data} holds no tokenizer.json with tokens-*.npz: --data names a folder that was made before")


def check_tokens(folder: Path, ids: dict, recipe: TrainConfig, vocab_size: int) -> None:
    """Raise ValueError unless both splits are there, long enough for a window, and within the vocabulary."""
    for split in ("train", "held_out"):
        if split not in ids:
            raise ValueError(f"{folder}: tokens-*.npz has no {split!r} ids")
        if len(ids[split]) < recipe.seq_len + 2:
            raise ValueError(f"{folder}: {split} holds {len(ids[split])} tokens, a window needs {recipe.seq_len + 2}")
        if int(ids[split].max()) >= vocab_size:
            raise ValueError(f"{folder}: {split} holds id {int(ids[split].max())}, the vocabulary has {vocab_size}")


def check_state(path: Path, state: dict, model) -> None:
    """Raise ValueError unless a saved state has the tensors of this model: a run goes on with the shape it began with."""
    for name, p in model.named_parameters():
        held = tuple(state[name].shape) if name in state else "nothing"
        if held != tuple(p.shape):
            raise ValueError(
                f"{path} holds a run of another shape ({name}: {held}, not {tuple(p.shape)}): choose another --out"
            )
    extra = sorted(n for n in state if "::" not in n and n not in dict(model.named_parameters()))
    if extra:
        raise ValueError(f"{path} holds a run of another shape ({extra[0]} has no place here): choose another --out")
