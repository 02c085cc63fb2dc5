"""`qcourse cheatsheet`: formats, methods, bytes, kernels and names on two pages."""

from pathlib import Path

from qcourse.options import Outcome, Parser

EXAMPLES = """\
Two A4 pages: cheatsheet-light.pdf, with a PNG of each page, for print; --dark for a screen. What it says comes from the
package's own tables and from the captures.

examples:
  qcourse cheatsheet
  qcourse cheatsheet --out ~/wall --dark
"""


def add_cheatsheet(p: Parser) -> None:
    """Where to, and how it looks."""
    p.epilog = EXAMPLES
    p.add_argument("--out", type=Path, default=Path("runs"), metavar="FOLDER", help="for the three files (default runs)")
    p.add_argument("--dark", action="store_true", help="light on dark: cheatsheet-dark.pdf")
    p.add_argument(
        "--captures", type=Path, default=Path("captures"), metavar="FOLDER", help="of captures (default captures)"
    )
    p.set_defaults(run=run_cheatsheet)


def run_cheatsheet(args) -> Outcome:
    """Draw both pages, and say where they lie."""
    from qcourse.study.cheatsheet import write

    made = write(args.out, args.captures, "dark" if args.dark else "light")
    return Outcome("\n".join(f"written: {path}" for path in made), {"written": made})
