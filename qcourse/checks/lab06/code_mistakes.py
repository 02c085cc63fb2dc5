"""What goes wrong with the codes of a column: its scale, its rounding, its grid. The same for 06.5 and 06.6."""

import numpy as np

from qcourse.checks.lab06.column_mistakes import Slip
from qcourse.checks.lab06.layers import changed

GRID = "The grid: −limit … limit, and nothing is stored that is not on it."
GROUP = "Granularity: column j has the scale of group ⌊j/G⌋, G = K / number of groups."

CODES = (
    Slip(
        "groups counted by their number, not by their size",
        (changed(group=lambda j, i, G, groups: j // groups),),
        "You divide j by the number of groups. Column 0 … G − 1 share the first scale: what must j be divided by, so that "
        "all of them give 0?",
        GROUP,
    ),
    Slip(
        "groups taken in turns",
        (changed(group=lambda j, i, G, groups: j % groups),),
        "Neighbouring columns have different scales in your answer. A group is G columns side by side. Which operation on j "
        "stays the same for G columns and then moves on?",
        GROUP,
    ),
    Slip(
        "one scale a row",
        (changed(group=lambda j, i, G, groups: 0),),
        "All columns of a row are rounded with the first group's scale. scale has K/G columns: which one belongs to j?",
        GROUP,
    ),
    Slip(
        "truncated instead of rounded",
        (changed(rounded=np.trunc), changed(rounded=np.floor)),
        "Your codes are cut off instead of rounded: the error reaches a whole step, and is no longer centred on zero. What "
        "is the nearest code to 2.9?",
        "|w − ŵ| ≤ s/2 inside the grid.",
    ),
    Slip(
        "codes beyond the grid",
        (changed(bounds=lambda limit: (-np.inf, np.inf)),),
        "A repaired weight may be larger than any that the scale was made for, and your code leaves the grid. What is "
        "stored in 4 bits when the code is 9?",
        GRID,
    ),
    Slip(
        "clipped after the repair",
        (changed(clipped_at_the_end=True),),
        "You clip the codes at the end. What clipping takes off is an error, too, often the largest; but by then the "
        "columns to the right have been repaired for a code that is not stored. When must ŵ_j be known?",
        "The error is w_j − ŵ_j, with ŵ_j what is stored.",
    ),
    Slip(
        "one code more on the negative side",
        (changed(bounds=lambda limit: (-limit - 1, limit)),),
        "Your lowest code is −limit − 1, as two's complement would allow. Here the grid is symmetric.",
        GRID,
    ),
    Slip(
        "always the grid of 4 bits",
        (changed(bounds=lambda limit: (-7, 7)), changed(bounds=lambda limit: (-8, 7))),
        "Your codes go to 7 whatever `limit` is. With limit = 3, in 3 bits, what would be stored for 5?",
        GRID,
    ),
    Slip(
        "multiplied by the scale",
        (changed(steps=lambda now, first, s: now * s),),
        "You made small weights smaller still. A scale is the weight of one step, so how many steps is w?",
        "`scale` multiplies on the way back, so it divides here.",
    ),
)
