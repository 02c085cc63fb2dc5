"""Group quantizers with one thing changed: the known mistakes of 02.1."""

import torch

from qcourse.checks.task import Mistake, Refuse


def refuse(K, G):
    """What the task asks for."""
    if K % G:
        raise Refuse(f"G={G} does not divide K={K}")


def quantized(blocks, limit=7.5, absmax=torch.abs, clamp=(-8, 7), guard=True, nearest_code=torch.round):
    """int8 codes and scale of blocks (…, G)."""
    scale = absmax(blocks).amax(-1, keepdim=True) / limit
    scale = torch.where(scale == 0, torch.ones_like(scale), scale) if guard else scale
    return nearest_code(blocks / scale).clamp(*clamp).to(torch.int8), scale


def variant(**change):
    """quantize_groups with one thing changed."""

    def wrong(W, group_size):
        refuse(W.shape[1], group_size)
        codes, scale = quantized(W.view(len(W), -1, group_size), **change)
        return codes.view(W.shape), scale.squeeze(-1)

    return wrong


def along_n(flip=False, check=True):
    """Groups of G rows in one column; `flip` leaves the scale as (K, N/G)."""

    def wrong(W, group_size):
        if check:
            refuse(W.shape[1], group_size)
        codes, scale = quantized(W.T.reshape(W.shape[1], -1, group_size))
        scale = scale.squeeze(-1)
        return codes.view(W.T.shape).T, scale if flip else scale.T

    return wrong


def ragged(W, group_size):
    """Whole groups only; the rest of the row is gone."""
    whole = W.shape[1] // group_size * group_size
    return variant()(W[:, :whole].contiguous(), group_size)


def ragged_padded(keep):
    """The last group is filled up with zeros; `keep` leaves them in the codes."""

    def wrong(W, group_size):
        padded = torch.nn.functional.pad(W, (0, -W.shape[1] % group_size))
        codes, scale = variant()(padded, group_size)
        return codes if keep else codes[:, : W.shape[1]], scale

    return wrong


def whole_row(W, group_size):
    """One scale a row."""
    refuse(W.shape[1], group_size)
    return quantized(W)


def whole_tensor(give):
    """One scale for everything; `give(scale, N, groups)` is the shape in which it is returned."""

    def wrong(W, group_size):
        refuse(W.shape[1], group_size)
        codes, scale = quantized(W.reshape(1, -1))
        return codes.view(W.shape), give(scale, len(W), W.shape[1] // group_size)

    return wrong


def whole_row_repeated(W, group_size):
    """One scale a row, written down K/G times."""
    codes, scale = whole_row(W, group_size)
    return codes, scale.expand(-1, W.shape[1] // group_size)


MISTAKES = (
    Mistake(
        "groups along N",
        along_n(),
        "Your groups run down the rows: G outputs that share a scale in one column. In y = x Wᵀ the sum runs over K. "
        "Along which axis must neighbours share a scale, so that a kernel can multiply once for a run of the sum?",
        "Granularity: a group is G weights along K of one row; the scale is (N, K/G).",
        also=(along_n(flip=True), along_n(check=False), along_n(flip=True, check=False)),
    ),
    Mistake(
        "a ragged last group accepted in silence",
        ragged,
        "When G does not divide K something is left over, and your function says nothing about it. Who notices when "
        "the last columns of a layer are gone, or follow another rule than the rest?",
        "Bad input is refused by name: never a silent wrong number.",
        also=(ragged_padded(False), ragged_padded(True)),
    ),
    Mistake(
        "one scale a row",
        whole_row,
        "group_size makes no difference in your function. What is the largest weight that a weight has to share its "
        "steps with: the row's, or its group's?",
        "Invariant 2, granularity: tensor < channel < group. This is per channel.",
        also=(whole_row_repeated,),
    ),
    Mistake(
        "one scale for the whole tensor",
        whole_tensor(lambda s, N, groups: s.expand(N, groups)),
        "All groups share one scale here, and the loudest weight of the matrix sets it. Which weights does a group look at?",
        "Invariant 2, granularity: tensor < channel < group. This is per tensor.",
        also=(whole_tensor(lambda s, N, groups: s), whole_tensor(lambda s, N, groups: s.view(()))),
    ),
    Mistake(
        "0.5 added, then cut off",
        variant(nearest_code=lambda t: torch.trunc(t + 0.5)),
        "Adding 0.5 and cutting off the fraction rounds numbers above zero. Try it on -0.8: where does -0.8 + 0.5 lie, and "
        "in which direction does a conversion to integers cut?",
        "Invariant 2: |w - ŵ| ≤ s/2, on both sides of zero.",
    ),
    Mistake(
        "the code 8 exists in no int4",
        variant(clamp=(-99, 99)),
        "absmax / s is 7.5, which rounds to 8, and four bits end at 7. A clamp before the rounding does not see that "
        "yet. In which order does a number become a legal code?",
        "Codes lie in -8 … 7: clamp after rounding.",
    ),
    Mistake(
        "absmax / 7: the other convention",
        variant(limit=7),
        "Divided by 7, the grid is the restricted one, ±7. That is no error in itself, but this task asks for the full "
        "range -8 … 7. How many steps of s lie between -absmax and absmax, if all 16 codes are to be used?",
        "Two conventions exist and must not be mixed: full range, s = absmax / 7.5 (compressed-tensors).",
        also=(variant(limit=7, clamp=(-7, 7)),),
    ),
    Mistake(
        "absmax / 8",
        variant(limit=8),
        "Your range ends at -8 on one side, and on the other the largest weight is pressed from 8 down to 7: a whole "
        "step. What is the middle between 7 and 8, and how large is the worst error then?",
        "Invariant 2: |w - ŵ| ≤ s/2, on both sides.",
    ),
    Mistake(
        "max instead of absmax",
        variant(absmax=lambda b: b),
        "Your scale looks only at the largest weight of the group. Which weight lies farthest from zero in [-4, 1, 2]?",
        "Invariant 2: the range must contain every weight of the group.",
    ),
    Mistake(
        "no guard for a group of zeros",
        variant(guard=False),
        "A pruned group has absmax 0, scale 0, and 0/0 is NaN. Its codes are 0 whatever the scale is: so which scales "
        "would be harmless?",
        "Every stored scale is finite and greater than 0.",
    ),
    Mistake(
        "truncated instead of rounded",
        variant(nearest_code=torch.trunc),
        "A conversion to integers cuts off the fraction. With only 15 steps, how much of a weight of 1.9 steps is lost?",
        "Invariant 2: |w - ŵ| ≤ s/2. Truncation allows a whole step.",
    ),
)
