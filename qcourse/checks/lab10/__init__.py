"""Lab 10, the KV cache: keys by channel, values by token, the window, users in a budget, what attention notices, FP8."""

from qcourse.checks.lab10.attention import ATTENTION_ERROR
from qcourse.checks.lab10.keys import QUANTIZE_KEYS
from qcourse.checks.lab10.sequences import SEQUENCES_THAT_FIT
from qcourse.checks.lab10.static import STORE_FP8
from qcourse.checks.lab10.values import QUANTIZE_VALUES
from qcourse.checks.lab10.windows import SPLIT

TASKS = (QUANTIZE_KEYS, QUANTIZE_VALUES, SPLIT, SEQUENCES_THAT_FIT, ATTENTION_ERROR, STORE_FP8)
