"""Lab 13, the clinic: which layer is ill, what moved, words and a norm mended, a meter audited, a patient of one's own."""

from qcourse.checks.lab13.alone import ERRORS_ALONE
from qcourse.checks.lab13.loudness import MEND_GAIN
from qcourse.checks.lab13.moved import WHAT_MOVED
from qcourse.checks.lab13.nibbles import SWAP_NIBBLES
from qcourse.checks.lab13.own_patient import MY_PATIENT
from qcourse.checks.lab13.protocol import AUDIT

TASKS = (ERRORS_ALONE, WHAT_MOVED, SWAP_NIBBLES, MEND_GAIN, AUDIT, MY_PATIENT)
