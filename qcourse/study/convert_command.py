"""`qcourse convert` and `qcourse export`: the same codes in another ecosystem's layout, and a model as one .gguf file."""

from qcourse.models import option_types
from qcourse.options import Outcome, Parser, a_place

CONVERT = """\
Codes and scales are those of the source, bit for bit; what the new layout has no place for is refused, saying what it is
(--lossy lets go of what it names, and of nothing else). Another grid or group size is no conversion: qcourse quantize
--dequantize. A killed run goes on with the same command.

examples:
  qcourse convert FOLDER --to gptq --out FOLDER-gptq
  qcourse convert FOLDER --to awq --out FOLDER-awq          symmetric codes get zero points of 8: the same values
"""
EXPORT = """\
Matrices that have the type already are copied, bit for bit. Such a file has no words for quantized activations, nor for the
scales of a KV cache: both are left out.

examples:
  qcourse export shipped --type Q8_0 --out runs/shipped.gguf
  qcourse export FOLDER --type Q4_K --embedding-type Q6_K --out model.gguf
"""


def add_convert(p: Parser) -> None:
    """From one layout into another."""
    p.epilog = CONVERT
    p.add_argument(
        "model", type=option_types.source, metavar="MODEL", help="smollm2, or a quantized folder or .gguf file; only read"
    )
    p.add_argument("--to", type=option_types.layout, required=True, metavar="LAYOUT",
                   help="compressed-tensors, gptq, gptq_v2, awq, modelopt, torchao")  # fmt: skip
    p.add_argument("--out", type=a_place, required=True, metavar="OUT", help=option_types.MADE)
    p.add_argument("--lossy", action="store_true", help="round scales to fp16 and leave out the KV cache's, where needed")
    p.add_argument(
        "--g-idx", action="store_true", help="GPTQ: write g_idx although nothing was reordered, as some readers ask"
    )
    p.set_defaults(run=run_convert)


def add_export(p: Parser) -> None:
    """Into one file."""
    p.epilog = EXPORT
    p.add_argument("model", type=option_types.source, metavar="MODEL", help=option_types.READ)
    p.add_argument("--to", default="gguf", choices=("gguf",), help="the kind of file (default gguf)")
    p.add_argument("--type", type=option_types.gguf_type, default="Q8_0", metavar="TYPE",
                   help="of linear layers: F16, BF16, Q4_0 … Q8_0, Q2_K … Q6_K, MXFP4 … (default Q8_0)")  # fmt: skip
    p.add_argument("--embedding-type", type=option_types.gguf_type, metavar="TYPE",
                   help="of embedding and head (default: Q8_0 beside block types, else the same)")  # fmt: skip
    p.add_argument("--out", type=a_place, required=True, metavar="FILE", help="the file to make")
    p.set_defaults(run=run_export)


def run_convert(args) -> Outcome:
    """Convert, and say what it came to."""
    from qcourse.models.convert_folder import convert

    report = convert(args.model, args.out, args.to, lossy=args.lossy, g_idx=args.g_idx, progress=not args.quiet)
    t = report["totals"]
    said = f"{t['layers']} layers, {t['bits_in_file']:.3f} bits a weight, "
    size = f"{t['bytes_before'] / 1e6:.2f} → {t['bytes_after'] / 1e6:.2f} MB, written to {args.out}"
    return Outcome(said + size, report)


def run_export(args) -> Outcome:
    """Export, and say how big it is."""
    from qcourse.models.export_gguf import export

    size = export(args.model, args.out, args.type, args.embedding_type, progress=not args.quiet)
    return Outcome(f"{size / 1e6:.2f} MB, written to {args.out}", {"out": str(args.out), "bytes": size, "type": args.type})
