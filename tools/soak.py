"""The checks on many seeds: every right answer right, every mutant wrong, with its own hint, and nothing crashes.

    python -m tools.soak                     every task: solutions and alternatives on 600 seeds, mutants on 100
    python -m tools.soak 01 02.3             a lab, a task
    python -m tools.soak --seeds 50 --mutant-seeds 10 --first-seed 600

A right answer that is told wrong on one seed in forty wrongs eight students in a class of 300, so few seeds prove little.
Exits with 1 if a right answer was wrong, a mutant right, a judge crashed, or 1 % of a task's mutants got another hint.
"""

import argparse
import signal
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace

from qcourse.checks.judge import generator, judge
from qcourse.checks.result import Result
from qcourse.checks.task import TASKS, Task
from tools.mutants import edited, listed, solution_of

UNKNOWN = "no known mistake"
OTHER_HINTS = 0.01  # of the mutants' runs
EXAMPLES = 5  # of each violation that are printed


@dataclass
class Tally:
    """What happened to one task's answers. `found`: (kind of violation, answer) → the seeds on which it was seen."""

    task: str
    rights: int = 0
    mutants: int = 0
    seconds: float = 0.0
    found: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def note(self, kind: str, name: str, seed: int) -> None:
        """One violation."""
        self.found.setdefault((kind, name), []).append(seed)

    def count_in(self, name: str, mistake: str | None, result: Result, seed: int) -> None:
        """One result: of a right answer (mistake None) or of a mutant."""
        if mistake is None:
            self.rights += 1
            if (result.outcome, result.score) != ("right", 1.0):
                self.note("right told wrong", name, seed)
            return
        self.mutants += 1
        if result.outcome == "right" or result.score == 1:
            self.note("mutant right", name, seed)
        elif (result.mistake or UNKNOWN) != mistake:
            self.note("other hint", f"{name} → {result.mistake}", seed)

    def count(self, kind: str) -> int:
        """How often a kind of violation was seen."""
        return sum(len(seeds) for (k, _), seeds in self.found.items() if k == kind)


KINDS = ("right told wrong", "mutant right", "crash", "other hint")


def answers(task_id: str) -> list[tuple[str, str | None, object]]:
    """(name, the mistake that it makes or None if it is right, function) of every answer to a task."""
    mutants, alternatives = listed()
    found = [("the solution", None, solution_of(task_id))]
    found += [(a.name, None, edited(task_id, a)) for a in alternatives if a.task == task_id]
    wrong = [m for m in mutants if m.task == task_id]
    return found + [(f"{m.mistake or UNKNOWN} [{i}]", m.mistake or UNKNOWN, edited(task_id, m)) for i, m in enumerate(wrong)]


def soak(tally: Tally, seeds: range, mutant_seeds: range) -> Tally:
    """Judge every answer to a task on every seed; what is seen is counted in `tally`, which is returned."""
    task_id, began = tally.task, time.perf_counter()
    every = answers(task_id)
    for seed in sorted({*seeds, *mutant_seeds}):
        task = drawn_once(TASKS[task_id], seed)
        for name, mistake, fn in every:
            if seed not in (seeds if mistake is None else mutant_seeds):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = judge(task, fn, seed)
                _ = result.message
            except Exception as error:
                tally.note("crash", f"{name}: {type(error).__name__}: {error}", seed)
                continue
            tally.count_in(name, mistake, result, seed)
    tally.seconds = time.perf_counter() - began
    return tally


def drawn_once(task: Task, seed: int) -> Task:
    """The task with its cases drawn: all answers are asked the same, and drawing costs once. (A race draws as it goes.)"""
    properties = []
    for index, prop in enumerate(task.properties):
        made = prop.cases(generator(seed, index))
        properties.append(replace(prop, cases=lambda _, made=made: made) if isinstance(made, list) else prop)
    return replace(task, properties=tuple(properties))


def table(tallies: list[Tally]) -> str:
    """One line a task, and one for all."""
    rows = [f"| task | right answers | {KINDS[0]} | mutants | " + " | ".join(KINDS[1:]) + " |", "|---|" + "---|" * 6]
    total = Counter()
    for tally in tallies:
        numbers = [tally.rights, tally.count(KINDS[0]), tally.mutants, *map(tally.count, KINDS[1:])]
        total.update(dict(enumerate(numbers)))
        rows.append(f"| {tally.task} | " + " | ".join(f"{n:,}" for n in numbers) + " |")
    return "\n".join([*rows, "| all | " + " | ".join(f"{total[i]:,}" for i in range(6)) + " |"])


def violations(tallies: list[Tally]) -> list[str]:
    """What must not be, in words: nothing if the soak is clean."""
    said = []
    for tally in tallies:
        for (kind, name), seeds in tally.found.items():
            if kind != "other hint" or tally.count(kind) > OTHER_HINTS * tally.mutants:
                few = ", ".join(map(str, seeds[:EXAMPLES]))
                said.append(f"{tally.task} {kind}: {name} (on {len(seeds)} seeds: {few}{' …' * (len(seeds) > EXAMPLES)})")
    return said


def main(argv: list[str] | None = None) -> int:
    """Soak, print the table, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__.splitlines()[0])
    parser.add_argument("wanted", nargs="*", help="labs (01) or tasks (01.3); all if none are given")
    parser.add_argument("--seeds", type=int, default=600, help="seeds for every right answer (600)")
    parser.add_argument("--mutant-seeds", type=int, default=100, help="seeds for every mutant (100)")
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args(argv)
    unknown = [w for w in args.wanted if not any(t.startswith(w) for t in TASKS)]
    if unknown:
        parser.error(f"no lab or task {', '.join(unknown)}")
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # stopped from outside: the table all the same
    first, tallies = args.first_seed, []
    for task_id in (t for t in TASKS if not args.wanted or t.startswith(tuple(args.wanted))):
        tallies.append(Tally(task_id))
        try:
            soak(tallies[-1], range(first, first + args.seeds), range(first, first + args.mutant_seeds))
        except KeyboardInterrupt:
            print(f"stopped in the middle of {task_id}; what was seen until then:")
            break
        print(f"{task_id}: {tallies[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    said = violations(tallies)
    print("\n".join([table(tallies), *said]))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
