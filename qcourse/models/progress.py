"""How far a checkpoint is, in bytes of the source, and how fast: quantize, convert and export say it alike, on stderr.

On a terminal it is tqdm's bar, `model.layers.3:  41%|████▏     | 1.23G/3.00G [00:12<00:17, 104MB/s]`; elsewhere, as in a
log, at most ten lines: `model.layers.3: 1.23GB of 3.00GB, 104MB/s`.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

LINES = 10


class Progress:
    """`say` what is worked on; `done` with a part. parts: name → bytes · bar: None where nobody watches a terminal."""

    def __init__(self, parts: Mapping[str, int], bar: tqdm | None, lines: bool):
        self.parts, self.total, self.bar, self.lines = parts, sum(parts.values()), bar, lines
        self.n, self.earlier, self.begin = 0, 0, time.perf_counter()

    def say(self, name: str) -> None:
        """What is worked on: a part, or a layer of it."""
        if self.bar is not None:
            self.bar.set_description_str(name)

    def done(self, name: str, earlier: bool = False) -> None:
        """A part is behind us; earlier: another run did it, and it does not count for the speed of this one."""
        nbytes = self.parts[name]
        due, self.n = LINES * self.n // max(self.total, 1), self.n + nbytes
        self.earlier += nbytes * earlier
        self.say(name)
        if self.bar is not None:
            self.bar.initial = self.earlier
            self.bar.update(nbytes)
        if self.lines and LINES * self.n // max(self.total, 1) > due:
            rate = (self.n - self.earlier) / max(time.perf_counter() - self.begin, 1e-3)
            so_far, whole, speed = (tqdm.format_sizeof(x, "B") for x in (self.n, self.total, rate))
            print(f"{name}: {so_far} of {whole}, {speed}/s", file=sys.stderr, flush=True)


@contextmanager
def progress_of(parts: Mapping[str, int], shown: bool) -> Iterator[Progress]:
    """A bar over the parts of a source (name → bytes); shown False: nothing at all."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield Progress(parts, None, shown and sys.stderr is not None)
        return
    with tqdm(total=sum(parts.values()), unit="B", unit_scale=True, file=sys.stderr) as bar:
        yield Progress(parts, bar, False)
