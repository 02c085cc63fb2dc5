import numpy as np
import pytest
import torch

from qcourse.methods import hadamard as module
from qcourse.methods.hadamard import factors, hadamard, hadamard_transform, paley, random_hadamard

BUILT = [n for n in range(1, 129) if factors(n) is not None]
LARGE = [576, 768, 1536]
F64 = torch.float64


def test_every_multiple_of_four_but_a_few_is_built():
    """A Hadamard matrix has order 1, 2 or a multiple of 4; up to 128 Paley's primes and Sylvester leave out four."""
    assert [1, 2, *(n for n in range(4, 129, 4) if n not in (52, 92, 100, 116))] == BUILT


@pytest.mark.parametrize("n", [*BUILT, *LARGE])
def test_rows_are_orthonormal_and_every_entry_has_one_size(n):
    """In fp64 a sum of n products of size 1/n is off by less than n · 2⁻⁵³."""
    H = hadamard(n, F64)
    assert torch.equal(H.abs(), torch.full((n, n), 1 / n**0.5, dtype=F64))
    torch.testing.assert_close(H @ H.T, torch.eye(n, dtype=F64), atol=n * 2**-53, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_sylvester_is_a_parity_of_bits(n):
    """Written again: the sign at (i, j) is -1 to the number of ones in i & j."""
    want = [[(-1) ** (i & j).bit_count() for j in range(n)] for i in range(n)]
    torch.testing.assert_close(hadamard(n) * n**0.5, torch.tensor(want).float())


@pytest.mark.parametrize("q", [3, 5, 7, 11, 13, 17, 19])
def test_paley_is_eulers_criterion(q):
    """Written again in numpy: chi(a) = a^((q-1)/2) mod q, and the ±1 matrix H has H @ H.T = order · 1."""
    chi = [0] + [1 if pow(a, (q - 1) // 2, q) == 1 else -1 for a in range(1, q)]
    H = paley(q).numpy().astype(int)
    order = q + 1 if q % 4 == 3 else 2 * (q + 1)
    core = H[1:, 1:] if q % 4 == 3 else H[2::2, 2::2]  # each entry of the second kind is a block of 2 × 2
    assert all(core[i, j] == chi[(j - i) % q] for i in range(q) for j in range(q) if i != j)
    assert set(np.unique(H)) == {-1, 1} and np.array_equal(H @ H.T, order * np.eye(order, dtype=int))


def test_the_fewest_additions():
    assert factors(768) == (12, 2, 2, 2, 2, 2, 2) and factors(576) == (12, 12, 2, 2)  # 12 · 12 · 4 beats 36 · 16
    assert factors(24) == (12, 2) and factors(64) == (2,) * 6 and factors(1) == ()  # 24 = 23 + 1 would be dense


@pytest.mark.parametrize("n", [*BUILT, *LARGE])
def test_the_transform_is_the_product(n):
    """fp32, u = 2⁻²⁴: a sum of r terms is off by (r - 1) u Σ|x|, of the length of r terms at most (r - 1) sqrt(r) u; and the
    division, once for sqrt(n) and once for the quotient."""
    x = torch.randn(3, 2, n)
    y, want = hadamard_transform(x), x.double() @ hadamard(n, F64)
    bound = (2 + sum((r - 1) * r**0.5 for r in factors(n))) * 2**-24
    assert ((y - want).norm(dim=-1) <= bound * x.norm(dim=-1)).all()
    torch.testing.assert_close(hadamard_transform(x.double()), want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    x = torch.randn(5, 768).to(dtype)
    assert torch.equal(hadamard_transform(x), hadamard_transform(x.float()).to(dtype))


@pytest.mark.parametrize("shape", [(8,), (0, 8), (2, 0, 12)])
def test_any_leading_shape(shape):
    x = torch.randn(shape)
    torch.testing.assert_close(hadamard_transform(x), x @ hadamard(shape[-1]))


def test_a_spike_is_spread_evenly():
    x = torch.zeros(1, 256)
    x[0, 77] = 16.0
    assert torch.equal(hadamard_transform(x).abs(), torch.ones(1, 256))


def test_what_inference_made_can_be_trained_through():
    module.signs.cache_clear()
    with torch.inference_mode():
        hadamard_transform(torch.randn(2, 12))
    x = torch.randn(2, 12, requires_grad=True)
    hadamard_transform(x)[0, 3].backward()
    torch.testing.assert_close(x.grad[0], hadamard(12)[:, 3])


def test_random_signs():
    a, b, c = random_hadamard(36, 1, F64), random_hadamard(36, 1, F64), random_hadamard(36, 2, F64)
    signs = a / hadamard(36, F64)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert set(signs[:, 0].tolist()) == {-1, 1} and torch.equal(signs, signs[:, :1].expand(36, 36))  # one sign a row
    torch.testing.assert_close(a @ a.T, torch.eye(36, dtype=F64), atol=36 * 2**-53, rtol=0)


def test_random_signs_leave_torchs_own_stream_alone():
    state = torch.get_rng_state()
    random_hadamard(12, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_channels_need_the_signs():
    x = torch.ones(1, 256)
    assert (x @ hadamard(256)).abs().max() == 16 and (x @ random_hadamard(256, 0)).abs().max() < 5


class TestBadInput:
    @pytest.mark.parametrize(("n", "nearest"), [(3, "2 and 4"), (6, "4 and 8"), (9, "8 and 12"), (100, "96 and 104")])
    def test_sizes_that_are_not_built(self, n, nearest):
        for build in (hadamard, lambda n: random_hadamard(n, 0), lambda n: hadamard_transform(torch.ones(1, n))):
            with pytest.raises(ValueError, match=rf"n={n}: no Hadamard matrix .* nearest that are: {nearest}$"):
                build(n)

    @pytest.mark.parametrize("n", [0, -4])
    def test_no_size(self, n):
        with pytest.raises(ValueError, match=f"n={n}: .* positive size"):
            hadamard(n)
