"""Figures of the KV cache say what the cache does; the widget that rounds keys; captures as tables."""

import json
from pathlib import Path

import pytest
import torch

from qcourse.models.kv_cache import new_cache
from qcourse.models.loader import SHIPPED
from qcourse.numerics.grids import E4M3, E5M2, IntGrid
from qcourse.numerics.kv import KV_PRESETS
from qcourse.study import kv_figures as figures
from qcourse.study.kv import sequence_bytes
from qcourse.study.kv_profile import kept
from qcourse.study.perplexity import windows
from qcourse.study.picture import Picture
from qcourse.study.widgets.kv_view import FIRST, kv_view

CAPTURES = Path(__file__).parents[2] / "captures"
SETTINGS = len(figures.BITS) * len(figures.AXES) * len(figures.WINDOWS)


@pytest.fixture(scope="module")
def heads(shipped):
    return kept(shipped, windows(SHIPPED, 2, 160).ids[:1, :-1])[1]


@pytest.fixture(scope="module")
def roundings(heads):
    return figures.Roundings(heads, 1)


@pytest.mark.parametrize("name", [name for name, args in KV_PRESETS.items() if not args.static])
@pytest.mark.parametrize("sink", [0, 4])
def test_parts_are_those_of_a_cache(shipped, name, sink):
    args = KV_PRESETS[name].with_(sink=sink)
    cache = new_cache(shipped, 1, 200, args)
    for length in (1, 4, 31, 36, 63, 64, 68, 100, 127, 200):
        sinks, coded, rest = figures.parts(args, length)
        assert (sinks, coded) == (min(length, sink), cache.k.coded(length)) and sinks + coded + rest == length


def test_a_growing_context_is_told():
    fig = figures.waiting(KV_PRESETS["int4_kivi"].with_(sink=4), (3, 67, 68), "Groups go as a whole")
    assert fig.alt.startswith("Groups go as a whole") and "67: 4 sinks, 0 codes, 63 waiting" in fig.alt
    assert "68: 4 sinks, 32 codes, 32 waiting" in fig.alt


def test_a_float_bears_a_scale_that_is_too_large_and_an_integer_does_not():
    x, int8 = torch.randn(2000), IntGrid(8, restricted=True)
    for grid in (E4M3, E5M2, int8):
        best = (x.abs().max() / grid.limit).item()
        grown = figures.fixed_error(x, grid, 16 * best) / figures.fixed_error(x, grid, best)
        assert grown == pytest.approx(16, rel=0.1) if grid is int8 else grown == pytest.approx(1, abs=0.02)
        assert figures.fixed_error(x, grid, best / 8) > 0.3  # the loudest are clamped
    fig = figures.over_scales(x, {"E4M3": E4M3, "int8": int8}, range(-2, 5, 2), "Two grids")
    assert "E4M3 2." in fig.alt and "int8" in fig.alt


def test_every_choice_is_there_and_the_marked_one_is_told(heads, roundings):
    assert len(roundings.found) == SETTINGS
    pictures = [roundings.picture(4, axis, 32) for axis in figures.AXES]
    errors = [roundings.found[4, axis, 32][1] for axis in figures.AXES]
    assert errors[1] < errors[0] and f"output error {errors[1]:.1%}" in pictures[1].alt
    tops = {p.axes[0].images[0].get_clim() for p in pictures}
    assert len(tops) == 1  # colours mean the same in every picture
    for (bits, axis, window), (size, _) in roundings.found.items():
        args = roundings.recipe(bits, axis, window)
        assert size == 16 * sequence_bytes(heads.config, 160, args) / sequence_bytes(heads.config, 160)


def test_the_widget_drags_bits_axis_and_window(heads, monkeypatch):
    view = kv_view(heads, head=1)
    assert view.values == FIRST and "int4, keys by token, window 0" in view.figure.alt
    view.set(bits=2, axis="channel", window=128)
    assert "int2, keys by channel, window 128" in view.figure.alt
    sliders = view.widget().children[:-1]
    assert [list(s.options) for s in sliders] == [["2", "4", "8"], ["channel", "token"], ["0", "32", "128"]]
    monkeypatch.setenv("QCOURSE_STATIC", "1")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda what, **how: shown.append(what))
    view._ipython_display_()
    assert isinstance(shown[0], Picture)
    with pytest.raises(ValueError, match="head=2: the layer has 2"):
        kv_view(heads, head=2)


def test_captures_are_told_by_context():
    found = json.loads((CAPTURES / "smollm2-kv-long.json").read_text())["results"]
    table = figures.added_table(found, ["int4_kivi", "fp8_e4m3"])
    assert [row[0] for row in table.rows] == ["fp8_e4m3", "int4_kivi"] and table.columns[2] == "0–1,024"
    assert [row[1] for row in table.rows] == ["8.00", "5.00"]
    assert table.rows[0][-1].startswith(f"{found['fp8_e4m3']['contexts'][-1]['added_bits_per_byte']:+.4f} ± ")
    assert len(figures.added_table(found).rows) == len(found) - 1
    fig = figures.over_contexts(found, ["int4_kivi"], "By channel")
    assert fig.alt.startswith("By channel. Lines over the length") and "int4_kivi +0.0" in fig.alt


def test_speeds_of_one_shape():
    rows = [{"shape": s, "format": f, "context": c, "over_16_bits": c / 256, "over_dequantize": 9.0}
            for s in ("a", "b") for f in ("x", "y") for c in (256, 512)]  # fmt: skip
    assert figures.speeds(rows, "a") == {"x": {256: 1.0, 512: 2.0}, "y": {256: 1.0, 512: 2.0}}
    assert figures.speeds(rows, "b", "over_dequantize")["y"] == {256: 9.0, 512: 9.0}
    with pytest.raises(ValueError, match="measured are a, b"):
        figures.speeds(rows, "c")


def test_the_first_token_is_told():
    fig = figures.first_tokens(torch.tensor([0.1, 0.7]), {"its key": [1.0, 0.5]}, "A sink")
    assert fig.alt.startswith("A sink. Attention up to 70 %") and "its key 0.50" in fig.alt
