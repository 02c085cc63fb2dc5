"""What training through the rounding wins back, as an experiment (`study.experiments`): key → numbers.

    "TERNARY"                 rounded to nearest, nothing trained
    "TERNARY+gptq"            any family of `families`: codes chosen by calibration text
    "TERNARY+qat@150"         150 steps of `methods.qat`, taught by the 16-bit model
    "TERNARY+qat-text@150"    the same steps with the text's next token as the only teacher

A step reads `batch` windows of `length` tokens of the training split. `+qat-text` of an 8-bit scheme is the control:
rounding costs nothing there, so whatever it adds or takes is the training's own. Notebook 12.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from qcourse.layers.config import get_quantization_config, scheme_of
from qcourse.layers.linear import quantize_layers
from qcourse.methods.qat import train
from qcourse.models.loader import load_model
from qcourse.study.cost import model_bytes
from qcourse.study.evaluate import CALIBRATION_WINDOWS
from qcourse.study.families import prepare
from qcourse.study.perplexity import paired_difference, perplexity, windows

RUNS = ["W2A16_G64", "W2A16_G64+gptq", "W2A16_G64+qat-text@150", "W2A16_G64+qat@150",
        "TERNARY", "TERNARY+gptq", "TERNARY+qat@15", "TERNARY+qat@40", "TERNARY+qat-text@150", "TERNARY+qat@150",
        "W8A16+qat-text@150"]  # fmt: skip
FULL = {"n": 32, "seq_len": 256, "formats": RUNS, "batch": 4, "length": 128}


def read_run(name: str) -> tuple[str, bool, int]:
    """("TERNARY", whether a teacher is asked, steps) of "TERNARY+qat@150" or "TERNARY+qat-text@150".

    Raises ValueError for anything else.
    """
    scheme, plus, rest = name.partition("+")
    method, _, steps = rest.partition("@")
    if method not in ("qat", "qat-text") or not steps.isdecimal() or int(steps) < 1:
        raise ValueError(f"{name!r}: SCHEME+qat@STEPS or SCHEME+qat-text@STEPS is expected, as in TERNARY+qat@150")
    return scheme, method == "qat", int(steps)


def trained(source: Path | str, name: str, batch: int, length: int) -> tuple:
    """(the quantized model after training, each step's loss in nats a token)."""
    scheme, taught, steps = read_run(name)
    model = load_model(source)
    ids = windows(source, max(2, steps * batch), length, "train").ids  # no window is seen twice
    losses = train(model, ids, scheme_of(scheme).weights, load_model(source) if taught else None, steps=steps, batch=batch)
    return quantize_layers(model, get_quantization_config(scheme)), losses


def recovery(
    source: Path | str, done: Mapping, n: int, seq_len: int, formats: list[str], batch: int, length: int
) -> Iterator[tuple[str, dict]]:
    """(run, what it adds in bits a byte, paired; bits a weight; of a trained one the losses), for those not in `done`."""
    left = [name for name in formats if name not in done]
    text = windows(source, n, seq_len)
    reference = perplexity(load_model(source), text, batch=4) if left else None
    sample = windows(source, CALIBRATION_WINDOWS, seq_len, "calibration").ids
    for name in left:
        model, losses = trained(source, name, batch, length) if "+qat" in name else (prepare(source, name, sample), [])
        d = paired_difference(reference, perplexity(model, text, batch=4))
        bits = model_bytes(model).bits_per_weight
        found = {"added_bits_per_byte": d.mean, "added_stderr": d.stderr, "bits_per_weight": bits}
        yield name, found | ({"losses": losses} if losses else {})
