"""`qcourse`: what the course can do without a notebook. `qcourse COMMAND --help` explains each."""

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path


def add_train(commands) -> None:
    """`qcourse train`: every field of the recipe and of the model is an option."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.recipe import TrainConfig

    p = commands.add_parser("train", help="train the shipped model again (resumes if OUT holds a run)")
    p.add_argument("--out", type=Path, required=True, help="folder of the run: model, tokenizer, log, state")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--data", type=Path, help="folder with tokenizer.json and tokens-*.npz made elsewhere")
    p.add_argument("--start-from", type=Path, help="a model folder of the same shape to begin with")
    p.add_argument("--bf16", action="store_true", help="bf16 matmuls (default on cuda)")
    p.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    for config in (TrainConfig, LlamaConfig):
        group = p.add_argument_group(config.__name__)
        for f in fields(config):
            if f.type in (int, float):
                group.add_argument(
                    f"--{f.name.replace('_', '-')}", type=f.type, default=f.default, help=f"default {f.default}"
                )
    p.set_defaults(run=run_train)


def run_train(args) -> None:
    """Hand the options to `models.train.train`."""
    from qcourse.models.llama import LlamaConfig
    from qcourse.models.recipe import TrainConfig
    from qcourse.models.train import train

    def make(config):
        return config(**{f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)})

    bf16 = args.bf16 or args.device == "cuda"
    train(args.out, make(LlamaConfig), make(TrainConfig), args.device, args.data, bf16, args.compile, args.start_from)


def add_labs(commands) -> None:
    """`qcourse reset`: a fresh lab, the student's work kept; `qcourse warm-up`: compile before the first lesson."""
    p = commands.add_parser("reset", help="start a lab afresh; what was written is kept under a dated name")
    p.add_argument("lab", help="its number: 01")
    p.add_argument("--labs", type=Path, help="the folder of the labs (default: labs, or this one if the lab lies here)")
    p.add_argument(
        "--guesses", action="store_true", help="forget the guesses of that notebook instead; labs stay as they are"
    )
    p.set_defaults(run=run_reset)
    p = commands.add_parser("progress", help="what you guessed and wrote in notebooks and labs")
    p.set_defaults(run=lambda args: run_progress())
    p = commands.add_parser("warm-up", help="compile the CPU kernels for this machine, once")
    p.set_defaults(run=lambda args: run_warm_up())


def run_reset(args) -> None:
    """Copy, then write the starter; say where the copy is."""
    from qcourse.checks.labs import reset, starter_of
    from qcourse.study.widgets.guesses import clear

    if args.guesses:
        return print(f"{clear(args.lab)} guesses of notebook {args.lab} forgotten")
    name, usual = starter_of(args.lab).name, Path("labs")
    here = not (usual / name).exists() and Path(name).exists()  # called inside the folder of the labs
    done = reset(args.lab, args.labs or (Path() if here else usual))
    print(f"kept what you wrote as {done.kept}" if done.kept else "there was nothing of yours to keep")
    print(f"{done.fresh} is fresh again (in JupyterLab: File > Reload Notebook from Disk)")


def in_order(key: str) -> list:
    """01.2 before 01.10, notebooks before labs."""
    return [(not n.isdigit(), int(n) if n.isdigit() else 0, n) for n in key.split(".")]


def run_progress() -> None:
    """Every guess, every line that was written and every task that was checked, by notebook."""
    from qcourse.study.widgets.guesses import guesses_file, read_all

    found = read_all()
    for key in sorted(found, key=in_order):
        what, guess = found[key], found[key].get("value")
        said = (
            [guess if isinstance(guess, str) else "a curve" if isinstance(guess, list) else f"{guess:g}"]
            if guess is not None
            else []
        )
        said += ["shown without a guess"] * (guess is None and bool(what.get("shown")))
        said += [f"{kind} {what[kind]}" for kind in ("line", "task") if kind in what]
        print(f"{key:9s} {', '.join(said):24s} {what.get('when', '')[:10]}")
    print(
        f"{len(found)} questions in {guesses_file()}"
        if found
        else "nothing yet: guesses are made in the notebooks (make lab)"
    )


def run_warm_up() -> None:
    """Compile every loop of the CPU kernels, or find it compiled."""
    from qcourse.gemm.jit import has_jit
    from qcourse.gemm.warm_up import warm_up

    if has_jit():
        warm_up()


class Parser(argparse.ArgumentParser):
    """argparse, with bad options said in one line (the subcommands are made of the same class)."""

    def error(self, message: str):
        """Exit with 2 and a line that points to the help."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run(args) -> tuple[int, str]:
    """Run a command: (0, "") or an exit code and one line for stderr. QCOURSE_TRACEBACK=1 shows where it happened."""
    expected = (ValueError, OSError, ImportError, MemoryError)
    try:
        args.run(args)
        sys.stdout.flush()
        return 0, ""
    except KeyboardInterrupt:
        return 130, "interrupted"
    except BrokenPipeError:  # `qcourse … | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the interpreter flushes it when it ends)
        return 141, "whoever read the output has gone"
    except Exception as e:
        if os.environ.get("QCOURSE_TRACEBACK"):
            raise
        if isinstance(e, OSError) and not isinstance(e, ImportError) and e.filename is None and e.errno is not None:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (a full disk behind stdout would be told again)
        said = f"{e.filename}: {e.strerror}" if isinstance(e, OSError) and e.filename and e.strerror else str(e)
        said = " ".join(said.split()) or "no reason given"
        return 2, said if isinstance(e, expected) and str(e) else f"{type(e).__name__}: {said}"


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `qcourse` command."""
    from qcourse.classroom.command import add_grade
    from qcourse.models.command import add_models
    from qcourse.study.command import add_bench, add_eval, add_zoo
    from qcourse.study.convert_command import add_convert
    from qcourse.study.inspect_command import add_inspect
    from qcourse.study.quantize_command import add_quantize

    parser = Parser(prog="qcourse", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_train(commands)
    add_models(commands)
    add_eval(commands)
    add_bench(commands)
    add_zoo(commands)
    add_quantize(commands)
    add_convert(commands)
    add_inspect(commands)
    add_labs(commands)
    add_grade(commands)
    args = parser.parse_args(argv)
    code, said = run(args)
    if code:
        parser.exit(code, f"qcourse: {said}\n")


if __name__ == "__main__":
    main()
