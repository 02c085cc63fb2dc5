"""Lab 08, a kernel for 4-bit weights: words, a slow GEMV, a fast one, split K, and where 4 bits stop paying."""

from qcourse.checks.lab08.costs import KERNEL_SECONDS
from qcourse.checks.lab08.crossing import CROSS_OVER
from qcourse.checks.lab08.fast import GEMV_INT4
from qcourse.checks.lab08.loops import GEMV_NAIVE
from qcourse.checks.lab08.slices import SPLIT_K
from qcourse.checks.lab08.words import UNPACK_WORDS

TASKS = (UNPACK_WORDS, GEMV_NAIVE, GEMV_INT4, SPLIT_K, KERNEL_SECONDS, CROSS_OVER)
