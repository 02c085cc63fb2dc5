"""The known mistakes of 09.6: cut elsewhere, or cut where nothing should be."""

from qcourse.checks.lab09.unpacking_mistakes import read
from qcourse.checks.task import Mistake, Refuse


def fits(K: int, world: int, G: int) -> bool:
    """Whole columns, groups and bytes."""
    return not (K % world or K // world % G or K // world % 8)


def bytes_of(q, a: int, b: int, rank: int, world: int):
    """Three bytes for eight columns."""
    return q[:, 3 * a // 8 : 3 * b // 8]


def scales_of(s, a: int, b: int, rank: int, world: int, G: int):
    """One scale for G columns."""
    return s[:, a // G : b // G]


def share(n: int, rank: int, world: int) -> slice:
    """Part `rank` of `world` equal ones, rounded down."""
    return slice(rank * (n // world), (rank + 1) * (n // world))


def cut(q=bytes_of, s=scales_of, legal=fits, at=lambda rank: rank):
    """row_parallel_shard with other bytes, other scales, another idea of what fits, or of which rank is meant."""

    def wrong(qweight, scale, rank, world, group_size):
        K = qweight.shape[1] * 8 // 3
        if not legal(K, world, group_size):
            raise Refuse("this would cut a group or a byte")
        n, r = K // world, at(rank)
        a, b = r * n, (r + 1) * n
        return q(qweight, a, b, r, world).clone(), s(scale, a, b, r, world, group_size).clone()

    return wrong


def rows(t, a, b, rank, world, *_):
    """Outputs instead of inputs."""
    return t[share(len(t), rank, world)]


def dealt(t, a, b, rank, world, *_):
    """Every world-th."""
    return t[:, rank::world]


def own_first(t, a, b, rank, world, *_):
    """The first part, whoever asks."""
    return t[:, share(t.shape[1], 0, world)]


def evenly(t, a, b, rank, world, *_):
    """This rank's part of the entries, rounded down."""
    return t[:, share(t.shape[1], rank, world)]


def touched(s, a, b, rank, world, G):
    """Every group of which a column is mine: a torn one goes to two ranks."""
    return s[:, a // G : -(-b // G)]


def bytes_only(K: int, world: int, G: int) -> bool:
    """Nothing is said about groups."""
    return 3 * K // 8 % world == 0


def groups_only(K: int, world: int, G: int) -> bool:
    """Nothing is said about bytes."""
    return K // G % world == 0


MISTAKES = (
    Mistake(
        "rows cut instead of columns",
        cut(rows, rows),
        "You gave this rank some *outputs*, with all of their inputs. That is a column-parallel layer's share (named "
        "after Wᵀ). A row-parallel one gets the columns of W that belong to its part of x. Which axis is `input_dim` here?",
        "Row-parallel: input_dim is cut, every rank makes all N outputs, and they are added.",
        also=(cut(q=rows), cut(s=rows), cut(rows, lambda s, *_: s)),
    ),
    Mistake(
        "all scales to every rank",
        cut(s=lambda s, *_: s),
        "The bytes are cut, the scales are not: this rank's first column would meet the scale of column 0 of the whole "
        "matrix. A group's scale goes where its columns go. How many groups has this rank?",
        "A scale belongs to its group: both tensors are cut along input_dim.",
    ),
    Mistake(
        "columns counted as bytes",
        cut(lambda q, a, b, rank, world: q[:, a:b]),
        "You cut the bytes as if each held one code. Eight columns are three bytes: at which byte does column 8 begin?",
        "packed_factor: 8 columns of W in 3 entries of qweight.",
        also=(cut(lambda q, a, b, rank, world: q[:, a:b], legal=groups_only),),
    ),
    Mistake(
        "two codes a byte",
        cut(lambda q, a, b, rank, world: q[:, a // 2 : b // 2]),
        "You cut the bytes as if each held two codes, as int4 does. These codes have three bits. How many bits lie before "
        "this rank's first column, and how many bytes is that?",
        "packed_factor: 8 columns of W in 3 entries of qweight.",
        also=(
            cut(lambda q, a, b, rank, world: q[:, a // 4 : b // 4]),
            cut(lambda q, a, b, rank, world: q[:, a // 8 : b // 8]),
        ),
    ),
    Mistake(
        "the first part for every rank",
        cut(own_first, own_first),
        "Every rank gets the same piece in your function, in one tensor or in both: the one that begins with column 0. With "
        "which column does rank 1 begin?",
        "Rank r has the columns r · K/world … (r + 1) · K/world.",
        also=(cut(s=own_first), cut(q=own_first)),
    ),
    Mistake(
        "dealt out like cards",
        cut(dealt, dealt),
        "Rank r takes every world-th entry in your function. Its x is one piece, x[:, r · K/world …], and a byte holds "
        "parts of neighbouring codes. What do the columns of one rank have in common?",
        "Rank r has the columns r · K/world … (r + 1) · K/world.",
        also=(cut(q=dealt), cut(s=dealt)),
    ),
    Mistake(
        "ranks counted from one",
        cut(at=lambda rank: rank - 1),
        "Your rank 1 gets the first part, and rank 0 something from the end, or nothing. Ranks are 0 … world − 1.",
        "Rank r has the columns r · K/world … (r + 1) · K/world.",
    ),
    Mistake(
        "from the other end",
        lambda qweight, scale, rank, world, group_size: cut(at=lambda r: world - 1 - r)(
            qweight, scale, rank, world, group_size
        ),
        "Your rank 0 gets the last columns. Its x begins with column 0.",
        "Rank r has the columns r · K/world … (r + 1) · K/world.",
    ),
    Mistake(
        "a group cut in two",
        cut(legal=bytes_only),
        "The bytes can be cut there, and the scales cannot: a group would have columns on two ranks and its scale on one. "
        "(That is vLLM's “too large tensor parallel size”, and the usual reason.) Which numbers of columns are legal?",
        "A cut lies between two groups: K/world is a multiple of G.",
        also=(
            cut(s=touched, legal=bytes_only),
            cut(s=evenly, legal=bytes_only),
            cut(s=lambda s, a, b, rank, world, G: s[:, a // G : a // G + max(1, (b - a) // G)], legal=bytes_only),
        ),
    ),
    Mistake(
        "a byte cut in two",
        cut(legal=groups_only),
        "The groups are whole, and the cut goes through a byte: a rank gets half of a code, or a bit of its neighbour's. "
        "Rounded down, all later codes are read from the wrong bits. Which numbers of columns end with a byte?",
        "A cut lies between two bytes: 3 · K/world is a multiple of 8.",
        also=(
            cut(evenly, legal=groups_only),
            cut(lambda q, a, b, rank, world: q[:, 3 * a // 8 : -(-3 * b // 8)], legal=groups_only),
        ),
    ),
    Mistake(
        "codes instead of bytes",
        cut(lambda q, a, b, rank, world: read()(q)[:, a:b]),
        "You unpacked, cut, and returned codes. A loader copies bytes into the slot that `create_weights` made for this "
        "rank, and that is uint8 (N, 3K/8). Nothing needs to be unpacked to be cut in the right place.",
        "The shard is the file's own bytes.",
    ),
)
