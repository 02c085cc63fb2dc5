"""11.5 compressed_tensors_config(num_bits, group_size, symmetric, ignore) → a quantization_config that loads as that."""

from qcourse.checkpoints.compressed_tensors_config import config_of
from qcourse.checks import draw
from qcourse.checks.lab11.configs_mistakes import MISTAKES
from qcourse.checks.lab11.configs_reading import same
from qcourse.checks.task import Property, Task
from qcourse.numerics.granularity import per_channel, per_group
from qcourse.numerics.schemes import QuantizationScheme, int_weight

LISTS = (
    ["lm_head", "model.layers.0.mlp.down_proj"],
    ["lm_head", "re:.*\\.v_proj$"],
    ["re:model\\.layers\\.0\\.", "lm_head"],
    ["lm_head", "model.layers.1.self_attn.q_proj", "re:.*layers\\.7\\.mlp"],
)


def expected(num_bits: int, group_size: int | None, symmetric: bool, ignore: list) -> dict:
    """By the package's own writer."""
    granularity = per_channel if group_size is None else per_group(group_size)
    return config_of(QuantizationScheme(int_weight(num_bits, granularity, symmetric)), tuple(ignore))


def one_of(g, values: tuple):
    """One of them."""
    return values[draw.integer(g, 0, len(values) - 1)]


def groups(symmetric: bool):
    """4 and 8 bits, in groups of which only one has the usual size."""
    return lambda g: [
        (4, 128, symmetric, ["lm_head"]),
        (8, one_of(g, (32, 64)), symmetric, ["lm_head"]),
        (4, one_of(g, (16, 96, 256)), symmetric, ["lm_head"]),
    ]


def lists(g) -> list[tuple]:
    """Other layers stay in 16 bits; or none does."""
    first, second = one_of(g, LISTS[:2]), one_of(g, LISTS[2:])
    return [(4, 64, True, first), (8, 32, False, second), (4, 128, True, [])]


COMPRESSED_TENSORS_CONFIG = Task(
    id="11.5",
    function="compressed_tensors_config",
    title="A config that loads",
    points=4,
    expected=expected,
    properties=(
        Property("groups, symmetric", groups(True), 2),
        Property("groups, with zero points", groups(False)),
        Property("one scale a row", lambda g: [(8, None, True, ["lm_head"]), (4, None, False, ["lm_head"])]),
        Property(
            "other widths", lambda g: [(b, one_of(g, (32, 64)), b > 4, ["lm_head"]) for b in (3, 2, one_of(g, (5, 6, 7)))]
        ),
        Property("other layers in 16 bits", lists),
    ),
    mistakes=MISTAKES,
    hint="Build it from the inside: what weights are is one dict; a group says for which layers; the whole says by whom, "
    "and in which format. Which of the numbers in the example are arguments of yours?",
    same=same,
    free=True,
    returns=("quantization_config",),
)
