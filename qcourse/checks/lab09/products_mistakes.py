"""The known mistakes of 09.3: the product in fp64 with one thing changed."""

import torch

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def spread(s: Tensor, K: int) -> Tensor:
    """The scale of each column: (N, K/G) → (N, K)."""
    return s.repeat_interleave(K // s.shape[1], 1)


def added(y: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """The bias, once, if there is one."""
    return y if bias is None else y + bias.double()


def times(n):
    """The bias n(groups) times."""
    return lambda y, bias, groups: y if bias is None else y + n(groups) * bias.double()


def product(x, codes, scale, bias, *, place=spread, weigh=torch.mul, shift=0, bias_of=added, rounded=None, dtype=None):
    '""y = x Ŵᵀ + bias. place: scales over K · weigh: code and scale · shift: of the codes · rounded: Ŵ, before the'
    'product.""'
    q, s = codes.double() - shift, scale.double()
    W = weigh(q, place(s, q.shape[1]))
    W = W if rounded is None else W.to(rounded).double()
    y = bias_of(x.double() @ W.T, bias, s.shape[1])
    return y.to(dtype or x.dtype)


def variant(**change):
    """apply_int3 with something changed."""
    return lambda x, codes, scale, bias: product(x, codes, scale, bias, **change)


def with_dtype(**change):
    """The same result in x's dtype, and left in fp32."""
    return variant(**change), variant(**change, dtype=torch.float32)


def of_one_group(which):
    """One scale for the whole row, made of all."""
    return variant(place=lambda s, K: which(s).expand(-1, K))


def transposed_scale(s: Tensor, K: int) -> Tensor:
    """(N, K/G) taken for (K/G, N); legal where there are as many groups as outputs."""
    if s.shape[0] != s.shape[1]:
        raise RuntimeError("shapes do not match")
    return spread(s.T, K)


def transposed_weight(x, codes, scale, bias):
    """x @ Ŵ, without the transpose; legal where there are as many outputs as inputs."""
    if codes.shape[0] != codes.shape[1]:
        raise RuntimeError("shapes cannot be multiplied")
    y = x.double() @ (codes.double() * spread(scale.double(), codes.shape[1]))
    return added(y, bias, 0).to(x.dtype)


MISTAKES = (
    Mistake(
        "the scale forgotten",
        variant(weigh=lambda q, s: q),
        "You multiplied by codes. −4 … 3 are steps, not weights: how large is a step, and who says so?",
        "Invariant 2: ŵ = scale · code.",
        also=(variant(weigh=lambda q, s: q, bias_of=times(lambda groups: 0)),),
    ),
    Mistake(
        "divided by the scale",
        variant(weigh=torch.div),
        "Dividing turns weights into codes, and here the codes are given. Which way round do you have to go?",
        "`scale` always multiplies on dequantize.",
    ),
    Mistake(
        "one scale for the whole row",
        of_one_group(lambda s: s[:, :1]),
        "You summed over all of K and scaled afterwards. That is right where a row has one scale; here each group has its "
        "own, and after the sum nobody can tell the groups apart. When must a group's scale be multiplied in?",
        "Granularity: a scale belongs to its group, so it enters before the groups are added.",
        also=(
            of_one_group(lambda s: s[:, -1:]),
            of_one_group(lambda s: s.mean(1, keepdim=True)),
            of_one_group(lambda s: s.sum(1, keepdim=True)),
        ),
    ),
    Mistake(
        "the scales dealt out like cards",
        variant(place=lambda s, K: s.repeat(1, K // s.shape[1])),
        "Column 0 gets the first scale, column 1 the second: you repeated the whole row of scales (`repeat`, `np.tile`). "
        "But G *neighbours* share one. What does column 1 have in common with column 0?",
        "Granularity: group g is the columns g·G … (g+1)·G − 1.",
        also=(variant(place=lambda s, K: s[:, torch.arange(K) % s.shape[1]]),),
    ),
    Mistake(
        "the scale of another output",
        variant(place=transposed_scale),
        "Your row n takes the scales of column n: you read (N, K/G) as (K/G, N), and with as many groups as outputs nothing "
        "complains. Which axis of the scale are the outputs (vLLM: its `output_dim`)?",
        "Layout is a contract: scale is (N, K/G).",
        also=(variant(place=lambda s, K: spread(s.flip(0), K)),),
    ),
    Mistake(
        "W not transposed",
        transposed_weight,
        "x @ Ŵ instead of x @ Ŵᵀ: with as many outputs as inputs nothing complains. W is (N, K) = (out, in); along which of "
        "its axes does the sum run?",
        "y = x @ W.T.",
    ),
    Mistake(
        "the 4 taken off twice",
        variant(shift=4),
        "You subtracted the offset. The codes are signed already: `process_weights_after_loading` has done it, once. "
        "Nothing that can be done at loading should be left for `apply`, which runs for every token.",
        "process_weights_after_loading: once; apply: what is left.",
    ),
    Mistake(
        "the bias forgotten",
        variant(bias_of=times(lambda groups: 0)),
        "`apply` is given the bias, and nobody else will add it: `Linear` hands it on and returns what you return.",
        "The contract: apply(layer, x, bias) → x @ W.T + bias.",
        also=(variant(bias_of=times(lambda groups: 0), dtype=torch.float32),),
    ),
    Mistake(
        "the bias added more than once",
        variant(bias_of=times(lambda groups: 2)),
        "Your answer contains the bias several times: twice, or once for every group. It belongs to the output, not to a "
        "part of the sum. (Ranks that share a row-parallel layer must mind the same: only rank 0 adds it.)",
        "The contract: y = x @ W.T + bias, once.",
        also=(variant(bias_of=times(lambda groups: groups)), variant(bias_of=times(lambda groups: groups + 1))),
    ),
    Mistake(
        "the bias subtracted",
        variant(bias_of=times(lambda groups: -1)),
        "The bias has the wrong sign in your answer.",
        "The contract: y = x @ W.T + bias.",
    ),
    Mistake(
        "float32 for x in bf16",
        variant(dtype=torch.float32),
        "The numbers are right, and in another dtype than x. The next layer adds them to a residual stream in bf16, or "
        "hands them to a kernel that refuses to mix. Compute as wide as you like; what has to happen at the end?",
        "The contract: y in x's dtype.",
        also=(variant(dtype=torch.float64),),
    ),
    Mistake(
        "Ŵ or x rounded to bf16",
        variant(rounded=torch.bfloat16),
        "x is fp32, and your answer is only as good as bf16. The scale's dtype is a matter of the file; a code times a "
        "scale has more bits than bf16 keeps. In which dtype do you multiply the two?",
        "Rounded once, when W was quantized; apply adds no rounding of its own.",
        also=(
            lambda x, codes, scale, bias: product(x.bfloat16(), codes, scale, bias, dtype=x.dtype),
            lambda x, codes, scale, bias: product(x.bfloat16(), codes, scale, bias, rounded=torch.bfloat16, dtype=x.dtype),
            lambda x, codes, scale, bias: product(x, codes, scale, bias).bfloat16().to(x.dtype),
            lambda x, codes, scale, bias: product(x, codes, scale, bias, dtype=torch.bfloat16),
        ),
    ),
)
