"""Lab 03, outliers and SmoothQuant: look at activations, move their loudness into the weights, multiply in integers."""

from qcourse.checks.lab03.channels import CHANNEL_ABSMAX
from qcourse.checks.lab03.factors import SMOOTH_SCALES
from qcourse.checks.lab03.folding import FOLD_INTO_RMSNORM, MIGRATE
from qcourse.checks.lab03.integers import INT8_MATMUL
from qcourse.checks.lab03.tokens import FAKE_QUANT_PER_TOKEN

TASKS = (CHANNEL_ABSMAX, FAKE_QUANT_PER_TOKEN, SMOOTH_SCALES, MIGRATE, FOLD_INTO_RMSNORM, INT8_MATMUL)
