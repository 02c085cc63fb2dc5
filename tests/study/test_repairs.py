"""The row that is taken apart: the law of its repairs, and what its picture says."""

import pytest
import torch

from qcourse.study.repairs import costs, repair, stages


@pytest.fixture
def row():
    x = torch.tensor(
        [[2, 2, 1, 2], [-1, -1, -1, 0], [1, 2, 2, 1], [-2, -1, -2, -2], [1, 1, 0, 1], [-1, -2, -1, -1]]
    ).double()
    return torch.tensor([0.6, 2.8, 0.2, 0.7], dtype=torch.double), x.T @ x


def test_each_stage_is_the_best_that_free_columns_can_do(row):
    w, H = row
    found = stages(w, H)
    for j in range(1, len(w)):
        done = found[j, :j] - w[:j]
        best = w[j:] - torch.linalg.solve(H[j:, j:], H[j:, :j] @ done)
        torch.testing.assert_close(found[j, j:], best)
        assert torch.equal(found[j, :j], found[j, :j].round())
    assert torch.equal(found[0], w) and torch.equal(found[-1], found[-1].round())


def test_nothing_moves_without_repair(row):
    w, H = row
    deaf = stages(w, H, repair=False)
    assert torch.equal(deaf[-1], w.round()) and torch.equal(deaf[2, 2:], w[2:])
    assert costs(stages(w, H), H)[-1] < costs(deaf, H)[-1] and costs(deaf, H)[0] == 0


def test_its_end_is_the_best_of_all_roundings_up_or_down(row):
    w, H = row
    every = w.floor() + torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    best = (((every - w) @ H) * (every - w)).sum(1).argmin()
    assert torch.equal(stages(w, H)[-1], every[best]) and not torch.equal(every[best], w.round())


def test_independent_columns_have_nothing_to_repair(row):
    w, _ = row
    assert torch.equal(stages(w, torch.eye(4).double())[-1], w.round())


def test_the_picture_says_what_it_shows(row):
    w, H = row
    found, deaf = stages(w, H), stages(w, H, repair=False)
    pictures = [repair(found, deaf, H, done) for done in range(5)]
    for done, picture in enumerate(pictures):
        assert picture.alt.startswith(f"{done} of 4 columns rounded: output error ")
    assert "none went farther" in pictures[3].alt and "3 went farther than half a step" in pictures[4].alt
    left, right = pictures[0].axes
    assert left.get_ylim()[1] > 0.7 and right.get_ylim()[1] > costs(deaf, H)[-1]
    assert left.get_ylim() == pictures[4].axes[0].get_ylim()  # it stays where it is while one drags
