"""python -m tools.reference_files --sources FOLDER [name ...]"""

import argparse
import os
from pathlib import Path

os.environ["TORCH_COMPILE_DISABLE"] = "1"  # compressed-tensors compiles its FP4 rounding otherwise

from tools.reference_files import awq, compressed, gguf_files, gptq, sources, tiny, torchao_files


def main() -> None:
    """Write the named folders, or all of them, and print their sizes."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference_files", description=__doc__)
    parser.add_argument("--sources", type=Path, default=sources.SOURCES, help="gptqmodel-* and autoawq-*, unpacked")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    sources.SOURCES = args.sources
    for module in (compressed, gptq, awq, gguf_files, torchao_files):
        for name in module.FORMATS:
            if not args.names or name in args.names:
                module.write(name)
                print(f"{name:24} {sum(f.stat().st_size for f in (tiny.FILES / name).iterdir()):8,} bytes")


if __name__ == "__main__":
    main()
