"""Write the shipped model's card from its training log and from measurements: `python -m tools.model_card`."""

import json
import lzma
import math
import platform
import zlib
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F

from qcourse.models import corpus
from qcourse.models.loader import SHIPPED, load_model, load_tokenizer, read_config
from qcourse.study.cost import file_bytes, model_bytes
from qcourse.study.perplexity import paired_difference, perplexity, windows

FORMATS = {
    "int8 per tensor": "W8A16_TENSOR",
    "int8 per channel": "W8A16",
    "int4 per channel": "W4A16_CHANNEL",
    "int4 G=128": "W4A16",
    "int4 G=64": "W4A16_G64",
    "int4 G=32": "W4A16_G32",
    "int3 G=128": "W3A16",
    "int2 G=128": "W2A16",
}

CARD = Path(__file__).with_suffix(".md")


LOGS = ("train_log.jsonl", "train_log_2.jsonl")  # the second run begins with the first one's weights


def read_log(name: str) -> tuple[list[dict], dict]:
    """A training log's lines, and the last of them that holds a recipe."""
    log = [json.loads(line) for line in (SHIPPED / name).read_text().splitlines()]
    return log, [e for e in log if "recipe" in e][-1]


def curve_and_seconds(log: list[dict], recipe: dict, run: int) -> tuple[str, int]:
    """The log's evaluations as table rows (about ten of them), and the seconds of all parts of the run."""
    points = [e for e in log if "held_out_bits_per_byte" in e]
    seconds = sum(
        a["seconds"] for a, b in zip(log, [*log[1:], {"starts_at": 0}], strict=True) if "seconds" in a and "starts_at" in b
    )
    chosen = [p for i, p in enumerate(points) if i % max(1, len(points) // 8) == 0 or p is points[-1]]
    per_step = recipe["batch"] * recipe["seq_len"]
    row = "| {run} | {step} | {tokens:.1f} M | {held_out_bits_per_byte} | {tokens_per_second} |"
    return "\n".join(row.format(run=run, tokens=p["step"] * per_step / 1e6, **p) for p in chosen), seconds


def by_position(n: int, tokens: int, step: int = 128) -> str:
    """Bits a byte of windows of the whole context, by position, `step` tokens a cell: a collapse shows."""
    text, model = windows(SHIPPED, n, tokens), load_model()
    sizes = torch.tensor([len(b) for b in load_tokenizer().token_bytes])[text.ids[:, 1:]].sum(0)
    nats = torch.zeros(tokens)
    with torch.inference_mode():
        for ids in text.ids.split(4):
            losses = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            nats += losses.view(len(ids), -1).sum(0)
    starts = range(0, tokens, step)
    cells = [nats[i : i + step].sum().item() / math.log(2) / sizes[i : i + step].sum().item() for i in starts]
    head = " | ".join(f"{i}–{i + step - 1}" for i in starts)
    return f"| {head} |\n{'|---' * len(cells)}|\n| {' | '.join(f'{c:.2f}' for c in cells)} |"


def table(n: int, seq_len: int) -> str:
    """Measure every format and write its row; z is against the row above, on the same windows."""
    text = windows(SHIPPED, n, seq_len)
    model = load_model()
    base = previous = perplexity(model, text)
    size = model_bytes(model)
    rows = [f"| bf16 | {base.bits_per_byte:.3f} ± {base.stderr:.3f} | | | 16 | {size.total / 1e6:.2f} MB |"]
    for name, config in FORMATS.items():
        model = load_model(quantization=config)
        score, size = perplexity(model, text), model_bytes(model)
        d, z = paired_difference(base, score), paired_difference(previous, score).z
        cells = [name, f"{score.bits_per_byte:.3f}", f"{d.mean:+.4f} ± {d.stderr:.4f}", f"{z:+.1f}"]
        rows.append(f"| {' | '.join(cells)} | {size.bits_per_weight:.3f} | {size.total / 1e6:.2f} MB |")
        previous = score
    return "\n".join(rows)


def split_facts(name: str) -> tuple[int, float]:
    """Number of files and megabytes of a split on this machine."""
    texts = corpus.read(name)
    return len(texts), sum(len(t.encode()) for t in texts) / 1e6


def compressed_bits(compress) -> float:
    """Bits a byte of the held-out files, joined, after a classical compressor."""
    source = "".join(corpus.read("held_out")).encode()
    return 8 * len(compress(source)) / len(source)


def in_words(recipe: dict) -> str:
    """A recipe as a list of names and values."""
    return ", ".join(f"{k} {v:g}" for k, v in recipe.items())


def main(n: int = 512, seq_len: int = 256) -> None:
    """Measure and write the card."""
    logs, c = [read_log(name) for name in LOGS], read_config(SHIPPED)
    curves = [curve_and_seconds(log, start["recipe"], i + 1) for i, (log, start) in enumerate(logs)]
    (_, first), (_, second) = logs
    recipe = second["recipe"]
    facts = {s: split_facts(s) for s in corpus.SPLITS}
    text = CARD.read_text().format(
        params=sum(p.numel() for p in load_model().parameters()) / 1e6,
        layers=c.num_hidden_layers, hidden=c.hidden_size, inter=c.intermediate_size, heads=c.num_attention_heads,
        kv=c.num_key_value_heads, head_dim=c.head_dim, vocab=c.vocab_size, positions=c.max_position_embeddings,
        longest=recipe["long_seq_len"], mb=file_bytes(SHIPPED) / 1e6,
        python=platform.python_version(), torch=torch.__version__, machine=platform.machine(), when=date.today(),
        train_files=facts["train"][0], train_mb=facts["train"][1], held_files=facts["held_out"][0],
        held_mb=facts["held_out"][1], cal_files=facts["calibration"][0],
        recipe_1=in_words(first["recipe"]), recipe_2=in_words(recipe), loud=second["loud_channels"],
        n_loud=recipe["loud_channels"], gain_1=recipe["loud_gain_from"], gain_2=recipe["loud_gain"],
        curve="\n".join(rows for rows, _ in curves), seconds_1=curves[0][1], seconds_2=curves[1][1], n=n, seq_len=seq_len,
        context_table=by_position(48, c.max_position_embeddings),
        zlib=compressed_bits(lambda b: zlib.compress(b, 9)), xz=compressed_bits(lambda b: lzma.compress(b, preset=9)),
        digest=corpus.digest(corpus.read("held_out")), table=table(n, seq_len),
    )  # fmt: skip
    (SHIPPED / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
