"""A fresh start never costs what was written before."""

import shutil

import pytest

from qcourse.checks.labs import STARTERS, keep, reset, starter_of
from qcourse.cli import main


def test_work_is_kept_under_a_dated_name(tmp_path):
    fresh = reset("01", tmp_path)
    assert fresh.kept is None and fresh.fresh.read_bytes() == starter_of("01").read_bytes()
    fresh.fresh.write_text("my work")
    again = reset("1", tmp_path)
    assert again.kept.read_text() == "my work" and again.kept.name.startswith("01_fake_quant-2")
    assert again.fresh.read_bytes() == starter_of("01_fake_quant").read_bytes()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".ipynb", ".ipynb"]


def test_a_copy_never_replaces_another(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "20260102-030405")
    mine = tmp_path / "01_fake_quant.ipynb"
    for n in range(3):
        mine.write_text(f"version {n}")
        keep(mine)
    kept = sorted(p.read_text() for p in tmp_path.glob("01_fake_quant-*"))
    assert kept == ["version 0", "version 1", "version 2"]


def test_untouched_work_needs_no_copy(tmp_path):
    shutil.copy(starter_of("02"), tmp_path)
    assert reset("02", tmp_path).kept is None


def test_a_full_disk_leaves_the_work_alone(tmp_path, monkeypatch):
    mine = reset("01", tmp_path).fresh
    mine.write_text("my work")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="no space"):
        reset("01", tmp_path)
    assert mine.read_text() == "my work"


def test_an_unknown_lab(tmp_path):
    for lab in ("99", "", "../01", "one"):
        with pytest.raises(ValueError, match="there is 01_fake_quant"):
            reset(lab, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_starters_are_installed_with_the_package():
    assert list(STARTERS.glob("*.ipynb"))


def test_the_command_called_inside_the_folder_of_the_labs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / starter_of("01").name
    mine.write_text("mine")
    main(["reset", "01"])
    assert mine.read_bytes() == starter_of("01").read_bytes() and not (tmp_path / "labs").exists()
    assert [p.read_text() for p in tmp_path.glob("01_*-2*.ipynb")] == ["mine"]
    assert "kept what you wrote" in capsys.readouterr().out
