"""`qcourse`: what the course can do without a notebook. Every command is a row of COMMANDS, loaded when it is called.

    main → parse (the command's module, its options) → run (the work) → its Outcome, printed once: text, JSON, or nothing

So `qcourse --help` loads neither torch nor anything else that is heavy. How a result is printed, how an error is said and
which exit code it has stands here and in `failures`, and nowhere else.
"""

import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from qcourse import __version__, completion
from qcourse.failures import line_of
from qcourse.options import EXIT_CODES, Outcome, Parser, did_you_mean, one_of

EXAMPLES = """\
examples:
  qcourse lab                                        the course, in JupyterLab
  qcourse quantize shipped --scheme W4A16 --group-size 64 --out runs/w4
  qcourse inspect runs/w4 --hex                      what lies in it, down to the bits
  qcourse eval --model runs/w4                       what it costs: speed, memory, quality
  qcourse chat --model runs/w4
  eval "$(qcourse completion bash)"                  names of commands, options, schemes at a press of Tab
"""


@dataclass(frozen=True)
class Command:
    """`line`: what it does · `adds`: module:function, below qcourse, that gives a Parser its options and what runs ·
    `output`: which of --json and --quiet it has (its function says why not both)."""

    group: str
    line: str
    adds: str
    output: str = "json quiet"


COMMANDS: dict[str, Command] = {
    "lab": Command("learn", "open the course in JupyterLab", "classroom.learner_command:add_lab", ""),
    "progress": Command("learn", "what you guessed and wrote so far", "classroom.learner_command:add_progress", "json"),
    "reset": Command("learn", "start a lab afresh; what you wrote is kept", "classroom.learner_command:add_reset"),
    "warm-up": Command("learn", "compile the CPU kernels, once a machine", "classroom.learner_command:add_warm_up", "quiet"),
    "fetch": Command("make", "bring a pretrained model (93 MB, once)", "models.command:add_fetch"),
    "quantize": Command(
        "make", "a model → a folder in a quantized format, block by block", "study.quantize_command:add_quantize"
    ),
    "convert": Command("make", "a quantized model → the same codes in another layout", "study.convert_command:add_convert"),
    "export": Command("make", "a model → one .gguf file for llama.cpp", "study.convert_command:add_export"),
    "train": Command("make", "train the shipped model again", "models.train_command:add_train"),
    "inspect": Command("look", "open a model file: tensors, bits, config, traps", "study.inspect_command:add_inspect"),
    "generate": Command("look", "let a model go on with a text", "models.command:add_generate", "json"),
    "cheatsheet": Command(
        "look", "formats, methods, kernels, names on two pages: PDF, PNG", "study.cheatsheet_command:add_cheatsheet"
    ),
    "chat": Command("look", "talk with a model in the terminal", "models.command:add_chat", ""),
    "eval": Command("measure", "speed, memory and quality of formats", "study.eval_command:add_eval"),
    "capture": Command("measure", "eval, kept under captures/", "study.eval_command:add_capture"),
    "bench": Command("measure", "where a decode step's time goes", "study.command:add_bench", "json"),
    "zoo": Command("measure", "every format: bits against quality", "study.command:add_zoo"),
    "grade": Command("class", "grade a folder of notebooks", "classroom.command:add_grade"),
    "patients": Command("class", "give each student a patient of lab 13", "classroom.command:add_patients"),
    "completion": Command("shell", "print a shell's completion script", "cli:add_completion", ""),
}


def parser_of(name: str) -> Parser:
    """The parser of one command, with its options."""
    command = COMMANDS[name]
    parser = Parser(f"qcourse {name}", command.line, command.output)
    module, function = command.adds.split(":")
    getattr(import_module(f"qcourse.{module}"), function)(parser)
    return parser


def overview() -> str:
    """`qcourse --help`: the commands by group, a line each."""
    lines = [
        "qcourse: learn LLM quantization, and do it",
        "",
        "usage: qcourse COMMAND [options]",
        "       qcourse COMMAND --help",
    ]
    for group in dict.fromkeys(c.group for c in COMMANDS.values()):
        lines += ["", f"{group}:", *(f"  {n:12s}{c.line}" for n, c in COMMANDS.items() if c.group == group)]
    codes = [f"  {code:<4d}{said}" for code, said in EXIT_CODES.items()]
    return "\n".join(
        [*lines, "", EXAMPLES, "exit codes:", *codes, "", "qcourse COMMAND --help explains each; qcourse --version.\n"]
    )


def parse(argv: Sequence[str]):
    """The options of a command line. Exits with 0 after --help or --version, with 2 and one line for what is none."""
    first = argv[0] if argv else None
    if first in ("--help", "-h"):
        print(overview(), end="")
        raise SystemExit(0)
    if first == "--version":
        print(f"qcourse {__version__}")
        raise SystemExit(0)
    if first not in COMMANDS:
        wrong = "a command is missing" if first is None else f"there is no command {first!r}{did_you_mean(first, COMMANDS)}"
        wrong = f"{first} is no option of qcourse itself: a command first" if first and first.startswith("-") else wrong
        stop(2, f"{wrong} (qcourse --help lists them)")
    parser, words = parser_of(first), list(argv[1:])
    own = words.index("--") if parser.rest and "--" in words else len(words)
    args = parser.parse_args(words[:own])
    args.rest = words[own + 1 :]
    return args


def add_completion(p: Parser) -> None:
    """`qcourse completion`: its result is a script, so it has neither --json nor --quiet."""
    p.epilog = completion.EXAMPLES
    p.add_argument("shell", metavar="SHELL", type=one_of("shell", lambda: completion.SHELLS), help="bash, zsh or fish")
    p.set_defaults(run=lambda args: Outcome(completion.script(args.shell, {n: parser_of(n) for n in COMMANDS})))


def stop(code: int, said: str) -> None:
    """Say one line on standard error, and end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"qcourse: {said}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def finite(data):
    """What JSON can hold: NaN and inf become null."""
    if isinstance(data, dict):
        return {str(k): finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [finite(v) for v in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def perform(args) -> int:
    """Run a command and print what came of it. While it runs with --json, what is printed goes to standard error."""
    with contextlib.ExitStack() as stack:
        if getattr(args, "json", False):
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        elif getattr(args, "quiet", False):
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8", errors="backslashreplace"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        outcome = args.run(args) or Outcome()
    if getattr(args, "json", False):
        print(json.dumps(finite(outcome.data), indent=1, default=str, allow_nan=False))
    elif not getattr(args, "quiet", False) and outcome.text:
        print(outcome.text)
    if sys.stdout is not None:
        sys.stdout.flush()
    return outcome.code


def run(args) -> tuple[int, str]:
    """Run a command: its exit code, and one line for standard error where it failed."""
    subject = next((str(v) for n in ("model", "source", "submissions") if (v := getattr(args, n, None))), None)
    try:
        return perform(args), ""
    except KeyboardInterrupt:
        return 130, "interrupted"
    except BrokenPipeError:  # `qcourse … | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (the interpreter flushes it when it ends)
        return 141, ""
    except Exception as e:
        if args.debug:
            traceback.print_exc()
        if isinstance(e, OSError) and not isinstance(e, ImportError) and e.filename is None and e.errno is not None:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (a full disk behind stdout would be told again)
        return 2, line_of(e, subject)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the `qcourse` command."""
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal lacks, or half a file name, is no error
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = parse(argv)
    except KeyboardInterrupt:
        stop(130, "interrupted")
    except Exception as e:  # an option's type looks at paths, and imports what knows the names
        if "--debug" in argv:
            traceback.print_exc()
        stop(2, line_of(e))
    code, said = run(args)
    if said:
        stop(code, said)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
