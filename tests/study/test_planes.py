"""Two numbers in their plane: turning is exact, the grid is the format's, axes stay, and a path's course is told."""

import pytest
import torch

from qcourse.numerics.granularity import per_tensor
from qcourse.numerics.grids import IntGrid
from qcourse.numerics.quantize import fake_quantize
from qcourse.numerics.schemes import QuantizationArgs
from qcourse.study.planes import cells, loss, nearest, on_grid, rotation, turned_errors, turning, valley


@pytest.fixture
def pair():
    return torch.randn(300, 2) * torch.tensor([6.0, 1.0])


def test_a_rotation_turns_against_the_clock_and_keeps_lengths():
    torch.testing.assert_close(torch.tensor([[1.0, 0.0]]) @ rotation(90), torch.tensor([[0.0, 1.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation(30) @ rotation(30).T, torch.eye(2))
    torch.testing.assert_close(rotation(30) @ rotation(15), rotation(45))


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_grid_is_that_of_the_format(pair, bits):
    rounded, step = on_grid(pair, bits)
    args = QuantizationArgs(IntGrid(bits, restricted=True), per_tensor, scale=torch.float32)
    torch.testing.assert_close(rounded, fake_quantize(pair, args))
    assert (rounded - pair).abs().max() <= step / 2 * (1 + 1e-5)


def test_turning_helps_the_quiet_channel_and_a_quarter_turn_changes_nothing(pair):
    (all_0, quiet_0), (all_45, quiet_45) = turned_errors(pair, 0), turned_errors(pair, 45)
    assert all_45 < 0.9 * all_0 and quiet_45 < 0.95 * quiet_0
    assert turned_errors(pair, 90) == pytest.approx((all_0, quiet_0), rel=0.05)  # up to numbers that lie on a border


def test_the_axes_stay_while_one_drags(pair):
    pictures = [turning(pair, [0, 45, 90], at) for at in (0, 45)]
    limits = {tuple(axes.get_xlim() + axes.get_ylim()) for p in pictures for axes in p.axes[:1]}
    assert len(limits) == 1 and pictures[0].alt != pictures[1].alt and "Turned by 45°" in pictures[1].alt
    with pytest.raises(ValueError):
        turning(pair, [0, 45], 30)  # an angle that the curve does not have


def test_cells_belong_to_the_nearest_entry(pair):
    book = torch.randn(5, 2)
    found = nearest(pair, book)
    for x, at in zip(pair[:20], found, strict=False):
        assert (x - book[at]).norm() <= (x - book).norm(dim=1).min() + 1e-5
    picture = cells({"five": book}, pair, "five entries", fine=20)
    assert "five: 5 entries" in picture.alt and picture.alt.startswith("five entries")


def test_the_loss_is_the_quadratic_form_and_the_valley_tells_its_course():
    H, wanted = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([0.5, 0.25])
    d = torch.tensor([0.5, -0.25])
    assert loss(wanted + d, H, wanted).item() == pytest.approx((d @ H @ d).item())
    assert "from 0.938 to 0.438" in valley(H, wanted, torch.tensor([[0.4, 0.2], [0.6, 0.2]]), "two steps").alt
