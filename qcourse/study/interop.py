"""Who loads what is written here, and with what result: captures/interop.json, which `make interop` makes, in short.

docs/interop.md is the whole table.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qcourse.checkpoints.errors import CheckpointError
from qcourse.study.picture import Table

FIELDS = ("subject", "written_as", "loaded_by", "version", "verdict", "ok")


def pairs(path: Path, subject: str = "shipped") -> list[dict]:
    """The rows of one subject, in the capture's order. Raises CheckpointError for a file that holds something
    else, OSError for one that is not there."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        found = [{field: row[field] for field in FIELDS} for row in rows]
    except (ValueError, KeyError, TypeError) as e:
        raise CheckpointError(f"{path}: no table of pairs ({e!r}): `make interop` makes one") from e
    return [row for row in found if row["subject"] == subject]


def tally(rows: Sequence[dict]) -> Table:
    """For every ecosystem (the first word of how a file was written) and reader: how many of its formats load, how many
    cannot."""
    counts = Counter((row["written_as"].split()[0], row["loaded_by"], row["ok"]) for row in rows)
    both = dict.fromkeys((written, loaded) for written, loaded, _ in counts)
    lines = [(written, loaded, counts[written, loaded, True], counts[written, loaded, False]) for written, loaded in both]
    return Table(("written here as", "read by", "formats that load", "that cannot"), lines)


def sentences(rows: Sequence[dict], *words: str) -> list[str]:
    """What came out of the pairs whose format has one of the words, a paragraph each."""
    chosen = [row for row in rows if any(word in row["written_as"] for word in words)]
    said = (f"{r['written_as']} → {r['loaded_by']}{'' if r['ok'] else ', cannot'}: {r['verdict']}" for r in chosen)
    return [textwrap.fill(text, 100, subsequent_indent="    ") for text in said]
