"""`qcourse eval` and `qcourse capture`: the options of the three meters."""

from pathlib import Path

from qcourse.models import option_types
from qcourse.models.subjects import SHIPPED
from qcourse.options import Outcome, Parser, above_zero
from qcourse.study.command import OPEN, formats, names_in

EVAL = """\
A format is a scheme, with what is done to the weights first and who chooses the codes behind it: W8A8+smoothquant,
W4A16_ASYM+awq, W4A16_G64+rotation+gptq; bf16 is 16 bits, as-is what the file holds. Without --formats: bf16,
W8A8+smoothquant, FP8_DYNAMIC, W4A16_ASYM+awq, W4A16_ASYM; as-is where the weights are quantized already. Interrupted, the
same command goes on.

examples:
  qcourse eval                                             the shipped model, every family
  qcourse eval --model smollm2 --formats bf16,as-is,W4A16_G64 --windows 16
  qcourse eval --model FOLDER --device cuda --out runs/folder.json
  qcourse eval --formats W4A16 --kv-cache int4_kivi        the context rounded, too
  qcourse eval --engine vllm                               as vLLM serves it
"""
CAPTURE = """\
Like `qcourse eval`; device, date, versions and command are kept with the results.

examples:
  qcourse capture --device cuda
"""


def add_eval(p: Parser) -> None:
    """Three meters for each format."""
    p.epilog = EVAL
    p.add_argument("--formats", type=formats(), metavar="LIST", help="with commas between: see below")
    p.add_argument("--group-size", type=above_zero(int), metavar="G", help="instead of 128, for schemes with groups")
    p.add_argument("--model", type=option_types.source, default=SHIPPED, metavar="MODEL", help=OPEN)
    p.add_argument("--dequantize", action="store_true", help="formats of a source that is quantized already")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where it runs (default cpu)")
    p.add_argument("--windows", type=above_zero(int), default=64, metavar="N", help="of held-out text (default 64)")
    p.add_argument("--seq-len", type=above_zero(int), default=256, metavar="N", help="tokens a window (default 256)")
    p.add_argument("--budget-mb", type=above_zero(float), metavar="MB",
                   help="budget for weights + KV blocks (default 4 × the model in bf16)")  # fmt: skip
    p.add_argument("--kv-cache", type=option_types.kv_cache, metavar="NAME",
                   help="how the context is kept: int8_per_token_head, int4_kivi … (default: 16 bits)")  # fmt: skip
    p.add_argument("--out", type=Path, metavar="FILE", help="results, written after every format (default runs/eval-…)")
    p.add_argument("--engine", default="qcourse", choices=("qcourse", "vllm"), help="vllm: the installed vLLM serves MODEL")
    p.add_argument("--harness", action="store_true", help="a local task through lm-eval instead")
    p.set_defaults(run=run_eval, capture=False)


def add_capture(p: Parser) -> None:
    """The same, kept."""
    add_eval(p)
    p.epilog = CAPTURE
    p.set_defaults(capture=True)


def run_eval(args) -> Outcome:
    """Measure; for `capture`, the file lies in captures/ under today's date."""
    from qcourse.models.loader import open_checkpoint
    from qcourse.models.subjects import SUBJECTS, name_of
    from qcourse.study.evaluate import evaluate, markdown
    from qcourse.study.families import AS_IS, DEFAULT
    from qcourse.study.fit import legal_group

    if args.engine == "vllm" or args.harness:
        return run_other_engine(args)
    budget = None if args.budget_mb is None else args.budget_mb * 1e6
    group_size = args.group_size
    if args.formats is not None:
        wanted = names_in(args.formats)
    elif open_checkpoint(args.model).quantization and not (args.dequantize or name_of(args.model) in SUBJECTS):
        wanted = [AS_IS]
    else:
        wanted, group_size = list(DEFAULT), group_size or legal_group(args.model)
    out = args.out or place(args, group_size, AS_IS in wanted and not args.dequantize)
    more = {"budget_bytes": budget, "group_size": group_size, "dequantize": args.dequantize}
    more |= {"kv_cache": args.kv_cache, "progress": not args.quiet}
    report = evaluate(args.model, wanted, args.device, out, args.windows, args.seq_len, **more)
    said = f"{markdown(report)}\n\nwritten to {out}; the same command continues an interrupted run"
    return Outcome(said, report | {"out": str(out)})


def place(args, group_size: int | None, as_is: bool) -> Path:
    """Where results go that --out does not name: other settings, another file, so that a later run is not refused."""
    from datetime import date

    said = {f"g{group_size}": group_size, f"{args.windows}x{args.seq_len}": (args.windows, args.seq_len) != (64, 256),
            f"{args.budget_mb:g}MB" if args.budget_mb else "": args.budget_mb, args.kv_cache: args.kv_cache,
            "as-is": as_is, "dequantized": args.dequantize}  # fmt: skip
    marks = "".join(f"-{mark}" for mark, is_so in said.items() if is_so)
    folder, stamp = ("captures", f"-{date.today()}") if args.capture else ("runs", "")
    return Path(folder) / f"eval-{args.device}-{args.model.name}{marks}{stamp}.json"


def run_other_engine(args) -> Outcome:
    """`--engine vllm` and `--harness`: the model as it is, through somebody else's code. JSON, whoever reads it."""
    import json

    from qcourse.study.elsewhere import measure_elsewhere

    engine = "harness" if args.harness else args.engine
    budget = (args.budget_mb or 1000) * 1e6
    said = measure_elsewhere(engine, args.model, args.windows, args.seq_len, args.device, budget, args.out)
    return Outcome(said, json.loads(said))
