"""Random inputs for the cases of a property. Everything is drawn from the generator that the judge hands over."""

import torch

from qcourse.shapes import Tensor


def normal(g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Tensor:
    """Gaussian numbers of standard deviation `size`."""
    return (torch.randn(*shape, generator=g) * size).to(dtype)


def integer(g: torch.Generator, low: int, high: int) -> int:
    """One of low … high."""
    return int(torch.randint(low, high + 1, (1,), generator=g))


def uniform(g: torch.Generator, low: float, high: float) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand(1, generator=g))


def rows(g: torch.Generator, N: int, K: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A weight (N, K), K ≥ 2: rows of very different sizes (0.01 … 10), both signs in each, the extreme one alternating.

    So max is not absmax, one row's scale is not another's, and no two columns agree.
    """
    W = torch.randn(N, K, generator=g) * 10 ** (3 * torch.rand(N, 1, generator=g) - 2)
    extreme = 1.3 * W.abs().amax(1) + 0.001
    columns = torch.stack([torch.randperm(K, generator=g)[:2] for _ in range(N)])
    sign = torch.where((torch.arange(N) + integer(g, 0, 1)) % 2 == 0, -1.0, 1.0)
    W[torch.arange(N), columns[:, 0]] = sign * extreme
    W[torch.arange(N), columns[:, 1]] = -sign * extreme * 0.6
    return W.to(dtype)


def codes(g: torch.Generator, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int8) -> Tensor:
    """Codes low … high, evenly."""
    return torch.randint(low, high + 1, shape, generator=g).to(dtype)
