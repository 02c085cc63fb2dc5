"""`qcourse inspect`: any model file opened, explained, and judged, without loading its weights."""

import math
import re
from pathlib import Path

from qcourse.models import option_types
from qcourse.options import Outcome, Parser

EXAMPLES = """\
An index and a config.json are enough: then shapes are those that the config asks for.

examples:
  qcourse inspect shipped                      the model that ships with the course
  qcourse inspect FOLDER --hex                 and the smallest piece of its first quantized layer, bit by bit
  qcourse inspect FILE.gguf --all              every tensor in a line of its own
  qcourse inspect FOLDER --json                for programs
  qcourse inspect FOLDER --strict --quiet      for a pipeline: exit code 1 where there is a warning
"""
DIGITS = re.compile(r"(?<=\.)\d+(?=\.)")


def add_inspect(p: Parser) -> None:
    """What to open, and how much of it to show."""
    p.epilog, p.fails = EXAMPLES, "with --strict: there are warnings"
    p.add_argument("source", type=option_types.inspectable, metavar="MODEL",
                   help="shipped, smollm2, a folder, a .safetensors or a .gguf file")  # fmt: skip
    p.add_argument("--all", action="store_true", help="every tensor; without it, those of equal layers are one line")
    p.add_argument(
        "--hex", nargs="?", const="", metavar="LAYER", help="one group of a layer, bit by bit (default: the first)"
    )
    p.add_argument("--strict", action="store_true", help="exit with 1 where there is a warning")
    p.set_defaults(run=run_inspect)


def run_inspect(args) -> Outcome:
    """The report. A layer that --hex asks for must be there, however the report is printed."""
    from qcourse.study.inspection import inspect
    from qcourse.study.inspection_bits import piece
    from qcourse.study.inspection_warnings import warnings

    found = inspect(args.source)
    warned, lines = warnings(found), [*head(found), "", *table(found, args.all)]
    if found.config is not None:
        from qcourse.study.inspection_words import explained

        lines += [
            "",
            f"quantization_config ({Path(found.config[1].split(',')[0]).name}):",
            *explained(found.config[0], "  "),
        ]
    lines += [f"\n! {warning}" for warning in warned]
    data = as_json(found, warned)
    if args.hex is not None:
        lines += ["", piece(found, args.hex or None)]
        data["piece"] = lines[-1]
    return Outcome("\n".join(lines), data, int(args.strict and bool(warned)))


def head(found) -> list[str]:
    """What it is, in a few lines."""
    size = f"{found.nbytes / 1e6:.2f} MB" if found.nbytes else "sizes unknown"
    lines = [f"{found.source}: {found.kind}, {len(found.tensors)} tensors, {size}"]
    if found.predicted:
        lines.append("  only the index is here: shapes and bytes are those that config.json asks for")
    if found.checkpoint is not None:
        c = found.checkpoint.config
        lines.append(
            f"  {c.num_hidden_layers} layers, hidden {c.hidden_size}, {c.num_attention_heads} heads "
            f"({c.num_key_value_heads} of keys), vocabulary {c.vocab_size}, {c.max_position_embeddings} positions"
        )
    if found.layers:
        weights = sum(layer.shape[0] * layer.shape[1] for layer in found.layers)
        bits = 8 * sum(layer.nbytes for layer in found.layers) / weights
        names = ", ".join(dict.fromkeys(layer.layout for layer in found.layers))
        lines.append(
            f"  {len(found.layers)} quantized matrices of {weights / 1e6:.3g} M weights: {bits:.3f} bits a weight ({names})"
        )
    elif found.why:
        lines.append(f"  not loaded here: {found.why}")
    return lines


def table(found, every: bool) -> list[str]:
    """Tensors with shape, dtype, bits a weight, meaning; equal ones of several layers in one line."""
    from qcourse.study.inspection_words import meaning

    rows, bits = {}, {layer.name: layer.bits for layer in found.layers}
    for t in found.tensors:
        name = t.name if every else DIGITS.sub("*", t.name)
        key = (name, t.shape, t.dtype)
        row = rows.setdefault(key, [0, 0, t.name])
        row[0], row[1] = row[0] + 1, row[1] + (t.nbytes or 0)
    lines, shown = [], set()
    for (name, shape, dtype), (count, nbytes, first) in rows.items():
        layer = first.rpartition(".")[0]
        per = f"{bits[layer]:.3f}" if layer in bits and layer not in shown else ""
        if found.kind == "gguf" and nbytes:
            per = f"{8 * nbytes / (count * math.prod(shape)):.3f}"
        shown.add(layer)
        size = "×".join(map(str, shape)) if shape is not None else "?"
        times = f" ({count})" if count > 1 else ""
        lines.append(f"  {name + times:52s} {size:>14s} {dtype:14s} {nbytes:>12,d} B {per:>7s}  {meaning(first, dtype)}")
    return lines


def as_json(found, said: list[str]) -> dict:
    """The same for programs."""
    return {
        "source": str(found.source), "kind": found.kind, "bytes": found.nbytes, "predicted": found.predicted,
        "not_loaded": found.why or None, "quantization_config": None if found.config is None else found.config[0],
        "tensors": [{"name": t.name, "shape": t.shape, "dtype": t.dtype, "bytes": t.nbytes} for t in found.tensors],
        "layers": [{"name": x.name, "shape": x.shape, "layout": x.layout, "bits_per_weight": x.bits} for x in found.layers],
        "warnings": said,
    }  # fmt: skip
