"""Train the shipped model: text → BPE → AdamW on random windows → bf16 safetensors. One command, CPU or GPU.

    qcourse train --out DIR                        # on this machine; killed, the same command goes on
    qcourse train --out DIR --device cuda          # minutes on a data-centre GPU; needs torch, numpy, safetensors

A few RMSNorm gains are held loud (`loud_gain` on `loud_channels` of the residual stream) from the first step, while
the weights behind them start at normal size: the network learns to live with loud channels, as large models do.
The last part of the run sees windows of the whole context, because a model knows only positions that it was trained on.
A run is a function of its config: step i always sees the same windows, so a killed run resumes exactly.
The learning rate is warm-up, constant, linear decay: raising `steps` before the decay began continues the same run.
Does not handle: several GPUs, streaming data. Source: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101);
warm-up-stable-decay (Hu et al. 2024, arXiv:2404.06395).
"""

import json
import math
import time
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qcourse.models import corpus
from qcourse.models.llama import LlamaConfig, LlamaForCausalLM
from qcourse.models.loader import open_checkpoint, save_model
from qcourse.models.recipe import TrainConfig, check_run, check_state, check_tokens
from qcourse.models.start import first_weights, set_gain
from qcourse.models.tokenizer import Tokenizer, train_bpe


def tokenize(folder: Path, vocab_size: int) -> tuple[Tokenizer, dict[str, np.ndarray]]:
    """The tokenizer and each split's ids (uint16), made once and kept as `tokenizer.json` and `tokens-*.npz`."""
    folder.mkdir(parents=True, exist_ok=True)
    cached = sorted(folder.glob("tokens-*.npz"))
    if cached and (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.load(folder)
        if tokenizer.vocab_size != vocab_size:
            raise ValueError(f"{folder} holds tokens of a vocabulary of {tokenizer.vocab_size}, not {vocab_size}")
        if len(cached) > 1:
            raise ValueError(f"{folder} holds {cached[0].name} and {cached[1].name}: keep the one that is meant")
        try:
            return tokenizer, dict(np.load(cached[0], allow_pickle=False))
        except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as e:
            raise ValueError(f"{cached[0]} is no npz file of tokens ({e})") from e
    texts = {split: corpus.read(split) for split in corpus.SPLITS}
    tokenizer = train_bpe(texts["train"], vocab_size)
    tokenizer.save(folder / "tokenizer.json")
    ids = {s: np.array([i for t in ts for i in tokenizer.encode(t, bos=True)], np.uint16) for s, ts in texts.items()}
    np.savez(folder / f"tokens-{corpus.digest(texts['train'])}.npz", **ids)
    return tokenizer, ids


def windows(ids: np.ndarray, config: TrainConfig, step: int) -> torch.Tensor:
    """The random windows (batch, tokens + 1) that this step sees, whatever happened before it."""
    batch, tokens = config.window(step)
    rng = np.random.default_rng((config.seed, step))
    starts = rng.integers(0, len(ids) - tokens - 1, batch)
    return torch.from_numpy(np.stack([ids[s : s + tokens + 1] for s in starts]).astype(np.int64))


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up (0: none), constant, then linear to zero over the last `decay` of the steps (0: none)."""
    up = (step + 1) / max(1, config.warmup)
    down = (config.steps - step) / (config.decay * config.steps) if config.decay else 1.0
    return config.lr * min(1.0, up, down)


def loss_of(model, batch: torch.Tensor, device: str, bf16: bool) -> torch.Tensor:
    """Mean next-token cross-entropy in nats, matmuls in bf16 if asked."""
    batch = batch.to(device, non_blocking=True)
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        logits = model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def held_out_bits(forward, ids: np.ndarray, tokenizer: Tokenizer, config: TrainConfig) -> float:
    """Bits per byte on 16 batches of held-out windows, evenly spaced. `forward`: batch → mean nats."""
    starts = np.linspace(0, len(ids) - config.seq_len - 1, 16 * config.batch).astype(int)
    rows = np.stack([ids[s : s + config.seq_len + 1] for s in starts]).astype(np.int64)
    nats = np.mean([forward(part).item() for part in torch.from_numpy(rows).split(config.batch)])
    sizes = np.array([len(b) for b in tokenizer.token_bytes])
    return float(nats / math.log(2) / sizes[rows[:, 1:]].mean())


def make_optimizer(model: LlamaForCausalLM, config: TrainConfig) -> torch.optim.AdamW:
    """Decay on matrices only, never on gains."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)


def update(model: LlamaForCausalLM, optimizer: torch.optim.AdamW, rate: float) -> None:
    """One step of the optimizer, gradients clipped to norm 1, and forgotten."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def save_state(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    """Everything a resumed run needs, as safetensors, replaced in one move so that a kill leaves the old one."""
    state = {}
    for name, p in model.named_parameters():
        state[name] = p.detach()
        state |= {f"{name}::{k}": optimizer.state[p][k] for k in ("exp_avg", "exp_avg_sq")}
    save_file(state, path.with_suffix(".part"), metadata={"step": str(step)})
    path.with_suffix(".part").replace(path)


def load_state(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    """Put back what `save_state` wrote. Raises ValueError for a run of another shape."""
    state = load_file(path)
    check_state(path, state, model)
    for name, p in model.named_parameters():
        p.data.copy_(state[name])
        moments = {k: state[f"{name}::{k}"].to(p.device) for k in ("exp_avg", "exp_avg_sq")}
        optimizer.state[p] = {"step": torch.tensor(float(step), device=p.device), **moments}


def begin(
    out: Path, model: LlamaForCausalLM, optimizer, loud: torch.Tensor, config: TrainConfig, start_from: Path | None
) -> int:
    """The step to start from: 0 with a fresh log, or the one that the saved state was written at. Logs the recipe."""
    state, log, step = out / "state.safetensors", out / "train_log.jsonl", 0
    if state.exists():
        with safe_open(state, framework="pt") as f:
            step = int(f.metadata()["step"])
        load_state(state, model, optimizer, step)
    line = {"starts_at": step, "recipe": asdict(config), "loud_channels": sorted(loud.tolist())}
    line |= {"start_from": str(start_from)} if start_from else {}
    with log.open("a" if step else "w") as f:
        f.write(json.dumps(line) + "\n")
    return step


def report(out: Path, config: TrainConfig, start: int, step: int, seconds: float, nats: float, bits: float) -> None:
    """Print one evaluation and append it to `train_log.jsonl`."""
    line = {"step": step, "train_nats": round(nats, 4), "held_out_bits_per_byte": round(bits, 4)}
    line["seconds"] = round(seconds)
    line["tokens_per_second"] = round((step - start) * config.batch * config.seq_len / seconds)
    print(json.dumps(line), flush=True)
    with (out / "train_log.jsonl").open("a") as f:
        f.write(json.dumps(line) + "\n")


def train(
    out: Path,
    model_config: LlamaConfig,
    config: TrainConfig,
    device: str = "cpu",
    data: Path | None = None,
    bf16: bool = False,
    compiled: bool = False,
    start_from: Path | None = None,
) -> None:
    """Run (or resume) training into `out`: model, tokenizer, `train_log.jsonl` (a line an evaluation), state.

    `data` is a folder with `tokenizer.json` and `tokens-*.npz` from `tokenize` (default: `out` itself); `start_from` a model
    folder whose weights the run begins with.
    Raises ValueError before any work for a recipe, shape, device or folder that cannot be.
    """
    check_run(model_config, config, device, data, out)
    if start_from is not None:
        open_checkpoint(start_from)  # what is no model is said now
    tokenizer, ids = tokenize(data or out, model_config.vocab_size)
    check_tokens(data or out, ids, config, model_config.vocab_size)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / "tokenizer.json")
    model = LlamaForCausalLM(model_config, dtype=torch.float32)
    loud = first_weights(model, config, tokenizer, start_from)
    model.to(device)
    optimizer = make_optimizer(model, config)
    start = begin(out, model, optimizer, loud, config, start_from)
    run = torch.compile(model) if compiled else model
    began = time.time()
    for step in range(start, config.steps):
        set_gain(model, loud, config.gain(step))
        loss = loss_of(run, windows(ids["train"], config, step), device, bf16)
        loss.backward()
        update(model, optimizer, learning_rate(config, step))
        if (step + 1) % config.eval_every == 0 or step + 1 == config.steps:
            bits = held_out_bits(lambda b: loss_of(run, b, device, bf16), ids["held_out"], tokenizer, config)
            save_state(out / "state.safetensors", model, optimizer, step + 1)
            report(out, config, start, step + 1, time.time() - began, loss.item(), bits)
    save_model(model, out)
