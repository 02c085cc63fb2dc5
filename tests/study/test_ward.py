"""The ward: the tree grows with the cases that were met, and each instrument sees what it can see."""

import pytest
import torch

from qcourse.study.clinic import CASES, INSTRUMENTS, patient
from qcourse.study.ward import grown, reports, seen_by, slopes_figure, ward_figure

SEES = {  # what shows a difference, by hand: a cache is read in `positions` only, and a meter is no part of the model
    "KV scales of 1.0": {"positions", "headers"},
    "zeros of another version": {"errors by layer", "codes", "positions", "headers", "loudness"},
    "a double BOS": {"meter"},
}


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    root = tmp_path_factory.mktemp("ward")
    return {name: patient(0, name, root / str(i)) for i, name in enumerate(SEES)}


def test_the_tree_grows_with_what_was_met():
    assert grown(()).rows == []
    rows = grown(("a double BOS", "a fold applied twice")).rows
    assert [row[-1] for row in rows] == ["a double BOS", "a fold applied twice"]
    assert [row[1:3] for row in rows] == [["meter", "yes"], ["loudness", "yes"]]
    assert sorted(row[-1] for row in grown(CASES).rows) == sorted(CASES)
    with pytest.raises(KeyError, match="no name of CASES"):
        grown(("a cold",))


def test_a_report_is_what_was_measured_and_names_no_cause(patients):
    p = patients["zeros of another version"]
    (row,) = reports(p).rows
    assert row[:4] == ["0", p.scheme, f"{p.reading.bits:.2f}", f"{p.healthy.bits:.2f}"] and len(row) == 5
    assert not [name for name in CASES if name in str(reports(*patients.values()))]


@pytest.mark.parametrize("name", SEES)
def test_what_each_instrument_sees(patients, name):
    sees = seen_by(patients[name])
    assert list(sees) == list(INSTRUMENTS)
    assert {instrument for instrument, seen in sees.items() if seen} == SEES[name]


def test_the_figure_says_which_instrument_sees_most_and_names_all(patients):
    fig = ward_figure(patients)
    assert "positions, sees 2 of 3" in fig.alt
    assert all(name in fig.alt for name in SEES)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == list(SEES)


def test_slopes_are_drawn_with_what_is_healthy():
    x = torch.arange(4.0)
    fig = slopes_figure({"one": (x, x), "other": (x, -x)}, "Up and down")
    assert fig.alt.startswith("Up and down") and "one, other" in fig.alt
    assert [t.get_text() for t in fig.axes[0].get_legend().get_texts()] == ["one", "other", "healthy"]
