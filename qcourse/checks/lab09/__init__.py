"""Lab 09, one interface: a vendor's INT3 as six functions, one for each question that an engine asks of a format."""

from qcourse.checks.lab09.merging import SCHEME_OF_MERGED
from qcourse.checks.lab09.products import APPLY_INT3
from qcourse.checks.lab09.rules import CHOOSE_SCHEME
from qcourse.checks.lab09.shards import ROW_PARALLEL_SHARD
from qcourse.checks.lab09.slots import INT3_SLOTS
from qcourse.checks.lab09.unpacking import UNPACK_INT3

TASKS = (INT3_SLOTS, UNPACK_INT3, APPLY_INT3, CHOOSE_SCHEME, SCHEME_OF_MERGED, ROW_PARALLEL_SHARD)
