"""What prose says about SmolLM2 was measured: every number of those sections is one of a capture, or a fact of the file."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from qcourse.study.experiments import EXPERIMENTS
from qcourse.study.measured import read_capture

ROOT = Path(__file__).parent.parent
CAPTURES = sorted((ROOT / "captures").glob("smollm2-*.json"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
APPENDICES = sorted((ROOT / "notebooks").glob("A*.ipynb"))
HEADING = "The same on a model that people use"
WRITTEN = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?")
NOT_MEASURED = (
    r"`[^`]*`|\d{4}-\d\d-\d\d|arXiv:\S+|et al\. \d{4}|§ ?\d+|[Nn]otebook \d\d|^#+ .*$"
    r"|^```[^`]*```| {4}\S.*$|SmolLM2-135M\S*|SmolLM2|Q4_1"
)
FACTS = {  # what is no measurement: sizes of the file and of the model, formats, dates of papers, rules of the course
    "135": "million weights", "93": "MB of the wheel", "37": "times the shipped model's", "5": "bits of Q4_1",
    "576": "K", "1536": "K", "4.5": "576 / 128", "128": "G", "64": "G", "32": "G", "49,152": "vocabulary",
    "210": "matrices", "30": "layers", "16": "bits", "8": "bits", "4": "bits", "3": "bits", "2": "bits", "0": "α, position",
    "512": "tokens a window",
    "1": "α, a token", "0.8": "Xiao et al.'s α", "0.9": "Xiao et al.'s α", "3.7": "million weights of the shipped model",
}  # fmt: skip


def leaves(found):
    """Every number in a capture's results."""
    if isinstance(found, dict):
        for value in found.values():
            yield from leaves(value)
    elif isinstance(found, list):
        for value in found:
            yield from leaves(value)
    elif isinstance(found, (int, float)) and not isinstance(found, bool):
        yield float(found)


def unfounded(text: str, measured: list[float]) -> list[str]:
    """The numbers of a text that are neither facts nor roundings of what was measured (or of its hundredfold, for %)."""
    text = re.sub(NOT_MEASURED, " ", text, flags=re.M)
    bad = []
    for word in WRITTEN.findall(text):
        plain = word.strip("+−-").replace(",", "")
        if word.strip("+−-") in FACTS or plain in FACTS:
            continue
        places = len(plain.partition(".")[2])
        wanted = float(plain)
        if not any(round(abs(m) * unit, places) == wanted for m in measured for unit in (1, 100)):
            bad.append(word)
    return bad


def section(path: Path) -> str | None:
    """The markdown of a notebook's section on SmolLM2."""
    cells = nbformat.read(path, as_version=4).cells
    begin = next((i for i, c in enumerate(cells) if c.cell_type == "markdown" and HEADING in c.source.split("\n")[0]), None)
    if begin is None:
        return None
    end = next((i for i, c in enumerate(cells) if i > begin and c.cell_type == "markdown" and c.source.startswith("## ")))
    return "\n".join(c.source for c in cells[begin:end] if c.cell_type == "markdown")


@pytest.fixture(scope="module")
def measured():
    return [value for path in CAPTURES for value in leaves(read_capture(path)["results"])]


def test_there_are_captures_and_each_is_complete():
    assert {p.stem.removeprefix("smollm2-") for p in CAPTURES} == {
        "weights", "both", "outliers", "first-token", "super-weight", "chat", "sensitivity", "speed", "zoo",
        "methods", "rotated", "one-weight", "kv-long", "kv-inside", "rules", "files", "protocol",
    }  # fmt: skip
    for path in CAPTURES:
        capture = read_capture(path)
        assert capture["complete"] and capture["settings"]["subject"] == "smollm2", path
        full = EXPERIMENTS[name].full if (name := path.stem.removeprefix("smollm2-")) in EXPERIMENTS else {}
        assert set(full.get("formats", ())) <= set(capture["results"]), path
        assert all(capture["settings"][k] == full[k] for k in full if k != "formats"), path
        assert "smollm2" in capture["command"] and capture["versions"]["torch"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_has_the_section_and_no_number_of_its_prose_is_made_up(path, measured):
    text = section(path)
    assert text, f"{path.name}: no section {HEADING!r}"
    assert unfounded(text, measured) == []


def test_the_cheatsheet_types_no_number():
    """A3's prose has no numbers but those of notebooks, bits and invariants: its tables are computed."""
    (path,) = (p for p in APPENDICES if p.stem == "A3_cheatsheet")
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    text = re.sub(
        r"\[[^]]*\]\([^)]*\)|invariants? \d|\*\*.*?\*\*|About \d+ minutes|\bA4\b|<code>.*?</code>|NVFP4", " ", text
    )
    assert unfounded(text, []) == []
    assert unfounded(text + " It costs +0.123.", []) == ["+0.123"]


def test_the_readme_too(measured):
    readme = (ROOT / "README.md").read_text()
    text = readme[readme.index("## A model that people use") :]
    text = text[: text.index("\n## ", 5)]
    assert unfounded(text, measured) == []


def test_a_made_up_number_is_found(measured):
    assert unfounded("It costs +7.654321 bits, 12.34 %.", measured) == ["+7.654321", "12.34"]
    assert unfounded("It has 135 million weights.", measured) == []
    assert unfounded("a quarter: 0.25", [0.2459]) == [] and unfounded("a quarter: 0.26", [0.2459]) == ["0.26"]
    assert unfounded("29.5 %", [0.2951]) == [] and unfounded("29.7 %", [0.2951]) == ["29.7"]


def test_captures_hold_nothing_but_json_numbers():
    for path in CAPTURES:
        json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and Infinity, which are none
