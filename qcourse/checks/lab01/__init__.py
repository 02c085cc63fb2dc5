"""Lab 01: a scale, and everything that is decided by it."""

from qcourse.checks.lab01.asymmetric import QUANTIZE_ASYMMETRIC
from qcourse.checks.lab01.clipping import MSE_SCALE
from qcourse.checks.lab01.dequantize import DEQUANTIZE
from qcourse.checks.lab01.linear import QUANT_LINEAR
from qcourse.checks.lab01.memory import MEMORY_BYTES
from qcourse.checks.lab01.per_channel import QUANTIZE_PER_CHANNEL

TASKS = (QUANTIZE_PER_CHANNEL, DEQUANTIZE, QUANT_LINEAR, MEMORY_BYTES, QUANTIZE_ASYMMETRIC, MSE_SCALE)
