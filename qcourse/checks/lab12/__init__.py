"""Lab 12, rotation, QAT and below 4 bits: Hadamard matrices, fast and folded, and a gradient through rounding."""

from qcourse.checks.lab12.butterflies import FAST_HADAMARD
from qcourse.checks.lab12.descent import TRAIN_STEP
from qcourse.checks.lab12.estimator import STRAIGHT_THROUGH
from qcourse.checks.lab12.gains import FOLD_GAIN
from qcourse.checks.lab12.sylvester import HADAMARD
from qcourse.checks.lab12.turning import ROTATE

TASKS = (HADAMARD, FAST_HADAMARD, FOLD_GAIN, ROTATE, STRAIGHT_THROUGH, TRAIN_STEP)
