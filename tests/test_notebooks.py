"""Rules for what is committed as a notebook. That it still runs with the same outputs is nbval's part."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from qcourse.checks.line import rows
from tests.clock_taint import Taint
from tools.edition import checked
from tools.notebooks import normalise, problems

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
LESSONS = [p for p in NOTEBOOKS if p.stem[0] != "A"]  # those that teach; an appendix (A3 …) asks for no predictions


def cells(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestEveryNotebook:
    def test_is_normal(self, path):
        assert problems(path) == []

    def test_cells_are_short(self, path):
        lengths = [len(c.source.splitlines()) for c in cells(path)]
        assert statistics.median(lengths) <= 8 and max(lengths) <= 15

    def test_defines_no_classes_and_installs_nothing(self, path):
        for cell in cells(path):
            assert not re.search(r"^\s*class |^[%!]|pip install|https?://", cell.source, re.M), cell.source

    def test_ends_with_a_checkpoint(self, path):
        checkpoint, now_you = (c.source for c in cells(path, "markdown")[-2:])
        assert checkpoint.startswith("## Checkpoint") and checkpoint.count("<details>") >= 3
        assert now_you.startswith("## Now you") and now_you.count(".ipynb)") >= 1 + (path.stem[:2] != "00")

    def test_figures_have_words(self, path):
        for cell in cells(path):
            for out in cell.outputs:
                if "image/png" in out.get("data", {}):
                    assert len(out.metadata["image/png"]["alt"]) > 40

    def test_links_lead_somewhere(self, path):
        for cell in cells(path, "markdown"):
            for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
                assert (path.parent / target).exists(), target

    def test_what_does_not_exist_is_said_to_come(self, path):
        there = {p.stem[:2] for p in NOTEBOOKS}
        for cell in cells(path, "markdown"):
            for sentence in re.split(r"(?<=[.!?])\s", cell.source):
                named = re.search(r"[Nn]otebooks? (\d\d)\b(?:[^.]{0,40}? and (\d\d)\b)?", sentence)
                if named and {n for n in named.groups() if n} - there:
                    assert "to come" in sentence, sentence

    def test_backs_its_prose_with_asserts(self, path):
        least = 2 if path.stem == "A1_exercises" else 5  # its claims are the exercises: tests/study/test_exercises.py
        assert sum("assert" in c.source for c in cells(path)) >= least

    def test_no_cell_stops_run_all(self, path):
        for cell in cells(path):  # JupyterLab's Run All stops at any error; `refused()` shows one and goes on
            assert "raises-exception" not in cell.metadata.get("tags", []), cell.source


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
class TestEveryLesson:
    def test_asks_for_predictions(self, path):
        assert sum("= predict(" in c.source for c in cells(path)) >= 3

    def test_every_question_has_a_key_of_its_own_and_every_answer_waits_for_it(self, path):
        code = [c.source for c in cells(path)]
        asked = re.findall(r'^(\w+) = predict\(\s*"(\d\d\.\d+)"', "\n".join(code), re.M)
        assert [key for _, key in asked] == [f"{path.stem[:2]}.{i + 1}" for i in range(len(asked))]
        for name, _ in asked:
            assert any(re.search(rf"^{name}$", source, re.M) for source in code), f"{name} is not shown"
            opened = [s for s in code if f"{name}.reveal(" in s]
            assert len(opened) == 1 and not opened[0].startswith(f"{name} ="), f"{name} is revealed {len(opened)} times"
            assert re.search(rf"^(crossing|{name})\.reveal\(", opened[0], re.M), "the door is the last line of its cell"

    def test_every_line_to_write_stands_in_the_notebook_and_no_other(self, path):
        code = "\n".join(c.source for c in cells(path))
        known = rows(path.stem[:2])
        asked = re.findall(r"^(\w+) = line\(\"(\d\d\.\w+)\", \1\)$", code, re.M)
        assert sorted(key for _, key in asked) == sorted(known) and all(known[key].name == name for name, key in asked)
        assert code.count("# Your line: ") == len(asked)
        for source in (c.source for c in cells(path)):
            body = ast.parse(source).body
            for before, here in zip(body, body[1:], strict=False):
                if checked(here):
                    right = known[here.value.args[0].value].right
                    assert ast.dump(before.value) == ast.dump(ast.parse(right, mode="eval").body), right

    def test_every_section_with_code_has_a_line_to_write(self, path):
        sections = re.split(r"^## ", "\n".join(c.source for c in nbformat.read(path, as_version=4).cells), flags=re.M)[1:]
        without = (
            "Words",
            "3 · Four",
            "7 · Where",
            "7 · Which",
            "8 · What",
            "5 · On a GPU",
            "3 · Which",
            "Checkpoint",
            "Now",
        )
        for section in (s for s in sections if not s.startswith(without)):
            count = section.count("# Your line: ")
            assert 1 <= count <= 3, f"{section[:40]!r} has {count}"


def test_the_notebooks_are_those_of_the_curriculum():
    assert [p.stem[:2] for p in LESSONS] == [f"{number:02d}" for number in range(14)]
    assert [p.stem[:2] for p in NOTEBOOKS if p not in LESSONS] == ["A1", "A2", "A3"]


def test_problems_are_found(tmp_path):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1/0"), nbformat.v4.new_code_cell("2")])
    nb.cells[0].execution_count = 1
    nb.cells[0].outputs = [nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[]),
                           nbformat.v4.new_output("stream", name="stderr", text="warning"),
                           nbformat.v4.new_output("display_data", data={"image/svg+xml": "<svg/>"}),
                           nbformat.v4.new_output("display_data", data={"image/png": "AA=="})]  # fmt: skip
    nb.metadata["widgets"] = {}
    nbformat.write(nb, tmp_path / "bad.ipynb")
    found = " ".join(problems(tmp_path / "bad.ipynb"))
    for word in ("fresh kernel", "stored an error", "stderr", "SVG", "widget state", "without alternative"):
        assert word in found


def test_normalising_keeps_tags_and_drops_the_rest():
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["nbval-ignore-output"], "execution": {"iopub": "now"}})
    nb = nbformat.v4.new_notebook(
        cells=[cell], metadata={"widgets": {}, "language_info": {"name": "python", "version": "3.11.7"}}
    )
    normalise(nb)
    assert nb.cells[0].metadata == {"tags": ["nbval-ignore-output"]} and "widgets" not in nb.metadata


def clock_dependent(sources):
    """[(cell, "assert" or "print", source)] of a notebook's code cells."""
    taint = Taint()
    return [(i, what, line) for i, source in enumerate(sources, 1) for what, line in taint.cell(source)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestNothingDependsOnTheClock:
    def test_no_cell_asserts_on_it(self, path):
        found = clock_dependent(c.source for c in cells(path))
        assert [f for f in found if f[1] == "assert"] == []

    def test_what_it_prints_is_not_compared(self, path):
        code = cells(path)
        for i, what, line in clock_dependent(c.source for c in code):
            assert what != "print" or "nbval-ignore-output" in code[i - 1].metadata.get("tags", []), (i, line)


@pytest.mark.parametrize(
    ("sources", "what"),
    [
        (["b = roofline.read_bandwidth()", "assert 1e9 < b"], ["assert"]),
        (["rate = roofline.bandwidth()", "meet = {n: 1 / rate.best for n in s}", "assert meet['a'] < 1"], ["assert"]),
        (["t = {}\nfor M in (1, 2):\n    t[M] = best(roofline.measure(f))", "r = t[1] / t[2]", "assert r > 1"], ["assert"]),
        (["t = []\nfor f in fs:\n    t.append(decode_speed(f))", "assert len(set(t)) > 1"], ["assert"]),
        (["speeds = {n: r['decode_tokens_per_second']['median'] for n, r in results.items()}",
          "w = {max(speeds, key=speeds.get)}\nassert len(w) > 1"], ["assert"]),
        (["def once():\n    a = time.time()\n    f()\n    return time.time() - a", "assert once() < 5"], ["assert"]),
        (["a = time.time()", "a = 3\nassert a == 3"], []),
        (["slow = roofline.measure(f).median > 1", "if slow:\n    raise SystemExit"], ["assert"]),
        (["won = None\nif roofline.measure(f).best < 1:\n    won = 1", "assert won"], ["assert"]),
        (["x = 1\nx += time.monotonic()", "assert_close(x, 2)"], ["assert"]),
        (["if (t := time.time()) > 1:\n    pass", "print(t)"], ["print"]),
        (["def measure(name):\n    results[name] = measure_format(name)", "measure('bf16')\nassert results['bf16']"], []),
        (["y = tl.load(w)", "assert y"], []),
        (["share = roofline.load().share", "assert share > 0.5"], ["assert"]),
        (["size = {'bf16': 2}", "assert size['bf16'] == 2\nprint(size)"], []),
    ],
)  # fmt: skip
def test_what_depends_on_a_clock_is_found(sources, what):
    assert [w for _, w, _ in clock_dependent(sources)] == what
