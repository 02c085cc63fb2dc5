"""Lab 02: what 15 levels cost, and where the bits lie."""

from qcourse.checks.lab02.awq import PACK_AWQ
from qcourse.checks.lab02.bill import BITS_PER_WEIGHT
from qcourse.checks.lab02.gptq import PACK_INT32_GPTQ
from qcourse.checks.lab02.groups import QUANTIZE_GROUPS
from qcourse.checks.lab02.nibbles import PACK_NIBBLES
from qcourse.checks.lab02.unpacking import UNPACK_NIBBLES

TASKS = (QUANTIZE_GROUPS, BITS_PER_WEIGHT, PACK_NIBBLES, UNPACK_NIBBLES, PACK_INT32_GPTQ, PACK_AWQ)
