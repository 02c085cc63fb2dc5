"""06.6 gptq_blocks(W, H, scale, block, limit) → the codes of 06.5, what lies beyond a block repaired once a block."""

from qcourse.checks.lab06 import runs
from qcourse.checks.lab06.block_mistakes import LAZY
from qcourse.checks.lab06.columns import SLIPS, mistaken, regression
from qcourse.checks.lab06.layers import layer
from qcourse.checks.task import Property, Task

ALL = (*SLIPS, *LAZY)


def expected(W, H, scale, block, limit=7):
    """By regression, in which there are no blocks."""
    return regression(W, H, scale, limit)


def case(g, N: int, K: int, groups: int, block: int, limit: int = 7, apart: bool = False) -> tuple:
    """(W, H, scale, block, limit); limit left out where it is 7."""
    given = (*layer(g, N, K, groups, limit, block, mistaken(ALL, limit), apart), block)
    return given if limit == 7 else (*given, limit)


GPTQ_BLOCKS = Task(
    id="06.6",
    function="gptq_blocks",
    title="Lazily, in blocks",
    points=5,
    expected=expected,
    properties=(
        Property("blocks of 5, 5 and 2", lambda g: [case(g, 4, 12, 4, 5, apart=True)], 2),
        Property("blocks that K is a multiple of", lambda g: [case(g, 3, 12, 2, 4), case(g, 2, 16, 4, 8)]),
        Property("blocks of one column, and one larger than K", lambda g: [case(g, 3, 8, 2, 1), case(g, 3, 8, 4, 20)]),
        Property("3 bits", lambda g: [case(g, 4, 12, 3, 5, 3)]),
        Property("32 columns", lambda g: [case(g, 3, 32, 4, 12)], 2),
    ),
    mistakes=tuple(slip.as_mistake(runs.by_blocks) for slip in ALL),
    hint="Two loops: over blocks, and inside over the columns of the block. The inner one repairs up to `end` and keeps "
    "each error, divided by U[j, j]; behind it, one product repairs W[:, end:].",
    returns=("codes",),
)
