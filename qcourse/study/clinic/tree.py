"""From symptom to cause: a tree of questions, each about what one instrument shows.

`walk` asks them of a patient mechanically. That it arrives at the right case for every case and many seeds is the proof that
each can be found. The order is a diagnostician's: is the meter right, is the file what it says, is it the norms, the scales,
the codes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qcourse.study.clinic.case import Patient
from qcourse.study.clinic.instruments import examine
from qcourse.study.picture import Picture
from qcourse.study.plots import BLUE, GREY, described, figure

NORMS, FAR = ("layernorm", "norm"), 100.0
NONE = "none of these: a bug that this clinic does not know"


@dataclass(frozen=True)
class Question:
    """`ask(what the instrument shows)` is yes or no; behind each the next question, the name of a case, or NONE."""

    question: str
    instrument: str
    ask: Callable
    yes: "Question | str"
    no: "Question | str"


def only_norms(e) -> bool:
    """Whether all that differs is a norm."""
    return bool(e.struck) and all(n.endswith(NORMS) for n in e.struck)


def strongest(loud) -> float:
    """The slope that is furthest from 0."""
    return max((s for s in loud.slopes().values() if s is not None), key=abs, default=0.0)


def ends_along_n(c) -> bool:
    """Whether groups along N reach the end of the grid, and those along K do not."""
    along = (c.patient.reach(0), c.patient.reach(1))
    return None not in along and along[0] > 0.99 > along[1]


def coarse_scales(h) -> bool:
    """Whether the scales have another dtype than the twin's, and that is fp16."""
    return any(n.endswith("weight_scale") and mine.startswith("float16") for n, (mine, _) in h.retyped.items())


def sequence(rows: list[tuple], last: str) -> "Question | str":
    """Questions one behind the other: each yes ends at a case or begins another tree."""
    tree = last
    for question, instrument, ask, yes in reversed(rows):
        tree = Question(question, instrument, ask, yes, tree)
    return tree


QUIET = Question("A norm is all that differs: is one input quieter than the twin's by what bf16's is louder (slope −1)?",
                 "loudness", lambda loud: strongest(loud) < 0, "a fold applied twice", NONE)  # fmt: skip
FOLDS = Question("A norm is all that differs: is one input as loud as bf16's, where the twin's is not (slope +1)?",
                 "loudness", lambda loud: strongest(loud) > 0, "a fold forgotten", QUIET)  # fmt: skip
TREE = sequence(
    [
        ("Is a target anything but the next id of the text?", "meter",
         lambda m: m.next_id < 1, "perplexity without the shift"),
        ("Does more than one marker stand in front?", "meter", lambda m: m.markers > 1, "a double BOS"),
        ("Has calibration read the windows that are scored?", "meter",
         lambda m: bool(m.seen), "calibrated on the evaluation text"),
        ("Is g_idx missing, which the twin has?", "headers",
         lambda h: any(n.endswith("g_idx") for n in h.missing), "act_order ignored"),
        ("Does lm_head have codes, which the twin's does not?", "headers",
         lambda h: any(n.startswith("lm_head.") for n in h.surplus), "the head quantized, too"),
        ("Is every tensor the twin's, and the config not?", "headers",
         lambda h: bool(h.config) and not any(k for k, _ in h.changed.values()), "zeros of another version"),
        ("Without a cache, does every layer do what the twin's does?", "errors by layer",
         lambda e: not e.struck, "KV scales of 1.0"),
        ("Is a norm all that differs?", "errors by layer", only_norms, FOLDS),
        ("Is every input as loud as in bf16, where the twin's are not?", "loudness", lambda loud: loud.as_plain(),
         "smoothing never applied"),
        ("Are the scales in fp16, where the twin's are not?", "headers", coarse_scales, "scales underflow in fp16"),
        ("Is a layer wrong by a factor of more than a hundred?", "errors by layer",
         lambda e: max(e.alone.values()) > FAR, "global scale inverted"),
        ("Are the codes the twin's, and the zero points not?", "codes",
         lambda c: c.agree["as they are"] == 1 and abs(c.moved) > 0.5, "zero points off by one"),
        ("Are they the twin's codes, once neighbours along K are swapped?", "codes",
         lambda c: c.agree["neighbours along K swapped"] == 1, "swapped nibbles"),
        ("Are they the twin's rows, in another order?", "codes", lambda c: c.agree["rows in another order"] == 1,
         "Q and K rows not put back"),
        ("Do groups along N reach the end of the grid, and those along K not?", "codes", ends_along_n,
         "groups along the wrong axis"),
        ("Are they the codes of another layer of the twin?", "codes", lambda c: c.elsewhere is not None,
         "a matrix of another layer"),
    ],
    NONE,
)  # fmt: skip


@dataclass(frozen=True)
class Walk:
    """The case at which the tree arrives, or NONE, and the way: (question, instrument, answer)."""

    cause: str
    steps: tuple[tuple[str, str, bool], ...]

    def __str__(self) -> str:
        lines = [f"{q} [{instrument}] {'yes' if answer else 'no'}" for q, instrument, answer in self.steps]
        return "\n".join([*lines, f"→ {self.cause}"])


def walk(patient: Patient) -> Walk:
    """Ask the tree's questions of a patient, by its instruments alone."""
    at, steps = TREE, []
    while isinstance(at, Question):
        answer = bool(at.ask(examine(patient, at.instrument)))
        steps.append((at.question, at.instrument, answer))
        at = at.yes if answer else at.no
    return Walk(at, tuple(steps))


def ways(tree: "Question | str" = TREE, way: tuple = ()) -> Iterator[tuple[str, tuple[tuple[Question, bool], ...]]]:
    """(case, the answers that lead to it) for every leaf."""
    if isinstance(tree, str):
        yield tree, way
        return
    yield from ways(tree.yes, (*way, (tree, True)))
    yield from ways(tree.no, (*way, (tree, False)))


def tree_text(met: tuple[str, ...] | None = None, tree: "Question | str" = TREE, depth: int = 0) -> str:
    """The tree in lines; of cases that were not `met` only that there is one (None: all are named)."""
    if isinstance(tree, str):
        return "  " * depth + ("→ " + tree if met is None or tree in (*met, NONE) else "→ …")
    first = f"{'  ' * depth}{tree.question} [{tree.instrument}]"
    straight = tree_text(met, tree.no, depth)
    return "\n".join([first, tree_text(met, tree.yes, depth + 1), straight])


def tree_figure(met: tuple[str, ...] | None = None) -> Picture:
    """The same, drawn: questions down the left, the case of each yes beside it; grey where it was not met yet."""
    lines = tree_text(met).split("\n")
    names = [name for name, _ in ways() if name != NONE]
    named = sum(f"→ {name}" in map(str.strip, lines) for name in names)
    fig, ax = figure(1, f"{named} of {len(names)} causes, one question at a time", 9, 0.5 + 0.26 * len(lines))
    for i, line in enumerate(lines):
        leaf, depth = "→" in line, (len(line) - len(line.lstrip())) // 2
        color = GREY if "…" in line else BLUE if leaf else "black"
        ax.text(0.03 * depth, -i, line.strip(), color=color, size=9, va="center", weight="bold" if leaf else "normal")
    ax.set(xlim=(0, 1), ylim=(-len(lines), 1))
    ax.axis("off")
    return described(fig, tree_text(met).replace("\n", "; "))
