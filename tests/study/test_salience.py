"""Pictures of which weights matter: their words say what they draw, their axes hold still."""

import pytest
import torch

from qcourse.study.salience import KINDS, by_bits, levels, moves, protection


def test_protection_keeps_its_axes_and_says_who_is_to_blame():
    lost, alphas, errors = torch.tensor([60.0, 20.0, 5.0, 5.0, 10.0]), [0.5, 0.0, 1.0], [0.1, 0.4, 0.2]
    views = [protection(lost * share, 70.0, alphas, errors, at, loud=2) for share, at in ((1, 0.0), (0.5, 0.5))]
    assert {v.axes[0].get_ylim() for v in views} == {(0.0035, 70.0)} and {v.axes[1].get_ylim() for v in views} == {(0, 42.0)}
    assert "loudest channels cause 80 %, all others 20 %" in views[0].alt and "cause 40 %" in views[1].alt
    assert views[0].alt.startswith("α = 0: output error 40.0%") and "least at 0.5" in views[0].alt
    assert views[1].axes[1].lines[1].get_xydata().tolist() == [[0.5, 10.0]]


def test_levels_lead_each_weight_to_the_nearest():
    fig = levels(torch.tensor([-0.2, 0.05, 0.3]), {"with zero": [-0.3, 0.0, 0.3], "without": [-0.1, 0.1]}, "Two grids")
    assert "with zero: -0.300, 0.000, 0.300, the nearest to zero 0.000 away" in fig.alt
    assert "without: -0.100, 0.100, the nearest to zero 0.100 away" in fig.alt
    ends = [line.get_xdata()[1] for line in fig.axes[0].lines if len(line.get_xdata()) == 2 and line.get_ls() == "-"]
    assert [round(float(x), 4) for x in ends] == [-0.3, 0.0, 0.3, -0.1, 0.1, 0.1]  # -0.2 is a tie; the first of two wins


def test_moves_lie_between_their_limits():
    fig = moves(torch.tensor([[-0.1], [0.2]]), 0.5, "Hardly any", "change", "groups")
    assert "2 groups, from -0.10 to +0.20, between ±0.5" in fig.alt and fig.axes[0].get_xlim() == (-0.6, 0.6)
    assert [line.get_xdata()[0] for line in fig.axes[0].lines] == [-0.5, 0.5]


def test_methods_stand_side_by_side():
    found = {"plain": {4: (0.01, 0.001), 2: (0.5, 0.02)}, "better": {4: (0.005, 0.001), 2: (0.2, 0.01)}}
    fig = by_bits(found, "Better is better")
    assert fig.axes[0].get_yscale() == "log" and "plain 0.01 at 4, 0.5 at 2; better 0.005 at 4" in fig.alt
    drawn = [set(c[0].get_xdata().tolist()) for c in fig.axes[0].containers]
    assert not drawn[0] & drawn[1]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({f"m{i}": {4: (1.0, 0.1)} for i in range(len(KINDS) + 1)}, "at most 7"),
        ({"fine": {4: (1.0, 0.1)}, "none": {4: (0.0, 0.1)}}, "none: a mean of 0 or below"),
    ],
)
def test_what_cannot_be_drawn_is_refused(found, why):
    with pytest.raises(ValueError, match=why):
        by_bits(found, "no picture")
