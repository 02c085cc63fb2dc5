"""`qcourse quantize`: a model → a folder in a format that others read."""

from qcourse.models import option_types
from qcourse.options import Outcome, Parser, a_file, a_place, above_zero

EXAMPLES = """\
A method is a quantizer (rtn, hqq, imatrix, autoround, gptq), or transforms in front of one: awq, smoothquant@0.8 (then plain
rounding), awq+gptq, rotation+gptq; rotation comes first, and unties a tied head. All of them work block by block: one block
and the hidden states of the calibration text are in memory. A killed run goes on with the same command. The head, the
embedding and norms stay in 16 bits. Every other scheme of compressed-tensors: an unfit --scheme prints them.

examples:
  qcourse quantize shipped --scheme W4A16 --method gptq --group-size 64 --out runs/w4
  qcourse quantize FOLDER --scheme W8A8 --method smoothquant@0.8+gptq --out w8a8
  qcourse quantize FOLDER --scheme W4A16_ASYM --method awq --layout awq --out awq
  qcourse quantize FOLDER --scheme FP8_DYNAMIC --method rtn --kv-cache fp8_e4m3 --out fp8
  qcourse quantize FOLDER --scheme W4A16 --scheduler tcp://HOST:8786 --out w4      layers on dask workers, the same bytes
"""


def add_quantize(p: Parser) -> None:
    """What, how, into which layout, calibrated on which text."""
    p.epilog = EXAMPLES
    p.add_argument("model", type=option_types.source, metavar="MODEL", help=option_types.READ)
    p.add_argument("--scheme", type=option_types.scheme, required=True, metavar="SCHEME",
                   help="W4A16, W4A16_ASYM, W8A8, FP8_DYNAMIC, NVFP4A16 …")  # fmt: skip
    p.add_argument("--group-size", type=above_zero(int), metavar="G", help="instead of 128, for schemes with groups")
    p.add_argument("--method", default="gptq", metavar="METHOD", help="how codes are chosen (default gptq): see below")
    p.add_argument("--layout", type=option_types.layout, default="compressed-tensors", metavar="LAYOUT",
                   help="whose folder: compressed-tensors (default), gptq, gptq_v2, awq, modelopt, torchao")  # fmt: skip
    p.add_argument("--kv-cache", type=option_types.kv_cache, metavar="NAME",
                   help="fp8_e4m3 or fp8_e4m3_per_head: calibrated scales for the KV cache")  # fmt: skip
    p.add_argument("--out", type=a_place, required=True, metavar="OUT", help=option_types.MADE)
    p.add_argument("--windows", type=above_zero(int), default=32, metavar="N", help="of calibration text (default 32)")
    p.add_argument("--seq-len", type=above_zero(int), metavar="N", help="tokens a window (default 256, or the context)")
    p.add_argument("--calibration", type=a_file, metavar="FILE", help="a text to calibrate on (default: Python's library)")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where it runs (default cpu)")
    p.add_argument("--scheduler", metavar="ADDRESS", help="a dask scheduler, tcp://HOST:8786: layers on its workers")
    p.add_argument(
        "--no-sequential", action="store_true", help="calibrate on the 16-bit model, deaf to the errors of earlier layers"
    )
    p.add_argument("--dequantize", action="store_true", help="of a source that is quantized already: what its codes mean")
    p.set_defaults(run=run_quantize)


def run_quantize(args) -> Outcome:
    """Check, quantize, say what was lost where."""
    from qcourse.models.stream import Method, quantize_to_folder
    from qcourse.numerics.kv import kv_args

    wanted, ids = asked(args)
    method = Method(wanted.transforms, wanted.quantizer or "rtn", wanted.alpha, not args.no_sequential)
    calibrated = any(method.states(wanted.scheme, kv_args(args.kv_cache)))
    settings = {"scheme": args.scheme, "group_size": args.group_size, "method_name": args.method}
    settings |= {"windows": len(ids), "seq_len": ids.shape[1] - 1} if calibrated else {}
    report = quantize_to_folder(
        args.model,
        args.out,
        wanted.scheme,
        method,
        ids if calibrated else None,
        settings=settings,
        dequantize=args.dequantize,
        kv_cache=args.kv_cache,
        layout=args.layout,
        device=args.device,
        scheduler=args.scheduler,
        progress=not args.quiet,
    )
    return Outcome(f"{table(report)}\n\nwritten to {args.out}", report)


def asked(args) -> tuple:
    """(the family that the options name, calibration ids or None). Raises ValueError for what does not fit."""
    import torch

    from qcourse.checkpoints.dialect_writers import writer_of
    from qcourse.models.loader import open_checkpoint
    from qcourse.models.quantize_job import written_config
    from qcourse.models.quantize_transforms import check_transforms
    from qcourse.models.stream import Method
    from qcourse.numerics.kv import kv_args
    from qcourse.study.families import family

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no CUDA device here")
    if args.out.name and args.out.exists():
        raise ValueError(f"{args.out} exists: choose another --out, or remove it")
    wanted = family(f"{args.scheme}+{args.method}", args.group_size)
    check_transforms(wanted.transforms)
    if args.group_size and (wanted.scheme.weights.granularity.rows != 1 or wanted.scheme.weights.group_size is None):
        raise ValueError(f"--group-size {args.group_size}: {args.scheme} has no groups of weights along K")
    kv = kv_args(args.kv_cache)
    written_config(writer_of(args.layout), wanted.scheme, kv)
    refuse_unfit(open_checkpoint(args.model).config, wanted.scheme)
    method = Method(wanted.transforms, wanted.quantizer or "rtn", wanted.alpha, not args.no_sequential)
    return wanted, calibration_ids(args) if any(method.states(wanted.scheme, kv)) else None


def refuse_unfit(config, scheme) -> None:
    """Raise ValueError for groups that do not divide a layer's K, naming the nearest size that fits every layer."""
    from dataclasses import replace

    from qcourse.study.fit import build, nearest_group

    try:
        build(config, replace(scheme, input_activations=None))
    except ValueError as e:
        size = nearest_group(config, scheme) if scheme.weights.granularity.rows == 1 else None
        fits = "" if size is None else f"; the nearest that fits every layer is --group-size {size}"
        raise ValueError(f"{e}{fits}") from e


def calibration_ids(args):
    """ids (windows, seq_len + 1), the marker of a text's begin first: of the standard library's files, or of FILE."""
    import torch

    from qcourse.models.loader import load_tokenizer, open_checkpoint
    from qcourse.study.perplexity import windows

    context = open_checkpoint(args.model).config.max_position_embeddings
    n, T = args.windows, args.seq_len or min(256, context)
    if args.calibration is None:
        return windows(args.model, n, T, "calibration").ids
    if context < T:
        raise ValueError(f"--seq-len {T}: the model has {context} positions")
    try:
        text = args.calibration.read_bytes().decode("utf-8")
    except UnicodeDecodeError as e:
        raise ValueError(f"{args.calibration}: not UTF-8 text ({e.reason} at byte {e.start})") from e
    tokenizer = load_tokenizer(args.model)
    stream = torch.tensor(tokenizer.encode(text), dtype=torch.long)
    if n * T > len(stream):
        raise ValueError(f"{args.calibration}: {len(stream)} tokens, {n} windows of {T} need {n * T}: fewer --windows")
    starts = torch.linspace(0, len(stream) - T, n).long().tolist()
    begin = torch.full((n, 1), tokenizer.bos_id)
    return torch.cat([begin, torch.stack([stream[s : s + T] for s in starts])], 1)


def table(report: dict, worst: int = 5) -> str:
    """What was lost where, and what it takes: the layers of largest error, their mean, true bits a weight, bytes, notes."""
    layers, t = report["layers"], report["totals"]
    known = [layer for layer in layers if layer["error"] is not None]
    lines = [f"{t['layers']} layers, {t['weights'] / 1e6:.3g} M weights, {t['bits_in_file']:.3f} bits a weight in the file"]
    lines.append(
        f"{t['bytes_before'] / 1e6:.2f} MB before, {t['bytes_after'] / 1e6:.2f} MB after (with embedding and norms)"
    )
    if known:
        lines += [f"mean relative output error {t['mean_error']:.4f}; the largest:", "| layer | shape | error | seconds |"]
        lines.append("|---|---|---|---|")
        for x in sorted(known, key=lambda layer: -layer["error"])[:worst]:
            shape = "×".join(map(str, x["shape"]))
            lines.append(f"| {x['name']} | {shape} | {x['error']:.4f} | {x['seconds']:.2f} |")
    else:
        lines.append("no text was looked at, so no output error is known")
    notes = [f"{layer['name']}: {note}" for layer in layers for note in layer["notes"]]
    lines += notes[:worst] + ([f"… and {len(notes) - worst} notes more in the report"] if len(notes) > worst else [])
    return "\n".join(lines)
