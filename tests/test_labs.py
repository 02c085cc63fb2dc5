"""The lab builder, on a lab of its own: the labs themselves have no source yet."""

import nbformat
import pytest

from tools.labs import build, cells, strip

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
assert double(2) == 4
'''


def test_regions_become_what_the_student_is_to_write():
    starter = strip(SOURCE, "07")
    assert '    raise NotImplementedError("lab 07.1: write this")\n' in starter and "x + x" not in starter
    assert [kind for kind, _ in cells(starter)] == ["markdown", "code", "code"]
    assert cells(SOURCE)[0][1] == "# Lab 07\nWrite it."


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


def test_both_notebooks_are_built_and_a_students_work_is_never_overwritten(tmp_path):
    source = tmp_path / "07_double.py"
    source.write_text(SOURCE)
    assert build(source, tmp_path / "labs") == "07_double.ipynb: written"
    solved = nbformat.read(tmp_path / "07_double.ipynb", as_version=4)
    assert [c.execution_count for c in solved.cells if c.cell_type == "code"] == [1, 2]
    assert "SOLUTION" not in str(solved.cells)
    starter = tmp_path / "labs" / "07_double.ipynb"
    starter.write_text(starter.read_text().replace("raise NotImplementedError", "return 4  #"))
    mine = starter.read_text()
    assert "kept as it is" in build(source, tmp_path / "labs", run=False)
    assert starter.read_text() == mine
