"""The lab builder on a lab of its own; and the labs as they are committed: built from their sources, and complete."""

import re
import subprocess

import nbformat
import pytest
from nbclient import NotebookClient

from qcourse.checks.task import TASKS
from tools.labs import STARTERS, build, cells, solve, stale, starter, strip
from tools.notebooks import ROOT, problems

SOURCE = '''# %% [markdown]
# # Lab 07
# Write it.
# %%
def double(x):
    """2x"""
    ### BEGIN SOLUTION
    y = x + x
    return y
    ### END SOLUTION

# %%
check = print
# %%
check("07.1", double)
'''


def test_regions_become_what_the_student_is_to_write():
    starter = strip(SOURCE, "07")
    assert '    raise NotImplementedError("lab 07.1: write this")\n' in starter and "x + x" not in starter
    assert [kind for kind, _ in cells(starter)] == ["markdown", "code", "code", "code"]
    assert cells(SOURCE)[0][1] == "# Lab 07\nWrite it."
    assert '"""2x"""\n    y = x + x\n' in solve(SOURCE)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (SOURCE.replace("    ### END SOLUTION", ""), "never closed"),
        (SOURCE.replace("    y = x + x", "    ### BEGIN SOLUTION"), "inside another"),
        (SOURCE.replace("    y = x + x", "    y = 0\n" * 16), "more than 15 lines"),
    ],
)
def test_broken_regions_are_named(bad, why):
    with pytest.raises(ValueError, match=f"lab 07, line .*{why}"):
        strip(bad, "07")


def test_the_starter_carries_nbgraders_metadata():
    nb = nbformat.reads(starter(SOURCE.replace("07.1", "77.1"), "77"), as_version=4)
    nbformat.validate(nb)
    assert nb.metadata.qcourse.lab == "77"
    text, todo, plain, asked = (c.metadata.get("nbgrader") for c in nb.cells)
    assert text is plain is todo is None  # nbgrader would empty a "solution" cell, signature and all
    graded = {"grade_id": "lab77-1-check", "solution": False, "grade": True, "locked": True, "points": 1}
    assert asked == graded | {"schema_version": 3, "task": False}


def test_both_notebooks_are_built_and_a_students_work_is_never_overwritten(tmp_path):
    source, labs, pristine = tmp_path / "07_double.py", tmp_path / "labs", tmp_path / "starters"
    source.write_text(SOURCE)
    assert build(source, labs, starters=pristine) == "07_double.ipynb: written"
    solved = nbformat.read(tmp_path / "07_double.ipynb", as_version=4)
    assert [c.execution_count for c in solved.cells if c.cell_type == "code"] == [1, 2, 3]
    assert "SOLUTION" not in str(solved.cells) and stale(source, labs, pristine) == []
    mine = labs / "07_double.ipynb"
    mine.write_text(mine.read_text().replace("raise NotImplementedError", "return 4  #"))
    before = mine.read_text()
    assert "kept as it is" in build(source, labs, run=False, starters=pristine)
    assert mine.read_text() == before
    assert ["labs/07" in p for p in stale(source, labs, pristine)] == [True]


def test_an_untouched_starter_follows_its_source(tmp_path):
    source, labs, pristine = tmp_path / "07_double.py", tmp_path / "labs", tmp_path / "starters"
    source.write_text(SOURCE)
    build(source, labs, run=False, starters=pristine)
    source.write_text(SOURCE.replace("Write it.", "Write it well."))
    assert len(stale(source, labs, pristine)) == 3
    assert build(source, labs, run=False, starters=pristine) == "07_double.ipynb: written"
    assert "Write it well." in (labs / "07_double.ipynb").read_text()


SOURCES = sorted((ROOT / "solutions").glob("[0-9][0-9]_*.py"))  # none in a hand-out that withholds them


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
class TestEveryLab:
    def test_is_what_its_source_builds(self, source):
        assert stale(source, STARTERS) == []

    def test_is_handed_out_as_its_starter(self, source):
        lab = f"labs/{source.stem}.ipynb"
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", lab], cwd=ROOT, capture_output=True).returncode
        if changed:
            pytest.skip("somebody works in this lab, or there is no git to ask")
        assert stale(source, STARTERS, ROOT / "labs") == []

    def test_is_solved_normally(self, source):
        assert problems(source.with_suffix(".ipynb")) == []
        solved = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
        shown = [o.data["text/plain"] for c in solved.cells if c.source.startswith("check(") for o in c.outputs]
        assert len(shown) == len(TASKS.lab(source.name[:2])) and all(": right, " in text for text in shown)

    def test_has_a_region_and_a_check_for_every_task_in_order(self, source):
        text, number = source.read_text(), source.name[:2]
        tasks = TASKS.lab(number)
        assert [t.id for t in tasks] == [f"{number}.{i}" for i in range(1, len(tasks) + 1)]
        functions = re.findall(r"(?m)^def (\w+)\([^)]*\)[^:]*:\n(?:(?!^def ).*\n)*?\s+### BEGIN SOLUTION", text)
        assert functions == [t.function for t in tasks]
        for task in tasks:
            assert f'\n# %%\ncheck("{task.id}", {task.function})\n' in text
            assert re.search(rf"# ## {re.escape(task.id)}\b", text), f"a title for {task.id}"

    def test_opens_with_its_purpose_and_closes_with_a_figure(self, source):
        nb = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
        first = nb.cells[0].source
        assert first.startswith(f"# Lab {source.name[:2]}") and re.search(r"\d+ minutes", first)
        assert any("image/png" in o.get("data", {}) for c in nb.cells[-6:] for o in c.get("outputs", []))

    def test_can_be_run_before_anything_is_written(self, source):
        """No cell stops with an error, every check says "not attempted", and the closing figures say what they wait for."""
        nb = nbformat.reads(starter(source.read_text(), source.name[:2]), as_version=4)
        resources = {"metadata": {"path": str(ROOT / "labs")}}
        NotebookClient(nb, timeout=1200, kernel_name="python3", resources=resources).execute()
        shown = [o.data["text/plain"] for c in nb.cells if c.source.startswith("check(") for o in c.outputs]
        assert len(shown) == len(TASKS.lab(source.name[:2])) and all("not attempted, 0 of" in text for text in shown)
        last_check = max(i for i, c in enumerate(nb.cells) if c.source.startswith("check("))
        closing = str([c.outputs for c in nb.cells[last_check + 1 :] if c.cell_type == "code"])
        assert re.search(rf"(Finish task|lab) {source.name[:2]}\.\d", closing)


def test_every_lab_with_checks_has_a_source():
    assert not SOURCES or [s.name[:2] for s in SOURCES] == list(TASKS.labs)


def test_every_lab_can_be_reset():
    assert sorted(p.stem[:2] for p in STARTERS.glob("*.ipynb")) == list(TASKS.labs)
