"""Rules for what is committed as a notebook. That it still runs with the same outputs is nbval's part."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import normalise, problems

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestEveryNotebook:
    def test_is_normal(self, path):
        assert problems(path) == []

    def test_cells_are_short(self, path):
        lengths = [len(c.source.splitlines()) for c in cells(path)]
        assert statistics.median(lengths) <= 6 and max(lengths) <= 15

    def test_defines_no_classes_and_installs_nothing(self, path):
        for cell in cells(path):
            assert not re.search(r"^\s*class |^[%!]|pip install|https?://", cell.source, re.M), cell.source

    def test_asks_for_predictions_and_ends_with_a_checkpoint(self, path):
        assert sum("= predict(" in c.source for c in cells(path)) >= 3
        last = cells(path, "markdown")[-1].source
        assert last.startswith("## Checkpoint") and last.count("<details>") >= 3

    def test_backs_its_prose_with_asserts(self, path):
        assert sum("assert" in c.source for c in cells(path)) >= 5

    def test_an_expected_error_is_really_there(self, path):
        for cell in cells(path):
            if "raises-exception" in cell.metadata.get("tags", []):
                assert any(o.output_type == "error" for o in cell.outputs), cell.source


def test_the_notebooks_are_are_those_of_the_curriculum_so_far():
    assert [p.stem[:2] for p in NOTEBOOKS] == ["00", "01", "02", "03", "04", "08"]


def test_problems_are_found(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1/0"), nbformat.v4.new_code_cell("2")])
    nb.cells[0].execution_count = 1
    nb.cells[0].outputs = [nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[]),
                           nbformat.v4.new_output("stream", name="stderr", text="warning"),
                           nbformat.v4.new_output("display_data", data={"image/svg+xml": "<svg/>"})]  # fmt: skip
    nb.metadata["widgets"] = {}
    nbformat.write(nb, tmp_path / "bad.ipynb")
    found = " ".join(problems(tmp_path / "bad.ipynb"))
    for word in ("fresh kernel", "stored an error", "stderr", "SVG", "widget state"):
        assert word in found


def test_normalising_keeps_tags_and_drops_the_rest():
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["nbval-ignore-output"], "execution": {"iopub": "now"}})
    nb = nbformat.v4.new_notebook(
        cells=[cell], metadata={"widgets": {}, "language_info": {"name": "python", "version": "3.11.7"}}
    )
    normalise(nb)
    assert nb.cells[0].metadata == {"tags": ["nbval-ignore-output"]} and "widgets" not in nb.metadata
