"""`qcourse convert` and `qcourse export`: the same codes in another ecosystem's layout, and a model as one .gguf file."""

import argparse
from pathlib import Path

CONVERT = """\
examples:
  qcourse convert FOLDER --to gptq --out FOLDER-gptq
  qcourse convert FOLDER --to awq --out FOLDER-awq          symmetric codes get zero points of 8: the same values
  qcourse export FOLDER --type Q8_0 --out model.gguf        for llama.cpp

Layouts: compressed-tensors, gptq, gptq_v2, awq, modelopt, torchao. Codes and scales are those of the source, bit for bit;
what the new layout has no place for is refused, saying what it is (--lossy: see above). Another grid or group size is no
conversion: qcourse quantize --dequantize. A killed run goes on with the same command.
"""
EXPORT = """\
examples:
  qcourse export shipped --to gguf --type Q8_0 --out shipped.gguf
  qcourse export FOLDER --to gguf --type Q4_K --embedding-type Q6_K --out model.gguf

Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K … Q6_K, IQ4_NL, TQ2_0. Matrices that have the type already are
copied, bit for bit.
"""


def add_convert(commands) -> None:
    """Both subcommands."""
    from qcourse.models.command import source

    p = commands.add_parser("convert", help="the same codes in another layout, block by block", epilog=CONVERT,
                            formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("model", type=source, metavar="MODEL", help="a quantized folder or .gguf file, or smollm2; only read")
    p.add_argument("--to", required=True, metavar="LAYOUT", help="compressed-tensors, gptq, gptq_v2, awq, modelopt, torchao")
    p.add_argument("--out", type=Path, required=True, help="the folder to make; OUT.part until it is complete")
    p.add_argument("--lossy", action="store_true", help="round scales to fp16 and leave out the KV cache's, where needed")
    p.add_argument("--quiet", action="store_true", help="no progress bar, and nothing printed")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    p.set_defaults(run=run_convert)
    p = commands.add_parser("export", help="a model as one .gguf file, for llama.cpp", epilog=EXPORT,
                            formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("model", type=source, metavar="MODEL", help="shipped, smollm2, a folder or a .gguf file; only read")
    p.add_argument("--to", default="gguf", choices=("gguf",), help="the kind of file (default gguf)")
    p.add_argument("--type", default="Q8_0", help="of the linear layers (default Q8_0)")
    p.add_argument("--embedding-type", help="of embedding and head (default: Q8_0 beside block types, else the same)")
    p.add_argument("--out", type=Path, required=True, help="the file to make")
    p.add_argument("--quiet", action="store_true", help="nothing printed")
    p.set_defaults(run=run_export)


def run_convert(args) -> None:
    """Convert, and say what it came to."""
    import json

    from qcourse.models.convert_folder import convert

    report = convert(args.model, args.out, args.to, lossy=args.lossy, progress=not args.quiet)
    t = report["totals"]
    if args.json:
        print(json.dumps(report, indent=1))
    elif not args.quiet:
        print(f"{t['layers']} layers, {t['bits_in_file']:.3f} bits a weight, "
              f"{t['bytes_before'] / 1e6:.2f} → {t['bytes_after'] / 1e6:.2f} MB, written to {args.out}")  # fmt: skip


def run_export(args) -> None:
    """Export, and say how big it is."""
    from qcourse.models.export_gguf import export_gguf
    from qcourse.models.loader import load_model

    size = export_gguf(load_model(args.model), args.model, args.out, args.type, args.embedding_type)
    if not args.quiet:
        print(f"{size / 1e6:.2f} MB, written to {args.out}")
