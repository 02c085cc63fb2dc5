"""Hadamard matrices: rotations made of ±1 alone, which spread one loud channel over all of them.

    H (n, n), entries ±1/sqrt(n), H @ H.T = 1        a spike of height a in one channel → ±a/sqrt(n) in every channel
    Sylvester  H_2n = [[H, H], [H, -H]]: every power of two
    Paley      order q + 1 or 2(q + 1) from a prime q: 12, 20, 28, 36 …
    Kronecker  products of those: 768 = 12 · 2⁶, 576 = 12 · 12 · 2²

A product with H costs K · Σ(order - 1) additions a token, over the factors of K: K · log2(K) for a power of two. It reads no
weight. Does not handle: Paley's prime powers (52, 100), and orders found by computer (92; 172, so 11008 takes a dense 5504).
Source: Sylvester 1867, "Thoughts on inverse orthogonal matrices"; Paley 1933, "On orthogonal matrices".
"""

from functools import lru_cache

import torch

from qcourse.shapes import Float, Tensor


def is_prime(q: int) -> bool:
    """Whether q has no divisor but 1 and itself."""
    return q > 1 and all(q % d for d in range(2, int(q**0.5) + 1))


def paley_prime(order: int) -> int | None:
    """The prime q that gives this order: q = order - 1, 3 mod 4 (Paley I), or q = order / 2 - 1, 1 mod 4 (Paley II)."""
    for q, remainder in ((order - 1, 3), (order // 2 - 1, 1)):
        if order % 4 == 0 and q % 4 == remainder and is_prime(q):
            return q
    return None


@lru_cache
def factors(n: int) -> tuple[int, ...] | None:
    """The orders whose Kronecker product is the matrix, largest first, with the fewest additions; None where there are none.

    >>> factors(576), factors(20), factors(100)
    ((12, 12, 2, 2), (20,), None)
    """
    if n == 1:
        return ()
    found = []
    for order in range(2, n + 1):
        if n % order == 0 and (order == 2 or paley_prime(order)) and factors(n // order) is not None:
            found.append(tuple(sorted((order, *factors(n // order)), reverse=True)))
    return min(found, key=lambda orders: sum(orders) - len(orders), default=None)


def orders_of(n: int) -> tuple[int, ...]:
    """`factors(n)`. Raises ValueError where there are none, naming the nearest sizes that have some."""
    if n < 1:
        raise ValueError(f"n={n}: a Hadamard matrix has a positive size")
    if factors(n) is None:
        below = next(m for m in range(n, 0, -1) if factors(m) is not None)
        above = next(m for m in range(n, 2 * n + 1) if factors(m) is not None)
        raise ValueError(
            f"n={n}: no Hadamard matrix is built here for this size (built: products of 2 and of Paley's q + 1 and "
            f"2(q + 1), q prime); the nearest that are: {below} and {above}"
        )
    return factors(n)


def paley(q: int) -> Float[Tensor, "n n"]:
    """Paley's matrix of ±1 from the squares modulo a prime q: order q + 1 for q = 3 mod 4, 2(q + 1) for q = 1 mod 4."""
    squares = {i * i % q for i in range(1, q)}
    chi = torch.tensor([0.0] + [1.0 if i in squares else -1.0 for i in range(1, q)])  # 1: a square, -1: none, 0: zero
    C = torch.ones(q + 1, q + 1)
    C[0, 0] = 0
    C[1:, 1:] = chi[(torch.arange(q)[None] - torch.arange(q)[:, None]) % q]  # C @ C.T = q
    if q % 4 == 3:
        C[1:, 0] = -1  # C.T = -C
        return torch.eye(q + 1) + C
    a, b = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    return torch.kron(C, a) + torch.kron(torch.eye(q + 1), b)


@lru_cache
def signs(order: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    """One factor as a matrix of ±1, made once for each dtype and device."""
    with torch.inference_mode(False):
        H = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) if order == 2 else paley(paley_prime(order))
        return H.to(device, dtype)


def hadamard(n: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n n"]:
    """H (n, n), orthonormal, every entry 1/sqrt(n) or its negative.

    >>> hadamard(4) * 2
    tensor([[ 1.,  1.,  1.,  1.],
            [ 1., -1.,  1., -1.],
            [ 1.,  1., -1., -1.],
            [ 1., -1., -1.,  1.]])

    Raises ValueError for a size that has no such matrix here, naming the nearest that have one.
    """
    H = torch.ones(1, 1, dtype=dtype)
    for order in orders_of(n):
        H = torch.kron(H, signs(order, dtype, H.device))
    return H / n**0.5


def random_hadamard(n: int, seed: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n n"]:
    """`hadamard(n)` with each row's sign drawn: still orthonormal, and no fixed pattern of the input lines up with a column.

    Without the signs, equal channels (n = 2^k) would all meet in column 0. Source: QuaRot (Ashkboos et al. 2024), section 3.
    Raises what `hadamard` raises.
    """
    drawn = torch.randint(0, 2, (n, 1), generator=torch.Generator().manual_seed(seed))
    return hadamard(n, dtype) * (2 * drawn - 1)


def hadamard_transform(x: Float[Tensor, "*lead K"]) -> Float[Tensor, "*lead K"]:
    """x @ hadamard(K) in x's dtype, factor by factor: a sum and a difference for each 2, a small product for each other.

    Computed in fp32 (or fp64, if x is) and rounded once. Error: about log2(K) · 2⁻²⁴ of the row's length.
    Raises ValueError as `hadamard` does.
    """
    K, block = x.shape[-1], x.shape[-1]
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    for order in orders_of(K):
        block //= order
        y = y.reshape(-1, order, block)
        a, b = y[:, 0], y[:, 1]
        y = torch.stack((a + b, a - b), 1) if order == 2 else signs(order, y.dtype, y.device).T @ y
    return (y.reshape(x.shape) / K**0.5).to(x.dtype)
