"""The known mistakes of 11.4: rows moved elsewhere, in other heads, or along another axis."""

from collections.abc import Callable

from qcourse.checks.task import Mistake
from qcourse.shapes import Tensor


def turn(t: Tensor, heads: int, to: str) -> Tensor:
    """Rows head by head: halves → pairs, or back."""
    sizes = (heads, 2, -1) if to == "pairs" else (heads, -1, 2)
    return t.unflatten(0, sizes).transpose(1, 2).flatten(0, 2)


def other(to: str) -> str:
    """The other order."""
    return "halves" if to == "pairs" else "pairs"


def both(one: Callable = turn, heads_of=lambda heads, kv: (heads, kv), end=lambda q, k: (q, k)):
    """permute_qk with one thing changed."""

    def wrong(q, k, heads, kv_heads, to):
        mine = heads_of(heads, kv_heads)
        return end(one(q, mine[0], to), one(k, mine[1], to))

    return wrong


def one_way(wanted: str) -> Callable:
    """Whatever is asked for."""
    return lambda t, heads, to: turn(t, heads, wanted)


def as_it_was(t: Tensor, heads: int, to: str) -> Tensor:
    """Cut and laid flat again, nothing exchanged."""
    return t.clone()


def heads_exchanged(t: Tensor, heads: int, to: str) -> Tensor:
    """Head and half exchanged instead of half and channel."""
    sizes = (heads, 2, -1) if to == "pairs" else (heads, -1, 2)
    return t.unflatten(0, sizes).transpose(0, 1).flatten(0, 2)


def heads_inside(t: Tensor, heads: int, to: str) -> Tensor:
    """The first axis cut into halves before heads."""
    sizes = (2, heads, -1) if to == "pairs" else (-1, heads, 2)
    return t.unflatten(0, sizes).transpose(0, 2).flatten(0, 2)


def b_before_a(t: Tensor, heads: int, to: str) -> Tensor:
    """b0 a0 b1 a1 …, and back."""
    if to == "pairs":
        return t.unflatten(0, (heads, 2, -1)).flip(1).transpose(1, 2).flatten(0, 2)
    return t.unflatten(0, (heads, -1, 2)).flip(2).transpose(1, 2).flatten(0, 2)


def columns(t: Tensor, heads: int, to: str) -> Tensor:
    """The last axis instead of the first."""
    return turn(t.movedim(-1, 0), heads, to).movedim(0, -1)


def twice(t: Tensor, heads: int, to: str) -> Tensor:
    """There, and once more."""
    return turn(turn(t, heads, to), heads, to)


def scrambled(t: Tensor, heads: int, to: str) -> Tensor:
    """All trailing numbers in one row with the rows: the axes after the first are torn."""
    sizes = (heads, 2, -1) if to == "pairs" else (heads, -1, 2)
    return t.reshape(sizes).transpose(1, 2).reshape(t.shape)


MISTAKES = (
    Mistake(
        "the wrong way",
        both(lambda t, heads, to: turn(t, heads, other(to))),
        'You move rows from pairs to halves where pairs are wanted, and the other way around. `to="pairs"`: a0 a1 a2 b0 b1 '
        "b2 comes in. Both are permutations of the same shape; which one begins with a0 b0?",
        "halves → pairs: channel j of half p goes to 2j + p.",
        also=(both(twice),),
    ),
    Mistake(
        "the wanted order ignored",
        both(one_way("pairs")),
        "Your rows move the same way, whatever `to` says. Permuting twice is not going back, unless a head has four "
        "channels.",
        "halves → pairs and pairs → halves are inverses of each other, and two functions.",
        also=(both(one_way("halves")),),
    ),
    Mistake(
        "one head as wide as the matrix",
        both(heads_of=lambda heads, kv: (1, 1)),
        "You took all rows for one head: channel 0 came to lie beside a channel of another head. RoPE turns pairs within a "
        "head, so rows stay in theirs.",
        "Rows are moved within a head of D channels.",
        also=(
            both(heads_of=lambda heads, kv: (heads, 1)),
            both(heads_of=lambda heads, kv: (1, kv)),
            both(heads_inside),
        ),
    ),
    Mistake(
        "K cut into the heads of Q",
        both(heads_of=lambda heads, kv: (heads, heads)),
        "You cut K into `heads` heads. With grouped queries it has fewer, and each is as wide as Q's. No error tells you, "
        "if the number of rows can be cut both ways; the model is spoiled all the same.",
        "Grouped queries: k has kv_heads heads of D channels.",
        also=(
            both(heads_of=lambda heads, kv: (kv, kv)),
            both(heads_of=lambda heads, kv: (kv, heads)),
        ),
    ),
    Mistake(
        "only Q",
        lambda q, k, heads, kv_heads, to: (turn(q, heads, to), k.clone()),
        "One of the two came back as it was. A score is q · k, channel by channel: if one is in another order than the "
        "other, the products are of channels that have nothing to do with each other.",
        "Q and K are moved alike.",
        also=(lambda q, k, heads, kv_heads, to: (q.clone(), turn(k, kv_heads, to)),),
    ),
    Mistake(
        "nothing moved",
        both(as_it_was),
        "You cut the axis into three and laid it flat again. A reshape moves nothing in memory: two of the three have to be "
        "exchanged in between. Which two?",
        "halves → pairs: channel j of half p goes to 2j + p.",
    ),
    Mistake(
        "the wrong two axes exchanged",
        both(heads_exchanged),
        "You exchanged head and half. Rows have left their head by that. The head is the slowest of the three axes before "
        "and after; which two change places?",
        "Rows are moved within a head of D channels.",
        also=(both(lambda t, heads, to: t.unflatten(0, (heads, 2, -1)).transpose(0, 2).flatten(0, 2)),),
    ),
    Mistake(
        "b before a",
        both(b_before_a),
        "Your pairs are b0 a0, b1 a1, …: the second half stands first. RoPE's two channels have different signs, so their "
        "order counts.",
        "halves → pairs: channel j of half p goes to 2j + p.",
    ),
    Mistake(
        "columns instead of rows",
        both(columns),
        "You permuted the inputs. The channels that RoPE turns come *out* of these layers: which axis of W (N, K) are they? "
        "(A bias has no other.)",
        "Rows of W are its outputs.",
        also=(both(lambda t, heads, to: t if t.dim() < 2 else columns(t, heads, to)),),
    ),
    Mistake(
        "rows torn apart",
        both(scrambled),
        "You reshaped the whole tensor to three axes, its columns with it: pieces of rows were moved. What comes after the "
        "first axis travels whole, however many axes that are.",
        "A row travels whole: blocks, columns, or nothing at all.",
    ),
    Mistake(
        "the two in the other order",
        both(end=lambda q, k: (k, q)),
        "Both are right, in the other order. What does the specification promise first?",
        "The specification: (q, k).",
    ),
)
