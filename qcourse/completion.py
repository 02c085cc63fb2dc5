"""What a shell offers at a press of Tab, generated from the parsers themselves: commands, options, names, files.

The script is complete: nothing is started while somebody types. It is made again when the course is updated.

    Offer       what an option or an argument takes: `words` (schemes, layouts, model names …), `listed` if several of them
                may stand with commas between, `files` if a path may stand there
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qcourse.options import Parser, a_file, a_place, value_of

EXAMPLES = """\
examples:
  eval "$(qcourse completion bash)"                                        in this shell; in ~/.bashrc: in every one
  qcourse completion zsh > ~/.zsh/_qcourse                                 in a folder of fpath, before compinit
  qcourse completion fish > ~/.config/fish/completions/qcourse.fish
"""


@dataclass(frozen=True)
class Offer:
    """What can be completed at one place."""

    words: tuple[str, ...] = ()
    listed: bool = False
    files: bool = False


def offer_of(action: argparse.Action) -> Offer:
    """What an option or argument takes, from its choices and its type."""
    kind = action.type
    words = action.choices or (kind.names() if hasattr(kind, "names") else ())
    files = kind in (Path, a_file, a_place) or getattr(kind, "files", False)
    return Offer(tuple(map(str, words)), getattr(kind, "listed", False), files)


def arguments(parser: Parser) -> list[argparse.Action]:
    """Those without a name, in their order."""
    return [a for a in parser._actions if not a.option_strings]


def options(parser: Parser) -> list[argparse.Action]:
    """Those with one."""
    return [a for a in parser._actions if a.option_strings]


def bash(parsers: Mapping[str, Parser]) -> str:
    """For bash 3.2 and later, without the bash-completion package."""
    values, rest, names = [], [], "\\n".join(["--help", "--version", *parsers])
    for name, parser in parsers.items():
        places: dict[str, list[str]] = {}
        for a in options(parser):
            if a.nargs not in (0, "?"):
                places.setdefault(bash_offer(offer_of(a)), []).extend(f"{name}:{o}" for o in a.option_strings)
        values += [f"    {'|'.join(keys)}) {offer}; return;;" for offer, keys in places.items()]
        flags = "\\n".join(o for a in options(parser) for o in a.option_strings)
        rest.append(f"    {name}:-*) _qcourse_words $'{flags}';;")
        rest.append(f"    {name}:*) {bash_offer(offer_of(arguments(parser)[0]) if arguments(parser) else Offer())};;")
    script = BASH.replace("@VALUES@", "\n".join(values)).replace("@REST@", "\n".join(rest))
    return script.replace("@COMMANDS@", names)


def bash_offer(offer: Offer) -> str:
    """One branch: the words, the files, or both."""
    words = "\\n".join(offer.words)
    steps = [f"_qcourse_{'list' if offer.listed else 'words'} $'{words}'"] if words else []
    return "; ".join([*steps, *(["_qcourse_files"] if offer.files else [])]) or ":"


BASH = """\
# bash completion of qcourse: eval "$(qcourse completion bash)"
_qcourse_words() { local IFS=$'\\n'; COMPREPLY+=($(compgen -W "$1" -- "$cur")); }
_qcourse_list() {
  local IFS=$'\\n' before=""
  case "$cur" in *,*) before="${cur%,*},";; esac
  COMPREPLY+=($(compgen -P "$before" -W "$1" -- "${cur##*,}"))
  compopt -o nospace 2>/dev/null
}
_qcourse_files() {
  local IFS=$'\\n'; COMPREPLY+=($(compgen -f -- "$cur"))
  compopt -o filenames 2>/dev/null
}
_qcourse() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}"
  COMPREPLY=()
  if [ "$COMP_CWORD" -le 1 ]; then _qcourse_words $'@COMMANDS@'; return; fi
  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="${COMP_WORDS[COMP_CWORD-2]}"; fi
  case "$command:$prev" in
@VALUES@
  esac
  case "$command:$cur" in
@REST@
  esac
}
complete -F _qcourse qcourse
"""


def zsh(parsers: Mapping[str, Parser]) -> str:
    """For zsh's own completion system."""
    cases = []
    for name, parser in parsers.items():
        specs = [zsh_spec(a) for a in options(parser)]
        specs += [f"{i}:{zsh_text(value_of(a))}:{zsh_offer(offer_of(a))}" for i, a in enumerate(arguments(parser), 1)]
        cases.append(f"    {name}) _arguments -s {' '.join(quoted(s) for s in specs)};;")
    commands = " ".join(quoted(f"{n}:{p.line}") for n, p in parsers.items())
    return ZSH.replace("@CASES@", "\n".join(cases)).replace("@COMMANDS@", commands)


def zsh_spec(a: argparse.Action) -> str:
    """`--option=[what it does]:VALUE:what is offered`."""
    said = zsh_text((a.help or "").split(" (default")[0])
    name = a.option_strings[-1]
    return f"{name}[{said}]" if a.nargs == 0 else f"{name}=[{said}]:{zsh_text(value_of(a))}:{zsh_offer(offer_of(a))}"


def zsh_offer(offer: Offer) -> str:
    """What is offered, in the words of _arguments."""
    words = " ".join(offer.words)
    if offer.words and offer.listed:
        return f"_sequence compadd - {words}"
    if offer.words and offer.files:
        return f'{{_alternative "names:name:({words})" "files:file:_files"}}'
    return f"({words})" if words else "_files" if offer.files else " "


def zsh_text(text: str) -> str:
    """Text without what _arguments reads as a sign."""
    return (
        " ".join(text.split()).replace("\\", "").replace("[", "(").replace("]", ")").replace(":", "\\:").replace("%%", "%")
    )


ZSH = """\
#compdef qcourse
# zsh completion of qcourse: qcourse completion zsh > a folder of fpath/_qcourse
_qcourse() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(@COMMANDS@)
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
@CASES@
  esac
}
if [ "$funcstack[1]" = "_qcourse" ]; then _qcourse "$@"; else compdef _qcourse qcourse; fi
"""


def fish(parsers: Mapping[str, Parser]) -> str:
    """For fish: a `complete` a line."""
    lines = ["# fish completion of qcourse", "complete -c qcourse -f"]
    for name, parser in parsers.items():
        here = f"complete -c qcourse -n '__fish_seen_subcommand_from {name}'"
        lines.append(f"complete -c qcourse -n __fish_use_subcommand -a {name} -d {quoted(parser.line)}")
        for a in options(parser):
            value = fish_offer(offer_of(a), here) if a.nargs != 0 else ""
            said = " ".join((a.help or "").split()).replace("%%", "%")
            lines.append(f"{here} -l {a.option_strings[-1].removeprefix('--')}{value} -d {quoted(said)}")
        lines += [here + fish_offer(offer_of(a), here).replace(" -x", "").replace(" -r", "") for a in arguments(parser)[:1]]
    return "\n".join(lines) + "\n"


def fish_offer(offer: Offer, here: str) -> str:
    """-x: a value and no file; -r: a value; -F: files."""
    words = f" -a {quoted(' '.join(offer.words))}" if offer.words else ""
    return f"{' -r -F' if offer.files else ' -x'}{words}"


def quoted(text: str) -> str:
    """One word of a shell, whatever it holds."""
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def script(shell: str, parsers: Mapping[str, Parser]) -> str:
    """The completion script of a shell, for these commands."""
    return SHELLS[shell](parsers).rstrip("\n")
