"""Lab 04, quantize and evaluate: bytes, room for users, perplexity, its paired error, tokens a second, the decision."""

from qcourse.checks.lab04.cache import KV_BLOCKS
from qcourse.checks.lab04.decision import CHOOSE_FORMAT
from qcourse.checks.lab04.memory import WEIGHT_BYTES
from qcourse.checks.lab04.pairs import PAIRED_DIFFERENCE
from qcourse.checks.lab04.surprise import PERPLEXITY
from qcourse.checks.lab04.throughput import DECODE_TOKENS_PER_SECOND

TASKS = (WEIGHT_BYTES, KV_BLOCKS, PERPLEXITY, PAIRED_DIFFERENCE, DECODE_TOKENS_PER_SECOND, CHOOSE_FORMAT)
