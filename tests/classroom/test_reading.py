"""Anything a file can do while it is read becomes that student's row: a notebook mutated everywhere, bytes of all kinds."""

import gzip
import itertools
import json
import os
import random
import zipfile

import pytest

from qcourse.classroom.codec import encode
from qcourse.classroom.grade import refusal
from qcourse.classroom.limits import Limits
from qcourse.classroom.notebook import NotANotebook, parse
from qcourse.classroom.report import write_report
from qcourse.classroom.submissions import MOST_READ, collect
from qcourse.classroom.units import plan

LABS = {"01": [{"id": "01.1", "title": "t", "points": 4}]}
BOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3", "language": "python"}, "language_info": {"version": "3.11"},
                 "qcourse": {"lab": "01"}},
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Lab\n", "text"]},
        {"cell_type": "code", "id": "b", "metadata": {"nbgrader": {"grade_id": "t1", "points": 2, "locked": True}},
         "execution_count": 1, "outputs": [{"output_type": "stream", "text": ["1"]}], "source": ["check('01.1', f)"]},
    ],
}  # fmt: skip
DEEP = json.loads("[" * 300 + "]" * 300)
JUNK = [None, True, 0, -1, 1.5, 1e308, "", "x", "\ud800", "\u202e\x00\x1b[2J", [], {}, [None], [[]], [1, "a", {}],
        {"": None},
        {"lab": {"lab": []}}, DEEP, ["\udfff"] * 3]  # fmt: skip
LONG, NESTED = "1" + "0" * 5000, "[" * 5000 + "]" * 5000
RAW = ["NaN", "-Infinity", LONG, "1e99999", NESTED, '"\\u0000"', "{}{}", "nul", "'x'"]


def paths(tree, here=()):
    yield here
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from paths(tree[key], (*here, key))


def replaced(path, value):
    tree = {"": json.loads(json.dumps(BOOK))}
    place = tree
    for key in ("", *path)[:-1]:
        place = place[key]
    place[("", *path)[-1]] = value
    return json.dumps(tree[""])


def without(path):
    tree = json.loads(json.dumps(BOOK))
    place = tree
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return json.dumps(tree)


def mutants():
    """Every value of the notebook replaced by every kind of junk, or left out, or given twice; then bytes gone wrong."""
    for path in paths(BOOK):
        yield from (replaced(path, junk).encode() for junk in JUNK)
        yield from (replaced(path, "HERE").replace('"HERE"', raw).encode() for raw in RAW)
        if path:
            yield without(path).encode()
    text = json.dumps(BOOK)
    yield from (text.replace(f'"{key}":', f'"{key}": 3, "{key}":').encode() for key in ("cells", "metadata", "source"))
    yield from (text[:-1].encode() + f', "{key}": 3}}'.encode() for key in ("cells", "metadata"))
    yield from (text.encode(name) for name in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"))
    yield from (b"", b" ", b"\x00", b"\xef\xbb\xbf", gzip.compress(text.encode()), b"%PDF-1.7", b"PK\x03\x04", b"\xff" * 99)
    dice = random.Random(1)
    for _ in range(800):
        data = bytearray(text.encode())
        for _ in range(dice.choice((1, 1, 3, 30))):
            data[dice.randrange(len(data))] = dice.randrange(256)
        yield bytes(data[: dice.choice((len(data), dice.randrange(len(data))))])


def test_every_mutant_is_one_row_and_never_an_exception(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir(), out.mkdir()
    count = 0
    for count, data in enumerate(mutants(), 1):
        (folder / f"s{count:05}.ipynb").write_bytes(data)
    (folder / "honest.ipynb").write_text(json.dumps(BOOK))
    units = plan(collect(folder, 1 << 20), LABS, 1, Limits())
    assert [u.student for u in units] == ["honest", *(f"s{i:05}" for i in range(1, count + 1))]
    assert count > 1500 and units[0].reason is None
    refused = [u for u in units if u.reason is not None]
    assert 500 < len(refused) < len(units) - 500  # some are notebooks still; some are not
    assert not [u.reason for u in refused if "cannot be read (" in u.reason], "caught by the net, not understood"
    write_report(out, [refusal(u, LABS) for u in units], LABS)
    assert len((out / "grades.csv").read_text(encoding="utf-8").splitlines()) == len(units) + 1
    for unit in units:
        if unit.reason is None:  # what a judge is asked to run can be sent
            encode({"cells": parse(unit.found.read(1 << 20), "x").cells})


def test_the_net_itself(tmp_path, monkeypatch):
    """Should something be forgotten above: it is that student's row all the same."""
    for name in ("ann", "bob"):
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(BOOK))
    monkeypatch.setattr("qcourse.classroom.units.fingerprint", lambda *a: {}["forgotten"])
    assert [u.reason for u in plan(collect(tmp_path, 1 << 20), LABS, 1, Limits())] == [
        "it cannot be read (KeyError: 'forgotten')"
    ] * 2


def test_things_in_the_folder_that_are_no_files(tmp_path):
    (tmp_path / "dir.ipynb").mkdir()
    (tmp_path / "full.ipynb").mkdir()
    (tmp_path / "full.ipynb" / "01_x.ipynb").write_text(json.dumps(BOOK))
    (tmp_path / "nobody").mkdir()
    (tmp_path / "loop.ipynb").symlink_to("loop.ipynb")
    (tmp_path / "gone.zip").symlink_to("nowhere.zip")
    os.mkfifo(tmp_path / "pipe.ipynb")
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "round").symlink_to("..")
    units = {u.student: u.reason for u in plan(collect(tmp_path, 1 << 20), LABS, 1, Limits())}
    assert units["full.ipynb"] is None
    expected = {"dir.ipynb": "an empty folder", "nobody": "an empty folder", "loop": "a link", "gone": "a link",
                "pipe": "ordinary file", "up": "no notebook"}  # fmt: skip
    assert {name: units[name] for name in expected if expected[name] not in units[name]} == {}
    assert "pipe [pipe.zip]" in units or "pipe [pipe.ipynb]" in units


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    (tmp_path / "ann.ipynb").write_text("{}")
    (tmp_path / "ann.ipynb").chmod(0)
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "x.ipynb").write_text("{}")
    (tmp_path / "bob").chmod(0o400)  # its names can be read, its files cannot be reached
    try:
        assert all("denied" in u.reason for u in plan(collect(tmp_path, 1 << 20), LABS, 1, Limits()))
    finally:
        (tmp_path / "bob").chmod(0o700)


def corrupt():
    """One zip for each way in which its bytes can be wrong, by a name."""
    dice = random.Random(2)
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        for n in range(60):
            yield kind, n, dice


def test_a_corrupt_zip_is_a_row(tmp_path):
    for kind, n, dice in corrupt():
        path = tmp_path / f"z{kind}-{n:02}x.zip"
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("01_x.ipynb", json.dumps(BOOK))
            archive.writestr("inner.zip", b"PK\x05\x06" + bytes(18) if n % 2 else b"PK\x03\x04")
        data = bytearray(path.read_bytes())
        for _ in range(1 + n % 5):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(data[: len(data) if n % 3 else dice.randrange(len(data))])
    units = plan(collect(tmp_path, 1 << 20), LABS, 1, Limits())
    assert {u.student for u in units} == {f"z{kind}-{n:02}x" for kind, n, _ in corrupt()}


def test_a_hundred_large_notebooks_in_one_zip_are_not_read(tmp_path, monkeypatch):
    """And where they are read, the archive inside the archive is unpacked once for all of them."""
    large = json.dumps(BOOK | {"metadata": {"x": "y" * 700_000}})
    with zipfile.ZipFile(tmp_path / "ann.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(100):
            archive.writestr(f"{i:02}_lab.ipynb", large)
    with zipfile.ZipFile(tmp_path / "inner", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(50):
            archive.writestr(f"{i:02}_lab.ipynb", json.dumps(BOOK))
    with zipfile.ZipFile(tmp_path / "bob.zip", "w") as archive:
        archive.write(tmp_path / "inner", "inner.zip")
    (tmp_path / "inner").unlink()
    read = []
    usual = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, name, *a, **k: read.append(name) or usual(self, name, *a, **k))
    units = plan(collect(tmp_path, 1 << 20), LABS, 1, Limits(notebook_mb=1))
    assert [(u.student, u.reason) for u in units if u.student == "ann"] == [
        ("ann", f"67 MB of notebooks; at most {MOST_READ} MB are read")]  # fmt: skip
    assert read.count("inner.zip") == 1 and len(read) < 70


@pytest.mark.parametrize("size", [1_000_000, 3])
def test_a_file_of_many_values_is_not_parsed(size):
    data = b'{"cells": [' + b"{}," * size + b"{}]}"
    if size > 3:
        with pytest.raises(NotANotebook, match="more than 1,000,000 values"):
            parse(data, "x")
    else:
        assert parse(data, "x").cells == []


def test_names_that_would_keep_a_pattern_busy(tmp_path):
    """An archive's names may have 65,000 characters; they are cut before any pattern sees them."""
    with zipfile.ZipFile(tmp_path / "ann.zip", "w") as archive:
        for start, fill in itertools.product(("", "x_1_"), ("_", "-01_a", "1", "_1", " (")):
            archive.writestr((start + fill * 60_000)[:60_000] + "!.ipynb", json.dumps(BOOK))
    for found in collect(tmp_path / "ann.zip", 1 << 20):
        assert len(found.student) <= 200 and len(found.name) <= 200
