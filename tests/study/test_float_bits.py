"""Small floats bit by bit, and one block on three grids: what is shown is what the grids say."""

import base64
import math
import re
import sys
from xml.etree import ElementTree

import pytest
import torch

from qcourse.numerics.codebooks import NF4
from qcourse.numerics.grids import E2M1, E4M3, E5M2, FloatGrid
from qcourse.study.widgets import anatomy
from qcourse.study.widgets.blocks import BlockView, round_block
from qcourse.study.widgets.float_bits import FORMATS, FloatView
from qcourse.study.widgets.number_lines import Line

EVERY = [(grid, code) for grid in FORMATS for code in range(1 << grid.num_bits)]


@pytest.fixture
def shown(monkeypatch):
    """What a view displays, as IPython would be given it."""

    def what_of(view):
        seen = []
        monkeypatch.setattr("IPython.display.display", lambda *what, **how: seen.extend(what))
        view._ipython_display_()
        return seen

    return what_of


def same(a: float, b: float) -> bool:
    """Equal with the sign of zero, and NaN like NaN."""
    return math.isnan(a) and math.isnan(b) or a == b and math.copysign(1, a) == math.copysign(1, b)


def test_clicking_bits_gives_the_value_of_the_grid_for_all_codes():
    view, table = FloatView(), E4M3.table().tolist()
    _, line, row, said = view.widget().children
    for code in range(256):
        row.values = [int(b) for b in f"{code:08b}"]
        assert view.code == code and same(view.value, table[code])
        assert f"0x{code:02X}" in said.value and f"(0x{code:02X})" in line.options[line.at]


def test_one_click_is_one_bit():
    view = FloatView(E4M3, 0x38)
    _, _, row, said = view.widget().children
    row.values = [1, *row.values[1:]]
    assert view.value == -1 and "= <b>-1</b>" in said.value
    row.values = [*row.values[:-1], 1]
    assert view.value == -1.125
    assert row.options == ["sign"] + ["exponent"] * 4 + ["mantissa"] * 3 and [s[0] for s in row.shades] == list("21111000")


@pytest.mark.parametrize("grid", FORMATS, ids=str)
def test_the_slider_goes_through_all_codes_in_order_of_value(grid):
    view = FloatView(grid, 0)
    _, line, row, said = view.widget().children
    seen = []
    for at in range(len(line.options)):
        line.at = at
        assert row.values == [int(b) for b in f"{view.code:0{grid.num_bits}b}"] and f"0x{view.code:02X}" in said.value
        seen.append(view.value)
    numbers = [v for v in seen if not math.isnan(v)]
    assert len(seen) == 1 << grid.num_bits and numbers == sorted(numbers)
    assert sorted(anatomy.in_order(grid)) == list(range(1 << grid.num_bits))


def test_another_format_shows_the_nearest_value_and_stays_legal():
    for grid, code in EVERY:
        for other in FORMATS:
            view = FloatView(grid, code)
            number = view.value
            view.switch(other)
            assert view.grid is other and anatomy.checked(other, view.code) == view.code
            if math.isnan(number) and other.nan_code is None:
                assert view.value == 0  # no NaN there
            else:
                assert same(view.value, other.decode(other.encode(torch.tensor([number]))).item())


def test_choosing_a_format_changes_slider_and_bits_with_it():
    view = FloatView(E5M2, 0x7C)
    chosen, line, row, said = view.widget().children
    for at in (0, 1, 2, 4, 3, 4, 0, 2, 1):
        chosen.at = at
        assert view.grid is FORMATS[at]
        assert len(row.values) == len(row.shades) == len(row.options) == view.grid.num_bits
        assert len(line.options) == 1 << view.grid.num_bits and f"(0x{view.code:02X})" in line.options[line.at]
        assert f"<b>{view.grid}</b> code 0x{view.code:02X}" in said.value
        line.at = len(line.options) - 1  # the last place exists in every format
        row.values = [1] * view.grid.num_bits
        assert view.code == (1 << view.grid.num_bits) - 1
        line.at = 0
        assert view.code == (1 << view.grid.num_bits) - 1  # all ones is the first: the negative number farthest out, or NaN


@pytest.mark.parametrize("grid", FORMATS, ids=str)
def test_the_formula_gives_the_value(grid):
    for code, value in enumerate(grid.table().tolist()):
        worked = anatomy.formula(grid, code)
        if not math.isfinite(value):
            assert worked == f"the top exponent is no power of two here: {value}"
            continue
        left, right = worked.split(" = ")
        computed = eval(left.replace("^", "**").replace("·", "*").replace("−", "-"), {})  # what a student would type
        assert computed == value == float(right)


@pytest.mark.parametrize("grid", FORMATS, ids=str)
def test_neighbours_of_all_codes(grid):
    table = grid.table().tolist()
    numbers = [v for v in table if not math.isnan(v)]
    for code, value in enumerate(table):
        less, more = [v for v in numbers if v < value], [v for v in numbers if v > value]
        assert anatomy.neighbours(grid, code) == (max(less, default=None), min(more, default=None))
        said = anatomy.text(grid, code)
        if not math.isnan(value):
            assert ("next smaller: none" in said) == (not less) and ("next larger: none" in said) == (not more)
        if less and more and math.isfinite(max(less)) and math.isfinite(min(more)):
            gaps = [float(g) for g in re.findall(r"\(gap (.*?)\)", said)]
            assert gaps == [value - max(less), min(more) - value]


def test_what_is_special_is_named():
    cases = {
        (E4M3, 0x7F): "NaN: not a number", (E4M3, 0xFF): "NaN", (E5M2, 0x7D): "NaN", (E5M2, 0x7C): "inf: beyond",
        (E5M2, 0xFC): "= <b>-inf</b>", (E4M3, 0x00): "zero", (E4M3, 0x80): "-0: the second code for zero",
        (E4M3, 0x01): "subnormal, the smallest above 0", (E4M3, 0x07): "subnormal, the largest subnormal",
        (E4M3, 0x08): "the smallest normal", (E4M3, 0x7E): "max: E4M3 has none larger", (E5M2, 0x7B): "max: E5M2 has none",
        (E4M3, 0xFE): "-max: E4M3 has none smaller", (E2M1, 0x01): "subnormal", (E2M1, 0x09): "in magnitude the smallest",
    }  # fmt: skip
    for (grid, code), words in cases.items():
        assert words in FloatView(grid, code)._repr_html_(), (grid, code)
    assert "0.001953125" in FloatView(E4M3, 1)._repr_html_() and "448" not in anatomy.kind(E4M3, 0x7E)
    assert "subnormal" not in FloatView(E4M3, 0x38)._repr_html_()


@pytest.mark.parametrize("grid", FORMATS, ids=str)
def test_every_drawing_is_well_formed_and_the_mark_is_at_the_value(grid):
    for code, value in enumerate(grid.table().tolist()):
        view = FloatView(grid, code)
        root = ElementTree.fromstring(re.search("<svg.*</svg>", view.live_html())[0])
        words = "".join(e.text or "" for e in root.iter())
        assert (anatomy.brief(value) if not math.isnan(value) else "NaN lies nowhere") in words
        for e in root.iter("{http://www.w3.org/2000/svg}text"):
            assert e.get("fill") and 0 <= float(e.get("x")) <= 720  # no colour is left to the theme
        kept = re.search(r'<img alt="[^"]+" [^>]*base64,([^"]+)"', view._repr_html_())
        assert ElementTree.tostring(ElementTree.fromstring(base64.b64decode(kept[1]))) == ElementTree.tostring(root)


def test_labels_never_overlap_and_the_first_comes_first():
    line = Line(0, 10, 50)
    xs = [float(x) for x in re.findall(r'x="([\d.]+)"', line.labels([(5, "five"), (5.01, "no"), (9, "nine"), (11, "out")]))]
    assert xs == [line.x(5), line.x(9)] and "five" in line.labels([(5, "five"), (5.01, "no")])


def test_a_form_for_reading_and_for_plain_python(monkeypatch, shown):
    for name in ("ipywidgets", "anywidget"):
        monkeypatch.setitem(sys.modules, name, None)  # an ImportError
    for view, words in ((FloatView(E5M2, 0x7C), "inf"), (BlockView(torch.eye(2, 16) + 0.1), "NV: s =")):
        assert view.widget() is None and words in repr(view)
        (seen,) = shown(view)
        assert words in seen["text/html"] and seen["text/plain"] == repr(view) and "<svg" not in seen["text/html"]


def test_the_edition_for_reading_has_no_controls(monkeypatch, shown):
    monkeypatch.setenv("QCOURSE_STATIC", "1")
    for view in (FloatView(), BlockView(torch.eye(2, 16) + 0.1)):
        (seen,) = shown(view)
        assert 'role="status"' in seen["text/html"] and "<img alt=" in seen["text/html"]


def test_what_is_not_legal_is_said_with_what_is():
    for grid, code, legal in (
        (E4M3, 256, "0 to 255"),
        (E2M1, 16, r"0 to 15 \(0x0F\)"),
        (E2M1, -1, "4 bits"),
        (E4M3, 1.0, "0 to"),
    ):
        with pytest.raises(ValueError, match=legal):
            FloatView(grid, code)
    with pytest.raises(TypeError, match="FloatGrid is expected"):
        FloatView(NF4, 1)
    with pytest.raises(ValueError, match="0 to 63"):
        FloatView(FORMATS[2], True)


def test_a_format_of_ones_own_joins_the_list():
    e3m4 = FloatGrid("e3m4", 3, 4, bias=3, max=31.0)
    view = FloatView(e3m4, 0x30)
    chosen, line, row, _ = view.widget().children
    assert chosen.options[-1] == "E3M4" and chosen.at == 5 and view.value == 1
    chosen.at = 0
    assert view.grid is E4M3 and view.value == 1


class TestABlock:
    blocks = torch.randn(8, 16, generator=torch.Generator().manual_seed(5)) * 0.02

    def test_the_scales_are_what_the_three_rules_say(self):
        for view in (BlockView(self.blocks, at, times) for at in range(8) for times in (1, 3, 20)):
            int4, mx, nv = view.rounded
            absmax = view.weights.abs().max().item()
            assert int4.scale == pytest.approx(absmax / 7.5, rel=2**-8)  # bf16 keeps 8 bits
            assert mx.scale == 2.0 ** (math.floor(math.log2(absmax)) - 2)
            assert nv.scale == pytest.approx(absmax / 6, rel=2**-4)  # E4M3 keeps 4 bits; no subnormal scales here
            for r in view.rounded:
                levels = torch.tensor(r.levels)
                nearest = (view.weights[:, None] - levels).abs().amin(1)
                assert torch.allclose((r.w_hat - view.weights).abs(), nearest, atol=1e-6 * absmax), r.name
                assert r.w_hat.abs().max() <= 1.2001 * absmax  # 6/5: what `picture` has room for

    def test_int4_is_what_the_package_rounds_to(self):
        w = self.blocks[0]
        s = (w.abs().max() / 7.5).bfloat16().float()
        assert torch.equal(round_block(w, 1.0)[0].w_hat, s * (w / s).round().clamp(-8, 7))

    def test_sliders_answer(self):
        view = BlockView(self.blocks)
        which, loud, said = view.widget().children
        assert len(which.options) == 8 and loud.options[0] == "× 1" and loud.options[-1] == "× 20"
        quiet = view.told()[1].rows
        loud.at = 19
        assert view.outlier == 20 and "× 20" in said.value and view.told()[1].rows != quiet
        error = [float(row[3].split()[0]) for row in view.told()[1].rows]
        assert all(e > float(row[3].split()[0]) for e, row in zip(error, quiet, strict=True))  # the others pay for it
        which.at = 3
        loudest = self.blocks[3].abs().argmax()
        assert view.weights[loudest] == 20 * self.blocks[3][loudest] and "block 3" in said.value
        assert torch.equal(self.blocks, TestABlock.blocks) and view.blocks is not view.weights
        root = ElementTree.fromstring(re.search("<svg.*</svg>", said.value)[0])
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3 * 16

    def test_what_is_not_legal_is_said(self):
        for wrong in (torch.ones(16), torch.zeros(2, 16), torch.full((2, 16), math.nan), torch.ones(0, 16)):
            with pytest.raises(ValueError, match="blocks"):
                BlockView(wrong)
        with pytest.raises(ValueError, match="blocks 0 to 7"):
            BlockView(self.blocks, 8)
        with pytest.raises(ValueError, match="1 to 20"):
            BlockView(self.blocks, 0, 21)
