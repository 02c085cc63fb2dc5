"""The way through the course: every notebook and lab, its hours, and what is done."""

import html
from dataclasses import dataclass

from qcourse.checks.line import rows
from qcourse.study.widgets import guesses, static


@dataclass(frozen=True)
class Stop:
    """A notebook and its lab. minutes: of each; None where there is no lab. tasks: of the lab."""

    number: str
    stem: str
    question: str
    minutes: int
    lab_minutes: int | None = None
    tasks: int = 6


STOPS = (
    Stop("00", "00_dont_panic", "why fewer bits make decode faster", 30),
    Stop("01", "01_fake_quant", "what a scale is", 45, 45),
    Stop("02", "02_int4_groups_and_packing", "what 15 levels cost, where the bits lie in a file", 60, 45),
    Stop("03", "03_smoothquant_outliers", "why activations fight back", 60, 45),
    Stop("04", "04_quantize_and_eval", "what each family of formats really buys", 45, 45),
    Stop("05", "05_float_formats", "what a float of 8 or 4 bits is", 75, 60),
    Stop("06", "06_gptq", "how to round with hindsight", 75, 60),
    Stop("07", "07_awq_and_hqq", "which weights matter", 75, 60),
    Stop("08", "08_gemm", "why the format must match the kernel", 60, 60),
    Stop("09", "09_one_interface", "how an engine runs them all: one interface, rules, shards", 60, 60),
    Stop("10", "10_kv_cache", "the third axis: what a context costs, and in how few bits", 60, 60),
    Stop("11", "11_checkpoints", "what is in the file: a weight through seven of them, byte by byte", 60, 60),
    Stop("12", "12_rotation_qat_and_below_4_bits", "where it goes next: rotations, training, below 4 bits", 75, 60),
    Stop("13", "13_clinic", "what is wrong with this model? seventeen bugs to find and mend", 75, 60),
)
APPENDICES = ("A1", "A2", "A3")  # exercises, interview, cheatsheet: on no road
HEAD = ("", "question", "minutes", "guesses", "lines", "lab", "minutes", "tasks")


def done(number: str, kept: dict) -> tuple[int, int, int]:
    """Guesses made, lines right, and lab tasks right, of a notebook and its lab."""
    mine = [what for key, what in kept.items() if key.startswith(number + ".")]
    lab = [what for key, what in kept.items() if key.startswith(f"lab {number}.")]
    guessed, lines = sum("value" in what for what in mine), sum(what.get("line") == "right" for what in mine)
    return guessed, lines, sum(what.get("task") == "right" for what in lab)


def cells(stop: Stop, kept: dict) -> list[tuple[str, str]]:
    """(text, link) of a row's cells. In the edition for reading nothing is done yet."""
    guessed, lines, tasks = done(stop.number, kept)
    lab = (f"lab {stop.number}", f"../labs/{stop.stem}.ipynb") if stop.lab_minutes else ("", "")
    return [(stop.number, f"{stop.stem}.ipynb"), (stop.question, ""), (f"{stop.minutes}", ""), (f"{guessed}", ""),
            (f"{lines} of {len(rows(stop.number))}", ""), lab, (f"{stop.lab_minutes or ''}", ""),
            (f"{tasks} of {stop.tasks}" if stop.lab_minutes else "", "")]  # fmt: skip


class CourseMap:
    """Displays the map with what is done, read from disk each time."""

    def rows(self) -> list[list[tuple[str, str]]]:
        """(text, link) of every cell."""
        kept = {} if static() else guesses.read_all()
        return [cells(stop, kept) for stop in STOPS]

    def hours(self) -> str:
        """What all of it takes."""
        minutes = sum(s.minutes + (s.lab_minutes or 0) for s in STOPS)
        return f"about {minutes / 60:.0f} hours in all"

    def __repr__(self) -> str:
        lines = ["  ".join(text for text, _ in row if text) for row in self.rows()]
        return "\n".join([*lines, self.hours()])

    def _repr_html_(self) -> str:
        left = 'style="text-align:left;padding:.1em .7em"'
        head = "".join(f'<th scope="col" {left}>{name}</th>' for name in HEAD)
        body = ""
        for row in self.rows():
            inside = (f'<a href="{link}">{html.escape(text)}</a>' if link else html.escape(text) for text, link in row)
            body += "<tr>" + "".join(f"<td {left}>{cell}</td>" for cell in inside) + "</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self.hours()}</p>"
