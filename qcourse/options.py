"""What every command of `qcourse` has in common: how it says what it does, its output, its exit codes, a bad option.

A command is a function that adds its options to a `Parser` and names what runs; that returns an `Outcome`, and `qcourse.cli`
prints it as text, as JSON (`--json`), or not at all (`--quiet`). So a command never asks how it is to be printed.
"""

import argparse
import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

EXIT_CODES = {
    0: "done",
    2: "bad input or a failure, said in one line on standard error",
    130: "interrupted (Ctrl-C)",
    141: "whoever read the output has gone (| head)",
}
OUTPUT = {
    "json": "print the result as JSON, and nothing else, on standard output; progress goes to standard error",
    "quiet": "no progress bar, and nothing printed but errors",
    "debug": "of an error, show where it happened, too",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a command: `text` for people, `data` for programs (JSON), `code` 1 where the command defines it."""

    text: str = ""
    data: object = None
    code: int = 0


def common(output: str) -> argparse.ArgumentParser:
    """The options that commands share, as a parent parser: --debug, and of --json and --quiet those that `output` names."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("output")
    for name in (*output.split(), "debug"):
        group.add_argument(f"--{name}", action="store_true", help=OUTPUT[name])
    return parent


class Parser(argparse.ArgumentParser):
    """argparse, with help that begins with what the command does and ends with examples and exit codes, and with bad
    options said in one line. `fails`: what exit code 1 means, for commands that have it. `rest`: what stands behind "--",
    for commands that hand it on."""

    def __init__(self, prog: str, line: str, output: str = "", **more):
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, formatter_class=layout, allow_abbrev=False, parents=[common(output)], **more)
        self.line, self.fails, self.rest, self.given = line, None, None, ()

    def parse_known_args(self, args=None, namespace=None):
        """As argparse does it; what was given is kept for `error`."""
        self.given = tuple(args or ())
        return super().parse_known_args(args, namespace)

    def format_usage(self) -> str:
        """Arguments, required options, and [options] for the rest: a line that can be read."""
        must = [a for a in self._actions if a.required or not a.option_strings]
        named = [f"{a.option_strings[-1]} {value_of(a)}" if a.option_strings else value_of(a) for a in must]
        rest = [f"[-- {self.rest}]"] if self.rest else []
        return f"usage: {' '.join([self.prog, *named, '[options]', *rest])}\n"

    def format_help(self) -> str:
        """What it does, usage, options, examples, exit codes."""
        self.usage = self.format_usage().removeprefix("usage: ").strip()
        codes = "\n".join(f"  {code:<4d}{said}" for code, said in self.exit_codes().items())
        return f"{self.prog}: {self.line}\n\n{super().format_help().rstrip()}\n\nexit codes:\n{codes}\n"

    def exit_codes(self) -> dict[int, str]:
        """Code → what it means, in order."""
        return dict(sorted((EXIT_CODES | ({1: self.fails} if self.fails else {})).items()))

    def error(self, message: str):
        """Exit with 2 and a line that points to the help; an option that is nearly one of ours is named."""
        names = [word.partition("=")[0] for word in self.given if re.match(r"--\w", word)]
        unknown = next((n for n in names if n not in self._option_string_actions), None)
        if unknown:
            message = f"there is no option {unknown}{did_you_mean(unknown, self._option_string_actions)}"
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def value_of(action: argparse.Action) -> str:
    """How the value of an option is called in its help."""
    name = str(action.metavar or action.dest.upper())
    return f"[{name}]" if action.nargs in ("?", "*") else name


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """ "; did you mean X?", or nothing where no name is near. Case is no distance.

    >>> did_you_mean("quantise", ["quantize", "eval"])
    '; did you mean quantize?'
    """
    by_lower = {name.lower(): name for name in reversed(list(names)) if name != word}
    near = difflib.get_close_matches(word.lower(), by_lower, 1, 0.6)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def number(kind: type, low: float = 0, high: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """An option's type: a finite number from `low` (or above it) to `high`."""
    bounds = f"{'above' if above else 'of at least'} {low}" + (f", at most {high}" if high < math.inf else "")
    expected = f"a {'whole ' if kind is int else ''}number {bounds}"

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: {expected} expected") from None
        if not low <= value <= high or value == math.inf or above and value == low:
            raise argparse.ArgumentTypeError(f"{text[:40]}: {expected} expected")
        return value

    return read


def above_zero(kind: type) -> Callable[[str], float]:
    """An option's type: a finite number of that kind, above 0; whole numbers up to 2³¹ - 1, which any tensor can hold."""
    return number(kind, 0, (1 << 31) - 1 if kind is int else math.inf, above=True)


def checked(check: Callable[[str], object], names: Callable[[], Iterable[str]], *, listed: bool = False) -> Callable:
    """An option's type: a name that `check` accepts (it raises ValueError), as it was written. `names` are offered by shell
    completion, and the nearest one to whoever mistypes; listed: the value is several of them with commas between."""

    def name(text: str) -> str:
        try:
            check(text)
        except ValueError as e:
            said = str(e)
            raise argparse.ArgumentTypeError(
                said if "did you mean" in said else said + did_you_mean(text, names())
            ) from None
        return text

    name.names, name.listed = names, listed
    return name


def one_of(what: str, names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
    """An option's type: one of these names, and no other."""

    def check(text: str) -> None:
        known = list(names())
        if text not in known:
            raise ValueError(f"unknown {what} {text!r}: one of {', '.join(known)}")

    return checked(check, names)


def a_file(text: str) -> Path:
    """An option's type: a file that is read, and must be there. Raises argparse's error naming it."""
    path = Path(text)
    if not text or path.is_dir() or not path.exists():
        what = "a folder, a file is expected" if text and path.is_dir() else "no such file"
        raise argparse.ArgumentTypeError(f"{text or repr(text)}: {what}")
    return path


def a_place(text: str) -> Path:
    """An option's type: a file or folder to make, in a folder that is there or can be made. Raises argparse's error for an
    empty name and for one below a file."""
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r}: the name of something to make expected")
    above = next((p for p in path.parents if p.exists()), None)
    if above is not None and not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: {above} is a file, nothing can be made below it")
    return path
