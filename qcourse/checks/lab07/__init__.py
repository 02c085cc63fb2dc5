"""Lab 07, which weights matter: AWQ's salient channels, factors and search; HQQ's shrinkage and its step."""

from qcourse.checks.lab07.channels import SALIENT_CHANNELS
from qcourse.checks.lab07.errors import SCALED_ERROR
from qcourse.checks.lab07.scales import AWQ_SCALES
from qcourse.checks.lab07.search import SEARCH_ALPHA
from qcourse.checks.lab07.shrinking import SHRINK
from qcourse.checks.lab07.zeros import HQQ_ZERO

TASKS = (SALIENT_CHANNELS, AWQ_SCALES, SCALED_ERROR, SEARCH_ALPHA, SHRINK, HQQ_ZERO)
