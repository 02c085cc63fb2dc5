"""Linears of which several ranks hold a part each, and linears that are several of a file's: tensor parallelism.

    ColumnParallelLinear         y_r = x W_rᵀ       rank r has rows of W, so it makes its own outputs; nothing is added
    RowParallelLinear            y = Σ_r x_r W_rᵀ   rank r has columns of W, so it reads its own inputs; the outputs of all
                                                    ranks are added (the all-reduce), the bias once, on rank 0
    MergedColumnParallelLinear   gate and up behind each other: one product; each is cut by itself
    QKVParallelLinear            q, k, v likewise, cut between heads; kv heads fewer than ranks are held by several ranks

A block of a Llama is column, then row, twice: q k v → o, and gate up → down. Two sums a block are all that ranks exchange.
Names, life cycle and the contract of a method are vLLM's 0.32 (`layers/linear.py`); here a rank is a number, not a process:

    layer = QKVParallelLinear(hidden, head_dim, heads, kv_heads, rank=1, world=2, quant_config=config, prefix="….qkv_proj")
    for part in "qkv": layer.load(tensors_of_the_file, part)          # all of them: the layer takes its share
    layer.quant_method.process_weights_after_loading(layer)
    y = layer(x)

What a packed weight allows is asked of its layout's slots (`shares` shows it), of any other method's parameters by the
attributes that vLLM's loader reads: output_dim, input_dim, packed_dim with packed_factor, needs_scalar_to_array.

Parts that are merged keep their values, bit for bit (numerics.joined): one scale a part becomes one a row, where an engine
with room for one scale takes the largest and rounds again. Refused, because one matrix has one of each: parts that differ in
format, in act_order, or in the number above NVFP4's scales. Static scales of x become one, too: the largest, as in engines,
and it is said (`merged.largest`).

Activations that are rounded: a column-parallel layer reads the same x as the whole, rounds it alike, and its outputs are the
whole's. A row-parallel one has columns of x only. Static scales and scales a block of columns are the same as before; one
scale a token is found from the rank's own columns: no larger than that of all of them, and not the same numbers.
16-bit weights that are rounded on the way in likewise: a scale a row or a matrix is that of the rank's own share.
"""

from qcourse.layers.partition import ParallelLinear, Part, divided, equal
from qcourse.layers.shares import Share, shares

__all__ = ["ColumnParallelLinear", "MergedColumnParallelLinear", "QKVParallelLinear", "RowParallelLinear", "Share", "shares"]


class ColumnParallelLinear(ParallelLinear):
    """Rows of W: this rank's outputs are its part of y, behind those of the ranks before it."""

    def __init__(self, input_size: int, output_size: int, *, rank: int = 0, world: int = 1, prefix: str = "", **options):
        rows = equal(output_size, rank, world, f"{prefix}: output_size")
        columns = Part(input_size, 0, input_size)
        super().__init__(input_size, output_size, {None: rows}, columns, rank=rank, world=world, prefix=prefix, **options)


class RowParallelLinear(ParallelLinear):
    """Columns of W: x is this rank's part of the input, and y = Σ of all ranks' outputs."""

    def __init__(self, input_size: int, output_size: int, *, rank: int = 0, world: int = 1, prefix: str = "", **options):
        columns = equal(input_size, rank, world, f"{prefix}: input_size")
        parts = {None: Part(output_size, 0, output_size)}
        super().__init__(input_size, output_size, parts, columns, rank=rank, world=world, prefix=prefix, **options)


class MergedColumnParallelLinear(ParallelLinear):
    """Matrices of `output_sizes` rows that read the same x. Parts 0, 1 …; y.split(layer.output_partition_sizes, -1)."""

    def __init__(
        self, input_size: int, output_sizes: list[int], *, rank: int = 0, world: int = 1, prefix: str = "", **options
    ):
        parts = {i: equal(n, rank, world, f"{prefix}: output_sizes[{i}]") for i, n in enumerate(output_sizes)}
        whole, columns = sum(output_sizes), Part(input_size, 0, input_size)
        super().__init__(input_size, whole, parts, columns, rank=rank, world=world, prefix=prefix, **options)


class QKVParallelLinear(ParallelLinear):
    """q, k and v, cut between heads: this rank has heads / world of the query heads and the kv heads that those look at.

    kv_heads fewer than ranks (None: as many as heads): world / kv_heads neighbours hold the same one, so that together they
    hold more rows than the file, and `output_size` counts those. Raises ValueError for heads that do not divide.
    """

    def __init__(
        self, hidden_size: int, head_dim: int, heads: int, kv_heads: int | None = None, *, rank: int = 0, world: int = 1,
        prefix: str = "", **options,
    ):  # fmt: skip
        kv_heads = heads if kv_heads is None else kv_heads
        query = equal(heads, rank, world, f"{prefix}: heads")
        divided(heads, kv_heads, f"{prefix}: heads", "kv_heads")
        if kv_heads < world:
            copies = divided(world, kv_heads, f"{prefix}: world", "kv_heads")
            kv = Part(kv_heads, rank // copies, rank // copies + 1)
        else:
            kv = equal(kv_heads, rank, world, f"{prefix}: kv_heads")
        rows = {"q": query, "k": kv, "v": kv}
        parts = {name: Part(*(n * head_dim for n in held)) for name, held in rows.items()}
        whole = sum(world * (p.end - p.first) for p in parts.values())
        columns = Part(hidden_size, 0, hidden_size)
        super().__init__(hidden_size, whole, parts, columns, rank=rank, world=world, prefix=prefix, **options)
