"""How far quantize, convert and export are: a bar on a terminal, a few lines in a log, nothing when quiet."""

import io
import re
import sys

from qcourse.models.export_gguf import export
from qcourse.models.loader import SHIPPED
from qcourse.models.progress import LINES, progress_of
from qcourse.models.stream import Method, quantize_to_folder
from qcourse.numerics.schemes import PRESETS

PARTS = {"embedding, head": 3_000_000} | {f"model.layers.{i}": 1_000_000 for i in range(97)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_few_lines(capsys):
    with progress_of(PARTS, True) as bar:
        for i, name in enumerate(PARTS):
            bar.done(name, earlier=i < 5)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and len(lines) == LINES and lines[0].startswith("model.layers.6: 10.0MB of 100MB, ")
    assert lines[-1].startswith("model.layers.96: 100MB of 100MB, ") and all(re.search(r"B/s$", line) for line in lines)
    assert (bar.n, bar.earlier) == (100_000_000, 7_000_000)


def test_one_large_part_is_one_line(capsys):
    with progress_of({"a": 99, "b": 1}, True) as bar:
        bar.done("a")
        bar.done("b")
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["a", "b"]


def test_a_terminal_gets_a_bar_with_bytes_a_second(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_of(PARTS, True) as bar:
        for name in PARTS:
            bar.say(f"{name}.self_attn.q_proj")
            bar.done(name)
    said = terminal.getvalue()
    assert "model.layers.0.self_attn.q_proj:" in said and "100M/100M" in said and "B/s]" in said


def test_quiet_is_silent_and_nothing_is_no_division(capsys):
    with progress_of(PARTS, False) as bar:
        bar.done("model.layers.3")
    with progress_of({"empty": 0}, True) as bar:
        bar.done("empty")
    assert capsys.readouterr() == ("", "")


def test_every_byte_of_the_source_is_counted(tmp_path, monkeypatch):
    """Of quantize by blocks, of export by layers."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    quantize_to_folder(SHIPPED, tmp_path / "out", PRESETS["W8A16"], Method(), progress=True)
    export(SHIPPED, tmp_path / "x.gguf", "F16")
    said = terminal.getvalue()
    assert said.count("100%") >= 2 and "model.layers.3:" in said and "model.norm:" in said
