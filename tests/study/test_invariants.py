"""Every place that an invariant is said to live in is there, and every bug of a file has one, too."""

import re
from pathlib import Path

import nbformat
import pytest

from qcourse.checks.task import TASKS
from qcourse.study.clinic.cases import CASES
from qcourse.study.invariants import HOMES, INVARIANTS, explained, homes

NOTEBOOKS = {p.stem[:2]: nbformat.read(p, 4) for p in (Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb")}
GUESSES = {
    key
    for nb in NOTEBOOKS.values()
    for c in nb.cells
    for key in re.findall(r'(?:predict|sketch)\(\s*"(\d\d\.\d+)"', c.source)
}
SECTIONS = {f"{n} §{k}" for n, nb in NOTEBOOKS.items() for c in nb.cells for k in re.findall(r"(?m)^## (\d+) ·", c.source)}


def test_there_is_a_home_for_each():
    assert len(HOMES) == len(INVARIANTS) == 6 and len(homes().rows) == 6
    assert all(all(cell for cell in row) for row in homes().rows)


@pytest.mark.parametrize("number", range(1, 7))
def test_every_place_exists(number):
    home = HOMES[number - 1]
    assert set(home.predicted) <= GUESSES and set(home.measured) <= SECTIONS
    assert set(home.practised) <= set(TASKS) and set(home.debugged) <= set(CASES)
    assert any(key.startswith("A1") for key in explained(number)) and any(key.startswith("A2") for key in explained(number))


def test_every_bug_of_a_file_breaks_an_invariant():
    debugged = {case for home in HOMES for case in home.debugged}
    assert debugged == {name for name, case in CASES.items() if case.kind == "file"}
