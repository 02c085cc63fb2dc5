"""Lab 11, checkpoints: a foreign GPTQ tensor, its zero points, a block of GGUF, rows of Q and K, a config, the container."""

from qcourse.checks.lab11.configs import COMPRESSED_TENSORS_CONFIG
from qcourse.checks.lab11.containers import READ_SAFETENSORS
from qcourse.checks.lab11.foreign import READ_GPTQ
from qcourse.checks.lab11.q4_1 import READ_Q4_1
from qcourse.checks.lab11.rows import PERMUTE_QK
from qcourse.checks.lab11.versions import CONVERT_ZEROS

TASKS = (READ_GPTQ, CONVERT_ZEROS, READ_Q4_1, PERMUTE_QK, COMPRESSED_TENSORS_CONFIG, READ_SAFETENSORS)
