"""An experiment on a subject: made here and now if the subject was fetched, else replayed from the course's capture; a
capture is an experiment with its full settings, kept with device, date, versions and command.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qcourse.models.subjects import fetched, source_of
from qcourse.study import captures
from qcourse.study.evaluate import provenance
from qcourse.study.experiments import EXPERIMENTS
from qcourse.study.picture import Table
from qcourse.study.results import identity, try_output, write


@dataclass(frozen=True)
class Measured:
    """`results`: key → numbers · `said`: where they come from, to be printed beside them · `live`: measured just now."""

    results: dict[str, dict]
    said: str
    live: bool


def capture_file(folder: Path, name: str, subject: str = "smollm2") -> Path:
    """Where the capture of an experiment lies."""
    return Path(folder) / f"{subject}-{name}.json"


def read_capture(path: Path) -> dict:
    """A capture of an experiment. Raises what `captures.read` raises."""
    return captures.read(path, ("settings", "results", "complete"))


def protocol(settings: dict) -> str:
    """Windows and their length in words, or what took turns with how many threads, or how a chat was drawn."""
    if "threads" in settings:
        return f"{settings['threads']} threads, all in turns"
    return f"{settings['n']} windows of {settings['seq_len']} tokens" if "n" in settings else "greedy"


def replay(path: Path, formats: list[str] | None = None) -> Measured:
    """What a capture holds (of some `formats` and bf16, or everything), said with its provenance."""
    c = read_capture(path)
    kept = c["results"] if formats is None else {f: c["results"][f] for f in dict.fromkeys(["bf16", *formats])}
    source = textwrap.fill(f"{captures.source(c, path.name)}; {protocol(c['settings'])}", 88)
    said = f"{source}\n$ {c['command']}"
    return Measured(kept, said, live=False)


def experiment(name: str, folder: Path, subject: str = "smollm2", **settings) -> Measured:
    """An experiment on a subject: live with its small settings where that takes a few minutes, else replayed.

    `settings` replace the live ones; of them `formats` also chooses what is replayed. Raises KeyError for an unknown
    experiment, and for a format that the capture does not hold.
    """
    found, path = EXPERIMENTS.get(name), capture_file(folder, name, subject)
    if found is None or not found.live or (subject != "shipped" and not fetched(subject)):
        return replay(path, settings.get("formats"))
    settings = found.live | settings
    results = dict(found.run(subject, {}, **settings))
    said = f"Measured here, just now: {subject}, {protocol(settings)}"
    return Measured(results, f"{said} (the capture {path.name} holds more windows)", live=True)


def ladder_table(results: dict[str, dict]) -> Table:
    """The rungs of a ladder: what each format adds, KL, flips, bits."""
    rows = []
    for name, r in results.items():
        added = (
            f"{r['added_bits_per_byte']:+.4f} ± {r['added_stderr']:.4f}" if name != "bf16" else f"({r['bits_per_byte']:.3f})"
        )
        rows.append((name, added, f"{r['kl_nats']:.4f}", f"{r['top1_flips']:.1%}", f"{r['bits_per_weight']:.3f}"))
    return Table(("", "added bits/byte", "KL, nats/token", "other top-1", "bits/weight"), rows)


def keep(name: str, folder: Path, command: str, subject: str = "smollm2", show: Callable = print) -> None:
    """Make an experiment with its full settings and keep it, written after every key; an interrupted one is continued.

    Raises ValueError for a file that holds another model, text or settings, and for one that cannot be written.
    """
    found, path = EXPERIMENTS[name], capture_file(folder, name, subject)
    same = {k: v for k, v in found.full.items() if k != "formats"}  # each format's numbers stand by themselves
    settings = {"subject": subject, **same, **identity(source_of(subject))}
    results = {}
    if path.exists():
        before = read_capture(path)
        differ = [k for k in settings if before["settings"].get(k) != settings[k]]
        if differ:
            raise ValueError(f"{path} was made with other settings ({', '.join(differ)}): remove it to measure again")
        results = before["results"]
        if before["complete"] and not found.missing(subject, results):
            return show(f"{path}: complete")
    try_output(path)
    capture = provenance("cpu") | {"command": command, "settings": settings, "results": results, "complete": False}
    for key, numbers in found.run(subject, dict(results), **found.full):
        results[key] = numbers
        write(path, capture)
        show(f"{path.name}: {key}")
    write(path, capture | {"complete": True})
