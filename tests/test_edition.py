"""The learner's edition: nothing is given away, nothing of the learner's is lost."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from qcourse.checks.line import rows
from tools.edition import lay, learner, to_write

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))  # an appendix has no lines to write


def book(text="print(1)"):
    out = new_output("stream", name="stdout", text="42\n")
    return new_notebook(cells=[
        new_markdown_cell("## 1"), new_code_cell('x = predict("00.1", "How many?")\nx', outputs=[out], execution_count=1),
        new_markdown_cell("how to look"), new_code_cell(text, outputs=[out], execution_count=2),
        new_code_cell("x.reveal(6 * 7)", outputs=[out], execution_count=3), new_markdown_cell("It is 42, because."),
        new_code_cell('y = predict("00.2", "And then?")\ny'), new_markdown_cell("look again"), new_markdown_cell("## 2"),
        new_markdown_cell("free text")])  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(book(), tmp_path / "notebooks" / "00_a.ipynb")
    return tmp_path / "notebooks", tmp_path / "mine"


def test_no_outputs_and_explanations_are_folded():
    new = learner(book())
    assert all(not c.outputs and c.execution_count is None for c in new.cells if c.cell_type == "code")
    folded = [c.source for c in new.cells if c.source.startswith("<details>")]
    assert len(folded) == 1 and "It is 42, because." in folded[0]
    assert book().cells[1].outputs  # the source is left as it was


def test_what_was_written_is_never_overwritten_and_what_was_only_run_follows(folders):
    source, mine = folders
    assert "laid out" in lay(source, mine)[0] and lay(source, mine) == []
    ran = nbformat.read(mine / "00_a.ipynb", as_version=4)
    ran.cells[1].outputs = [new_output("stream", name="stdout", text="mine\n")]
    nbformat.write(ran, mine / "00_a.ipynb")
    assert lay(source, mine) == [] and "mine" in (mine / "00_a.ipynb").read_text()  # nothing new: outputs stay
    nbformat.write(book("print(2)"), source / "00_a.ipynb")
    assert "laid out" in lay(source, mine)[0] and "print(2)" in (mine / "00_a.ipynb").read_text()
    wrote = nbformat.read(mine / "00_a.ipynb", as_version=4)
    wrote.cells[3].source = "my own line"
    nbformat.write(wrote, mine / "00_a.ipynb")
    assert lay(source, mine) == []
    nbformat.write(book("print(3)"), source / "00_a.ipynb")
    assert "yours, and kept" in lay(source, mine)[0] and "my own line" in (mine / "00_a.ipynb").read_text()


@pytest.mark.parametrize("record", [None, "nonsense"])
def test_a_notebook_without_a_record_is_somebodys(folders, record):
    source, mine = folders
    mine.mkdir()
    (mine / "00_a.ipynb").write_text("not a notebook" if record else nbformat.writes(book("my own")))
    if record:
        (mine / ".laid.json").write_text(record)
    before = (mine / "00_a.ipynb").read_bytes()
    assert "kept" in lay(source, mine)[0] and (mine / "00_a.ipynb").read_bytes() == before


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lines_to_write_are_empty_and_test_lines_are_gone(path):
    whole = nbformat.read(path, as_version=4)
    new = "\n".join(c.source for c in learner(whole).cells if c.cell_type == "code")
    for key, row in rows(path.stem[:2]).items():
        assert f'{row.name} = ...\n{row.name} = line("{key}", {row.name})' in new
        assert f"{row.name} = {row.right}".replace("'", '"') not in new, f"{key} is given away"
    assert "explore" not in new or ".set(" not in new
    bare = [line for line in new.split("\n") if line.startswith("assert ") and "#" not in line and "(" not in line]
    assert bare == []


def test_what_is_taken_out_of_a_cell():
    cell = "# Your line: twice x\ny = (\n    2 * x\n)\ny = line('00.a', y)\nassert y > x\nassert y == 2 * x  # the law"
    assert to_write(cell) == "# Your line: twice x\ny = ...\ny = line('00.a', y)\nassert y == 2 * x  # the law"
    assert to_write("assert 1 == 1") == "" and to_write("x = 1") == "x = 1"
    with pytest.raises(ValueError, match="in the line before"):
        to_write("y = 2\nz = 3\ny = line('00.a', y)")


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_the_course_has_something_to_fold_and_keeps_its_headings(path):
    new = learner(nbformat.read(path, as_version=4))
    assert any(c.source.startswith("<details><summary>Read on") for c in new.cells)
    assert not any("<details><summary>Read on" in c.source and "\n## " in c.source for c in new.cells)


@pytest.mark.parametrize("path", sorted(set(NOTEBOOKS.glob("*.ipynb")) - set(LESSONS)), ids=lambda p: p.stem)
def test_an_appendix_is_laid_without_outputs_and_as_it_is(path):
    whole = nbformat.read(path, as_version=4)
    new = learner(whole)
    assert [c.source for c in new.cells if c.cell_type == "markdown"] == [
        c.source for c in whole.cells if c.cell_type == "markdown"
    ]
    assert not any(c.outputs for c in new.cells if c.cell_type == "code")
