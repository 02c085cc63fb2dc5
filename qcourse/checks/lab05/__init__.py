"""Lab 05, floats of 8 and 4 bits: E4M3 written and read, E8M0 scales, MXFP4, NVFP4, NF4."""

from qcourse.checks.lab05.decoding import DECODE_E4M3
from qcourse.checks.lab05.encoding import ENCODE_E4M3
from qcourse.checks.lab05.exponents import E8M0_SCALE
from qcourse.checks.lab05.lists import QUANTIZE_NF4
from qcourse.checks.lab05.mx import QUANTIZE_MXFP4
from qcourse.checks.lab05.nv import QUANTIZE_NVFP4

TASKS = (ENCODE_E4M3, DECODE_E4M3, E8M0_SCALE, QUANTIZE_MXFP4, QUANTIZE_NVFP4, QUANTIZE_NF4)
