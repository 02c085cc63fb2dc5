"""A name alone vouches for little: nobody's row is taken by a file that bears, or nearly bears, their name."""

import os
import zipfile

import pytest
from test_submissions import BOOK, MB, pack, put

from qcourse.classroom.limits import Limits
from qcourse.classroom.names import likeness, owner, readable, visible
from qcourse.classroom.submissions import collect
from qcourse.classroom.units import plan

LABS = {"01": [{"id": "01.1", "title": "t", "points": 4}]}


def rows(folder):
    """student → (the file that counts, whether the teacher is told to look)."""
    return {u.student: (u.found.path.name, bool(u.look)) for u in plan(collect(folder, MB), LABS, 1, Limits())}


@pytest.mark.parametrize(
    "other",
    ["ann_01_fake_quant (2).ipynb", "ann_01_fake_quant-2.ipynb", "ann .ipynb", "ann\u00a0.ipynb", "ann_.ipynb", "ann.zip",
     "ann/01_fake_quant.ipynb", "ann_01_fake_quant(1).ipynb", "ann_01_fake_quant_2.ipynb"],
)  # fmt: skip
def test_a_name_that_is_somebodys_replaces_nobody(tmp_path, other):
    """The plain name keeps its row, whichever file is newer; the other has a row of its own; both are to be looked at."""
    (tmp_path / "ann_01_fake_quant.ipynb").write_bytes(BOOK)
    put(tmp_path, other) if not other.endswith(".zip") else pack(tmp_path / other, "01_x.ipynb")
    place = tmp_path / other
    if other.endswith("ipynb"):
        place.write_bytes(BOOK.replace(b"f)", b"g)"))
    else:
        pack(place, "01_x.ipynb", "y.txt")
    top = tmp_path / other.split("/")[0]
    os.utime(place, (2**31, 2**31))
    os.utime(tmp_path / "ann_01_fake_quant.ipynb", (1, 1))
    if other.endswith(".zip"):  # its notebook is another one
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr("01_x.ipynb", BOOK + b" ")
    found = rows(tmp_path)
    assert len(found) == 2 and all(look for _, look in found.values()), found
    if "(" in other or "2" in other or other.endswith((" .ipynb", "\u00a0.ipynb")):
        assert found["ann"][0] == "ann_01_fake_quant.ipynb", (found, top)


def test_a_decomposed_spelling_replaces_nobody(tmp_path):
    (tmp_path / "Zo\u00eb.ipynb").write_bytes(BOOK)
    (tmp_path / "Zoe\u0308.ipynb").write_bytes(BOOK + b" ")
    (tmp_path / "Ren\u00e9").mkdir()
    (tmp_path / "Rene\u0301").mkdir()
    (tmp_path / "Ren\u00e9" / "01_x.ipynb").write_bytes(BOOK)
    (tmp_path / "Rene\u0301" / "01_x.ipynb").write_bytes(BOOK + b"  ")
    found = rows(tmp_path)
    assert found["Zo\u00eb"] == ("Zo\u00eb.ipynb", True) and found["Ren\u00e9"][1] and len(found) == 4
    assert {"Zo\u00eb [Zoe\\u0308.ipynb]", "Ren\u00e9 [Rene\\u0301]"} <= set(found)


def test_the_same_file_twice_is_no_riddle(tmp_path):
    put(tmp_path, "ann.ipynb", "ann_01_fake_quant (1).ipynb", "ann/01_x.ipynb")
    assert [look for _, look in rows(tmp_path).values()] == [False]


@pytest.mark.parametrize(
    "other",
    ["ALICE", "alice (2)", "Copy of alice", "alice - Copy", "alice_LATE", "alice-final",
     "\uff41lice", "\u0430lice", "\u00e1lice",
     "ali\u200bce", "\u202ealice", "alice copy 2"],
)  # fmt: skip
def test_names_that_look_alike_are_told_to_the_teacher(tmp_path, other):
    put(tmp_path, "alice.ipynb", "bob.ipynb", f"{other}.ipynb")
    (tmp_path / f"{other}.ipynb").write_bytes(BOOK + b" ")
    found = rows(tmp_path)
    assert len(found) == 3 and not found.pop("bob")[1]
    assert all(look for _, look in found.values()) and found["alice"][0] == "alice.ipynb"


def test_an_lms_knows_whose_is_whose(tmp_path):
    put(tmp_path, "doejane_11_21_01_x-1.ipynb", "doejane_11_22_01_x-2.ipynb", "doejane_12_23_01_x.ipynb")
    (tmp_path / "doejane_11_22_01_x-2.ipynb").write_bytes(BOOK + b" ")
    assert rows(tmp_path) == {
        "doejane (11)": ("doejane_11_22_01_x-2.ipynb", False),
        "doejane (12)": ("doejane_12_23_01_x.ipynb", False),
    }


def test_a_torn_second_file_does_not_hide_the_first(tmp_path):
    put(tmp_path, "ann/01_x-1.ipynb")
    (tmp_path / "ann" / "01_x-2.ipynb").write_text("{")
    (unit,) = plan(collect(tmp_path, MB), LABS, 1, Limits())
    assert unit.reason is None and unit.notes == ("handed in more than once; 01_x-1.ipynb counts, not 01_x-2.ipynb",)


def test_a_row_is_never_shared(tmp_path):
    """A file may be called what the row of another was named."""
    put(tmp_path, "ann.ipynb", "ann .ipynb", "ann [ann .ipynb].ipynb")
    for extra, path in enumerate(sorted(tmp_path.iterdir())):
        path.write_bytes(BOOK + b" " * extra)
    assert len(rows(tmp_path)) == 3


@pytest.mark.parametrize(
    "c", ["\r", "\n", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\u200f", "\ufeff", "\ud800", "\ue000"]
)
def test_characters_that_rewrite_what_stands_around_them_are_shown(c):
    shown = [readable(f"a{c}b"), owner(f"a{c}b.ipynb", True).student, visible(f"a{c}b").replace("\n", "\\n")]
    assert all(s.isprintable() and "\\" in s and s != f"a{c}b" for s in shown), shown
    assert likeness(f"a{c}b")


def test_spaces_of_other_widths_stay_spaces():
    assert readable("\u5c71\u3000\u592a") == "\u5c71 \u592a" and visible("a\tb\nc") == "a\tb\nc"
