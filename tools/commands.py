"""docs/commands.md: every command with its options, examples and exit codes, from the parsers themselves.

python -m tools.commands        (tests/test_commands.py compares)
"""

from pathlib import Path

from qcourse.cli import COMMANDS, EXAMPLES, parser_of
from qcourse.options import EXIT_CODES, OUTPUT, Parser, value_of

DOCUMENT = Path(__file__).parent.parent / "docs" / "commands.md"
INTRO = """\
# The commands

Written by `python -m tools.commands` from the parsers, as `qcourse COMMAND --help` prints it. Every command has `--help` and
`--debug` (of an error, show where it happened, too). `--json` prints the result as JSON and nothing else on standard output;
progress goes to standard error. `--quiet` prints nothing but errors. An error is one line on standard error.

| exit code | |
|---|---|
"""


def cell(text: str) -> str:
    """Text as the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def options_of(parser: Parser) -> list[str]:
    """A row for each argument and option, but for --help and --debug, which all have."""
    rows = []
    for a in sorted(parser._actions, key=lambda a: a.dest in OUTPUT):
        if a.dest in ("help", "debug"):
            continue
        value = "" if a.nargs == 0 else value_of(a) if a.choices is None else " \\| ".join(map(str, a.choices))
        name = f"{a.option_strings[-1]} {value}".strip() if a.option_strings else value
        rows.append(f"| `{name}` | {cell((a.help or '') % {'default': a.default})} |")
    return rows


def section(name: str) -> str:
    """One command."""
    parser, command = parser_of(name), COMMANDS[name]
    text, examples = parser.epilog.split("examples:\n")
    lines = [
        f"### qcourse {name}",
        "",
        f"{command.line[0].upper()}{command.line[1:]}.",
        "",
        "```",
        parser.format_usage().strip(),
    ]
    lines += ["```", ""] + ([" ".join(text.split()), ""] if text.strip() else [])
    rows = options_of(parser)
    lines += ["| | |", "|---|---|", *rows, ""] if rows else []
    lines += ["```", *(line.removeprefix("  ") for line in examples.rstrip().splitlines()), "```", ""]
    return "\n".join(lines + ([f"Exit code 1: {parser.fails}.", ""] if parser.fails else []))


def document() -> str:
    """The whole page."""
    parts = [INTRO + "\n".join(f"| {code} | {said.replace('|', '∣')} |" for code, said in EXIT_CODES.items()) + "\n"]
    parts.append("```\n" + "\n".join(x.removeprefix("  ") for x in EXAMPLES.splitlines()[1:]) + "\n```\n")
    for group in dict.fromkeys(c.group for c in COMMANDS.values()):
        parts += [f"## {group}\n", *(section(n) for n, c in COMMANDS.items() if c.group == group)]
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(f"{DOCUMENT}: {len(COMMANDS)} commands")
