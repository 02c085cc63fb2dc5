import pytest

from qcourse.models import corpus


def test_the_splits_do_not_touch():
    names = {split: set(corpus.file_names(split)) for split in corpus.SPLITS}
    assert len(names["held_out"]) == 30 and len(names["train"]) > 300
    assert not names["train"] & names["held_out"] and not names["train"] & names["calibration"]
    assert not names["held_out"] & names["calibration"]


def test_tables_and_installed_packages_are_no_text():
    assert not [n for n in corpus.file_names("train") if n.startswith(("encodings/", "site-packages/", "_sysconfigdata"))]


def test_held_out_text_is_about_as_large_as_documented():
    size = sum(len(t.encode()) for t in corpus.read("held_out"))
    assert 1.2e6 < size < 2.2e6


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, calibration, held_out"):
        corpus.file_names("test")


def test_missing_held_out_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(corpus, "stdlib", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="argparse.py"):
        corpus.read("held_out")
