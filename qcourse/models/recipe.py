"""The recipe of a training run, and what must hold before it starts."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

LEAST = dict.fromkeys(("steps", "batch", "seq_len", "long_seq_len", "eval_every"), 1)  # every other field: 0


@dataclass(frozen=True)
class TrainConfig:
    """The whole recipe; the shipped model's own values are in its card. Raises ValueError for a value that no run can have.

    The last `long_share` of the steps sees windows of `long_seq_len` tokens, as many fewer as keep the tokens of a step:
    short windows are cheaper, and a model knows only the positions that it was trained on. `loud_gain_from` other than
    `loud_gain` raises the gain over the first half of the steps, for a run that continues a quieter model.
    """

    steps: int = 5000
    batch: int = 16
    seq_len: int = 256
    long_seq_len: int = 1024
    long_share: float = 0.2
    lr: float = 2e-3
    warmup: int = 200
    decay: float = 0.3
    weight_decay: float = 0.1
    loud_channels: int = 4
    loud_gain: float = 64.0
    loud_gain_from: float = 64.0
    seed: int = 0
    eval_every: int = 250

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not math.isfinite(value) or value < LEAST.get(name, 0):
                raise ValueError(f"{name}={value}: a number of at least {LEAST.get(name, 0)} expected")
        if 0 in (self.lr, self.loud_gain, self.loud_gain_from) or max(self.decay, self.long_share) > 1:
            raise ValueError(
                f"lr={self.lr}, loud_gain={self.loud_gain}, loud_gain_from={self.loud_gain_from}, decay={self.decay}, "
                f"long_share={self.long_share}: lr > 0, gains > 0, shares of the steps ≤ 1"
            )

    def window(self, step: int) -> tuple[int, int]:
        """(windows, tokens a window) of a step."""
        if self.long_share == 0 or step < self.steps * (1 - self.long_share):
            return self.batch, self.seq_len
        return max(1, self.batch * self.seq_len // self.long_seq_len), self.long_seq_len

    def gain(self, step: int) -> float:
        """The loud channels' gain at a step."""
        return self.loud_gain_from + (self.loud_gain - self.loud_gain_from) * min(1.0, 2 * step / self.steps)

    @property
    def longest(self) -> int:
        """Tokens of the longest window: the positions that the model learns."""
        return max(self.seq_len, self.long_seq_len) if self.long_share else self.seq_len


def check_run(model, recipe: TrainConfig, device: str, data: Path | None, out: Path) -> None:
    """Raise ValueError, before any work, for a shape that is no model, a missing device, a folder without tokens,
    or an `out` with a model that no run left there."""
    for name, value in asdict(model).items():
        if type(value) in (int, float) and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value}: a number above 0 expected")
    if model.num_attention_heads % model.num_key_value_heads or model.head_dim % 2:
        raise ValueError(
            f"{model.num_attention_heads} query heads, {model.num_key_value_heads} key/value heads of {model.head_dim}: the "
            "first must be a multiple of the second, and the size even"
        )
    if recipe.longest > model.max_position_embeddings:
        raise ValueError(
            f"windows of {recipe.longest} tokens: the model has {model.max_position_embeddings} positions "
            f"(long_share=0 trains on windows of {recipe.seq_len} only)"
        )
    if recipe.loud_channels > model.hidden_size:
        raise ValueError(f"loud_channels={recipe.loud_channels}: the model has {model.hidden_size} channels")
    if not 257 <= model.vocab_size <= 65536:
        raise ValueError(f"vocab_size={model.vocab_size}: 257 (bytes and <|endoftext|>) to 65536 (16 bits an id)")
    if (out / "model.safetensors").exists() and not (out / "state.safetensors").exists():
        raise ValueError(f"{out} holds a model that is no run of this command: choose another --out")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    if data is not None and not ((data / "tokenizer.json").is_file() and list(data.glob("tokens-*.npz"))):
        raise ValueError(f"{data} holds no tokenizer.json with tokens-*.npz: --data names a folder that was made before")


def check_tokens(folder: Path, ids: dict, recipe: TrainConfig, vocab_size: int) -> None:
    """Raise ValueError unless both splits are there, long enough for a window, and within the vocabulary."""
    for split in ("train", "held_out"):
        if split not in ids:
            raise ValueError(f"{folder}: tokens-*.npz has no {split!r} ids")
        if len(ids[split]) < recipe.longest + 2:
            raise ValueError(f"{folder}: {split} holds {len(ids[split])} tokens, a window needs {recipe.longest + 2}")
        if int(ids[split].max()) >= vocab_size:
            raise ValueError(f"{folder}: {split} holds id {int(ids[split].max())}, the vocabulary has {vocab_size}")


def check_state(path: Path, state: dict, model, instead: str = "choose another --out") -> None:
    """Raise ValueError, saying what to do `instead`, unless a saved state has the tensors of this model: a run goes on with
    the shape it began with."""
    for name, p in model.named_parameters():
        held = tuple(state[name].shape) if name in state else "nothing"
        if held != tuple(p.shape):
            raise ValueError(f"{path} holds a run of another shape ({name}: {held}, not {tuple(p.shape)}): {instead}")
    extra = sorted(n for n in state if "::" not in n and n not in dict(model.named_parameters()))
    if extra:
        raise ValueError(f"{path} holds a run of another shape ({extra[0]} has no place here): {instead}")
