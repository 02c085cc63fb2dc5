"""`qcourse lab`, `progress`, `reset`, `warm-up`: a learner's own commands."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from qcourse.options import Outcome, Parser, checked, number

LAB = """\
A number or a name opens that lab; with --notebook your copy of that notebook, as a number that has no lab does. What follows
"--" is handed to JupyterLab. The copies in my_notebooks are laid first, as `make lab` does: what you changed stays.

examples:
  qcourse lab                          your copy of notebook 00, and the rest beside it
  qcourse lab 03                       lab 03
  qcourse lab 03 --notebook            your copy of notebook 03
  qcourse lab --no-browser --port 8899 -- --ServerApp.token=mine
"""
PROGRESS = """\
examples:
  qcourse progress
  qcourse progress --json
"""
RESET = """\
examples:
  qcourse reset 01                     lab 01 as it was handed out; yours stays under a dated name
  qcourse reset 01 --guesses           the guesses of notebook 01 are asked again
"""
WARM_UP = """\
examples:
  qcourse warm-up                      `make lab` does it when it installs
"""
FIRST = "00_dont_panic"


def labs() -> list[str]:
    """The numbers of the labs that can be reset."""
    from qcourse.checks.labs import STARTERS

    return sorted(p.name[:2] for p in STARTERS.glob("[0-9][0-9]_*.ipynb"))


def course(here: Path | None = None) -> Path:
    """The folder of the course: the one that `here` lies in, or the one that this package was installed from.

    Raises ValueError where there is none: an installed package holds no notebooks.
    """
    here = Path.cwd() if here is None else here
    for folder in (here, *here.parents, Path(__file__).parents[2]):
        if (folder / "notebooks" / f"{FIRST}.ipynb").is_file() and (folder / "tools" / "edition.py").is_file():
            return folder
    raise ValueError(
        "the notebooks are not here, and not where qcourse was installed from: change to the course's folder (the one with "
        "the Makefile), and call it there"
    )


def add_lab(p: Parser) -> None:
    """It opens a server and says what that says: no --json, no --quiet."""
    p.epilog = LAB
    p.add_argument("which", nargs="?", metavar="LAB", type=checked(lambda text: None, labs), help="01, 02 … or a name")
    p.add_argument("--notebook", action="store_true", help="the notebook of that number, instead of the lab")
    p.add_argument("--no-browser", action="store_true", help="only print the address")
    p.add_argument("--port", type=number(int, 1, 65535), metavar="N", help="instead of the first that is free from 8888")
    p.rest = "JUPYTER …"
    p.set_defaults(run=run_lab)


def run_lab(args) -> None:
    """Lay the notebooks, then become JupyterLab (this process is replaced, so that Ctrl-C is its own)."""
    root = course()
    if find_spec("jupyterlab") is None:
        raise ValueError(f"JupyterLab is not installed here: pip install -e {root}")
    path = file_of(args.which, args.notebook, root)
    if subprocess.call([sys.executable, "-m", "tools.edition"], cwd=root):
        raise ValueError(f"{root / 'my_notebooks'}: the notebooks could not be laid (see above)")
    command = [sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", "--ServerApp.root_dir=."]
    command += [f"--LabApp.default_url=/lab/tree/{path}"]
    command += ["--no-browser"] * args.no_browser + ([f"--port={args.port}"] if args.port else [])
    os.chdir(root)
    sys.stdout.flush()
    os.execv(command[0], [*command, *args.rest])


def file_of(which: str | None, notebook: bool, root: Path) -> str:
    """What JupyterLab opens, below the course's folder. Raises ValueError naming what there is."""
    from qcourse.checks.labs import starter_of

    if which is None:
        return f"my_notebooks/{FIRST}.ipynb"
    name = Path(which).name.removesuffix(".ipynb")
    known = sorted(p.stem for p in (root / "notebooks").glob("[0-9A][0-9]_*.ipynb"))
    found = [n for n in known if name in (n, n[:2], n[1] if n[0] == "0" else n[:2])]
    try:
        lab = starter_of(name).name
    except ValueError:
        if not found:
            raise ValueError(f"no lab or notebook {which!r}: there are {', '.join(n[:2] for n in known)}") from None
        lab = None
    if lab is None or notebook and found:
        return f"my_notebooks/{found[0]}.ipynb"
    if notebook:
        raise ValueError(f"no notebook {which!r}: there are {', '.join(n[:2] for n in known)}")
    if not (root / "labs" / lab).is_file():
        raise ValueError(f"{root / 'labs' / lab} is gone: qcourse reset {lab[:2]} gives you a fresh one")
    return f"labs/{lab}"


def add_progress(p: Parser) -> None:
    """All it does is print, so it has no --quiet."""
    p.epilog = PROGRESS
    p.set_defaults(run=run_progress)


def in_order(key: str) -> list:
    """01.2 before 01.10, notebooks before labs."""
    return [(not n.isdigit(), int(n) if n.isdigit() else 0, n) for n in key.split(".")]


def run_progress(args) -> Outcome:
    """Every guess, every line that was written and every task that was checked, by notebook."""
    from qcourse.study.widgets.guesses import guesses_file, read_all

    found = read_all()
    lines = [f"{key:9s} {', '.join(said(found[key])):24s} {str(found[key].get('when', ''))[:10]}"
             for key in sorted(found, key=in_order)]  # fmt: skip
    lines.append(f"{len(found)} questions in {guesses_file()}" if found
                 else "nothing yet: guesses are made in the notebooks (make lab)")  # fmt: skip
    return Outcome("\n".join(lines), {"file": str(guesses_file()), "questions": found})


def said(what: dict) -> list[str]:
    """What is known of one question, in words."""
    guess = what.get("value")
    words = [] if guess is None else [
        "a curve" if isinstance(guess, list) else f"{guess:g}" if is_number(guess) else str(guess).partition("\n")[0][:40]
    ]  # fmt: skip
    words += ["shown without a guess"] * (guess is None and bool(what.get("shown")))
    words += ["answered"] * ("answer" in what)  # in the mock interview, as the next
    words += [f"grade {what['grade']} of 3"] if "grade" in what else []
    return words + [f"{kind} {what[kind]}" for kind in ("line", "task") if kind in what]


def is_number(guess) -> bool:
    """Whether a guess is one, not a choice or a curve."""
    return isinstance(guess, int | float)


def add_reset(p: Parser) -> None:
    """A fresh lab, the student's work kept; or fresh guesses."""
    p.epilog = RESET
    p.add_argument("lab", metavar="LAB", type=checked(lambda text: None, labs), help="its number: 01")
    where = "the folder of the labs (default: labs, or this one if the lab lies here)"
    p.add_argument("--labs", type=Path, metavar="FOLDER", help=where)
    p.add_argument("--guesses", action="store_true", help="forget the guesses of that notebook; labs stay as they are")
    p.set_defaults(run=run_reset)


def run_reset(args) -> Outcome:
    """Copy, then write the starter; say where the copy is."""
    from qcourse.checks.course_map import APPENDICES, STOPS
    from qcourse.checks.labs import reset, starter_of
    from qcourse.study.widgets.guesses import clear

    if args.guesses:
        count = clear(number := args.lab.zfill(2) if args.lab.isdigit() else args.lab)
        known = [s.number for s in STOPS] + list(APPENDICES)
        if not count and number not in known:
            raise ValueError(f"no notebook {args.lab!r}: there are {', '.join(known)}")
        return Outcome(f"{count} guesses of notebook {args.lab} forgotten", {"forgotten": count})
    name, usual = starter_of(args.lab).name, Path("labs")
    here = not (usual / name).exists() and Path(name).exists()  # called inside the folder of the labs
    done = reset(args.lab, args.labs or (Path() if here else usual))
    kept = f"kept what you wrote as {done.kept}" if done.kept else "there was nothing of yours to keep"
    data = {"fresh": str(done.fresh), "kept": done.kept and str(done.kept)}
    return Outcome(f"{kept}\n{done.fresh} is fresh again (in JupyterLab: File > Reload Notebook from Disk)", data)


def add_warm_up(p: Parser) -> None:
    """It has no result that a program could use: no --json."""
    p.epilog = WARM_UP
    p.set_defaults(run=run_warm_up)


def run_warm_up(args) -> Outcome:
    """Compile every loop of the CPU kernels, or find it compiled."""
    from qcourse.gemm.jit import has_jit
    from qcourse.gemm.warm_up import warm_up

    if not has_jit():
        return Outcome("numba compiles nothing here: torch computes instead, slower")
    warm_up()
    return Outcome("the CPU kernels are compiled for this machine")
