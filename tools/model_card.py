"""Write the shipped model's card from its training log and from measurements: `python -m tools.model_card`."""

import json
import lzma
import platform
import zlib
from datetime import date
from pathlib import Path

import torch

from qcourse.models import corpus
from qcourse.models.loader import SHIPPED, load_model, read_config
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


def curve_and_seconds(log: list[dict], recipe: dict) -> tuple[str, int]:
    """The log's evaluations as table rows (about ten of them), and the seconds of all parts of the run."""
    points = [e for e in log if "held_out_bits_per_byte" in e]
    seconds = sum(
        a["seconds"] for a, b in zip(log, [*log[1:], {"starts_at": 0}], strict=True) if "seconds" in a and "starts_at" in b
    )
    chosen = [p for i, p in enumerate(points) if i % max(1, len(points) // 10) == 0 or p is points[-1]]
    per_step = recipe["batch"] * recipe["seq_len"]
    row = "| {step} | {tokens:.1f} M | {held_out_bits_per_byte} | {tokens_per_second} |"
    return "\n".join(row.format(tokens=p["step"] * per_step / 1e6, **p) for p in chosen), seconds


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


def main(n: int = 512, seq_len: int = 256, device: str = "2 shared CPU cores") -> None:
    """Measure and write the card."""
    log = [json.loads(line) for line in (SHIPPED / "train_log.jsonl").read_text().splitlines()]
    start = [e for e in log if "recipe" in e][-1]
    recipe, c = start["recipe"], read_config(SHIPPED)
    curve, seconds = curve_and_seconds(log, recipe)
    facts = {s: split_facts(s) for s in corpus.SPLITS}
    text = CARD.read_text().format(
        params=sum(p.numel() for p in load_model().parameters()) / 1e6,
        layers=c.num_hidden_layers, hidden=c.hidden_size, inter=c.intermediate_size, heads=c.num_attention_heads,
        kv=c.num_key_value_heads, head_dim=c.head_dim, vocab=c.vocab_size, positions=c.max_position_embeddings,
        train_len=recipe["seq_len"], mb=file_bytes(SHIPPED) / 1e6,
        python=platform.python_version(), torch=torch.__version__, machine=platform.machine(), when=date.today(),
        train_files=facts["train"][0], train_mb=facts["train"][1], held_files=facts["held_out"][0],
        held_mb=facts["held_out"][1], cal_files=facts["calibration"][0],
        recipe=", ".join(f"{k} {v}" for k, v in recipe.items()), loud=start["loud_channels"], n_loud=recipe["loud_channels"],
        gain=recipe["loud_gain"], curve=curve, seconds=seconds, device=device, n=n, seq_len=seq_len,
        zlib=compressed_bits(lambda b: zlib.compress(b, 9)), xz=compressed_bits(lambda b: lzma.compress(b, preset=9)),
        digest=corpus.digest(corpus.read("held_out")), table=table(n, seq_len),
    )  # fmt: skip
    (SHIPPED / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
