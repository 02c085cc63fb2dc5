"""The cheatsheet: what it names exists, its numbers are the registries', no text lies over another, files are whole."""

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from qcourse.checkpoints.dialect_writers import WRITERS
from qcourse.checkpoints.gguf_file import GGUFFile
from qcourse.checkpoints.safetensors_file import SafetensorsFile
from qcourse.cli import main
from qcourse.gemm.table import TABLE
from qcourse.layers.method import LinearMethodBase, QuantizationConfig
from qcourse.methods.quantizers import QUANTIZERS
from qcourse.numerics.quantize import quantize
from qcourse.numerics.schemes import PRESETS
from qcourse.packing.packed import LAYOUTS
from qcourse.study import cheatsheet, cheatsheet_names, cost
from qcourse.study.cheatsheet_formats import ECOSYSTEMS, GROUPS, SHAPE
from qcourse.study.cheatsheet_formulas import BANDWIDTH, LLAMA_8B, LLAMA_70B, MEMORY, USABLE, crossing, formulas
from qcourse.study.cheatsheet_methods import INVARIANTS, LIMITS, METHODS, NONE, invariants, kind, needs, won
from qcourse.study.cheatsheet_page import BODY, EDGE, HEIGHT, THEMES, WIDTH, Cell, Column, blank, table, wrap, write
from qcourse.study.cheatsheet_pages import LEAST, digits, place
from qcourse.study.cheatsheet_pictures import CALLS, GRIDS, values_of
from qcourse.study.cheatsheet_tables import tables
from qcourse.study.dispatch import LAST
from qcourse.study.families import TRANSFORMS
from qcourse.study.widgets.decide import DECISIONS

ROOT = Path(__file__).parent.parent.parent
CAPTURES, FILES = ROOT / "captures", ROOT / "tests" / "checkpoints" / "files"


@pytest.fixture(scope="module")
def content():
    return cheatsheet.content(CAPTURES)


@pytest.fixture(scope="module")
def rows(content):
    return {row.name: row for group in content.formats.values() for row in group}


@pytest.fixture(scope="module")
def drawn(content):
    """Theme → its pages."""
    return {name: cheatsheet.pages(content, name) for name in THEMES}


@pytest.fixture(scope="module")
def made(tmp_path_factory, content, drawn):
    """The dark files, in a folder that was not there."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(cheatsheet, "content", lambda folder: content)
        m.setattr(cheatsheet, "pages", lambda what, theme: drawn[theme])
        return cheatsheet.write(tmp_path_factory.mktemp("wall") / "new" / "folder", CAPTURES, "dark")


def texts(page):
    return [t for t in page.axes[0].texts if t.get_text()]


def boxes(page):
    """Of every text, in points from the upper left: left, top, right, bottom."""
    scale, renderer = 72 / page.dpi, FigureCanvasAgg(page).get_renderer()
    extents = (t.get_window_extent(renderer) for t in texts(page))
    return np.array([(b.x0 * scale, HEIGHT - b.y1 * scale, b.x1 * scale, HEIGHT - b.y0 * scale) for b in extents])


def overlaps(page, b):
    """Pairs of texts whose boxes b share more than a hair."""
    said, hair = [t.get_text() for t in texts(page)], 0.3
    left, top, right, bottom = b.T
    apart = (left[:, None] + hair >= right) | (top[:, None] + hair >= bottom)
    return [(said[i], said[j]) for i, j in combinations(range(len(b)), 2) if not (apart[i, j] or apart[j, i])]


class TestPaper:
    @pytest.mark.parametrize("theme", THEMES)
    @pytest.mark.parametrize("page", [0, 1])
    def test_nothing_lies_over_anything_and_nothing_is_cut(self, drawn, theme, page):
        sheet = drawn[theme][page]
        b = boxes(sheet)
        assert overlaps(sheet, b) == []
        left, top, right, bottom = b.T
        assert left.min() > EDGE - 1 and top.min() > EDGE / 2 and right.max() < WIDTH - EDGE + 1
        assert bottom.max() < HEIGHT - EDGE + 4
        assert min(t.get_fontsize() for t in texts(sheet)) >= 6.5
        assert sheet.get_size_inches() == pytest.approx((297 / 25.4, 210 / 25.4), abs=0.01)

    @pytest.mark.parametrize("name", THEMES)
    def test_every_colour_of_a_text_can_be_read(self, drawn, name):
        def light(color):
            c = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

        used = {t.get_color() for page in drawn[name] for t in texts(page)}
        for ground in (THEMES[name].paper, THEMES[name].band):
            for color in used:
                low, high = sorted((light(color), light(ground)))
                ratio = (high + 0.05) / (low + 0.05)
                assert ratio >= (4.5 if ground == THEMES[name].paper else 3), (color, ground, ratio)

    def test_a_text_over_another_and_one_beyond_the_paper_are_found(self):
        page, ax, y = blank(THEMES["light"], "A title", "beside", "alt")
        write(ax, 100, y + 10, "one", THEMES["light"])
        write(ax, 104, y + 12, "another", THEMES["light"])
        write(ax, WIDTH - 10, y + 40, "beyond", THEMES["light"])
        b = boxes(page)
        assert overlaps(page, b) == [("one", "another")] and b[:, 2].max() > WIDTH

    def test_cells_wrap_and_a_word_that_is_too_wide_is_named(self):
        _, ax, y = blank(THEMES["light"], "A title", "beside", "alt")
        spans = table(ax, 30, y, (Column("a", 60), Column("b", 60)), [("x", "one two three four five"), (Cell("end"),)],
                      THEMES["light"])  # fmt: skip
        assert spans[0][1] - spans[0][0] > 2 * BODY and spans[1][0] == spans[0][1]
        assert wrap("one\ntwo", 100) == ["one", "two"]
        with pytest.raises(ValueError, match="'unbreakable' takes .* wider column"):
            wrap("unbreakable", 10)


class TestFormats:
    def test_all_that_is_named_exists(self, rows):
        assert all(name in PRESETS for _, names in GROUPS.values() for name in names) and len(rows) >= 20
        assert all(e in WRITERS or e in LAYOUTS for e in ECOSYSTEMS.values())
        kernels = {k.name for k in TABLE}
        assert all({r.cpu, r.gpu} <= {*kernels, ""} - {LAST} for r in rows.values())
        assert set(GRIDS) <= set(PRESETS) and all(values_of(n).abs().max() == 1 for n in GRIDS)

    def test_numbers_are_the_registries_and_stand_on_the_page(self, rows, drawn):
        said = [t.get_text() for t in texts(drawn["light"][0])]
        for name, row in rows.items():
            w = PRESETS[name].weights
            assert row.bits == w.bits_per_weight(*SHAPE) and row.codes == w.grid.num_bits
            assert name in said and f"{row.bits:.3f}" in said
        assert {r.cpu for r in rows.values() if r.name.startswith("W3")} == {""}

    def test_what_is_lost_is_what_was_measured(self, rows):
        for subject in cheatsheet.SUBJECTS:
            results = json.loads((CAPTURES / f"{subject}-zoo.json").read_text())["results"]
            for name, row in rows.items():
                a = row.lost[subject]
                if a is None:
                    assert name not in results
                else:
                    assert a.name in (name, f"{name}_G64") and (a.name == name or name not in results)
                    r = results[a.name]
                    assert (a.added, a.stderr) == (r["added_bits_per_byte"], r["added_stderr"])

    def test_a_dot_means_that_the_tensors_can_be_made(self, rows):
        W = torch.randn(32, 256)
        for name, row in rows.items():
            q = quantize(W, PRESETS[name].weights)
            for short in row.files:
                ecosystem = ECOSYSTEMS[short]
                assert WRITERS[ecosystem].tensors(q, PRESETS[name]) if ecosystem in WRITERS else LAYOUTS[ecosystem].pack(q)
        assert {name for name, row in rows.items() if not row.files} == {"W4A4", "TERNARY"}

    def test_digits_and_the_axis(self):
        assert [digits(v) for v in (0.00961, 0.1305, 3.797, -0.02, 0.000161)] == [
            "+0.0096",
            "+0.13",
            "+3.8",
            "−0.020",
            "+0.0002",
        ]
        assert place(-1) == place(LEAST) == 0 < place(0.01) < place(1) < place(100) == 1


class TestMethods:
    def test_every_method_of_the_registries_is_there(self):
        assert {m.name for m in METHODS} == {*QUANTIZERS, *TRANSFORMS, "qat"} - {"online"}  # online is a part of rotation
        assert [m.name for m in METHODS if kind(m.name) == "training"] == ["qat"]

    def test_who_needs_data(self, monkeypatch):
        assert {m.name for m in METHODS if needs(m.name) == NONE} == {"rtn", "hqq", "rotation"}
        assert all((needs(n) == NONE) == (not q.data) for n, q in QUANTIZERS.items())
        monkeypatch.setitem(QUANTIZERS, "hqq", replace(QUANTIZERS["hqq"], data=True))
        assert needs("hqq") != NONE

    def test_what_each_wins_was_measured(self, content, drawn):
        said = " ".join(t.get_text() for t in texts(drawn["dark"][1]))  # long pairs are broken into lines
        for m in METHODS:
            for (scheme, before, other, after), (a, b) in zip(won(m, content.results), m.won[1], strict=True):
                results = json.loads((CAPTURES / f"{m.won[0]}.json").read_text())["results"]
                assert scheme == a and [before, after] == [results[n]["added_bits_per_byte"] for n in (a, b)]
                assert b.startswith(f"{a}+") if not other else other == b  # another scheme is named
                gained = f"{a} {digits(before)} → {other} {digits(after)}".replace("→  ", "→ ")
                assert gained in said
                assert after < before

    def test_limits_are_the_courses(self):
        assert DECISIONS.items() <= LIMITS.items() and all(invariants(why) for _, why in LIMITS.values())
        assert {int(n) for _, why in LIMITS.values() for n in invariants(why).split(", ")} <= set(
            range(1, len(INVARIANTS) + 1)
        )
        assert invariants("Invariants 1 and 4: so. Invariant 6") == "1, 4, 6"


def test_the_examples_are_what_cost_computes():
    said = {f.what: f.example for f in formulas()}
    b = PRESETS["W4A16"].weights.bits_per_weight(*SHAPE)
    small, large = (cost.projected_bytes(c, b) for c in (LLAMA_8B, LLAMA_70B))
    assert f"{cost.projected_bytes(LLAMA_8B, 16) / 1e9:.1f} → {small / 1e9:.2f} GB" in said["bytes of a model"]
    assert f"{cost.kv_block_bytes(LLAMA_8B) / 16:,.0f} bytes" in said["KV cache of a token"]
    assert f"{cost.kv_blocks(USABLE, small, LLAMA_8B) * 16 // 8192} with bf16 KV" in said["users that fit"]
    assert f"{large / 1e9:.1f} GB" in said["a large model"] and large < USABLE < MEMORY
    assert f"nothing from {crossing(16):.0f} on" in said["where bytes stop binding"]
    head = 2 * LLAMA_8B.vocab_size * LLAMA_8B.hidden_size
    assert f"→ {cost.decode_seconds(small - head, BANDWIDTH) * 1e3:.2f} ms" in said["floor of a decode step"]


def test_the_tables_say_what_the_pages_say(content, rows, drawn):
    found = tables(content)
    assert set(found) == {"formats", "bytes", "methods", "limits", "names"}
    assert [row[0] for row in found["formats"].rows] == list(rows)
    for name, page in (("formats", 0), ("bytes", 0), ("methods", 1), ("limits", 1), ("names", 1)):
        said = " ".join(t.get_text() for t in texts(drawn["light"][page]))
        assert all(row[0].split()[0] in said for row in found[name].rows if row[0])


class TestDispatch:
    def test_every_scheme_is_in_one_line(self, content, rows):
        lines = content.lines
        assert sorted(n for names in lines for n in names.split(", ")) == sorted(PRESETS)
        assert not any(w.fast for w in list(lines.values())[-1].values())
        for names, way in lines.items():
            for row in (rows[n] for n in names.split(", ") if n in rows):
                assert (row.cpu or LAST, row.gpu or LAST) == (way["cpu"].kernels[0], way["cuda"].kernels[0])

    def test_the_calls_are_those_of_the_contract(self):
        assert all(hasattr(QuantizationConfig, c) or hasattr(LinearMethodBase, c) for c in CALLS)


NO_NAMES = {"always", "true", "divides", "multiplies", "field", "int32", "int8", "uint8", "gptq_v2", "config", "json"}


def words_of(folder, ecosystem):
    """Everything that a file of the reference library calls by a name."""
    if ecosystem == "gguf":
        return set(GGUFFile(folder / "model.gguf").metadata)
    text = "".join(p.read_text() for p in folder.glob("*config*.json"))
    tensors = [name for path in folder.glob("*.safetensors") for name in SafetensorsFile(path).tensors]
    return set(re.findall(r"[\w.-]+", text)) | {name.rsplit(".", 1)[-1] for name in tensors}


class TestNames:
    WRITTEN_BY = {"compressed-tensors": "ct", "gptq": "gptq", "awq": "awq_gemm", "torchao": "ao"}

    @pytest.fixture
    def table_of_names(self, content):
        return content.names

    @pytest.mark.parametrize("ecosystem", WRITTEN_BY)
    def test_the_reference_library_calls_it_so(self, table_of_names, ecosystem):
        """Keys and tensors are looked up in files that the libraries themselves wrote."""
        at = 1 + list(cheatsheet_names.TITLES).index(ecosystem)
        known = set()
        for folder in FILES.glob(f"{self.WRITTEN_BY[ecosystem]}*"):
            known |= words_of(folder, ecosystem)
        skip = ("said in", "scales of the KV cache", "left in 16 bits" if ecosystem == "awq" else "")
        for what, cell in ((row[0], row[at]) for row in table_of_names if row[0] not in skip):
            named = set(re.findall(r"\b[a-zA-Z_][\w.-]{2,}", cell)) - NO_NAMES
            named -= {"weight_g_idx"}  # of compressed-tensors files older than these
            assert named <= known, (what, named - known)

    def test_gguf(self, table_of_names):
        column = [row[1 + list(cheatsheet_names.TITLES).index("gguf")] for row in table_of_names]
        known = set().union(*(words_of(p.parent, "gguf") for p in FILES.glob("gguf_*/model.gguf")))
        assert column[0] in known and {"d, scales", "dmin"} <= set(column)

    def test_every_ecosystem_that_is_written_is_there(self, table_of_names):
        assert {*WRITERS, "gguf"} - {"gptq_v2"} == set(cheatsheet_names.TITLES)
        assert len({row[0] for row in table_of_names}) == len(table_of_names)
        assert all(any(cell != cheatsheet_names.NO for cell in row[1:]) for row in table_of_names)

    def test_a_key_that_is_renamed_changes_the_sheet(self, monkeypatch):
        old = WRITERS["gptq"]
        monkeypatch.setattr(type(old), "written", lambda self, scheme, *more: {
            {"group_size": "width"}.get(k, k): v for k, v in self.config(scheme, ("lm_head",)).items()})  # fmt: skip
        assert cheatsheet_names.key("group size", old) == cheatsheet_names.NO
        assert cheatsheet_names.key("bits a code", old) == "bits"


class TestFilesOnDisk:
    def test_they_are_whole_and_nothing_else_is_left(self, made):
        assert [p.name for p in made] == ["cheatsheet-dark.pdf", "cheatsheet-dark-1.png", "cheatsheet-dark-2.png"]
        assert sorted(p.name for p in made[0].parent.iterdir()) == sorted(p.name for p in made)
        pdf, *pngs = (p.read_bytes() for p in made)
        assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
        assert len(re.findall(rb"/Type /Page\b", pdf)) == 2
        assert b"/FontFile2" in pdf and b"/Subtype /Image" not in pdf  # the font inside; nothing but vectors
        assert b"CreationDate" not in pdf  # the same bytes every time
        for png in pngs:
            assert png[:8] == b"\x89PNG\r\n\x1a\n" and png[-8:-4] == b"IEND"
            assert int.from_bytes(png[16:20], "big") == int(WIDTH / 72 * cheatsheet.SHARP)

    def test_a_place_that_cannot_be_written(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        for out in ("file", "file/below"):
            with pytest.raises(SystemExit) as stopped:
                main(["cheatsheet", "--out", str(tmp_path / out), "--captures", str(CAPTURES)])
            said = capsys.readouterr().err
            assert stopped.value.code == 2 and said.count("\n") == 1 and "cannot be written" in said and "--out" in said
        assert [p.name for p in tmp_path.iterdir()] == ["file"]

    def test_captures_that_are_not_there_and_a_theme_that_is_none(self, content, tmp_path, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["cheatsheet", "--out", str(tmp_path / "out"), "--captures", str(tmp_path)])
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and said.count("\n") == 1 and "shipped-zoo.json" in said
        for name in ("shipped-zoo", "smollm2-zoo"):
            whole = json.loads((CAPTURES / f"{name}.json").read_text())
            (tmp_path / f"{name}.json").write_text(json.dumps(whole | {"complete": False}))
        with pytest.raises(ValueError, match="shipped-zoo.json is not complete"):
            cheatsheet.captures(tmp_path)
        with pytest.raises(ValueError, match="theme 'sepia': one of light, dark"):
            cheatsheet.pages(content, "sepia")

    def test_the_command_says_where_they_lie(self, tmp_path, monkeypatch, capsys):
        asked = []
        monkeypatch.setattr(cheatsheet, "write", lambda *how: asked.append(how) or [Path("a.pdf")])
        main(["cheatsheet", "--out", str(tmp_path), "--captures", "C", "--dark"])
        main(["cheatsheet", "--json"])
        said = capsys.readouterr().out
        assert asked == [(tmp_path, Path("C"), "dark"), (Path("runs"), Path("captures"), "light")]
        assert said.startswith("written: a.pdf\n") and json.loads(said.split("\n", 1)[1]) == {"written": ["a.pdf"]}
