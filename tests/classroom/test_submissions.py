"""Whose is which file, in every way that a class's work arrives."""

import os
import zipfile

import pytest

from qcourse.classroom.names import readable
from qcourse.classroom.notebook import NotANotebook, parse
from qcourse.classroom.submissions import collect

BOOK = b'{"cells": [{"cell_type": "code", "source": ["check(\\"01.2\\", f)"]}], "metadata": {}}'
MB = 1 << 20


def whose(place):
    return {f.student: f.name for f in collect(place, MB)}


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(BOOK)
    return folder


def pack(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, BOOK)
    return path


CANVAS = (
    "doejane_12345_67890_01_fake_quant-1.ipynb",
    "doejane_LATE_12345_67999_01_fake_quant-2.ipynb",
    "li_7_8_my_lab.ipynb",
)
MOODLE = ("Jane Doe_1234567_assignsubmission_file_/01_fake_quant.ipynb", "Ann_2_assignsubmission_file/a/b.ipynb")


def test_one_notebook_a_student(tmp_path):
    put(
        tmp_path,
        "alice.ipynb",
        "bob_01_fake_quant.ipynb",
        "carla-01_fake_quant (2).ipynb",
        "01_fake_quant.ipynb",
        ".hidden.ipynb",
    )
    assert set(whose(tmp_path)) == {"alice", "bob", "carla", "01_fake_quant"}


def test_one_folder_a_student(tmp_path):
    put(tmp_path, "alice/01_fake_quant.ipynb", "alice/.ipynb_checkpoints/x-checkpoint.ipynb", "bob/deep/er/lab.ipynb")
    put(tmp_path, "__MACOSX/._alice.ipynb")
    assert whose(tmp_path) == {"alice": "01_fake_quant.ipynb", "bob": "lab.ipynb"}


@pytest.mark.parametrize("as_zip", [True, False])
def test_canvas(tmp_path, as_zip):
    found = collect(pack(tmp_path / "download.zip", *CANVAS) if as_zip else put(tmp_path / "d", *CANVAS), MB)
    assert [(f.student, f.name, f.late) for f in found] == [
        ("doejane (12345)", "01_fake_quant-1.ipynb", False),
        ("doejane (12345)", "01_fake_quant-2.ipynb", True),
        ("li (7)", "my_lab.ipynb", False),
    ]
    assert found[0].order < found[1].order


@pytest.mark.parametrize("as_zip", [True, False])
def test_moodle(tmp_path, as_zip):
    place = pack(tmp_path / "download.zip", *MOODLE) if as_zip else put(tmp_path / "d", *MOODLE)
    assert whose(place) == {"Jane Doe (1234567)": "01_fake_quant.ipynb", "Ann (2)": "b.ipynb"}


def test_a_zip_of_one_folder_that_holds_the_class(tmp_path):
    assert set(whose(pack(tmp_path / "x.zip", "hw1/alice.ipynb", "hw1/bob/01_fake_quant.ipynb"))) == {"alice", "bob"}
    assert set(whose(pack(tmp_path / "y.zip", "alice/01_fake_quant.ipynb", "alice/02_int4.ipynb"))) == {"alice"}


def test_a_student_who_hands_in_a_zip_is_still_that_student(tmp_path):
    """Whatever the files inside are called: nobody hands in for somebody else."""
    put(tmp_path, "alice.ipynb")
    pack(tmp_path / "mallory.zip", "alice.ipynb", "alice/01_fake_quant.ipynb", "alice_12345_67890_x.ipynb")
    pack(tmp_path / "eve_5_6_work.zip", "01_fake_quant.ipynb")
    pack(tmp_path / "inner.zip", "bob.ipynb", "Bob_77_assignsubmission_file_/01_fake_quant.ipynb")
    with zipfile.ZipFile(tmp_path / "lms.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "Mallory_9_assignsubmission_file_/work.zip")
        archive.writestr("Bob_77_assignsubmission_file_/01_fake_quant.ipynb", BOOK)
    found = collect(tmp_path / "lms.zip", MB)
    assert [f.student for f in found] == ["Bob (77)", "Mallory (9)", "Mallory (9)"]
    assert all(f.read(MB) == BOOK for f in found)
    (tmp_path / "inner.zip").unlink()
    (tmp_path / "lms.zip").unlink()
    assert [f.student for f in collect(tmp_path, MB)] == ["alice", "eve (5)", "mallory", "mallory", "mallory"]


def test_archives_that_mean_harm(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../up.ipynb", BOOK)
        archive.writestr("/abs.ipynb", BOOK)
        archive.writestr("big.ipynb", bytes(5 * MB))
        archive.writestr("liar.ipynb", bytes(2 * MB))
        link = zipfile.ZipInfo("link.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "torn.zip").write_bytes((tmp_path / "x.zip").read_bytes()[:50])
    for found in collect(tmp_path / "x.zip", MB):
        with pytest.raises(NotANotebook, match="leads out|at most|a link|more than"):
            found.read(MB)
    with pytest.raises(NotANotebook, match="not a zip archive"):
        collect(tmp_path / "torn.zip", MB)[0].read(MB)


def test_names(tmp_path):
    (tmp_path / os.fsdecode(b"andr\xe9.ipynb")).write_bytes(BOOK)
    (tmp_path / "a\nb.ipynb").write_bytes(BOOK)
    put(tmp_path, "Zoe\u0308.ipynb")
    assert set(whose(tmp_path)) == {"andr\\xe9", "a\\nb", "Zo\u00eb"}
    assert readable("\u202egnp") == "\\u202egnp"  # a name that would write itself backwards


def test_places_that_hold_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        collect(tmp_path / "nowhere", MB)
    with pytest.raises(ValueError, match="no notebooks"):
        collect(tmp_path, MB)


@pytest.mark.parametrize(
    ("book", "name", "lab"),
    [
        (BOOK, "whatever.ipynb", "01"),
        (BOOK, "02_int4_groups.ipynb", "01"),  # what its cells check counts more than its name
        (b'{"cells": []}', "doejane_02_int4_groups-1.ipynb", "02"),
        (b'{"cells": [], "metadata": {"qcourse": {"lab": "03"}}}', "01_fake_quant.ipynb", "03"),
        (b'{"cells": [], "metadata": {"qcourse": {"lab": ["03"]}}}', "thesis.ipynb", None),
        (b'{"cells": [{"cell_type": "code", "source": 3}, 7, null]}', "thesis.ipynb", None),
        (b'{"worksheets": [{"cells": [{"cell_type": "code", "input": "hint(\'04.1\')"}]}]}', "old.ipynb", "04"),
    ],
)
def test_which_lab(book, name, lab):
    assert parse(book, name).lab == lab


@pytest.mark.parametrize(
    "book", [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"cells": 3}', b'{"worksheets": [1]}', b"%PDF-1.7"]
)
def test_what_is_no_notebook(book):
    with pytest.raises(NotANotebook, match="not a notebook"):
        parse(book, "x.ipynb")
