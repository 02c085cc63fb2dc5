"""Lab 06, GPTQ: what the inputs say, what rounding costs, one column, the factor, all columns, and in blocks."""

from qcourse.checks.lab06.blocks import GPTQ_BLOCKS
from qcourse.checks.lab06.columns import GPTQ
from qcourse.checks.lab06.costs import OUTPUT_ERROR
from qcourse.checks.lab06.factors import INVERSE_FACTOR
from qcourse.checks.lab06.moments import HESSIAN
from qcourse.checks.lab06.steps import ROUND_AND_REPAIR

TASKS = (HESSIAN, OUTPUT_ERROR, ROUND_AND_REPAIR, INVERSE_FACTOR, GPTQ, GPTQ_BLOCKS)
